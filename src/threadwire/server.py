"""The one object a user holds: listeners, the engine behind them, and the drain.

Shared state, all under ``_changed``'s lock: the phase, the open connections, the
deadline of a drain and its report. ``close()`` composes public, small steps: stop
accepting, let each connection finish what was begun, wait, cut the rest, join the
threads.
"""

from __future__ import annotations

import enum
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from . import events, limits
from .address import Address, parse_address
from .connection import Connection
from .errors import CloseReason, ListenError, UsageError
from .handler import Handler, MessageHandler, SessionHandler, as_handler
from .options import Options, ServerOptions
from .reception import Reception
from .reports import CloseReport, Cut, where
from .transport import Listener, listen

if TYPE_CHECKING:
    from .certificates import Certificates
    from .engine.acceptor import Acceptor
    from .snapshot import ServerSnapshot

__all__ = ["Server"]

# Seconds. A handler that closes its server turns, meanwhile, from the loop's leader into its
# client's own thread, which nothing announces.
_LOOK_AGAIN = 0.05


class _Phase(enum.Enum):
    NEW = "new"
    STARTING = "starting"
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
        hooks = self._options.hooks()
        if hooks is not None:
            self._handler = hooks.around(self._handler)
        self._certificates = self._options.certificates()
        self._rules = self._options.rules(self._certificates)
        for address in self._wanted:
            if address.secure and self._rules.tls is None:
                raise UsageError(f"{address} needs tls_cert and tls_key, the certificate's files")
        self.framing = self._options.framing
        self._reconfiguring = threading.Lock()  # held to replace _options
        self._changed = threading.Condition()  # guards what follows, and the reception's state
        self._phase = _Phase.NEW
        self._leaving = False  # the clients have been told to finish, since it was to drain
        self._started_at: float | None = None
        self._unwanted = False  # it was to be closed while it started
        self._listeners: list[Listener] = []
        self._deadline = 0.0  # of the drain, on the monotonic clock
        self._closer: int | None = None  # the ident of the thread that is draining
        self._report: CloseReport | None = None

        self._reception = Reception(self._handler, self._options, self._rules, self._changed)
        self._engine = self._reception.engine

    def start(self, adopt: Callable[[Address], Sequence[Listener]] | None = None) -> Self:
        """Listen and begin to serve; returns at once. Raises ListenError.

        ``adopt`` is asked for each address whether another process has left us listening
        sockets for it, which are the server's from then on.
        """
        with self._changed:
            if self._phase is not _Phase.NEW:
                raise UsageError("a server starts once; make another one")
            listeners: list[Listener] = []
            self._phase = _Phase.STARTING
            try:
                for address in self._wanted:
                    left = adopt(address) if adopt is not None else ()
                    listeners += left or listen(address, self._options.backlog)
                for listener in listeners:
                    listener.set_options(self._options.keepalive, self._options.user_timeout)
                self._engine.start(listeners)
            except BaseException as error:
                self._phase = _Phase.NEW
                for listener in listeners:
                    listener.close()
                if isinstance(error, ListenError) or not isinstance(error, OSError | RuntimeError):
                    raise
                # No descriptors or thread for accepting, though there were some for listening.
                cause = error if isinstance(error, OSError) else str(error)
                raise ListenError(str(self._wanted[0]), cause) from error
            self._listeners = listeners
            self._phase = _Phase.SERVING
            self._started_at = time.time()
        if self._certificates is not None:
            self._engine.post(self._watch_certificates)
        if self._unwanted:
            self.close(0)
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
        with self._changed:
            self._leaving = False
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
            self._leaving = True
            open_connections = list(self._reception.connections.values())
        events.draining(len(open_connections), seconds or None)
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
        with self._reconfiguring:
            self._options = self._options.changed(changes)
            self._reception.rule(self._options)

    def reload_certificates(self) -> bool:
        """Load the TLS certificates' files anew, for connections that come; whether that went well.

        If anything is wrong with them, nothing is changed, and the log says what. A server
        does so by itself, soon after the files have changed.
        """
        certificates = self._certificates
        if certificates is None:
            return True
        try:
            certificates.reload()
        except UsageError as error:
            events.reload_failed(error)
            return False
        days = (certificates.expires_at - time.time()) / 86400
        events.certificates_reloaded(", ".join(certificates.names), days)
        return True

    def _watch_certificates(self) -> None:
        """The first loop's leader: every now and then, have a thread look at the files."""
        self._engine.later(limits.RELOAD_INTERVAL.default, self._look_at_certificates)

    def _look_at_certificates(self) -> None:
        """The same: have a thread do it, one at a time, for a file system may hang."""
        try:
            self._engine.threads.run(self._renew_certificates)
        except RuntimeError:  # there is always the next time
            self._watch_certificates()

    def _renew_certificates(self) -> None:
        assert self._certificates is not None
        try:
            if self._certificates.changed():
                self.reload_certificates()
        except Exception as error:  # noqa: BLE001 - a job may raise nothing
            events.reload_failed(error)
        self._engine.post(self._watch_certificates)

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
                if self._phase is _Phase.STARTING:  # this very thread is: a signal's handler
                    self._unwanted = True
                    return CloseReport(0, (), ())
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
    def listeners(self) -> tuple[Listener, ...]:
        """The listening sockets, as they are; to be handed over, and for nothing else."""
        with self._changed:
            return tuple(self._listeners)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that are open at this moment, oldest first.

        Those that are still at their TLS handshake or PROXY header, and those that are being
        refused, are none yet.
        """
        with self._changed:
            return self._reception.clients()

    @property
    def refused(self) -> dict[CloseReason, int]:
        """How many clients have been refused so far, by the reason."""
        return self._reception.admission.refused

    @property
    def certificates(self) -> Certificates | None:
        """The certificates from files, which can be reloaded; ``None`` without such."""
        return self._certificates

    def snapshot(self, *, clients: bool = False) -> ServerSnapshot:
        """The server's state at this moment: counts, histograms, limits.

        ``clients``: also that of each client [no, since it takes some microseconds for each].
        """
        from .observing import observe

        with self._changed:
            listeners, started_at = tuple(self._listeners), self._started_at
            phase, leaving = self._phase, self._leaving
        acceptor = self._engine.acceptor
        state = phase.value
        if phase is _Phase.CLOSING or (phase is _Phase.SERVING and leaving):
            state = "draining"
        elif phase is _Phase.SERVING and acceptor is not None and acceptor.suspended:
            state = "suspended"
        return observe(
            self._reception,
            self._options,
            self._handler,
            listeners,
            self._certificates,
            phase=state,
            started_at=started_at,
            clients=clients,
        )

    def healthy(self, timeout: float = 1.0) -> bool:
        """Whether every loop answers within ``timeout`` seconds; for a service manager."""
        return self._engine.healthy(timeout)

    def __repr__(self) -> str:
        with self._changed:
            where = [str(listener.address) for listener in self._listeners]
            phase = self._phase.value
        return f"<Server {phase} {' '.join(where or map(str, self._wanted))}>"

    # Inner workings.

    def _drain(self) -> CloseReport:
        acceptor = self._require_serving()
        with self._changed:
            before = self._reception.begin_closing()
        acceptor.stop()
        with self._changed:
            seconds = max(0.0, self._deadline - time.monotonic())
            if self._handler.logged:
                events.draining(self._reception.drained, round(seconds, 3))
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
            self._reception.drained - len(cut),
            cut,
            tuple(thread.name for thread in left_over),
            dismissed,
        )
        if self._handler.logged:
            refused = sum(self.refused.values())
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
            # All that was said has arrived, but for our end, which counts as a byte: only the
            # peer's end is waited for.
            done = connection._farewell is not None and connection._stream.unsent_bytes() <= 1
            connection.abort(CloseReason.CUT)
            if connection.admitted and not done:
                events.cut(entry)
                yield entry

    def _others(self) -> Iterator[Connection]:
        """Under the lock: the open connections that this very thread does not serve."""
        me, mine = threading.get_ident(), self._engine.served_here()
        return (c for c in self._reception.connections.values() if c.owner != me and c is not mine)

    def _served_here(self) -> bool:
        me = threading.get_ident()
        return self._engine.leads_here() or any(
            c.owner == me for c in self._reception.connections.values()
        )
