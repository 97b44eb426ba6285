"""The state of what one watches."""

from __future__ import annotations

import pytest

import threadwire
from threadwire.top.documents import read_client
from threadwire.top.search import Search
from threadwire.top.view import Down, View

from .documents import client_value, document, interval_value

SOME = (
    client_value(1, busy=3.0, state="blocked", line="app.py:7 in slow"),
    client_value(2, rate=50.0, peer="unix:///run/Socket"),
    client_value(3),
)


def ids(view: View) -> list[int]:
    return [client.id for client in view.rows()]


def viewing(*clients: dict[str, object], left_out: int = 0, **options: object) -> View:
    view = View(**options)  # type: ignore[arg-type]
    view.take(document(*(clients or SOME), left_out=left_out), 100.0)
    return view


def test_without_a_document_there_is_nothing_to_show() -> None:
    view = View()
    assert view.rows() == []
    assert view.rest(0, 0) == ""
    assert not view.lacks


def test_the_worst_comes_first_then_the_busiest_then_the_newest() -> None:
    assert ids(viewing()) == [1, 2, 3]


def test_the_same_column_again_is_the_other_way_round() -> None:
    view = viewing()
    view.sort_by("id")
    assert ids(view) == [1, 2, 3]
    view.sort_by("id")
    assert ids(view) == [3, 2, 1]
    view.sort_by("rate")
    assert ids(view) == [2, 3, 1] or ids(view) == [2, 1, 3]
    assert view.falling


def test_one_can_go_through_all_columns_and_round() -> None:
    view = viewing()
    seen = set()
    for _ in range(10):
        view.next_sort(1)
        seen.add(view.sort.name)
    assert (len(seen), view.sort.name) == (10, "busy")
    view.next_sort(-1)
    assert view.sort.name == "state"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [1, 2, 3]),
        ("  ", [1, 2, 3]),
        ("slow", [1]),
        ("SLOW blocked", [1]),
        ("slow idle", []),
        ("socket", [2]),
        ("192.0.2.1", [1, 3]),
        ("idle", [2, 3]),
        ("[", []),
    ],
)
def test_words_are_looked_for_everywhere(text: str, found: list[int]) -> None:
    assert ids(viewing(text=text)) == found


def test_a_limit_is_one() -> None:
    view = viewing(limit=2)
    assert ids(view) == [1, 2]
    assert view.rest(2, 100.0) == "2 of 3 clients"
    assert ids(viewing(limit=0)) == []


def test_a_pause_keeps_the_document_and_its_end_brings_the_newest() -> None:
    view = viewing()
    view.paused = True
    view.take(document(client_value(8)), 101.0)
    view.take(document(client_value(9)), 102.0)
    assert ids(view) == [1, 2, 3]
    view.paused = False
    assert ids(view) == [9]
    view.paused = True
    view.paused = False
    assert ids(view) == [9], "there was nothing new"


def test_the_history_comes_first_and_stays_bounded() -> None:
    view = View()
    points = [
        {"time": 999_700.0 + n, "seconds": 1.0, "messages_per_second": float(n)} for n in range(300)
    ]
    view.take(document(history=points), 1.0)
    assert list(view.rates)[-2:] == [299.0, 1234.5]
    for n in range(1000):
        view.take(document(interval=interval_value(messages_per_second=float(n))), 2.0)
    assert (len(view.rates), view.rates[-1]) == (600, 999.0)
    view.take(document(interval=None), 3.0)
    assert view.rates[-1] == 999.0
    view.take(document(history=points[-2:]), 4.0)
    assert list(view.rates) == [298.0, 299.0, 1234.5], "a new stream has its own"


def test_while_the_endpoint_is_lost_the_last_document_stays() -> None:
    view = viewing()
    view.take(Down(threadwire.ConnectError("http://x", "gone"), 2.0), 101.0)
    assert view.down is not None
    assert ids(view) == [1, 2, 3]
    view.take(document(client_value(4)), 102.0)
    assert view.down is None


# Where the document has not all clients.


def test_more_clients_are_needed_for_another_order_for_words_and_for_more() -> None:
    assert not viewing().lacks
    assert not viewing(sort="id", text="x", limit=50).lacks, "the document has all"
    assert not viewing(left_out=1000).lacks
    assert not viewing(left_out=1000, limit=2).lacks
    assert not viewing(left_out=1000, sort="id", limit=0).lacks
    assert viewing(left_out=1000, limit=50).lacks
    assert viewing(left_out=1000, sort="id").lacks
    assert viewing(left_out=1000, falling=False).lacks
    assert viewing(left_out=1000, text="x").lacks
    assert not viewing(left_out=1000, text=" ").lacks


@pytest.mark.parametrize(
    ("sort", "falling", "text", "pages"),
    [
        ("rate", True, "", False),
        ("rate", False, "", True),
        ("rate", True, "x", True),
        ("id", False, "", False),
        ("id", True, "", True),
        ("peer", False, "", True),
    ],
)
def test_the_endpoint_sorts_by_what_it_knows(
    sort: str, falling: bool, text: str, pages: bool
) -> None:
    assert View(sort=sort, falling=falling, text=text).search.pages is pages


def test_what_was_found_takes_the_place_of_the_document_while_it_is_wanted() -> None:
    view = viewing(left_out=1000, sort="id")
    found = [read_client(client_value(n))[0] for n in (501, 502)]
    assert view.rest(3, 100.0) == "3 of 1003 clients, out of the 3 worst and busiest"
    view.take_listed(view.search, found, 101.0)
    assert ids(view) == [501, 502]
    assert view.rest(2, 102.0) == "2 of 1003 clients"
    assert view.rest(2, 105.0) == "2 of 1003 clients, as of 4.00s ago"
    view.text = "blocked"
    assert ids(view) == [1], "it was found for other words"
    view.text = ""
    assert ids(view) == [501, 502]
    view.take(document(*SOME), 106.0)
    assert ids(view) == [1, 2, 3], "the document has all"


def test_a_search_chooses_what_fits() -> None:
    clients = [read_client(value)[0] for value in SOME]
    view = View(sort="id", falling=True, text="idle", limit=1)
    search = view.search
    assert search == Search(view.sort, True, ("idle",), 1)
    assert [client.id for client in search.choose(clients)] == [3]


def test_looking_at_all_of_them_is_not_for_every_second() -> None:
    view = viewing(left_out=1000, sort="id")
    assert view.due(100.0)
    view.take_listed(view.search, [], 100.0)
    assert view.due(101.0), "the endpoint sorts by id"
    view.text = "x"
    assert view.due(101.0)
    view.take_listed(view.search, [], 101.0)
    assert not view.due(105.9)
    assert view.due(106.0)
    assert not viewing().due(100.0)
