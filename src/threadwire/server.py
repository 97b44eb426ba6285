"""The one object a user holds: listeners, the engine behind them, and the drain.

Shared state, all under ``_changed``'s lock: the phase, the open connections, the
deadline of a drain and its report. ``close()`` composes public, small steps: stop
accepting, let each connection finish what was begun, wait, cut the rest, join the
threads.
"""

from __future__ import annotations

import enum
import itertools
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from . import events, limits
from .address import Address, parse_address
from .connection import Connection
from .engine import (
    Admission,
    Engine,
    Gate,
    Loop,
    Opening,
    Permits,
    loop_count,
    on_one_core,
)
from .errors import CloseReason, ListenError, UsageError
from .handler import Handler, MessageHandler, SessionHandler, as_handler
from .options import Options, ServerOptions
from .reports import CloseReport, Cut, where
from .transport import Listener, Stream, listen

if TYPE_CHECKING:
    from .certificates import Certificates
    from .engine.acceptor import Acceptor
    from .proxy_protocol import ProxyParser

__all__ = ["Server"]

# Seconds. A handler that closes its server turns, meanwhile, from the loop's leader into its
# client's own thread, which nothing announces.
_LOOK_AGAIN = 0.05
# Seconds for the first message of a client that was accepted when the server was closing.
_FIRST_MESSAGE = 0.5

_TELL_BUSY = (CloseReason.BUSY, CloseReason.ADDRESS_BUSY)


