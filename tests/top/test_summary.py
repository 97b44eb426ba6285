"""The lines above the table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

import threadwire
from threadwire.top.summary import Piece, curve, summary
from threadwire.top.view import Down, View

from .documents import STEP, client_value, document, interval_value

URL = "http://127.0.0.1:9180"


def lines(
    view: View, *, width: int | None = 120, height: int = 20, now: float = 100.0
) -> list[list[Piece]]:
    return summary(view, URL, width=width, height=height, now=now)


def text(view: View, **options: object) -> str:
    found = lines(view, **options)  # type: ignore[arg-type]
    return "\n".join("".join(piece.text for piece in line) for line in found)


def of(*clients: dict[str, object], **changes: object) -> View:
    view = View()
    view.take(document(*clients, **changes), 100.0)  # type: ignore[arg-type]
    return view


def tone(view: View, words: str) -> str:
    (found,) = [piece.tone for line in lines(view) for piece in line if words in piece.text]
    return found


def test_all_of_it() -> None:
    view = of(client_value(1, state="blocked"), client_value(2))
    assert text(view, width=None) == (
        "serving  http://127.0.0.1:9180  up 1h00m  cpu 50 %  memory 32.0MiB  threads 8  pid 4711"
        "  threadwire 1.2.3, Python 3.13.1\n"
        "service  tcp://0.0.0.0:12345  handler reverse  framing lines  loops 1  poller c\n"
        "traffic  1.23k messages/s  in 2.00KiB/s  out 4.00KiB/s  accepted 1/s  closed 2/s"
        "  refused 0/s\n"
        "latency  handler p50 2µs p99 50µs max 1.00ms  turn p50 2µs p99 50µs max 1.00ms\n"
        "clients  2  1 blocked  0 own-thread  0 loop  1 idle\n"
        "threads  own 2  spare 1  hand-offs 3 (0.5/s)  waiting for one 0  opening 0\n"
        "limits   max_clients 10/1000 1 %\n"
        "totals   accepted 10  closed peer-closed 4"
    )


@given(st.integers(1, 200), st.integers(1, 12), st.booleans())
def test_it_keeps_to_the_room_it_has(width: int, height: int, lost: bool) -> None:
    view = of(*(client_value(n, state="blocked") for n in range(5)))
    if lost:
        view.take(Down(threadwire.ConnectError(URL, "x" * 200), 2.0), 100.0)
        view.paused = True
    found = lines(view, width=width, height=height)
    assert 1 <= len(found) <= height
    for line in found:
        taken = sum(wcswidth(piece.text) for piece in line)
        first = next(piece for piece in line if piece.text.strip())
        assert taken <= max(width, 9 + 40), first


def test_the_most_important_lines_stay() -> None:
    view = of(client_value(1))
    assert [line[0].text.strip() for line in lines(view, height=3)] == [
        "serving",
        "traffic",
        "clients",
    ]
    view.take(Down(threadwire.ConnectError(URL, "connection refused"), 3.0), 100.0)
    assert text(view, height=2).startswith("LOST, again in 3 s  this is 0s old  connection refused")


def test_a_lost_endpoint_says_for_how_long_and_when_it_is_tried_again() -> None:
    view = View()
    view.take(Down(threadwire.ConnectError(URL, "no\x1b[2J"), 3.0), 100.0)
    assert text(view, now=101.5).startswith("LOST, again in 2 s  no\\x1b[2J\n")
    assert text(view, now=110).startswith("LOST, trying again")
    view.take(document(), 111.0)
    view.take(Down(threadwire.ConnectError(URL, "gone"), 3.0), 120.0)
    assert "this is 9.00s old" in text(view, now=120.0)
    narrow = text(view, now=120.0, width=40).splitlines()[0]
    assert narrow == "LOST, again in 3 s  this is 9.00s old"


def test_a_pause_is_said() -> None:
    view = of()
    view.paused = True
    assert text(view).startswith("PAUSED\n")


def test_a_server_that_is_not_ready_says_so_in_another_tone() -> None:
    view = of(phase="draining", ready=False, why="draining")
    assert text(view).startswith("DRAINING  http")
    assert tone(view, "DRAINING") == "warn"
    assert tone(of(), "serving") == "good"
    assert "handing over" in text(of(phase="suspended", ready=False, why="handing over"))


def test_states_that_matter_have_a_tone_and_new_ones_are_shown() -> None:
    states = {"new-one": 3, "blocked": 2, "idle": 5, "waiting": 0, "loop": 0}
    view = of(clients={"total": 10, "states": states, "shown": [], "left_out": 10})
    assert "10  2 blocked  0 loop  5 idle  3 new-one" in text(view)
    assert (tone(view, "2 blocked"), tone(view, "0 loop")) == ("blocked", "dim")


@pytest.mark.parametrize(
    ("used", "words", "expected"),
    [(10, "10/100 10 %", ""), (75, "75/100 75 % near", "warn"), (100, "100/100 100 % full", "bad")],
)
def test_a_limit_that_is_near_says_so(used: int, words: str, expected: str) -> None:
    limits = [
        {"name": "accept_rate", "used": 5, "limit": None},
        {"name": "max_threads", "used": 0, "limit": 0},
        {"name": "max_clients", "used": used, "limit": 100},
    ]
    view = of(limits=limits)
    assert f"limits   max_clients {words}  max_threads 0/0 0 %\n" in text(view)
    assert tone(view, words) == expected


def test_refusals_are_told_first() -> None:
    totals = {
        "accepted": 123456,
        "messages_received": 0,
        "messages_sent": 0,
        "bytes_received": 0,
        "bytes_sent": 0,
        "handoffs": 0,
        "closed": {"peer-closed": 3, "handler-failed": 9},
        "refused": {"busy": 7, "denied": 0},
    }
    view = of(totals=totals, interval=interval_value(refused_per_second=7.0))
    line = "accepted 123k  refused busy 7  closed handler-failed 9  closed peer-closed 3"
    assert line in text(view)
    assert tone(view, "7/s") == "bad"


@pytest.mark.parametrize(
    ("left", "words", "expected"),
    [(100, "100 days left", ""), (13.5, "13 days left", "warn"), (-1, "expired", "bad")],
)
def test_a_certificate_that_ends_soon(left: float, words: str, expected: str) -> None:
    view = of(certificates={"names": "x", "expires_at": 1_000_000.0 + left * 86400})
    assert f"certificate {words}" in text(view)
    assert tone(view, words) == expected


def test_before_the_first_interval_nothing_is_claimed() -> None:
    assert text(of(interval=None)).count("not yet measured") == 2
    nothing = {"p50": None, "p99": None, "max": None}
    view = of(interval=interval_value(handler=nothing, lock_wait=STEP))
    assert "handler p50 - p99 - max -" in text(view)
    assert "lock p50 2µs" in text(view)


def test_a_session_says_so_and_addresses_are_not_without_end() -> None:
    service = {
        "addresses": [f"tcp://127.0.0.1:{n}" for n in range(100)],
        "handler": "chat",
        "session": True,
        "framing": "lines",
    }
    line = text(of(service=service), width=None).splitlines()[1]
    assert "chat (session)" in line
    assert line.count("tcp://") == 4


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], "    "),
        ([0, 0], "  ▁▁"),
        ([0, 0.001, 50, 100], "▁▂▅█"),
        ([100, 0, 0, 0, 100], "▁▁▁█"),
        ([2994.564], "   █"),
        ([-50, 100], "  ▁█"),
    ],
)
def test_the_curve(values: list[float], bars: str) -> None:
    assert curve(values, 4) == bars


@given(st.lists(st.floats(0, 2**80)), st.integers(1, 50))
def test_any_curve_is_as_wide_as_it_should(values: list[float], cells: int) -> None:
    assert len(curve(values, cells)) == cells


def test_the_curve_and_its_highest_are_of_the_same_time() -> None:
    """With the highest of all that is remembered: its full bars stand for what was long ago."""
    view = of(client_value(1))
    view.rates.extend([42_000.0] * 10 + [200.0] * 300)
    line = next(line for line in text(view, width=80).split("\n") if line.startswith("curve"))
    assert "at most 200/s" in line
    assert line.count("█") > 30
