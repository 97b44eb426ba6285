"""The one object a user holds: listeners, the engine behind them, and the drain.

Shared state, all under ``_changed``'s lock: the phase, the open connections, the
deadline of a drain and its report. ``close()`` composes public, small steps: stop
accepting, let each connection finish what was begun, wait, cut the rest, join the
threads.
"""

from __future__ import annotations

import enum
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NamedTuple, Self, TypedDict, Unpack

from . import events, limits
from .address import Address, parse_address
from .connection import Connection
from .engine import Engine, Loop, Permits, loop_count, on_one_core
from .errors import CloseReason, ListenError, UsageError
from .framing import Framing, Lines
from .handler import Handler, MessageHandler, SessionHandler, as_handler
from .transport import Listener, Stream, listen

__all__ = ["CloseReport", "Cut", "Server", "serve"]


class Cut(NamedTuple):
    """A connection that a drain's deadline cut, and what its handler was doing."""

    connection: int
    peer: Address
    age: float  # seconds
    doing: str  # "file:line in function", or "" if that could not be seen


class CloseReport(NamedTuple):
    """How a server's closing went.

    ``finished`` connections ended by themselves within the drain; ``cut`` lists the
    others. ``threads_left`` names threads whose handlers had still not returned
    when ``close()`` did; they end with the process.
    """

    finished: int
    cut: tuple[Cut, ...]
    threads_left: tuple[str, ...]


# Seconds. A handler that closes its server turns, meanwhile, from the loop's leader into its
# client's own thread, which nothing announces.
_LOOK_AGAIN = 0.05

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class _Phase(enum.Enum):
    NEW = "new"
    SERVING = "serving"
    CLOSING = "closing"
    CLOSED = "closed"


class ServerOptions(TypedDict, total=False):
    """The keyword arguments of :class:`Server`, which explains them."""

    framing: Framing | None
    max_message: int
    max_clients: int | None
    backlog: int
    write_timeout: float
    drain_timeout: float
    handoff_after: float
    pin: bool


