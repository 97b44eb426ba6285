"""The table's columns: what fits, in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import threadwire
from threadwire.top.columns import COLUMNS, column_named, fit, layout, sort_clients, width_of
from threadwire.top.documents import Client, read_client

from .documents import client_value

PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "))


def clients(*values: dict[str, object]) -> list[Client]:
    return [read_client(client_value(n, **value))[0] for n, value in enumerate(values, 1)]


SOME = clients(
    {"busy": 3.0, "state": "blocked", "line": "app.py:7 in slow", "peer": "unix:///run/x"},
    {"rate": 50.0, "messages_received": 9, "bytes_sent": 5, "age": 1.0, "idle": 0.5},
    {"busy": 9.0, "state": "blocked", "line": "app.py:3 in call", "bytes_received": 6},
    {"state": "waiting", "rate": 2.0},
    {"state": "something new"},
)


@given(PRINTABLE, st.integers(1, 40), st.booleans(), st.booleans())
def test_what_is_fitted_is_exactly_as_wide(text: str, width: int, left: bool, ending: bool) -> None:
    fitted = fit(text, width, left=left, ending=ending)
    assert width_of(fitted) == width
    if width_of(text) <= width:
        assert text in fitted


def test_what_is_cut_says_so() -> None:
    assert fit("abcdef", 4) == "abc…"
    assert fit("abcdef", 4, ending=True) == "…def"
    assert fit("日本語", 4) == "日… "
    assert fit("日本語", 4, ending=True) == "…語 "
    assert fit("ab", 4, left=False) == "  ab"


@pytest.mark.parametrize(
    ("column", "falling", "order"),
    [
        ("busy", True, [3, 1, 2, 4, 5]),  # of equals, the busiest, then the newest
        ("id", False, [1, 2, 3, 4, 5]),
        ("id", True, [5, 4, 3, 2, 1]),
        ("rate", True, [2, 4, 3, 1, 5]),
        ("peer", False, [2, 3, 4, 5, 1]),
        ("state", True, [5, 3, 1, 4, 2]),
        ("line", True, [1, 3, 2, 4, 5]),
        ("messages", True, [2, 3, 1, 4, 5]),
        ("bytes", True, [3, 2, 1, 4, 5]),
        ("age", True, [3, 1, 4, 5, 2]),
        ("idle", False, [2, 3, 1, 4, 5]),
    ],
)
def test_any_column_gives_an_order(column: str, falling: bool, order: list[int]) -> None:
    assert [c.id for c in sort_clients(SOME, column_named(column), falling)] == order


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(threadwire.UsageError, match=r"sort must be one of id, peer, .*not 'size'"):
        column_named("size")


@given(st.integers(20, 300), st.sampled_from(COLUMNS))
def test_a_line_has_room(width: int, sorted_by: object) -> None:
    column = column_named(sorted_by.name)  # type: ignore[attr-defined]
    cells = layout(SOME, width, column)
    assert sum(cell.width + 1 for cell in cells) - 1 <= width
    assert column in [cell.column for cell in cells]
    assert [c.column for c in cells] == [c for c in COLUMNS if c in [o.column for o in cells]]
    for client in SOME:
        assert all(width_of(cell.text(client)) == cell.width for cell in cells)


@pytest.mark.parametrize(
    ("width", "names"),
    [
        (40, "id peer state busy"),
        (80, "id peer state busy line rate bytes idle"),
        (120, "id peer state busy line rate messages bytes idle age"),
        (None, "id peer state busy line rate messages bytes idle age"),
    ],
)
def test_the_less_important_columns_go_first(width: int | None, names: str) -> None:
    cells = layout(SOME, width, column_named("busy"))
    assert " ".join(cell.column.name for cell in cells) == names


def test_a_column_is_as_wide_as_what_stands_in_it() -> None:
    peer = "tcp://[2001:db8::1234:5678]:54321"
    (client,) = clients({"peer": peer})
    texts = {cell.column.name: cell.text(client) for cell in layout([client], None)}
    assert texts["peer"] == peer.removeprefix("tcp://")
    assert texts["busy"] == "      -"
    assert width_of("日本") == 4


def test_numbers_stand_on_the_right_and_the_end_of_a_line_is_kept() -> None:
    (client,) = clients({"line": "/a/very/long/path/to/some/application.py:77 in handle"})
    cells = {cell.column.name: cell for cell in layout([client], 60, column_named("line"))}
    assert cells["line"].text(client).startswith("…")
    assert cells["line"].text(client).endswith(".py:77 in handle")
    assert cells["id"].title() == "  ID"
    assert cells["id"].text(client) == "   1"
