"""What comes before a connection's first message: a proxy's header, and the TLS handshake.

The loop reads for both, as it does for everything; so a peer that sends nothing, or stops half
way, costs no thread. The handshake's arithmetic, which takes a millisecond and more, is done
step by step on threads of its own, few at a time: a step works in memory alone, on the
connection's :class:`~threadwire.transport.tls.Tls`, which nobody else touches meanwhile,
because the loop does not read then. The descriptor stays the loop's all the time.

Everything belongs to the holder of the loop's baton, except for what a step does.
"""

from __future__ import annotations

import collections
import enum
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .. import events
from ..connection import Connection
from ..errors import CloseReason, ProxyHeaderError, ThreadwireError, TimeLimitError, TlsError
from ..rules import Rules
from .admission import Admission
from .clients import Clients
from .spare_threads import SpareThreads
from .timers import Timer, Timers

if TYPE_CHECKING:
    from ..proxy_protocol import NoHeader, ProxyHeader, ProxyParser
    from ..transport.tls import Tls

__all__ = ["Opening", "Openings"]

_STEPS: Final = 4  # handshakes that are computed at once


class Opening:
    """How far one connection's opening has come."""

    __slots__ = ("begun", "data", "home", "parser", "secure", "stepping", "timer", "tls")

    def __init__(self, parser: ProxyParser | None, *, secure: bool) -> None:
        self.home: Openings | None = None  # once the loop has it
        self.begun = False  # the peer has said something
        self.parser = parser  # while the PROXY header is awaited
        self.secure = secure  # a TLS handshake is to follow
        self.tls: Tls | None = None  # with whom hands are shaken, once it has
        self.data = b""  # read, and not yet given to a step
        self.stepping = False  # a step of the handshake is done, or waits to be
        self.timer: Timer | None = None

    @property
    def reading(self) -> bool:
        """Whether the loop is to read: what the peer sends during a step can wait."""
        return not self.stepping

    def goes_on(self, connection: Connection) -> bool:
        """Whether more is to come; a drain ends those whose peers have not begun."""
        if connection._ended or connection.finished:
            return False
        return self.begun or not connection.draining or connection._stream.readable_bytes() > 0

    def over(self, connection: Connection) -> None:
        """Opened, or released before."""
        connection._opening = None
        self.give_up(connection)

    def give_up(self, connection: Connection) -> None:
        """It will not be opened any more; its last moments are others' affair."""
        if self.timer is not None:
            self.timer.cancel()
        if self.home is not None:
            self.home.forget(connection)


