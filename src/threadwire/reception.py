"""What becomes of a client that has come: judged, refused, or made a connection and served.

Shared state: the open connections and their counts, all under ``changed``'s lock, which is the
server's own. The condition is notified when a connection has gone while the server closes.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, NamedTuple

from .connection import Connection
from .engine import Admission, Engine, Gate, Loop, Opening, Permits, loop_count, on_one_core
from .errors import CloseReason
from .handler import Handler
from .options import Options
from .rules import Rules
from .transport import Listener, Stream

if TYPE_CHECKING:
    from .proxy_protocol import ProxyParser

__all__ = ["Reception", "ReceptionFigures"]

# Seconds for the first message of a client that was accepted when the server was closing.
_FIRST_MESSAGE = 0.5

_TELL_BUSY = (CloseReason.BUSY, CloseReason.ADDRESS_BUSY)


class Traffic(NamedTuple):
    """What was received and sent."""

    messages_received: int = 0
    messages_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0


class ReceptionFigures(NamedTuple):
    """What the reception has counted, and who is there, at one instant."""

    connections: list[Connection]  # oldest first
    accepted: int
    closed: dict[CloseReason, int]
    traffic: Traffic


def _add_to(counts: list[int], connection: Connection) -> None:
    """To a list of what Traffic has; the short way, as each connection that goes is added."""
    counts[0] += connection.messages_received
    counts[1] += connection._answered + connection._sent
    counts[2] += connection.bytes_received
    counts[3] += connection._framed + connection._written


class Reception:
    """Receives one server's clients, and knows those that are there."""

    def __init__(
        self, handler: Handler, options: Options, rules: Rules, changed: threading.Condition
    ) -> None:
        self._handler = handler
        self._options = options  # replaced whole, by rule()
        self.rules = rules
        self._proxied = options.proxy_protocol is not None
        self._ids = itertools.count(1)  # the acceptor's

        self._changed = changed  # guards what follows
        self.connections: dict[int, Connection] = {}
        self._turned_away = 0  # of these, how many are being refused
        self._closing = False  # who comes now was in the backlog when it closed
        self.accepted = 0  # clients that were let in
        # Of these, those that have gone: how many for each reason, under the reason's value, whose
        # hash costs a tenth of its own; and what they sent and received, as Traffic has it.
        self._closed: dict[str, int] = dict.fromkeys(CloseReason, 0)
        self._gone = [0, 0, 0, 0]
        self.drained = 0  # clients that were open when it closed, or came from the backlog

        self._permits = Permits(self._most_clients())
        self.admission = Admission(options.allow, options.deny, options.max_clients_per_ip)
        self._gate = Gate(
            self._permits, self.admission, refuse=options.refuse, rate=options.accept_rate
        )
        self.engine = Engine(
            handler,
            self._gate,
            self._admit,
            self._forget,
            loops=loop_count(),
            rules=rules,
            on_start=on_one_core() if options.pin else None,
        )

    def rule(self, options: Options) -> None:
        """Go by these options from now on; any thread."""
        self._options = options
        options.govern(self.rules)
        self._gate.refuse, self._gate.rate = options.refuse, options.accept_rate
        self.admission.rule(options.allow, options.deny, options.max_clients_per_ip)
        self._permits.resize(self._most_clients())
        self.rules.tell()
        if self.engine.acceptor is not None:  # which may rest for a limit that was another one
            self.engine.acceptor.start()

    def _most_clients(self) -> int:
        options = self._options
        if self._handler.is_session and options.threads_limited:
            return min(options.max_clients, options.max_threads)
        return options.max_clients

    def begin_closing(self) -> list[Connection]:
        """Under the lock: the clients that are there; who comes from now on is a late one."""
        self._closing = True
        there = [c for c in self.connections.values() if c.admitted]
        self.drained = len(there)
        return there

    def clients(self) -> tuple[Connection, ...]:
        """Under the lock: those that are neither being opened nor being refused."""
        return tuple(c for c in self.connections.values() if c.admitted and c._opening is None)

    def figures(self) -> ReceptionFigures:
        """What has been counted so far, and who is there; any thread."""
        with self._changed:
            admitted = [c for c in self.connections.values() if c.admitted]
            accepted, counts = self.accepted, self._gone[:]
            closed = {CloseReason(value): count for value, count in self._closed.items() if count}
        # What is counted for these from here on is counted twice by nobody: they are not among
        # those that have gone.
        for connection in admitted:
            _add_to(counts, connection)
        return ReceptionFigures(admitted, accepted, closed, Traffic(*counts))

    @property
    def most_clients(self) -> int:
        """How many clients there may be at once; any thread."""
        return self._permits.most

    # The acceptor.

    def _admit(
        self, stream: Stream, listener: Listener, loop: Loop, refused: CloseReason | None
    ) -> bool:
        """A client has come; whether it has its permit."""
        parser = None
        if self._proxied and refused is None:
            if stream.peer.scheme == "unix" or stream.peer.host in self._options.proxy_trust:
                parser = self._parser()
            elif self._options.proxy_protocol == "required":
                refused = CloseReason.DENIED
        connection = Connection(
            next(self._ids),
            stream,
            self._options.framing.codec(self._options.max_message),
            loop,
            session=self._handler.is_session,
            rules=self.rules,
        )
        if refused is None and parser is None and not self.admission.open:
            refused = self.admission.judge(connection)
        if refused is not None:
            self._turn_away(connection, loop, refused, plain=not listener.secure)
            return False
        if parser is not None or listener.secure:
            connection.disown()
            connection._opening = Opening(parser, secure=listener.secure)
        with self._changed:
            self.connections[connection.id] = connection
            self.accepted += 1
            late = self._closing
            self.drained += late
        try:
            self.engine.serve(connection, loop)
        except BaseException:
            with self._changed:
                del self.connections[connection.id]
                self._closed[CloseReason.NO_CAPACITY._value_] += 1
                self.drained -= late
            self.admission.leave(connection)
            raise
        if late:
            self.engine.later(_FIRST_MESSAGE, connection.drain)
        return True

    def _parser(self) -> ProxyParser:
        from .proxy_protocol import ProxyParser

        return ProxyParser(optional=self._options.proxy_protocol == "optional")

    def _turn_away(
        self, connection: Connection, loop: Loop, reason: CloseReason, *, plain: bool
    ) -> None:
        """Refuse a client, with the busy reply if it is for that, and can be given."""
        self.admission.note_refused(reason, connection.peer)
        reply = self._options.busy_reply
        if reply is None or not plain or self._proxied or reason not in _TELL_BUSY:
            connection._stream.close()
            return
        connection.disown(reason)
        connection.end_reading(reason, stop=True)
        connection.admitted = False
        with self._changed:
            crowded = self._turned_away >= self._options.max_refusals
            if not crowded:
                self._turned_away += 1
                self.connections[connection.id] = connection
        if crowded:
            connection._stream.close()
            return
        try:
            self.engine.turn_away(connection, loop, reply)
        except BaseException:
            with self._changed:
                del self.connections[connection.id]
                self._turned_away -= 1
            raise

    # The engine, on any thread.

    def _forget(self, connection: Connection) -> None:
        """The connection is closed for good."""
        with self._changed:
            del self.connections[connection.id]
            if connection.admitted:
                reason = connection._close_reason or connection._end_reason or CloseReason.CUT
                self._closed[reason._value_] += 1
                _add_to(self._gone, connection)
            else:
                self._turned_away -= 1
            if self._closing:
                self._changed.notify_all()
        if connection.admitted:
            if connection._site is not None:
                self.admission.leave(connection)
            self._permits.give_back()
