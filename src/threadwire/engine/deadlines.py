"""Deadlines of many connections: for a whole message, and for being idle.

No connection has a timer for these. One look around, several times within the shortest of
the timeouts, compares each connection's counts with what they were at the last: so nothing
has to be noted down while messages come and go, and a client that drips byte by byte is met
like one that sends nothing. A deadline is therefore noticed up to a part of its timeout late.

Who is looked at: clients that have a message begun; with an ``idle_timeout`` all others,
too; and those that are served by threads of their own. There a deadline counts only while
the thread waits for its peer. What is read of a thread's connection is a hint, of two plain
numbers and a flag: a message that ends in the very instant of the look has come too late.

Everything here belongs to the holder of the loop's baton.
"""

from __future__ import annotations

from collections.abc import Callable

from ..connection import Connection
from ..errors import CloseReason
from ..limits import OFF
from ..rules import Rules
from ..transport.poller import READ
from .timers import Timers

__all__ = ["Deadlines"]

_LOOKS = 16  # within a timeout
_SOONEST = 0.005  # seconds between two looks
_AT_ONCE = 512  # connections, before the loop goes on with a turn


class _Watch:
    """What a connection's counts were, and since when."""

    __slots__ = ("active", "begun", "bytes", "messages")

    def __init__(self, connection: Connection, now: float) -> None:
        self.messages = connection.messages_received
        self.begun = now  # the message that is begun, if one is
        self.bytes = connection.bytes_received + connection.bytes_sent
        self.active = now  # the last that was received or sent


class Deadlines:
    """Calls ``expire`` for a connection that has overstepped one."""

    def __init__(
        self, rules: Rules, timers: Timers, expire: Callable[[Connection, CloseReason], None]
    ) -> None:
        self._rules = rules
        self._timers = timers
        self._expire = expire
        self.watched: dict[Connection, _Watch] = {}  # to be left by those that are released
        self._armed = False
        self._round: list[Connection] = []  # still to be looked at, this time

    def __len__(self) -> int:
        return len(self.watched)

    def note_begun(self, connection: Connection) -> None:
        """Its peer has begun a message, which is not complete."""
        watch = self.watched.get(connection)
        if watch is None:
            self.watch(connection)
        elif watch.messages != connection.messages_received:
            watch.messages = connection.messages_received
            watch.begun = self._timers.now()

    def watch_own(self, connection: Connection) -> None:
        """A thread of its own serves it, or has already done with it."""
        if not connection._released:
            self.watch(connection)

    def watch(self, connection: Connection) -> None:
        """Look after it from here on, if that is not being done."""
        rules = self._rules
        if rules.message_timeout == rules.idle_timeout == OFF or connection in self.watched:
            return
        self.watched[connection] = _Watch(connection, self._timers.now())
        if not self._armed:
            self._arm()

    def _arm(self) -> None:
        shortest = min(self._rules.message_timeout, self._rules.idle_timeout)
        self._armed = shortest < OFF
        if self._armed:
            self._timers.after(max(_SOONEST, shortest / _LOOKS), self._begin_round)

    def _begin_round(self) -> None:
        self._round = list(self.watched)
        self._look()

    def _look(self) -> None:
        """Look at some; the rest have their turn after the next one of the loop's."""
        now = self._timers.now()
        for _ in range(min(_AT_ONCE, len(self._round))):
            connection = self._round.pop()
            watch = self.watched.get(connection)
            if watch is not None:
                self._look_at(connection, watch, now)
        if self._round:
            self._timers.after(0, self._look)
        elif self.watched:
            self._arm()
        else:
            self._armed = False

    def _look_at(self, connection: Connection, watch: _Watch, now: float) -> None:
        rules = self._rules
        waits = connection._interest == READ if connection._here else connection._reading
        if connection.messages_received != watch.messages or not waits:
            watch.messages = connection.messages_received
            watch.begun = now
        count = connection.bytes_received + connection.bytes_sent
        if count != watch.bytes or not waits:
            watch.bytes = count
            watch.active = now
        if connection._farewell is not None or connection._closing:
            return
        if not connection.begun:
            watch.begun = now
            if connection._here and rules.idle_timeout == OFF:
                del self.watched[connection]
                return
        elif now - watch.begun >= rules.message_timeout:
            self._expire(connection, CloseReason.MESSAGE_TIMEOUT)
            return
        if now - watch.active >= rules.idle_timeout:
            self._expire(connection, CloseReason.IDLE_TIMEOUT)
