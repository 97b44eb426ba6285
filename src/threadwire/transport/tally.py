"""How long handlers take, counted in Python: the twin of handling.c.

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

    __slots__ = ("_counts", "_total", "usual")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0  # nanoseconds
        self.usual = 0.0  # what one of the last group took; 0.0: they are timed one by one

    def add(self, seconds: float, /) -> None:
        """Count one of so many seconds."""
        self._add_many(1, min(seconds, _LONGEST) if seconds > 0 else 0.0)

    def add_group(self, calls: int, seconds: float) -> None:
        """Count calls that were timed together.

        Where they are brief, the clock would cost a good part of the whole if it was looked at
        for each. Then each is taken to have been like the others, which is wrong by ``_BRIEF``
        at most; but if the group was not brief after all, it is one of them that was not.
        """
        if calls == 1 or seconds > _BRIEF:
            self._add_many(calls - 1, self.usual)
            seconds = max(0.0, seconds - self.usual * (calls - 1))
            self.add(seconds)
            self.usual = seconds if seconds < _BRIEF / _GROUP else 0.0
        else:
            self.usual = seconds / calls
            self._add_many(calls, self.usual)

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
            if calls >= _GROUP or not tally.usual:
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
