"""Lending threads: to clients whose handlers block, or are suspected to.

A client whose handler was slow, and that has gone quiet, is lent a thread for its next message
before its handler is called. So is, for a while after each hand-off, a client that has not had
a message handled yet: five hundred that block cost one hand-off, not five hundred in a row.

When ``max_threads`` serve clients alone, further suspects wait for one, and those who have one
give it back after each message. A hand-off is never refused: its thread is busy already.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from operator import length_hint

from .. import events
from ..connection import Connection
from ..errors import CloseReason
from ..handler import Handler
from ..rules import Rules
from .clients import Clients
from .here import serving
from .own_thread import Step, answer, send_answer, serve_alone
from .slow import SlowCalls
from .spare_threads import SpareThreads

__all__ = ["Lender", "counting", "left"]

_WARY_SECONDS = 1.0  # of suspicion after a hand-off
_EPISODE = 10.0  # seconds without a client that waits for a thread, after which one is news


def left(connection: Connection, messages: Iterator[bytes]) -> Iterator[bytes]:
    """What is left of ``messages``, to be counted when each is taken.

    Of a list those that were handled have been counted; others are counted when decoded.
    """
    return counting(connection, messages) if length_hint(messages) else messages


def counting(connection: Connection, messages: Iterable[bytes]) -> Iterator[bytes]:
    """``messages``, each counted when it is taken to be handled."""
    for message in messages:
        connection.messages_received += 1
        yield message


class Lender:
    """Lends threads to one loop's clients.

    Belongs to the holder of the loop's baton, but for :meth:`serve_alone` and ``_lent``,
    which is under ``_lock``. A call that takes up to ``handoff_after`` is a quick one.
    ``slow_calls`` is told who has a thread; whoever takes a connection in says when it has none
    any more. ``take_back`` is called by a thread that has done with a connection. ``loops`` share
    the threads that may be lent.
    """

    def __init__(
        self,
        handler: Handler,
        threads: SpareThreads,
        clients: Clients,
        rules: Rules,
        slow_calls: SlowCalls,
        take_back: Callable[[Connection], None],
        loops: int = 1,
    ) -> None:
        self._rules = rules
        self._loops = loops
        self._handler = handler
        self._threads = threads
        self._clients = clients
        self._slow_calls = slow_calls
        self._take_back = take_back
        self._lock = threading.Lock()
        self._lent = 0  # threads that serve a client alone, under the lock
        self._waiting: dict[Connection, Step] = {}  # for a thread; oldest first
        self._wary_until = 0.0
        self._quiet_until = 0.0  # about clients that wait: it has been said

    def suspects(self, connection: Connection) -> bool:
        """Whether its handler is to be called on a thread of its own at once."""
        if connection._strikes:
            return not connection._proven
        return not connection.messages_received and time.monotonic() < self._wary_until

    def step(self, connection: Connection, messages: Iterator[bytes], reply: object = None) -> Step:
        """A step: send what is left of a reply, then answer the messages that follow."""
        messages = left(connection, messages)

        def step() -> None:
            send_answer(connection, reply)
            # Not ``finished``: that it is the last one, in a drain, is known once it is decoded.
            while not connection._closing and (message := next(messages, None)) is not None:
                answer(connection, self._handler, message)

        return step

    def lend(self, connection: Connection, first: Step) -> None:
        """Give the connection to a thread, or let it wait for one."""
        self._clients.let_go(connection)
        with self._lock:
            crowded = self._lent >= self._most()
            if not crowded:
                self._lent += 1
        if crowded:
            self._write_pending(connection)
            if not self._waiting and time.monotonic() >= self._quiet_until:
                events.threads_exhausted(self._rules.max_threads)
            self._quiet_until = time.monotonic() + _EPISODE
            self._waiting[connection] = first
            return
        connection.own(None)
        self._clients.deadlines.watch(connection)
        self._slow_calls.watch(connection)
        try:
            self._threads.run(functools.partial(self._serve_lent, connection, first))
        except BaseException as error:  # noqa: BLE001 - no thread or no memory to be had
            with self._lock:
                self._lent -= 1
            events.no_capacity(connection, error)
            self._slow_calls.leave(connection)
            connection.disown(CloseReason.NO_CAPACITY)
            self._clients.hold(connection)
            self._clients.dirty.append(connection)

    def part_with(self, connection: Connection) -> None:
        """A new leader: ``connection`` belongs to the thread that is stuck with it.

        What the turn had ready for it is written, as far as there is room; the rest is
        that thread's to write.
        """
        with self._lock:
            self._lent += 1
        now = time.monotonic()
        if now >= self._wary_until:
            for client in self._clients.here:
                if not client.messages_received:
                    client._quick = False
        self._wary_until = now + _WARY_SECONDS
        self._clients.let_go(connection)
        self._clients.deadlines.watch(connection)
        self._slow_calls.watch(connection)
        self._write_pending(connection)

    def _write_pending(self, connection: Connection) -> None:
        """Send what is ready as far as there is room; its thread sends the rest."""
        if connection._send_lock.acquire(blocking=False):
            try:
                connection.write_pending_now()
            finally:
                connection._send_lock.release()

    @property
    def lent(self) -> int:
        """How many threads serve a client alone; any thread."""
        return self._lent

    @property
    def waiting(self) -> int:
        """How many clients wait for one; any thread."""
        return len(self._waiting)

    def has_waiting(self, connection: Connection) -> bool:
        """Whether ``connection`` waits for one; any thread, as a hint."""
        return connection in self._waiting

    def stop_waiting(self, connection: Connection) -> None:
        """It was cut while it waited for a thread: the loop is to end it."""
        if self._waiting.pop(connection, None) is not None:
            self._clients.hold(connection)

    def _serve_lent(self, connection: Connection, first: Step) -> None:
        connection.own(threading.get_ident())
        with serving(connection):
            self.serve_alone(connection, first)

    def serve_alone(self, connection: Connection, first: Step) -> None:
        """A thread that does not hold the baton: serve one client, then post it back."""
        quick = self._rules.handoff_after
        reason = serve_alone(connection, self._handler, first, quick, self._crowded)
        connection.disown(reason)
        with self._lock:
            self._lent -= 1
        self._take_back(connection)

    def _most(self) -> int:
        """How many threads this loop may lend."""
        return max(1, self._rules.max_threads // self._loops)

    def _crowded(self) -> bool:
        return bool(self._waiting)  # a hint, whoever changes it meanwhile

    def serve_waiting(self) -> None:
        while self._waiting:
            with self._lock:
                if self._lent >= self._most():
                    return
            connection = next(iter(self._waiting))
            self.lend(connection, self._waiting.pop(connection))
