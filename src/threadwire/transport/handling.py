"""Calling handlers, and how long they take, in Python: the twin of handling.c.

A :class:`Place` holds one object at a time. One thread puts in, that thread and any other may
take out: whoever does first has it. It is a list, whose append and pop are each one step, under
the interpreter's lock or, on a build without, under the list's own.

A :class:`Tally` belongs to one thread, which alone adds to it; any thread reads. So a thread
whose loop has been taken from it meanwhile adds to nobody else's.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, final

from ..durations import BOUNDS

__all__ = ["Place", "Taken", "Tally", "call_each", "timed"]

_Result = TypeVar("_Result")
_NANOSECONDS = [round(bound * 1e9) for bound in BOUNDS]
_LONGEST = 9e9  # seconds
_FEW = 8  # brief calls in a row, after which as many are timed together
_MANY = 16  # and more and more, up to so many
_BRIEF = 20e-6  # seconds that a group of them takes at most


@final
class Tally:
    """Counts durations; added to by one thread, read by any."""

    __slots__ = ("_brief_calls", "_counts", "_total", "_usual")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0  # nanoseconds
        self._usual = 0.0  # seconds that one of the last group took
        self._brief_calls = 0  # in a row, as far as they matter: see group

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
            if seconds >= _BRIEF / _FEW:
                self._brief_calls = 0
            elif self._brief_calls < _FEW:
                self._brief_calls += 1
        elif seconds <= _BRIEF:
            self._usual = seconds / calls
            self._add_many(calls, self._usual)
            # So that a group of so many of them would be brief, too.
            self._brief_calls = _MANY if self._usual <= _BRIEF / _MANY else _FEW
        else:
            self._add_many(calls - 1, self._usual)
            self.add(seconds - self._usual * (calls - 1))
            self._brief_calls = 0

    @property
    def group(self) -> int:
        """How many calls are to be timed together now."""
        if self._brief_calls < _FEW:
            return 1
        return _FEW if self._brief_calls < _MANY else _MANY

    def _add_many(self, times: int, seconds: float) -> None:
        nanoseconds = int(seconds * 1e9 + 0.5)
        self._counts[bisect_left(_NANOSECONDS, nanoseconds)] += times
        self._total += times * nanoseconds

    def read(self) -> tuple[tuple[int, ...], int]:
        """The buckets' counts, and the sum in nanoseconds: what a Histogram is made of."""
        return tuple(self._counts), self._total


class Taken(Exception):
    """A place was empty after a call; its argument is what the call returned."""


@final
class Place:
    """Holds one object; of those who take it out, one gets it."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: list[Any] = []

    def enter(self, item: object, /) -> None:
        """Put something in. RuntimeError if there is something; by one thread only."""
        if self._items:
            raise RuntimeError("there is something in the place")
        self._items.append(item)

    def leave(self) -> Any:
        """Take out what is in it. IndexError if there is nothing."""
        return self._items.pop()

    def held(self) -> Any:
        """What is in it; None if nothing is."""
        try:
            return self._items[0]
        except IndexError:
            return None

    def call(
        self, tally: Tally, item: object, function: Callable[..., _Result], /, *args: Any
    ) -> _Result:
        """Call ``function``, and count how long it takes, with ``item`` in the place meanwhile.

        Raises Taken if it is not there afterwards. If the function raises, the item is left
        where it is.
        """
        self.enter(item)
        result = timed(tally, function, *args)
        try:
            self.leave()
        except IndexError:
            raise Taken(result) from None
        return result


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
    place: Place,
    room: int,
    tally: Tally,
    /,
) -> tuple[Any] | None:
    """Call ``function`` for one of ``messages`` after the other; append its bytes to ``replies``.

    Stops when there are no more messages, when ``place`` is empty, when the replies have more
    than ``room`` bytes, and at a reply that is neither bytes nor ``None``, which is returned
    in a tuple. What the function raises is raised. ``tally`` counts how long each call takes.
    """
    append, now, held = replies.append, time.monotonic, place.held
    calls, begun = 0, now()  # of the group
    try:
        while room >= 0 and held() is not None:
            if (message := next(messages, None)) is None:
                break
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
    finally:
        if calls:
            tally.add_group(calls, now() - begun)
    return None
