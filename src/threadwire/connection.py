"""What a handler holds: one accepted connection, with its framing and limits.

Who may touch what
------------------
At every instant a connection has one owner: the loop it belongs to, which means the thread
that holds that loop's baton; or a thread of its own; or nobody, once it has been released.
Every field has one of these beside it:

- *owner*: the thread that reads the socket, decodes and calls the handler.
- *loop*: the holder of the baton, whether the loop owns the connection now or not.
- *send lock*: whoever holds ``_send_lock``. Any thread may send; a message is encoded
  before the lock is taken and written whole while it is held, so messages interleave
  only at their boundaries.
- *state lock*: whoever holds ``_state_lock``; it is never held while waiting.

How it is told things
---------------------
``close()``, a drain and a cut come from any thread. None of them closes the descriptor:
under the state lock they note what is wanted. If the connection has a thread of its own,
which may be waiting in a read, they shut down one or both directions of the socket, which
wakes it; otherwise they ask the loop to attend to it. ``_own`` says which, under the same
lock, so whoever makes a connection change hands either sees what was noted or is woken.

How a drain meets a reading thread
----------------------------------
Before an own thread reads it publishes, under the state lock, whether it is idle: whether
no message has been begun. A drain, under the same lock, sets ``_draining`` and shuts
down the reading side if the thread is idle. Whichever comes first sees the other: a
thread that published idle before is woken by the shutdown, one that comes after finds
``_draining`` set. An owner that finds it set reads on only for what had arrived by
then (as counted by the kernel) and to the end of the message that this leaves begun.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from .address import Address
from .errors import CloseReason, ConnectionClosed, TimeLimitError, UsageError
from .framing import BytesLike, Codec, require_bytes
from .limits import READ_SIZE
from .outgoing import Outgoing
from .rules import Rules
from .transport import Stream

if TYPE_CHECKING:
    from .engine.farewell import Farewell
    from .engine.opening import Opening
    from .engine.timers import Timer
    from .proxy_protocol import ProxyHeader
    from .transport.tls import TlsInfo

__all__ = ["Connection", "Home"]


class Home(Protocol):
    """The loop that a connection belongs to."""

    def attend(self, connection: Connection, /) -> None:
        """Any thread: have a look at it, its state has changed."""


class Connection(Outgoing):
    """One accepted connection, as handlers see it.

    id
        A number that no other connection of this server has, from 1 on.
    peer, local
        Both ends' :class:`~threadwire.Address`. Behind a proxy whose PROXY header is
        heeded, ``peer`` is the client that the proxy speaks for.
    proxy
        That header, or ``None``.
    opened_at
        When it was accepted, in seconds since the epoch.
    messages_received, messages_sent, bytes_received, bytes_sent
        Counts so far; bytes include the framing.
    """

    __slots__ = (
        "_aborted",
        "_close_reason",
        "_farewell",
        "_fd",
        "_here",
        "_home",
        "_idle",
        "_interest",
        "_opened_clock",
        "_opening",
        "_own",
        "_parked",
        "_proven",
        "_quick",
        "_reading",
        "_receive_lock",
        "_released",
        "_rest",
        "_rules",
        "_site",
        "_state",
        "_state_lock",
        "_strikes",
        "_taken",
        "_thread",
        "_timer",
        "admitted",
        "id",
        "opened_at",
        "peer",
        "proxy",
    )

    def __init__(
        self,
        connection_id: int,
        stream: Stream,
        codec: Codec,
        home: Home,
        *,
        session: bool,
        rules: Rules,
    ) -> None:
        super().__init__(stream, codec)
        self.id = connection_id  # constant
        self.peer = stream.peer  # constant from the opening on; a PROXY header may change it before
        self.proxy: ProxyHeader | None = None  # the same
        self._site: str | int | None = None  # whoever admits it: as what its peer is counted
        self.admitted = True  # constant once it is the loop's: it holds a permit
        self.opened_at = time.time()  # constant
        self._opened_clock = time.monotonic()  # constant
        self._fd = stream.fileno()  # constant; ours until the release
        self._home = home  # constant
        self._rules = rules  # constant
        self._state: dict[str, Any] | None = None  # the user's; made by the state lock's holder

        self._here = False  # loop: it is the one that serves it
        self._interest = 0  # loop: what its poller waits for on this connection
        self._proven = False  # loop: its handler has been quick once, and not slow since
        self._strikes = 0  # loop, or the own thread: how often its handler has proved slow
        self._timer: Timer | None = None  # loop: what is due if nothing happens before
        self._taken = 0  # loop: bytes that the peer has read since that timer was set
        self._opening: Opening | None = None  # loop: what comes before its first message
        self._farewell: Farewell | None = None  # loop: how far its ending has come

        # Loop: what is still to be answered when the peer has taken the replies so far.
        self._rest: tuple[Iterator[bytes] | None, Iterator[bytes]] | None = None
        # Held by the one thread that receives; a session's alone.
        self._receive_lock = threading.Lock() if session else None

        # One that may be taken again: the collector can run a finalizer that closes this.
        self._state_lock = threading.RLock()
        self._own = session  # state lock: a thread of its own serves it
        self._thread: int | None = None  # state lock: that thread's ident
        self._idle = False  # state lock: the own thread may wait in a read, nothing begun
        # Own thread to set, any thread to read, as a hint: it waits for the peer.
        self._reading = False
        # State lock to set, the loop alone to read: nothing keeps a message from being handled
        # the short way. It may be False for long, and then all else is looked at, too.
        self._quick = False
        self._parked = False  # state lock: the loop waits until a sender has left
        self._aborted = False  # state lock to set; nothing is delivered any more
        self._released = False  # state lock; nobody touches the descriptor from here on
        self._close_reason: CloseReason | None = None  # state lock; the first reason stays

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.peer} {self._close_reason or 'open'}>"

    # For handlers.

    @property
    def local(self) -> Address:
        return self._stream.local

    @property
    def tls(self) -> TlsInfo | None:
        """Version, cipher and the peer's certificate; ``None`` without TLS."""
        return None if self._tls is None else self._tls.info

    @property
    def state(self) -> dict[str, Any]:
        """A dict for the handler's own use, as long as the connection lives."""
        with self._state_lock:
            if self._state is None:
                self._state = {}
            return self._state

    @property
    def closed(self) -> bool:
        """Whether it has ended or is about to: nothing more can be sent."""
        return self._closing

    @property
    def draining(self) -> bool:
        """Whether the server is closing; a long session should come to its end."""
        return self._draining

    @property
    def close_reason(self) -> CloseReason | None:
        """Why it ended, or ``None`` while it is open."""
        return self._close_reason

    def send(self, message: BytesLike) -> None:
        """Send one message; from any thread.

        Blocks while the peer does not read, at most ``write_timeout`` without any
        progress; then the connection is closed. Raises
        :class:`~threadwire.ConnectionClosed`, or :class:`~threadwire.UsageError`
        for what is not bytes or cannot be framed.
        """
        if self._closing:
            raise self._closed_error()
        self.send_reply(message)

    def receive(self, timeout: float | None = None) -> bytes:
        """The next message, in a session handler.

        ``timeout``: seconds to wait [for ever]; then
        :class:`~threadwire.TimeLimitError` is raised and nothing is lost. Raises
        :class:`~threadwire.ConnectionClosed` when there will be no more, and
        :class:`~threadwire.FramingError` when the peer breaks the framing.
        """
        message = self._receive(timeout)
        if message is None:
            raise self._closed_error()
        return message

    def __iter__(self) -> Iterator[bytes]:
        """The messages to come; ends when the peer does, or the server drains."""
        while (message := self._receive(None)) is not None:
            yield message

    def start_tls(self) -> TlsInfo:
        """Go on in TLS, in a session handler that has agreed that with its peer.

        Waits for the handshake, at most ``handshake_timeout``. Raises
        :class:`~threadwire.TlsError` if it fails, which ends the connection;
        :class:`~threadwire.UsageError` if the server has no certificate, or the connection
        TLS already; :class:`~threadwire.ConnectionClosed`.
        """
        from .engine.starttls import start_tls

        return start_tls(self, self._rules)

    def close(self) -> None:
        """End the connection; from any thread, any number of times.

        What was sent before is delivered, and a message that is being handled is
        still answered; after that nothing is sent or received.
        """
        with self._state_lock:
            self._note_close(CloseReason.HANDLER_CLOSED)
            if self._released:
                return
            if self._own:
                self._deafen()
                return
        self._home.attend(self)

    # For the engine: any thread.

    @property
    def owner(self) -> int | None:
        """The ident of the thread that serves it alone, ``None`` while the loop does."""
        return self._thread

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return time.monotonic() - self._opened_clock

    def drain(self) -> None:
        """Finish what was begun, then close."""
        with self._state_lock:
            self._draining = True
            self._quick = False
            if self._released:
                return
            if self._own:
                if self._idle:
                    self._deafen()
                return
        self._home.attend(self)

    def abort(self, reason: CloseReason) -> None:
        """Close at once, whatever is under way."""
        with self._state_lock:
            self._note_close(reason)
            self._aborted = True
            if self._released:
                return
            self._stream.shutdown()
        self._home.attend(self)

    def send_reply(self, message: BytesLike) -> None:
        """Send, even when closing, what answers a message already taken."""
        if type(message) is not bytes:
            require_bytes(message)
            message = bytes(message)
        data = self._codec.encode(message)
        try:
            with self._send_lock:
                self._write(data)
                self._sent += 1
                self._written += len(data)
        finally:
            with self._state_lock:
                parked = self._parked
            if parked:
                self._home.attend(self)

    # For the engine: a thread of its own.

    def own(self, thread: int | None) -> None:
        """From here on a thread serves it alone. Called by who gives it, and by that thread."""
        with self._state_lock:
            self._own = True
            self._quick = False
            self._thread = thread

    def disown(self, reason: CloseReason | None = None) -> None:
        """The own thread has done with it; with ``reason``, it is to end."""
        with self._state_lock:
            if reason is not None:
                self._note_close(reason)
            self._own = self._idle = False
            self._thread = None

    def flush(self) -> None:
        """Own thread: write what is pending, waiting for the peer."""
        with self._send_lock:
            if self.has_pending:
                self._write(b"")
        error = self.take_unframed()
        if error is not None:
            raise error

    def next_message(self, timeout: float | None = None) -> bytes | None:
        """Own thread: the next message, waiting for it; ``None`` when there are no more.

        Raises FramingError, and TimeLimitError when ``timeout`` seconds have gone by.
        """
        if timeout is None and (message := self._only_message()) is not None:
            return message
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.finished:
            message = self.decoded()
            if message is not None:
                return message
            if self._ended:
                return None
            if not self.read_more(deadline):
                raise TimeLimitError("message", timeout or 0.0)
        return None

    def _only_message(self) -> bytes | None:
        """The frequent case, the short way: nothing is begun, and a read brings one message.

        Otherwise ``None``, with what was read fed to the codec, or noted to be the end.
        """
        codec = self._codec
        if codec.unread or self._ended or self._closing or self._stopped or self._tls is not None:
            return None
        with self._state_lock:
            self._idle = not self._draining
        if not self._idle:
            return None
        self._reading = True
        try:
            data = self._stream.read()
        except OSError:
            self.note_peer_end(CloseReason.PEER_RESET, stop=True)
            return None
        self._idle = self._reading = False  # not locked, as below
        if data:
            message = codec.only_message(data)
            if message is None or self._closing:
                self.feed(data)
                return None
            self.bytes_received += len(data)
            self.messages_received += 1
            return message
        if data is not None:
            self.note_peer_end(CloseReason.PEER_CLOSED)
        return None

    def read_more(self, deadline: float | None = None) -> bool:
        """Own thread: one read into the codec, or the discovery that there is no more.

        ``False``, with nothing changed, when ``deadline`` or the stream's own limit has passed.
        """
        codec = self._codec
        with self._state_lock:
            draining = self._draining
            self._idle = codec.unread == 0 and (self._tls is None or not self._tls.begun)
        size = self.allowance() if draining else READ_SIZE.whole
        if not size:
            self.end_reading(CloseReason.DRAINED)
            return True
        settle_at = self.settle_at(deadline)
        self._reading = True
        try:
            data = self._stream.read_until(settle_at, size)
        except OSError:
            # What was begun cannot be finished: the peer would not get the answer.
            self.note_peer_end(CloseReason.PEER_RESET, stop=True)
            return True
        # Not locked: a drain that still sees True meets a message begun this instant, and
        # could as well have come before it.
        self._idle = self._reading = False
        if data:
            self.feed(data)
        elif data is None:
            if settle_at is None or (deadline is not None and time.monotonic() >= deadline):
                return False
            codec.settle()
        else:
            self.note_peer_end(CloseReason.PEER_CLOSED)
        return True

    # For the engine: the loop, when it is the owner.

    def note_quick(self) -> None:
        """The loop: messages may be handled the short way, if nothing is in the way."""
        with self._state_lock:
            self._quick = not (
                self._draining or self._closing or self._own or self._tls is not None
            )

    def park(self, parked: bool) -> None:
        """The loop: whether senders are to call for attention when they leave."""
        with self._state_lock:
            self._parked = parked

    def note_end(self, reason: CloseReason) -> None:
        """It ends; ``reason`` stands unless there was one before."""
        with self._state_lock:
            self._note_close(reason)

    def release(self) -> bool:
        """Free the descriptor, when nobody can be using it any more.

        Whoever still reads or writes is woken; ``False`` if somebody has not left yet,
        then call again.
        """
        with self._state_lock:
            self._released = True  # from here on nobody else shuts it down
        receiving = self._receive_lock
        if self._send_lock.acquire(blocking=False):
            try:
                if receiving is None or receiving.acquire(blocking=False):
                    self._stream.close()
                    if receiving is not None:
                        receiving.release()
                    return True
            finally:
                self._send_lock.release()
        self._stream.shutdown()
        return False

    # Send lock held.

    def write_pending_now(self) -> None:
        """Write what is pending as far as there is room."""
        data = self.take_pending()
        if data:
            try:
                count = self._stream.write_nowait(data)
            except OSError:
                self.abort(CloseReason.PEER_RESET)
            else:
                if count < len(data):
                    self.put_back(memoryview(data)[count:])

    def _write(self, data: bytes) -> None:
        """Write what is pending, and ``data``, waiting for the peer."""
        if self._released:
            raise self._closed_error()
        timeout = self._rules.write_timeout
        try:
            if self._pending or self._raw or self._tls is not None:
                self._stream.write(self.take_pending(data), timeout)
            else:
                self._stream.write(data, timeout)
        except BaseException as error:
            # Part of it may have gone out: the stream is of no more use.
            if isinstance(error, TimeLimitError):
                self.abort(CloseReason.WRITE_TIMEOUT)
            elif isinstance(error, OSError):
                self.abort(CloseReason.PEER_RESET)
            else:  # a sender was interrupted, as by KeyboardInterrupt
                self.abort(CloseReason.HANDLER_FAILED)
                raise
            raise self._closed_error() from error

    # State lock held.

    def _note_close(self, reason: CloseReason) -> None:
        """Nothing more is sent; the first reason stays."""
        self._closing = True
        self._quick = False
        if self._close_reason is None:
            self._close_reason = reason

    def _deafen(self) -> None:
        self._deaf = True
        self._stream.shutdown_read()

    # Inner workings.

    def _closed_error(self) -> ConnectionClosed:
        reason = self._close_reason or self._end_reason or CloseReason.PEER_CLOSED
        error = ConnectionClosed(reason)
        error.connection = self
        return error

    def _receive(self, timeout: float | None) -> bytes | None:
        receiving = self._receive_lock
        if receiving is None:
            raise UsageError(
                "receive() is for session handlers: mark the handler with @threadwire.session, "
                "or take one message a call"
            )
        if not receiving.acquire(blocking=False):
            raise UsageError("receive() is called by another thread at this moment")
        try:
            return self.next_message(timeout)
        finally:
            receiving.release()