class Server:
    """Serves ``handler`` on ``addresses``.

    ::

        with Server(reverse, "tcp://127.0.0.1:0") as server:
            print(server.address)

    handler
        A message handler, ``(message)`` or ``(message, connection)``, that returns
        ``bytes``, ``None`` (no reply) or an iterable of ``bytes``; or a session
        handler, see :func:`session`.
    addresses
        URLs to listen on: ``tcp://host:port``, ``tcp://:port`` (all interfaces),
        ``unix:///path``, ``fd://3``. Port 0 takes a free one.
    framing
        How messages lie in the stream [``Lines()``].
    max_message
        Bytes a received message may have [1 MiB].
    max_clients
        Connections served at once; further ones wait in the listen backlog
        [10,000, or what the descriptor limit allows].
    backlog
        Connections that the system holds until they are accepted [1,024].
    write_timeout
        Seconds a peer may read nothing of a waiting reply [30].
    drain_timeout
        Seconds that ``close()`` lets begun messages finish, unless told otherwise [30].
    handoff_after
        Seconds that a call of the handler may hold up the loop that all clients share; then
        its client gets a thread of its own [0.005].
    pin
        Whether the threads that serve share one core [no]. With the interpreter's lock
        that is faster where many have a thread of their own, as sessions have; the
        ``threadwire serve`` command does it. What a handler itself starts inherits the
        one core.

    Wrong arguments raise :class:`~threadwire.UsageError` here; an address that
    cannot be listened on raises :class:`~threadwire.ListenError` from
    :meth:`start`. Every method may be called from any thread.
    """

    def __init__(
        self,
        handler: MessageHandler | SessionHandler | Handler,
        *addresses: str | Address,
        framing: Framing | None = None,
        max_message: int = limits.MAX_MESSAGE.whole,
        max_clients: int | None = None,
        backlog: int = limits.BACKLOG.whole,
        write_timeout: float = limits.WRITE_TIMEOUT.default,
        drain_timeout: float = limits.DRAIN_TIMEOUT.default,
        handoff_after: float = limits.HANDOFF_AFTER.default,
        pin: bool = False,
    ) -> None:
        self._handler = as_handler(handler)
        if not addresses:
            raise UsageError("a server needs an address to listen on, as in tcp://127.0.0.1:12345")
        self._wanted = [parse_address(address) for address in addresses]
        if framing is not None and not isinstance(framing, Framing):
            raise UsageError(f"framing must be a Framing, as in Lines(), not {framing!r}")
        self.framing = framing or Lines()
        self._max_message = limits.MAX_MESSAGE.check_whole(max_message)
        self.framing.codec(self._max_message)  # a framing that cannot make one fails here
        self._backlog = limits.BACKLOG.check_whole(backlog)
        self._write_timeout = limits.WRITE_TIMEOUT.check(write_timeout)
        self._drain_timeout = limits.DRAIN_TIMEOUT.check(drain_timeout)
        if max_clients is None:
            max_clients = limits.default_max_clients()
        self._permits = Permits(limits.MAX_CLIENTS.check_whole(max_clients))
        self._ids = itertools.count(1)  # the acceptor's thread

        self._changed = threading.Condition()  # guards what follows
        self._phase = _Phase.NEW
        self._listeners: list[Listener] = []
        self._connections: dict[int, Connection] = {}
        self._deadline = 0.0  # of the drain, on the monotonic clock
        self._closer: int | None = None  # the ident of the thread that is draining
        self._report: CloseReport | None = None

        self._engine = Engine(
            self._handler,
            self._permits,
            self._admit,
            self._forget,
            loops=loop_count(),
            handoff_after=limits.HANDOFF_AFTER.check(handoff_after),
            write_timeout=self._write_timeout,
            on_start=on_one_core() if pin else None,
        )

    # Life.

    def start(self) -> Self:
        """Listen and begin to serve; returns at once. Raises ListenError."""
        with self._changed:
            if self._phase is not _Phase.NEW:
                raise UsageError("a server starts once; make another one")
            listeners: list[Listener] = []
            try:
                for address in self._wanted:
                    listeners += listen(address, self._backlog)
                self._engine.start(listeners)
            except BaseException as error:
                for listener in listeners:
                    listener.close()
                if isinstance(error, ListenError) or not isinstance(error, OSError | RuntimeError):
                    raise
                # No descriptors or thread for accepting, though there were some for listening.
                cause = error if isinstance(error, OSError) else str(error)
                raise ListenError(str(self._wanted[0]), cause) from error
            self._listeners = listeners
            self._phase = _Phase.SERVING
        return self

    def close(self, timeout: float | None = None) -> CloseReport:
        """Stop accepting, finish what was begun, close; cut what is left at the deadline.

        ``timeout``: seconds until then [``drain_timeout``]; 0 cuts at once. Messages
        that have arrived are answered; idle connections are closed right away. A
        further call may only shorten the deadline, and returns the same report. A
        call that cannot wait for the report returns an empty one: from a handler
        while another thread is closing, whose connection is one of those waited
        for, and from a signal handler that has interrupted ``close`` itself. A
        handler may close its server; its own connection is not waited for.

        If it is interrupted, as by KeyboardInterrupt, the next call goes on.
        """
        seconds = self._drain_timeout if timeout is None else timeout
        deadline = time.monotonic() + limits.DRAIN_TIMEOUT.check(seconds)
        me = threading.get_ident()
        closing, report = False, None
        try:
            with self._changed:
                if self._phase is _Phase.NEW:
                    self._finish(CloseReport(0, (), ()))
                elif self._phase is _Phase.SERVING:
                    self._phase = _Phase.CLOSING
                    self._deadline = deadline
                self._deadline = min(self._deadline, deadline)
                self._changed.notify_all()
                while self._report is None and self._closer is not None:
                    if self._closer == me or self._served_here():
                        return CloseReport(0, (), ())
                    self._changed.wait()
                if self._report is not None:
                    return self._report
                # From here on an interruption, at any point, lets the next call go on.
                closing = True
                self._closer = me
            report = self._drain()
        finally:
            if closing:
                with self._changed:
                    self._closer = None
                    if report is not None:
                        self._finish(report)
                    self._changed.notify_all()
        return report

    def _finish(self, report: CloseReport) -> None:
        """Under the lock: closed, for good."""
        self._phase = _Phase.CLOSED
        self._report = report
        self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server is closed, at most ``timeout`` seconds; whether it is."""
        with self._changed:
            if timeout is not None:
                timeout = min(timeout, threading.TIMEOUT_MAX)
            return self._changed.wait_for(lambda: self._phase is _Phase.CLOSED, timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # State.

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with real ports; a host name may stand for several."""
        with self._changed:
            if not self._listeners:
                raise UsageError("the server has not been started, so it has no address yet")
            return tuple(listener.address for listener in self._listeners)

    @property
    def address(self) -> Address:
        """The first of :attr:`addresses`."""
        return self.addresses[0]

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that are open at this moment, oldest first."""
        with self._changed:
            return tuple(self._connections.values())

    def __repr__(self) -> str:
        with self._changed:
            where = [str(listener.address) for listener in self._listeners]
            phase = self._phase.value
        return f"<Server {phase} {' '.join(where or map(str, self._wanted))}>"

    # Inner workings.

    def _admit(self, stream: Stream, loop: Loop) -> None:
        """The acceptor: a client has come."""
        connection = Connection(
            next(self._ids),
            stream,
            self.framing.codec(self._max_message),
            loop,
            session=self._handler.is_session,
            write_timeout=self._write_timeout,
        )
        with self._changed:
            self._connections[connection.id] = connection
        try:
            self._engine.serve(connection, loop)
        except BaseException:
            with self._changed:
                del self._connections[connection.id]
            raise

    def _forget(self, connection: Connection) -> None:
        """The engine, on any thread: the connection is closed for good."""
        with self._changed:
            del self._connections[connection.id]
            if self._phase is _Phase.CLOSING:
                self._changed.notify_all()
        self._permits.give_back()

    def _drain(self) -> CloseReport:
        self._engine.stop_accepting()
        with self._changed:
            open_connections = list(self._connections.values())
            seconds = max(0.0, self._deadline - time.monotonic())
        events.draining(len(open_connections), round(seconds, 3))
        for connection in open_connections:
            connection.drain()
        with self._changed:
            while any(self._others()) and (left := self._deadline - time.monotonic()) > 0:
                self._changed.wait(min(left, _LOOK_AGAIN))
            late = list(self._others())
        cut = tuple(self._cut(late))
        report = self._join(len(open_connections) - len(cut), cut)
        events.stopped(report.finished, len(report.cut))
        return report

    def _cut(self, late: list[Connection]) -> Iterator[Cut]:
        frames = sys._current_frames()
        for connection in late:
            frame = frames.get(connection.owner or 0)
            doing = _where(frame) if frame is not None else ""
            entry = Cut(connection.id, connection.peer, connection.age, doing)
            connection.abort(CloseReason.CUT)
            events.cut(entry.connection, entry.peer, entry.age, entry.doing)
            yield entry

    def _join(self, finished: int, cut: tuple[Cut, ...]) -> CloseReport:
        left = self._engine.close(limits.JOIN_GRACE.default)
        return CloseReport(finished, cut, tuple(thread.name for thread in left))

    def _others(self) -> Iterator[Connection]:
        """Under the lock: the open connections that this very thread does not serve."""
        me, mine = threading.get_ident(), self._engine.served_here()
        return (c for c in self._connections.values() if c.owner != me and c is not mine)

    def _served_here(self) -> bool:
        me = threading.get_ident()
        return self._engine.leads_here() or any(c.owner == me for c in self._connections.values())


_NOT_THE_USERS = tuple(os.path.join(os.path.dirname(f), "") for f in (os.__file__, __file__))


def _where(innermost: FrameType) -> str:
    """Where a thread stands: the innermost line that is neither the library's nor Python's own."""
    frame: FrameType | None = innermost
    while frame is not None and (
        frame.f_code.co_filename.startswith(_NOT_THE_USERS)
        and "site-packages" not in frame.f_code.co_filename
    ):
        frame = frame.f_back
    frame = frame or innermost
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def serve(
    handler: MessageHandler | SessionHandler | Handler,
    *addresses: str | Address,
    **options: Unpack[ServerOptions],
) -> CloseReport:
    """Serve until SIGINT or SIGTERM, then drain; blocks, and returns how the drain went.

    Arguments are those of :class:`Server`. A second signal cuts what is left at
    once. Off the main thread, where Python has no signals, it serves until the
    process ends.
    """
    return serve_until_signal(Server(handler, *addresses, **options))


def serve_until_signal(
    server: Server, when_listening: Callable[[Server], None] | None = None
) -> CloseReport:
    """What :func:`serve` does with a server; ``when_listening`` is called once it listens.

    The calling thread waits for bytes: one for each signal, its number, which the
    interpreter writes in whichever thread the system chose to interrupt (a wait for a
    lock would sleep on if that was another one), and a zero when the server is closed.
    """
    bell, hear = socket.socketpair()

    def ring_when_closed() -> None:  # whoever closes it
        server.wait()
        bell.send(b"\0")

    with hear, bell, _signals_ring(bell), server:
        if when_listening is not None:
            when_listening(server)
        waiter = threading.Thread(target=ring_when_closed, name="threadwire-waiter", daemon=True)
        waiter.start()
        signals = 0
        while number := hear.recv(1)[0]:
            if number not in _STOPPING:  # the handler's own affair
                continue
            signals += 1
            then = "drain" if signals == 1 else "cut"
            events.signalled(signal.Signals(number).name, then)
            # Not on this thread, which has to be there for the next signal.
            timeout = None if signals == 1 else 0.0
            threading.Thread(
                target=server.close, args=(timeout,), name="threadwire-closer", daemon=True
            ).start()
        waiter.join()
        return server.close()


@contextmanager
def _signals_ring(bell: socket.socket) -> Iterator[None]:
    """SIGINT and SIGTERM are written to ``bell``; off the main thread, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    bell.setblocking(False)  # what a signal's wake-up needs; the other writer sends one byte
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in _STOPPING}
    descriptor_before = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor_before)
        for number, action in before.items():
            signal.signal(number, action)
