"""What a handler holds: one accepted connection, with its framing and limits.

Who may touch what is said in :mod:`.ownership`.

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

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .address import Address
from .errors import CloseReason, TimeLimitError, UsageError
from .framing import BytesLike, require_bytes
from .limits import READ_SIZE
from .ownership import Home, Owned

if TYPE_CHECKING:
    from .transport.tls import TlsInfo

__all__ = ["Connection", "Home"]


class Connection(Owned):
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

    __slots__ = ()

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
        finally:
            with self._state_lock:
                parked = self._parked
            if parked:
                self._home.attend(self)

    # For the engine: a thread of its own.

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
            self._reading = False
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
            self._reading = False
            self.note_peer_end(CloseReason.PEER_RESET, stop=True)
            return True
        # Not locked: a drain that still sees True meets a message begun this instant, and
        # could as well have come before it.
        self._idle = self._reading = False
        if data:
            self.feed(data)
            if self._tls is not None and self._tls.pending:
                self._answer_tls()
        elif data is None:
            if settle_at is None or (deadline is not None and time.monotonic() >= deadline):
                return False
            codec.settle()
        else:
            self.note_peer_end(CloseReason.PEER_CLOSED)
        return True

    # Inner workings.

    def _answer_tls(self) -> None:
        """TLS itself has something to say; whoever is sending now says it along with that."""
        if self._send_lock.acquire(blocking=False):
            try:
                self.write_pending_now()
            finally:
                self._send_lock.release()

    def _receive(self, timeout: float | None) -> bytes | None:
        receiving = self._receive_lock
        if receiving is None:
            raise UsageError(
                "receive() is for session handlers: mark the handler with @threadwire.session, "
                "or take one message a call"
            )
        if not receiving.acquire(blocking=False):
            raise UsageError("receive() is called by another thread at this moment")
        message = None
        self.busy_since = 0.0
        try:
            message = self.next_message(timeout)
            return message
        finally:
            self.busy_since = time.monotonic()
            if message is not None:
                self.active_at = self.busy_since
            receiving.release()
