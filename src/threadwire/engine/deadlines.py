"""Deadlines of many connections: for a whole message, and for being idle.

No connection has a timer for these. One look around, several times within the shortest of
the timeouts, compares each connection's counts with what they were at the last: so nothing
has to be noted down while messages come and go, and a client that drips byte by byte is met
like one that sends nothing. What has happened between two looks is taken to have happened as
late as it can have; so a deadline is noticed up to two looks late, and never early.

Who is looked at: clients that have a message begun; with an ``idle_timeout`` all others,
too; and those that are served by threads of their own. There a deadline counts only while
the thread waits for its peer. What is read of a thread's connection is a hint, of two plain
numbers and a flag: a message that ends in the very instant of the look has come too late.

Everything here belongs to the holder of the loop's baton.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..connection import Connection
from ..errors import CloseReason
from ..limits import OFF
from ..rules import Rules
from ..transport.poller import READ
from .timers import Timer, Timers

__all__ = ["Deadlines"]

_LOOKS = 16  # within a timeout
_SOONEST = 0.005  # seconds between two looks
_AT_ONCE = 512  # connections, before the loop goes on with a turn


class _Watch:
    """What a connection's counts were, and since when."""

    __slots__ = ("active", "begun", "bytes", "messages")

    def __init__(self, connection: Connection, now: float) -> None:
        self.messages = connection.messages_received
        self.begun = OFF  # since when a message is; OFF while the loop knows of none
        self.bytes = connection.bytes_received + connection.bytes_sent
        self.active = now  # since when nothing is going on


class Deadlines:
    """Calls ``expire`` for a connection that has overstepped one.

    ``fail`` is called for one whose framing, a user's, raises something when it is asked.
    """

    def __init__(
        self,
        rules: Rules,
        timers: Timers,
        expire: Callable[[Connection, CloseReason], None],
        fail: Callable[[Connection, BaseException], None],
    ) -> None:
        self._rules = rules
        self._timers = timers
        self._expire = expire
        self._fail = fail
        self.watched: dict[Connection, _Watch] = {}  # to be left by those that are released
        self._interval = _SOONEST  # seconds between two looks
        self._next: Timer | None = None  # when this round is gone on with, or another begins
        self._round: list[Connection] = []  # still to be looked at, this time

    def __len__(self) -> int:
        return len(self.watched)

    def note_begun(self, connection: Connection) -> None:
        """Its peer has begun a message, which is not complete."""
        watch = self.watched.get(connection) or self.watch(connection)
        if watch.begun == OFF or watch.messages != connection.messages_received:
            watch.messages = connection.messages_received
            watch.begun = self._timers.now()

    def watch_own(self, connection: Connection) -> None:
        """A thread of its own serves it, or has already done with it."""
        if not connection._released:
            self.watch(connection)

    def watch(self, connection: Connection) -> _Watch:
        """Look after it from here on, if that is not being done."""
        watch = self.watched.get(connection)
        if watch is None:
            now = self._timers.now()
            watch = self.watched[connection] = _Watch(connection, now)
            if self._next is None:
                self._arm()
            watch.begun = self._next_begin(connection, now)
        return watch

    def reconsider(self, here: Iterable[Connection]) -> None:
        """The timeouts may have changed; ``here`` are those that the loop serves."""
        for connection in here:
            if connection._opening is None:
                self.watch(connection)
        if self._next is not None:
            self._next.cancel()
        self._arm()

    def _arm(self) -> None:
        """Look around in due time, if there is anything to look for."""
        self._next = None
        shortest = min(self._rules.message_timeout, self._rules.idle_timeout)
        if self.watched and shortest < OFF:
            self._interval = max(_SOONEST, shortest / _LOOKS)
            self._next = self._timers.after(self._interval, self._begin_round)

    def _begin_round(self) -> None:
        self._round = list(self.watched)
        self._look()

    def _look(self) -> None:
        """Look at some; the rest have their turn after the next one of the loop's."""
        now = self._timers.now()
        for _ in range(min(_AT_ONCE, len(self._round))):
            connection = self._round.pop()
            watch = self.watched.get(connection)
            if watch is None or connection._closing or connection._ended:  # it is on its way out
                continue
            try:
                self._look_at(connection, watch, now)
            except BaseException as error:  # noqa: BLE001 - the others are to be looked at, too
                self._fail(connection, error)
        if self._round:
            self._next = self._timers.after(0, self._look)
        else:
            self._arm()

    def _look_at(self, connection: Connection, watch: _Watch, now: float) -> None:
        rules, here = self._rules, connection._here
        if not (connection._interest == READ if here else connection._reading):
            watch.begun = self._next_begin(connection, now)
            watch.active = now + self._interval  # this may end just before the next look
            return
        count = connection.bytes_received + connection.bytes_sent
        if count != watch.bytes or connection._send_lock.locked():  # somebody is sending
            watch.bytes = count
            watch.active = now
        if not connection.begun:
            watch.begun = self._next_begin(connection, now)
            if here and rules.idle_timeout == OFF:
                del self.watched[connection]
                return
        elif watch.begun == OFF or watch.messages != connection.messages_received:
            watch.begun = now
        elif now - watch.begun >= rules.message_timeout:
            self._expire(connection, CloseReason.MESSAGE_TIMEOUT)
            return
        watch.messages = connection.messages_received
        if now - watch.active >= rules.idle_timeout:
            self._expire(connection, CloseReason.IDLE_TIMEOUT)

    def _next_begin(self, connection: Connection, now: float) -> float:
        """The latest that a message can have begun which is first seen at the next look.

        Of the loop's own it is told.
        """
        return OFF if connection._here else now + self._interval
