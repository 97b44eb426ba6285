"""The engine of one server: its loops, their watchdog, its threads, and who goes where."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..connection import Connection
from ..durations import Histogram
from ..errors import CloseReason
from ..handler import Handler
from ..limits import JOIN_GRACE
from ..reports import Handoff
from ..rules import Rules
from ..transport import Listener, Stream
from .acceptor import Acceptor
from .gate import Gate
from .loop import Loop
from .spare_threads import SpareThreads
from .watchdog import Watchdog

__all__ = ["Engine", "EngineFigures"]


class EngineFigures(NamedTuple):
    """What the engine has counted, and what it has, at one instant."""

    loops: int
    turns: int
    turn_seconds: Histogram
    lock_wait_seconds: Histogram | None
    handler_seconds: Histogram
    handoffs: int
    recent_handoffs: tuple[Handoff, ...]
    own_threads: int
    waiting: int  # clients, for such a thread
    handshakes: int
    spare_threads: int


class Engine:
    """Serves connections, each on a loop or on a thread of its own.

    ``released`` is called, by any thread, for each connection that is closed for good.
    ``admit``, called with each accepted stream, makes the connection and gives it to
    :meth:`serve`. ``on_start`` is what each thread calls first.
    """

    def __init__(
        self,
        handler: Handler,
        gate: Gate,
        admit: Callable[[Stream, Listener, Loop, CloseReason | None], bool],
        released: Callable[[Connection], None],
        *,
        loops: int,
        rules: Rules,
        on_start: Callable[[], None] | None,
    ) -> None:
        self._handler = handler
        self._gate = gate
        self._admit = admit
        self._on_start = on_start
        self._rules = rules
        self._loop_count = loops
        self._released = released
        self.threads = self._new_threads()
        self._loops: list[Loop] = []
        self._acceptor: Acceptor | None = None
        self._watchdog: Watchdog | None = None

    def _new_threads(self) -> SpareThreads:
        return SpareThreads(f"threadwire-{self._handler.threads}", on_start=self._on_start)

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
                listeners,
                self._gate,
                lambda stream, listener, refused: self._admit(
                    stream, listener, next(turns), refused
                ),
                loops[0],
            )
            self._watchdog = Watchdog(
                loops, self.threads, self._rules, self._watchdog_name(), self._on_start
            )
            for loop in loops:
                self.threads.run(functools.partial(loop.lead, loop.baton))
                led += 1
            self._watchdog.start()
        except BaseException:
            for loop in loops[led:]:
                loop.never_led()
            self._watchdog = self._acceptor = None
            self.close(JOIN_GRACE.default)
            self._loops = []
            self.threads = self._new_threads()
            raise
        self._acceptor.start()

    def _watchdog_name(self) -> str:
        whose = "" if self._handler.logged else f"{self._handler.threads}-"
        return f"threadwire-{whose}watchdog"

    def _new_loop(self) -> Loop:
        return Loop(
            self._handler,
            self.threads,
            rules=self._rules,
            admission=self._gate.admission,
            released=self._released,
            loops=self._loop_count,
        )

    def serve(self, connection: Connection, loop: Loop) -> None:
        """The acceptor: take over the connection. Raises RuntimeError for lack of a thread."""
        opening = connection._opening
        if opening is not None:
            self._in_loop(loop, functools.partial(loop.open, connection, opening))
        elif self._handler.is_session:
            loop.start_session(connection)
        else:
            self._handler.opened(connection)
            if loop is self._loops[0]:
                loop.take_in(connection)
            else:
                loop.post(functools.partial(loop.take_in, connection))

    def turn_away(self, connection: Connection, loop: Loop, reply: bytes | None) -> None:
        """The acceptor: take over a connection that is refused, and may be told so."""
        self._in_loop(loop, functools.partial(loop.turn_away, connection, reply))

    def _in_loop(self, loop: Loop, call: Callable[[], None]) -> None:
        """The acceptor, which is run by the leader of the first loop."""
        if loop is self._loops[0]:
            call()
        else:
            loop.post(call)

    @property
    def acceptor(self) -> Acceptor | None:
        """What accepts, ``None`` before the start."""
        return self._acceptor

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """The acceptor: make ``call`` when so many seconds have gone by."""
        self._loops[0].later(seconds, call)

    def post(self, call: Callable[[], None]) -> None:
        """Have the acceptor's loop make ``call``."""
        self._loops[0].post(call)

    def healthy(self, seconds: float) -> bool:
        """Whether every loop makes a turn within so many seconds."""
        begun = time.monotonic()
        turned = [threading.Event() for _ in self._loops]
        posted = [loop.post(event.set) for loop, event in zip(self._loops, turned, strict=True)]
        ends = begun + seconds
        return all(posted) and all(e.wait(max(0.0, ends - time.monotonic())) for e in turned)

    def figures(self) -> EngineFigures:
        """What has been counted so far; any thread."""
        loops = [loop.figures() for loop in self._loops]
        waits = [loop.lock_wait_seconds for loop in loops if loop.lock_wait_seconds is not None]
        watchdog = self._watchdog
        return EngineFigures(
            loops=len(loops),
            turns=sum(loop.turns for loop in loops),
            turn_seconds=sum((loop.turn_seconds for loop in loops), Histogram()),
            lock_wait_seconds=sum(waits, Histogram()) if waits else None,
            handler_seconds=self.threads.handler_seconds,
            handoffs=watchdog.handoffs if watchdog is not None else 0,
            recent_handoffs=tuple(watchdog.recent.copy()) if watchdog is not None else (),
            own_threads=sum(loop.own_threads for loop in loops),
            waiting=sum(loop.waiting for loop in loops),
            handshakes=sum(loop.handshakes for loop in loops),
            spare_threads=self.threads.idle,
        )

    def in_handlers(self) -> list[Connection]:
        """For whom loops are inside a handler at this moment; any thread."""
        busy = [loop.baton.busy_with() for loop in self._loops]
        return [connection for connection in busy if connection is not None]

    def waits_for_thread(self, connection: Connection) -> bool:
        """Whether all that it lacks is a thread of its own; any thread, as a hint."""
        return any(loop.waits_for_thread(connection) for loop in self._loops)

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