class _Phase(enum.Enum):
    NEW = "new"
    SERVING = "serving"
    CLOSING = "closing"
    CLOSED = "closed"


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
    options
        Keyword arguments, such as ``framing``, ``max_clients`` or ``tls_cert``;
        :class:`ServerOptions` has them all.

    Wrong arguments raise :class:`~threadwire.UsageError` here; an address that
    cannot be listened on raises :class:`~threadwire.ListenError` from
    :meth:`start`. Every method may be called from any thread.
    """

    def __init__(
        self,
        handler: MessageHandler | SessionHandler | Handler,
        *addresses: str | Address,
        **options: Unpack[ServerOptions],
    ) -> None:
        self._handler = as_handler(handler)
        if not addresses:
            raise UsageError("a server needs an address to listen on, as in tcp://127.0.0.1:12345")
        self._wanted = [parse_address(address) for address in addresses]
        self._options = Options(options)
        self._certificates = self._options.certificates()
        self._rules = self._options.rules(self._certificates)
        for address in self._wanted:
            if address.secure and self._rules.tls is None:
                raise UsageError(f"{address} needs tls_cert and tls_key, the certificate's files")
        self.framing = self._options.framing
        self._max_message = self._options.max_message
        self._proxied = self._options.proxy_protocol is not None
        self._ids = itertools.count(1)  # the acceptor's thread

        self._changed = threading.Condition()  # guards what follows
        self._phase = _Phase.NEW
        self._listeners: list[Listener] = []
        self._connections: dict[int, Connection] = {}
        self._turned_away = 0  # of these, how many are being refused
        self._deadline = 0.0  # of the drain, on the monotonic clock
        self._emptying = False  # who comes now was in the backlog when it closed
        self._draining = 0  # clients that were open when it began, or came from the backlog
        self._closer: int | None = None  # the ident of the thread that is draining
        self._report: CloseReport | None = None

        o = self._options
        self._permits = Permits(self._most_clients())
        self._admission = Admission(o.allow, o.deny, o.max_clients_per_ip)
        self._gate = Gate(self._permits, self._admission, refuse=o.refuse, rate=o.accept_rate)
        self._engine = Engine(
            self._handler,
            self._gate,
            self._admit,
            self._forget,
            loops=loop_count(),
            rules=self._rules,
            on_start=on_one_core() if o.pin else None,
        )

    def _most_clients(self) -> int:
        options = self._options
        if self._handler.is_session and options.threads_limited:
            return min(options.max_clients, options.max_threads)
        return options.max_clients

    def start(self, listeners: Sequence[Listener] = ()) -> Self:
        """Listen and begin to serve; returns at once. Raises ListenError.

        ``listeners``, which another process has left to us, are listened on instead of the
        addresses, and the server's from here on.
        """
        taken = list(listeners)
        with self._changed:
            if self._phase is not _Phase.NEW:
                raise UsageError("a server starts once; make another one")
            try:
                for address in () if listeners else self._wanted:
                    taken += listen(address, self._options.backlog)
                for listener in taken:
                    listener.set_options(self._options.keepalive, self._options.user_timeout)
                self._engine.start(taken)
            except BaseException as error:
                for listener in taken:
                    listener.close()
                if isinstance(error, ListenError) or not isinstance(error, OSError | RuntimeError):
                    raise
                # No descriptors or thread for accepting, though there were some for listening.
                cause = error if isinstance(error, OSError) else str(error)
                raise ListenError(str(self._wanted[0]), cause) from error
            self._listeners = taken
            self._phase = _Phase.SERVING
        return self

    def suspend(self) -> None:
        """Accept nobody any more, until :meth:`resume`; the clients that are there stay.

        Who waits in the listen backlog at this moment is accepted first; who comes later
        waits there.
        """
        self._require_serving().suspend()
        events.suspended(len(self.connections))

    def resume(self) -> None:
        """Accept clients again, after :meth:`suspend` or :meth:`drain`."""
        self._require_serving().resume()
        events.resumed()

    def drain(self, timeout: float | None = None) -> int:
        """Suspend, and let every connection finish what was begun, then close it.

        Waits ``timeout`` seconds [``drain_timeout``] at most, and returns how many are left,
        which go on: :meth:`close` cuts them, :meth:`resume` accepts new ones beside them.
        A handler's own connection is not waited for.
        """
        seconds = self._options.drain_timeout if timeout is None else timeout
        deadline = time.monotonic() + limits.DRAIN_TIMEOUT.check(seconds)
        self._require_serving().suspend()
        with self._changed:
            open_connections = list(self._connections.values())
        events.draining(len(open_connections), seconds)
        for connection in open_connections:
            connection.drain()
        with self._changed:
            while any(self._others()) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(min(left, _LOOK_AGAIN))
            return len(list(self._others()))

    def hand_over(self) -> None:
        """Another process accepts from the same listening sockets: stop accepting here.

        Nobody who waits there is lost. Then :meth:`close`.
        """
        self._require_serving().hand_over()

    def _require_serving(self) -> Acceptor:
        acceptor = self._engine.acceptor
        if acceptor is None:
            raise UsageError("the server has not been started")
        return acceptor

    def reconfigure(self, **changes: Any) -> None:
        """Change options while serving: limits, timeouts, ``overload``, ``allow`` and ``deny``.

        What holds for a client from its beginning is not changed for those that are there.
        Raises :class:`~threadwire.UsageError`, having changed nothing.
        """
        options = self._options.changed(changes)
        self._options = options
        options.govern(self._rules)
        self._gate.refuse, self._gate.rate = options.refuse, options.accept_rate
        self._admission.rule(options.allow, options.deny, options.max_clients_per_ip)
        self._permits.resize(self._most_clients())

    def close(self, timeout: float | None = None) -> CloseReport:
        """Stop accepting, finish what was begun, close; cut what is left at the deadline.

        ``timeout``: seconds until then [``drain_timeout``]; 0 cuts at once. Messages
        that have arrived are answered; idle connections are closed right away. Clients
        that wait in the listen backlog are accepted, and served as far as they have sent
        something, or do so within half a second. A
        further call may only shorten the deadline, and returns the same report. A
        call that cannot wait for the report returns an empty one: from a handler
        while another thread is closing, whose connection is one of those waited
        for, and from a signal handler that has interrupted ``close`` itself. A
        handler may close its server; its own connection is not waited for.

        If it is interrupted, as by KeyboardInterrupt, the next call goes on.
        """
        seconds = self._options.drain_timeout if timeout is None else timeout
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
        """The connections that are open at this moment, oldest first.

        Those that are still at their TLS handshake or PROXY header, and those that are being
        refused, are none yet.
        """
        with self._changed:
            return tuple(c for c in self._connections.values() if c.admitted and c._opening is None)

    @property
    def refused(self) -> dict[CloseReason, int]:
        """How many clients have been refused so far, by the reason."""
        return self._admission.refused

    @property
    def certificates(self) -> Certificates | None:
        """The certificates from files, which can be reloaded; ``None`` without such."""
        return self._certificates

    def healthy(self, timeout: float = 1.0) -> bool:
        """Whether every loop answers within ``timeout`` seconds; for a service manager."""
        return self._engine.healthy(timeout)

    def __repr__(self) -> str:
        with self._changed:
            where = [str(listener.address) for listener in self._listeners]
            phase = self._phase.value
        return f"<Server {phase} {' '.join(where or map(str, self._wanted))}>"

    # Inner workings.

    def _admit(
        self, stream: Stream, listener: Listener, loop: Loop, refused: CloseReason | None
    ) -> bool:
        """The acceptor: a client has come; whether it has its permit."""
        parser = None
        if self._proxied and refused is None:
            if stream.peer.scheme == "unix" or stream.peer.host in self._options.proxy_trust:
                parser = self._parser()
            elif self._options.proxy_protocol == "required":
                refused = CloseReason.DENIED
        connection = Connection(
            next(self._ids),
            stream,
            self.framing.codec(self._max_message),
            loop,
            session=self._handler.is_session,
            rules=self._rules,
        )
        if refused is None and parser is None and not self._admission.open:
            refused = self._admission.judge(connection)
        if refused is not None:
            self._turn_away(connection, loop, refused, plain=not listener.secure)
            return False
        if parser is not None or listener.secure:
            connection.disown()
            connection._opening = Opening(parser, secure=listener.secure)
        with self._changed:
            self._connections[connection.id] = connection
            late = self._emptying
            if late:
                self._draining += 1
        try:
            self._engine.serve(connection, loop)
        except BaseException:
            with self._changed:
                del self._connections[connection.id]
                self._draining -= late
            self._admission.leave(connection)
            raise
        if late:
            self._engine.later(_FIRST_MESSAGE, connection.drain)
        return True

    def _parser(self) -> ProxyParser:
        from .proxy_protocol import ProxyParser

        return ProxyParser(optional=self._options.proxy_protocol == "optional")

    def _turn_away(
        self, connection: Connection, loop: Loop, reason: CloseReason, *, plain: bool
    ) -> None:
        """Refuse a client, with the busy reply if it is for that, and can be given."""
        self._admission.note_refused(reason, connection.peer)
        reply = self._options.busy_reply
        plain = plain and self._options.proxy_protocol is None
        if reply is None or not plain or reason not in _TELL_BUSY:
            connection._stream.close()
            return
        connection.disown(reason)
        connection.end_reading(reason, stop=True)
        connection.admitted = False
        with self._changed:
            crowded = self._turned_away >= self._options.max_refusals
            if not crowded:
                self._turned_away += 1
                self._connections[connection.id] = connection
        if crowded:
            connection._stream.close()
        else:
            self._engine.turn_away(connection, loop, reply)

    def _forget(self, connection: Connection) -> None:
        """The engine, on any thread: the connection is closed for good."""
        with self._changed:
            del self._connections[connection.id]
            self._turned_away -= not connection.admitted
            if self._phase is _Phase.CLOSING:
                self._changed.notify_all()
        if connection.admitted:
            if connection._site is not None:
                self._admission.leave(connection)
            self._permits.give_back()

    def _drain(self) -> CloseReport:
        acceptor = self._require_serving()
        with self._changed:
            before = [c for c in self._connections.values() if c.admitted]
            self._draining = len(before)
            self._emptying = True
        acceptor.stop()
        with self._changed:
            seconds = max(0.0, self._deadline - time.monotonic())
            events.draining(self._draining, round(seconds, 3))
        for connection in before:
            connection.drain()
        with self._changed:
            while (any(self._others()) or not acceptor.closed) and (
                left := self._deadline - time.monotonic()
            ) > 0:
                self._changed.wait(min(left, _LOOK_AGAIN))
            late = list(self._others())
        dismissed = acceptor.finish()  # before places become free by cutting
        cut = tuple(self._cut(late))
        left_over = self._engine.close(limits.JOIN_GRACE.default)
        report = CloseReport(
            self._draining - len(cut), cut, tuple(thread.name for thread in left_over), dismissed
        )
        refused = sum(self._admission.refused.values())
        events.stopped(report.finished, len(report.cut), dismissed, refused)
        return report

    def _cut(self, late: list[Connection]) -> Iterator[Cut]:
        frames = sys._current_frames()
        for connection in late:
            frame = frames.get(connection.owner or 0)
            doing = where(frame) if frame is not None else ""
            entry = Cut(
                connection.id,
                connection.peer,
                connection.age,
                doing,
                connection.bytes_received,
                connection.bytes_sent,
            )
            connection.abort(CloseReason.CUT)
            if connection.admitted:
                events.cut(entry)
                yield entry

    def _others(self) -> Iterator[Connection]:
        """Under the lock: the open connections that this very thread does not serve."""
        me, mine = threading.get_ident(), self._engine.served_here()
        return (c for c in self._connections.values() if c.owner != me and c is not mine)

    def _served_here(self) -> bool:
        me = threading.get_ident()
        return self._engine.leads_here() or any(c.owner == me for c in self._connections.values())
