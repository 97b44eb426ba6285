"""The clock that a test turns, alone and in a server."""

from __future__ import annotations

import math
import threading
import time

import pytest

import threadwire
from threadwire.testing import Clock, eventually, serving

from ..support import PATIENCE, reverse


def test_it_stands_still_until_it_is_turned() -> None:
    before = time.monotonic()
    clock = Clock()
    start = clock.now()
    assert before <= start <= time.monotonic()
    while time.monotonic() < start + 0.01:
        pass
    assert clock.now() == start
    clock.turn(5)
    clock.turn(0.25)
    assert clock.now() == start + 5.25


def test_it_may_run_beside_being_turned() -> None:
    clock = Clock(running=True)
    clock.turn(100)
    before, now, after = time.monotonic(), clock.now(), time.monotonic()
    assert before + 100 <= now <= after + 100


def test_whoever_watches_is_called_at_each_turn() -> None:
    clock = Clock()
    seen: list[tuple[str, float]] = []
    start = clock.now()

    stop_first = clock.watch(lambda: seen.append(("first", clock.now() - start)))
    stop_second = clock.watch(lambda: seen.append(("second", clock.now() - start)))
    clock.turn(1)
    assert seen == [("first", 1.0), ("second", 1.0)]
    stop_first()
    stop_first()
    clock.turn(1)
    assert seen[2:] == [("second", 2.0)]
    stop_second()
    clock.turn(1)
    assert len(seen) == 3


def test_the_same_call_may_watch_twice() -> None:
    clock = Clock()
    calls: list[int] = []

    def wake() -> None:
        calls.append(1)

    stop = clock.watch(wake)
    clock.watch(wake)
    stop()
    clock.turn(0)
    assert calls == [1]


def test_turns_by_several_threads_add_up() -> None:
    clock = Clock()
    start = clock.now()

    def turn() -> None:
        for _ in range(1000):
            clock.turn(1)

    threads = [threading.Thread(target=turn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert clock.now() == start + 4000


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan, "1", True, None])
def test_it_never_goes_back(seconds: object) -> None:
    with pytest.raises(threadwire.UsageError, match="seconds"):
        Clock().turn(seconds)  # type: ignore[arg-type]


def test_turning_until_something_has_come() -> None:
    clock = Clock()
    start = clock.now()
    assert clock.turn_until(lambda: clock.now() >= start + 7, step=2) == 8
    assert clock.turn_until(lambda: True) == 0
    with pytest.raises(AssertionError, match=r"not within 0.02 s"):
        clock.turn_until(lambda: False, timeout=0.02)


def test_a_server_keeps_its_deadlines_by_it() -> None:
    clock = Clock()
    with serving(reverse, message_timeout=30, clock=clock) as served:
        begun, other = served.peer(), served.connect()
        begun.say(b"half a mess")
        assert other.request(b"abc") == b"cba"
        eventually(lambda: any(c.bytes_received == 11 for c in served.server.connections))
        start = clock.now()
        clock.turn(29.9)
        assert other.request(b"abc") == b"cba"
        assert not begun.ended
        clock.turn_until(lambda: begun.ended)
        assert clock.now() >= start + 30
        assert other.request(b"abc") == b"cba", "it was in no message"


def test_idle_clients_go_when_the_clock_says_so() -> None:
    clock = Clock()
    with serving(reverse, idle_timeout=60, clock=clock) as served:
        peer, other = served.peer(), served.connect()
        peer.say(b"abc\n")
        assert peer.hear_line() == b"cba\n"
        clock.turn(59)
        assert other.request(b"abc") == b"cba"
        assert not peer.ended

        def gone() -> bool:
            assert other.request(b"abc") == b"cba", "it is never idle"
            return peer.ended

        clock.turn_until(gone, step=5)
        assert other.request(b"abc") == b"cba"


def test_a_server_on_a_clock_that_stands_still_can_be_closed() -> None:
    with serving(reverse, clock=Clock()) as served:
        served.connect().request(b"abc")
        served.peer().say(b"half a mess")
        eventually(lambda: len(served.server.connections) == 2)
    assert served.report is not None
    assert served.report.threads_left == ()
