"""Timers: the order of their calls, cancelling, and what cancelled ones leave."""

from __future__ import annotations

import time

from threadwire.engine.timers import Timers


def made_due(timers: Timers) -> None:
    for call in timers.due():
        call()


def test_calls_come_in_the_order_of_their_times_and_then_of_their_setting() -> None:
    timers, calls = Timers(), list[int]()
    now = time.monotonic()
    for number, when in enumerate((now - 1, now - 3, now - 1, now - 2)):
        timers.at(when, lambda number=number: calls.append(number))  # type: ignore[misc]
    made_due(timers)
    assert calls == [1, 3, 0, 2]
    assert len(timers) == 0


def test_what_is_not_due_stays_and_tells_how_long() -> None:
    timers, calls = Timers(), list[str]()
    assert timers.left() is None
    timers.at(time.monotonic() + 1000, lambda: calls.append("later"))
    left = timers.left()
    assert left is not None
    assert 990 < left <= 1000
    timers.at(time.monotonic() - 1, lambda: calls.append("now"))
    assert timers.left() == 0.0
    made_due(timers)
    assert calls == ["now"]
    assert len(timers) == 1


def test_a_call_that_sets_another_has_it_made_the_next_time() -> None:
    timers, calls = Timers(), list[str]()

    def first() -> None:
        calls.append("first")
        timers.at(time.monotonic() - 1, lambda: calls.append("second"))

    timers.at(time.monotonic() - 1, first)
    made_due(timers)
    assert calls == ["first"]
    made_due(timers)
    assert calls == ["first", "second"]


def test_cancelling() -> None:
    timers, calls = Timers(), list[int]()
    early = timers.at(time.monotonic() - 2, lambda: calls.append(1))
    late = timers.at(time.monotonic() - 1, lambda: calls.append(2))
    early.cancel()
    early.cancel()
    assert len(timers) == 1
    made_due(timers)
    assert calls == [2]
    late.cancel()  # when it has been made already
    assert len(timers) == 0
    timers.at(time.monotonic() + 1, lambda: None).cancel()
    assert timers.left() is None


def test_cancelled_ones_do_not_pile_up() -> None:
    timers, calls = Timers(), list[int]()
    for number in range(10):
        timers.at(time.monotonic() - 1, lambda number=number: calls.append(number))  # type: ignore[misc]
    for _ in range(100_000):
        timers.at(time.monotonic() + 1000, lambda: None).cancel()
        assert len(timers.heap) < 200
    assert len(timers) == 10
    made_due(timers)
    assert calls == list(range(10))
