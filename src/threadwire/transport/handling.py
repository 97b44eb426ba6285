"""Calling handlers, and how long they take, in Python: the twin of handling.c.

A :class:`Tally` belongs to one thread, which alone adds to it; any thread reads. So a thread
whose loop has been taken from it meanwhile adds to nobody else's.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, final

from ..durations import BOUNDS

__all__ = ["Tally", "call_each", "timed"]

_Result = TypeVar("_Result")
_NANOSECONDS = [round(bound * 1e9) for bound in BOUNDS]
_LONGEST = 9e9  # seconds
_GROUP = 8  # brief calls that are timed together
_BRIEF = 20e-6  # seconds that a group of them takes at most


@final
class Tally:
    """Counts durations; added to by one thread, read by any."""

    __slots__ = ("_brief_calls", "_counts", "_total", "_usual")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0  # nanoseconds
        self._usual = 0.0  # seconds that one of the last group took
        self._brief_calls = 0  # in a row, up to _GROUP; from then on they are timed together

    def add(self, seconds: float, /) -> None:
        """Count one of so many seconds."""
        self._add_many(1, min(seconds, _LONGEST) if seconds > 0 else 0.0)

    def add_group(self, calls: int, seconds: float) -> None:
        """Count calls that were timed together.

        Where they are brief, the clock would cost a good part of the whole if it was looked at
        for each. So after some brief ones in a row they are timed together, and each is taken to
        have been like the others, which is wrong by ``_BRIEF`` at most. If a group was not brief
        after all, one of them is taken not to have been, and the next are timed one by one.
        """
        if calls == 1:
            self.add(seconds)
            self._usual = seconds
            self._brief_calls = self._brief_calls + 1 if seconds < _BRIEF / _GROUP else 0
        elif seconds <= _BRIEF:
            self._usual = seconds / calls
            self._add_many(calls, self._usual)
        else:
            self._add_many(calls - 1, self._usual)
            self.add(seconds - self._usual * (calls - 1))
            self._brief_calls = 0

    @property
    def group(self) -> int:
        """How many calls are to be timed together now."""
        return 1 if self._brief_calls < _GROUP else _GROUP

    def _add_many(self, times: int, seconds: float) -> None:
        nanoseconds = int(seconds * 1e9 + 0.5)
        self._counts[bisect_left(_NANOSECONDS, nanoseconds)] += times
        self._total += times * nanoseconds

    def read(self) -> tuple[tuple[int, ...], int]:
        """The buckets' counts, and the sum in nanoseconds: what a Histogram is made of."""
        return tuple(self._counts), self._total


def timed(tally: Tally, function: Callable[..., _Result], /, *args: Any) -> _Result:
    """Call ``function``, and count how long it takes."""
    begun = time.monotonic()
    try:
        return function(*args)
    finally:
        tally.add(time.monotonic() - begun)


def call_each(
    function: Callable[[bytes], Any],
    messages: Iterator[bytes],
    replies: list[bytes],
    place: list[Any],
    room: int,
    tally: Tally,
    /,
) -> tuple[Any] | None:
    """Call ``function`` for one of ``messages`` after the other; append its bytes to ``replies``.

    Stops when there are no more messages, when ``place`` is empty, when the replies have more
    than ``room`` bytes, and at a reply that is neither bytes nor ``None``, which is returned
    in a tuple. What the function raises is raised. ``tally`` counts how long each call takes.
    """
    append, now = replies.append, time.monotonic
    calls, begun = 0, now()  # of the group
    try:
        for message in messages:
            calls += 1
            reply = function(message)
            if calls >= tally.group:
                ended = now()
                tally.add_group(calls, ended - begun)
                calls, begun = 0, ended
            if type(reply) is bytes:
                append(reply)
                room -= len(reply)
            elif reply is not None:
                return (reply,)
            if not place or room < 0:
                break
    finally:
        if calls:
            tally.add_group(calls, now() - begun)
    return None