class Openings:
    """One loop's connections that are being opened.

    post
        Makes a call in the loop; any thread.
    admission
        Judges a peer whose real address is known by now.
    opened
        Takes over a connection whose opening is complete, with what was read after it.
    loops
        How many share the handshakes that there may be.
    """

    def __init__(
        self,
        rules: Rules,
        clients: Clients,
        timers: Timers,
        threads: SpareThreads,
        post: Callable[[Callable[[], None]], bool],
        admission: Admission,
        opened: Callable[[Connection, bytes], None],
        loops: int = 1,
    ) -> None:
        self._rules = rules
        self._loops = loops
        self._clients = clients
        self._timers = timers
        self._threads = threads
        self._post = post
        self._admission = admission
        self._opened = opened
        self._shaking: set[Connection] = set()  # hands, or about to
        self._steps = 0  # under way
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()

    def __len__(self) -> int:
        """How many hands are being shaken; any thread."""
        return len(self._shaking)

    def begin(self, connection: Connection, opening: Opening) -> None:
        """The connection is the loop's, and is to be opened."""
        opening.home = self
        if opening.parser is not None:
            self._set_timer(connection, opening, CloseReason.PROXY_ERROR)
        else:
            self._begin_handshake(connection, opening)
        self._clients.hold(connection)
        self._clients.settle(connection)

    def received(self, connection: Connection, opening: Opening, data: bytes) -> None:
        """Something was read."""
        if connection.finished or connection.end_reason is not None:
            return
        opening.begun = True
        if opening.parser is not None:
            self._read_header(connection, opening, opening.parser, data)
        else:
            opening.data += data
            self._step(connection, opening)

    def forget(self, connection: Connection) -> None:
        """It is opened, or released."""
        self._shaking.discard(connection)

    # The PROXY header.

    def _read_header(
        self, connection: Connection, opening: Opening, parser: ProxyParser, data: bytes
    ) -> None:
        try:
            found = parser.feed(data)
        except ProxyHeaderError as error:
            self._fail(connection, error, CloseReason.PROXY_ERROR)
            return
        if found is not None:
            self._heed_header(connection, opening, parser, found)

    def peer_ended(self, connection: Connection, opening: Opening) -> bool:
        """The peer has sent all that it will; ``False`` if a session meets the end by itself."""
        if opening.parser is not None:
            self._settle_header(connection, opening, opening.parser, "the stream ended")
        return connection._here

    def _settle_header(
        self, connection: Connection, opening: Opening, parser: ProxyParser, reason: str
    ) -> None:
        """There is no more to come, or it is waited for no longer."""
        try:
            found = parser.settle(reason)
        except ProxyHeaderError as error:
            self._fail(connection, error, CloseReason.PROXY_ERROR)
        else:
            self._heed_header(connection, opening, parser, found)

    def _heed_header(
        self,
        connection: Connection,
        opening: Opening,
        parser: ProxyParser,
        found: ProxyHeader | NoHeader,
    ) -> None:
        """The header is complete, or there is none and need not be one."""
        opening.parser = None
        if not isinstance(found, enum.Enum):
            connection.proxy = found
            if not found.local and found.source is not None:
                connection.peer = found.source
        if connection.proxy is None or not connection.proxy.local:  # else it is the proxy itself
            refused = self._admission.judge(connection)
            if refused is not None:
                self._refuse(connection, refused)
                return
        if not opening.secure:
            self._complete(connection, opening, parser.rest)
        elif self._begin_handshake(connection, opening):
            if parser.rest:
                self.received(connection, opening, parser.rest)
            self._clients.settle(connection)

    # The handshake.

    def _begin_handshake(self, connection: Connection, opening: Opening) -> bool:
        if len(self._shaking) >= max(1, self._rules.max_handshakes // self._loops):
            self._refuse(connection, CloseReason.BUSY)
            return False
        from ..transport.tls import Tls  # by now it has been imported

        assert self._rules.tls is not None
        opening.tls = Tls(self._rules.tls.context, server_side=True)
        self._shaking.add(connection)
        self._set_timer(connection, opening, CloseReason.HANDSHAKE_TIMEOUT)
        return True

    def _step(self, connection: Connection, opening: Opening) -> None:
        """Have a thread go on with the handshake, or let it wait until one may."""
        opening.stepping = True
        self._clients.settle(connection)
        data, opening.data = opening.data, b""
        step = functools.partial(self._take_step, connection, opening, data)
        if self._steps >= _STEPS:
            self._waiting.append(step)
            return
        self._run(step)

    def _run(self, step: Callable[[], None]) -> None:
        self._steps += 1
        try:
            self._threads.run(step)
        except BaseException:  # noqa: BLE001 - no thread to be had: everybody waits that long
            step()

    def _take_step(self, connection: Connection, opening: Opening, data: bytes) -> None:
        """A thread of its own."""
        assert opening.tls is not None
        error: BaseException | None = None
        done = False
        try:
            done = opening.tls.handshake(data)
        except BaseException as caught:  # noqa: BLE001 - the loop sorts it out
            error = caught
        self._post(functools.partial(self._stepped, connection, opening, done, error))
        error = None  # or its traceback, which leads here, would be part of a circle

    def _stepped(
        self, connection: Connection, opening: Opening, done: bool, error: BaseException | None
    ) -> None:
        self._steps -= 1
        if self._waiting:
            self._run(self._waiting.popleft())
        if connection._opening is not opening or not opening.goes_on(connection):  # too late
            return
        opening.stepping = False
        connection._tls = opening.tls
        if error is not None:
            if not isinstance(error, TlsError):
                events.engine_failed(error)
                error = TlsError(f"{type(error).__name__}: {error}")
            self._fail(connection, error, CloseReason.TLS_ERROR)
        elif done:
            with connection._send_lock:  # nobody else has it yet
                connection.write_pending_now()  # our last part; a session would wait for the peer's
            self._complete(connection, opening, b"")
        else:
            self._clients.dirty.append(connection)  # our part of the handshake is written

    # How it ends.

    def _complete(self, connection: Connection, opening: Opening, rest: bytes) -> None:
        opening.over(connection)
        try:
            self._opened(connection, rest)
        except BaseException as error:  # noqa: BLE001 - a framing of the user's
            self._clients.fail(connection, error)

    def _set_timer(self, connection: Connection, opening: Opening, reason: CloseReason) -> None:
        if opening.timer is not None:
            opening.timer.cancel()
        if reason is CloseReason.PROXY_ERROR:
            seconds = self._rules.proxy_timeout
        else:
            seconds = self._rules.handshake_timeout
        expire = functools.partial(self._expire, connection, opening, seconds)
        opening.timer = self._timers.after(seconds, expire)

    def _expire(self, connection: Connection, opening: Opening, seconds: float) -> None:
        opening.timer = None
        if connection._opening is not opening or connection._ended:  # it is on its way out
            return
        if opening.parser is not None:
            reason = f"{seconds:g} s had gone by"
            self._settle_header(connection, opening, opening.parser, reason)
        else:
            error = TimeLimitError("TLS handshake", seconds)
            self._fail(connection, error, CloseReason.HANDSHAKE_TIMEOUT)

    def _fail(self, connection: Connection, error: ThreadwireError, reason: CloseReason) -> None:
        self._clients.peer_fault(connection, error)
        self._end(connection, reason)

    def _refuse(self, connection: Connection, reason: CloseReason) -> None:
        self._admission.note_refused(reason, connection.peer)
        self._end(connection, reason)

    def _end(self, connection: Connection, reason: CloseReason) -> None:
        """Nothing more is read; an alert may still be under way."""
        if connection._opening is not None and connection._opening.timer is not None:
            connection._opening.timer.cancel()
        connection.end_reading(reason, stop=True)
        self._clients.dirty.append(connection)
