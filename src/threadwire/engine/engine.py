"""The engine of one server: its loops, their watchdog, its threads, and who goes where."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Sequence

from .. import events
from ..connection import Connection
from ..errors import CloseReason
from ..handler import Handler
from ..limits import JOIN_GRACE
from ..transport import Listener, Stream
from .acceptor import Acceptor, Permits
from .loop import Loop
from .own_thread import serve_session
from .spare_threads import SpareThreads
from .watchdog import Watchdog

__all__ = ["Engine"]


class Engine:
    """Serves connections, each on a loop or on a thread of its own.

    ``released`` is called, by any thread, for each connection that is closed for good.
    ``admit``, called with each accepted stream, makes the connection and gives it to
    :meth:`serve`. ``on_start`` is what each thread calls first.
    """

    def __init__(
        self,
        handler: Handler,
        permits: Permits,
        admit: Callable[[Stream, Loop], None],
        released: Callable[[Connection], None],
        *,
        loops: int,
        handoff_after: float,
        write_timeout: float | None,
        on_start: Callable[[], None] | None,
    ) -> None:
        self._handler = handler
        self._permits = permits
        self._admit = admit
        self._on_start = on_start
        self._handoff_after = handoff_after
        self._loop_count = loops
        self._write_timeout = write_timeout
        self._released = released
        self.threads = SpareThreads("threadwire-serving", on_start=on_start)
        self._loops: list[Loop] = []
        self._acceptor: Acceptor | None = None
        self._watchdog: Watchdog | None = None

    def start(self, listeners: Sequence[Listener]) -> None:
        """Begin to serve. Raises OSError or RuntimeError if the system has too little of something.

        The listeners are still the caller's then.
        """
        loops, led = self._loops, 0
        try:
            for _ in range(self._loop_count):
                loops.append(self._new_loop())
            turns = itertools.cycle(loops)  # the acceptor's
            self._acceptor = Acceptor(
                listeners, self._permits, lambda s: self._admit(s, next(turns)), loops[0]
            )
            self._watchdog = Watchdog(
                loops, self.threads, self._handoff_after, "threadwire-watchdog", self._on_start
            )
            for loop in loops:
                self.threads.run(functools.partial(loop.lead, loop.baton))
                led += 1
            self._watchdog.start()
        except BaseException:
            for loop in loops[led:]:
                loop.never_led()
            self._watchdog = None
            self.close(JOIN_GRACE.default)
            raise
        self._acceptor.start()

    def _new_loop(self) -> Loop:
        return Loop(
            self._handler,
            self.threads,
            handoff_after=self._handoff_after,
            write_timeout=self._write_timeout,
            released=self._released,
            loops=self._loop_count,
        )

    def serve(self, connection: Connection, loop: Loop) -> None:
        """The acceptor: take over the connection. Raises RuntimeError for lack of a thread."""
        if self._handler.is_session:
            self.threads.run(functools.partial(self._serve_session, connection, loop))
        else:
            events.opened(connection)
            if loop is self._loops[0]:
                loop.take_in(connection)
            else:
                loop.post(functools.partial(loop.take_in, connection))

    def stop_accepting(self) -> None:
        """Close the listeners, when the clients that wait there have been accepted."""
        if self._acceptor is not None:
            self._acceptor.stop()

    def leads_here(self) -> bool:
        """Whether the calling thread leads a loop: it is inside a handler, or nearly so."""
        me = threading.get_ident()
        return any(loop.baton.leader == me for loop in self._loops)

    def served_here(self) -> Connection | None:
        """The connection whose handler, called by a loop, the calling thread is inside."""
        me = threading.get_ident()
        batons = [loop.baton for loop in self._loops]
        return next((baton.busy_with() for baton in batons if baton.leader == me), None)

    def close(self, seconds: float) -> list[threading.Thread]:
        """Stop the loops and join all threads; returns those left when time is up.

        The connections have been closed or cut before.
        """
        ends = time.monotonic() + seconds
        for loop in self._loops:
            loop.stop()
        for loop in self._loops:
            loop.ended.wait(max(0.0, ends - time.monotonic()))
        if self._watchdog is not None:
            self._watchdog.stop()
        return self.threads.close(lambda: ends - time.monotonic())

    def _serve_session(self, connection: Connection, loop: Loop) -> None:
        connection.own(threading.get_ident())
        reason = CloseReason.HANDLER_FAILED
        try:
            events.opened(connection)
            reason = serve_session(connection, self._handler)
        finally:
            connection.disown(reason)
            loop.take_back(connection)
