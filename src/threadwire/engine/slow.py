"""Slow handlers: noticed while they are busy, and told of with where they stand.

No call is timed for this. One look around, four times within ``slow``, compares the time since
which each own thread is inside its handler with the clock. A call is told of when it has taken
``slow``, and again at 2, 4, 8 and so on times that; when it is over, that is told, with the time
for which it had been busy when it was last known to be.

Who is looked at: the clients that threads of their own serve. A handler that is not slow enough
for one is no matter here. One for which no thread is to be had holds up the loop, and this look
with it; the watchdog tells of that.

What is read of a thread's connection are hints: a session may go into ``receive()``, and come
back, between two of them. So before anything is told the thread's frames have the last word, which
are needed anyway to say where it stands; and what they say holds only if the time is still the
same afterwards. Between two times of telling, where frames would cost too much, only what the
next look confirms is believed.

Everything here belongs to the holder of the loop's baton.
"""

from __future__ import annotations

import sys
import time
from types import FrameType

from .. import events
from ..connection import Connection
from ..limits import OFF
from ..reports import where
from ..rules import Rules
from .spare_threads import SpareThreads
from .timers import Timer, Timers

__all__ = ["SlowCalls"]

_LOOKS = 4  # within ``slow``
_SOONEST = 0.01  # seconds between two looks
_AT_ONCE = 512  # connections, before the loop goes on with a turn

_RECEIVE = Connection._receive.__code__  # a session stands in it, or below, while it waits
_BASE = SpareThreads._work.__code__  # where all serving threads begin


class _Told:
    """A call that has been told of."""

    __slots__ = ("again", "looked", "seen", "since")

    def __init__(self, since: float, slow: float) -> None:
        self.since = since  # its connection's ``busy_since``
        self.again = slow  # after so many seconds it is told of the next time
        self.seen = 0.0  # for how long it had been busy when it was last known to be
        self.looked = 0.0  # the same at the last look, which may have been deceived


class SlowCalls:
    """Looks at those who are watched, if ``rules.slow`` is not off."""

    def __init__(self, rules: Rules, timers: Timers) -> None:
        self._rules = rules
        self._timers = timers
        self._watched: dict[Connection, _Told | None] = {}  # which have threads of their own
        self._next: Timer | None = None  # when this round is gone on with, or another begins
        self._round: list[Connection] = []  # still to be looked at, this time

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, connection: Connection) -> None:
        """A thread of its own serves it from here on."""
        self._watched.setdefault(connection, None)
        if self._next is None:
            self._arm()

    def watch_own(self, connection: Connection) -> None:
        """The same, unless that thread has already done with it."""
        if connection._own:
            self.watch(connection)

    def leave(self, connection: Connection) -> None:
        """No such thread serves it any more, if one did."""
        told = self._watched.pop(connection, None)
        if told is not None:
            events.slow_ended(connection, told.seen)

    def reconsider(self) -> None:
        """``slow`` may have changed."""
        if self._next is not None:
            self._next.cancel()
        self._round = []
        self._arm()

    def _arm(self) -> None:
        """Look around in due time, if there is anybody to look at."""
        self._next = None
        slow = self._rules.slow
        if self._watched and slow < OFF:
            self._next = self._timers.after(max(_SOONEST, slow / _LOOKS), self._begin_round)

    def _begin_round(self) -> None:
        self._round = list(self._watched)
        self._look()

    def _look(self) -> None:
        """Look at some; the rest have their turn after the next one of the loop's."""
        try:
            self._look_at_some()
        finally:  # whatever was raised, as for lack of memory, the next look may go well
            if self._round:
                self._next = self._timers.after(0, self._look)
            else:
                self._arm()

    def _look_at_some(self) -> None:
        slow, now = self._rules.slow, time.monotonic()
        frames: dict[int, FrameType] = {}  # asked for once, if at all
        for _ in range(min(_AT_ONCE, len(self._round))):
            connection = self._round.pop()
            if connection not in self._watched:
                continue
            told, since = self._watched[connection], connection.busy_since
            if told is None:
                if not since or now - since < slow or connection._reading:
                    continue
            elif since == told.since and now - since < told.again and not connection._reading:
                told.seen, told.looked = told.looked, now - since
                continue
            frames = frames or sys._current_frames()
            self._look_at(connection, told, since, frames.get(connection.owner or 0))

    def _look_at(
        self, connection: Connection, told: _Told | None, since: float, frame: FrameType | None
    ) -> None:
        """One whose call seems to be slow, or has been told of before."""
        doing = where(frame) if frame is not None else ""
        inside = _is_inside(connection, frame)
        seconds = time.monotonic() - since
        busy = inside and bool(since) and connection.busy_since == since  # still the same call
        if told is not None and not (busy and since == told.since):
            self._watched[connection] = None
            events.slow_ended(connection, told.seen)
            told = None
        slow = self._rules.slow
        if not busy or (told is None and seconds < slow):
            return
        if told is None:
            told = self._watched[connection] = _Told(since, slow)
        told.seen = told.looked = seconds
        if seconds >= max(told.again, slow):
            while told.again <= seconds:
                told.again *= 2
            events.slow(connection, seconds, doing)


def _is_inside(connection: Connection, frame: FrameType | None) -> bool:
    """Whether its thread, of which this is the innermost frame, is inside the handler."""
    if connection._receive_lock is None:  # a message handler's; it says when it is not
        return True
    if frame is None or connection._reading:
        return False
    up: FrameType | None = frame
    while up is not None and up.f_code is not _BASE:
        if up.f_code is _RECEIVE:
            return False
        up = up.f_back
    return up is not None  # else the thread has gone on meanwhile: it is another look's
