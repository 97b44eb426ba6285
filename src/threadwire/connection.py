"""What a handler holds: one accepted connection, with its framing and limits.

Who may touch what
------------------
Every field has one of these owners, named beside it:

- *owner*: the one thread that serves the connection now. It alone reads the socket,
  decodes, calls the handler, and in the end closes the descriptor.
- *send lock*: whoever holds ``_send_lock``. Any thread may send; a message is encoded
  before the lock is taken and written whole while it is held, so messages interleave
  only at their boundaries.
- *state lock*: whoever holds ``_state_lock``; it is never held while waiting.

How it ends
-----------
``close()``, a drain and a cut come from any thread. None of them closes the
descriptor: under the state lock they note what is wanted and, unless ``_released``
is set, shut down one or both directions of the socket, which wakes the owner. The
owner sets ``_released`` under the state lock, waits for whoever still reads or writes
to leave (both locks), and closes. So nobody ever acts on a descriptor number that
has been given to another file.

How a drain meets a reader
--------------------------
Before the owner reads it publishes, under the state lock, whether it is idle: whether
no message has been begun. A drain, under the same lock, sets ``_draining`` and shuts
down the reading side if the owner is idle. Whichever comes first sees the other: an
owner that published idle before is woken by the shutdown, one that comes after finds
``_draining`` set. An owner that finds it set reads on only for what had arrived by
then (as counted by the kernel) and to the end of the message that this leaves begun.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

from .errors import (
    CloseReason,
    ConnectionClosed,
    FramingError,
    MessageTooLarge,
    TimeLimitError,
    UsageError,
)
from .framing import BytesLike, Codec, require_bytes
from .framing.codec import SettleTime
from .limits import LINGER_BYTES, LINGER_TIMEOUT, READ_SIZE
from .transport import Stream

__all__ = ["Connection"]

_OUTPUT_POLL = 0.005  # seconds between two looks at what has not been delivered yet


class Connection:
    """One accepted connection, as handlers see it.

    id
        A number that no other connection of this server has, from 1 on.
    peer, local
        Both ends' :class:`~threadwire.Address`.
    opened_at
        When it was accepted, in seconds since the epoch.
    messages_received, messages_sent, bytes_received, bytes_sent
        Counts so far; bytes include the framing.
    """

    __slots__ = (
        "_aborted",
        "_budget",
        "_close_reason",
        "_closing",
        "_codec",
        "_draining",
        "_end_reason",
        "_ended",
        "_finishing",
        "_idle",
        "_opened_clock",
        "_receive_lock",
        "_released",
        "_send_lock",
        "_session",
        "_settle_time",
        "_state",
        "_state_lock",
        "_stopped",
        "_stream",
        "_thread",
        "_violation",
        "_write_timeout",
        "bytes_received",
        "bytes_sent",
        "id",
        "local",
        "messages_received",
        "messages_sent",
        "opened_at",
        "peer",
    )

    def __init__(
        self,
        connection_id: int,
        stream: Stream,
        codec: Codec,
        *,
        session: bool,
        write_timeout: float | None,
    ) -> None:
        self.id = connection_id  # constant
        self.peer = stream.peer  # constant
        self.local = stream.local  # constant
        self.opened_at = time.time()  # constant
        self._opened_clock = time.monotonic()  # constant
        self._stream = stream  # constant; see Stream for who may call what
        self._codec = codec  # owner; encode() by any thread
        self._session = session  # constant
        self._write_timeout = write_timeout  # constant
        self._state: dict[str, Any] | None = None  # the user's; made by the state lock's holder

        self.messages_received = 0  # owner
        self.bytes_received = 0  # owner
        self.messages_sent = 0  # send lock
        self.bytes_sent = 0  # send lock

        self._thread: int | None = None  # the owner's thread ident; set by the owner
        self._ended = False  # owner: no more will be read
        self._end_reason: CloseReason | None = None  # owner: why not
        self._stopped = False  # owner: nor is what the codec still holds to be handled
        self._settle_time = SettleTime(codec)  # owner
        self._budget: int | None = None  # owner: bytes a drain still lets it read
        self._finishing = False  # owner: the message begun is the last
        self._violation: FramingError | None = None  # owner: what the peer did wrong

        self._send_lock = threading.Lock()
        self._receive_lock = threading.Lock()  # held by the one thread that receives
        self._state_lock = threading.Lock()
        self._idle = False  # state lock: the owner may wait in a read, nothing begun
        self._draining = False  # state lock
        self._closing = False  # state lock to set; read by any thread: send() refuses
        self._aborted = False  # state lock to set; nothing is delivered any more
        self._released = False  # state lock; the descriptor is the owner's alone from here on
        self._close_reason: CloseReason | None = None  # state lock; the first reason stays

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.peer} {self._close_reason or 'open'}>"

    # For handlers.

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

    def close(self) -> None:
        """End the connection; from any thread, any number of times.

        What was sent before is delivered, and a message that is being handled is
        still answered; after that nothing is sent or received.
        """
        with self._state_lock:
            self._note_close(CloseReason.HANDLER_CLOSED)
            if not self._released:
                self._stream.shutdown_read()

    # For the engine. Owner only, unless it says otherwise.

    def next_message(self, timeout: float | None = None) -> bytes | None:
        """Owner: the next message, waiting for it; ``None`` when there are no more.

        Raises FramingError, and TimeLimitError when ``timeout`` seconds have gone by.
        """
        codec = self._codec
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (self._closing or self._stopped):
            try:
                message = codec.next_message()
            except FramingError as error:
                self._violation = error
                self._ended = True
                raise
            if message is not None:
                self.messages_received += 1
                if self._finishing:
                    self._end_reading(CloseReason.DRAINED, stop=True)
                return message
            if self._ended:
                return None
            if not self._read(deadline):
                raise TimeLimitError("message", timeout or 0.0)
        return None

    def send_reply(self, message: BytesLike) -> None:
        """Any thread: send, even when closing, what answers a message already taken."""
        if type(message) is not bytes:
            require_bytes(message)
            message = bytes(message)
        data = self._codec.encode(message)
        with self._send_lock:
            if self._released:
                raise self._closed_error()
            try:
                self._stream.write(data, self._write_timeout)
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
            self.messages_sent += 1
            self.bytes_sent += len(data)

    def own(self) -> None:
        """The calling thread becomes the owner."""
        self._thread = threading.get_ident()

    @property
    def owner(self) -> int | None:
        """The ident of the thread that serves it, ``None`` before there is one."""
        return self._thread

    @property
    def end_reason(self) -> CloseReason | None:
        """Owner: why nothing more is read, ``None`` while something may be."""
        return self._end_reason

    @property
    def violation(self) -> FramingError | None:
        """What the peer did to the framing."""
        return self._violation

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return time.monotonic() - self._opened_clock

    def drain(self) -> None:
        """Any thread: finish what was begun, then close."""
        with self._state_lock:
            self._draining = True
            if self._idle and not self._released:
                self._stream.shutdown_read()

    def abort(self, reason: CloseReason) -> None:
        """Any thread: close at once, whatever is under way."""
        with self._state_lock:
            self._note_close(reason)
            self._aborted = True
            if not self._released:
                self._stream.shutdown()

    def finish(self, reason: CloseReason) -> None:
        """Owner: close the descriptor; ``reason`` stands unless there was one before.

        Everything sent has been handed to the system by now, and is given the time to
        arrive. A peer that may still be sending is read from a little longer: closing
        with unread bytes would make the system reset the connection and destroy what
        the peer has not read yet.
        """
        with self._state_lock:
            self._note_close(reason)
        stream = self._stream
        if not self._aborted:
            self._deliver()
            stream.shutdown_write()
            stream.discard(LINGER_BYTES.whole, LINGER_TIMEOUT.default)
        # Whoever waits in a read or write is woken; then both sides are ours to close.
        with self._state_lock:
            self._released = True
            stream.shutdown()
        with self._send_lock, self._receive_lock:
            stream.close()

    # Inner workings.

    def _deliver(self) -> None:
        """Owner: wait until the peer's system has all that was sent, while it takes any.

        Before the writing side is shut down: once both sides are, as after ``close()``,
        the system answers whatever the peer still sends with a reset.
        """
        stream, pause = self._stream, threading.Event()
        deadline = time.monotonic() + (self._write_timeout or math.inf)
        unsent = stream.unsent_bytes()
        progress = time.monotonic()
        while unsent and not self._aborted:
            now = time.monotonic()
            if now >= deadline or now - progress >= LINGER_TIMEOUT.default:
                return
            try:
                discarded = stream.read_nowait()
            except OSError:
                return  # a reset: nothing arrives any more
            if not discarded:
                pause.wait(_OUTPUT_POLL)  # the system does not announce it
            before, unsent = unsent, stream.unsent_bytes()
            if unsent != before:
                progress = time.monotonic()

    def _note_close(self, reason: CloseReason) -> None:
        """State lock held: nothing more is sent; the first reason stays."""
        self._closing = True
        if self._close_reason is None:
            self._close_reason = reason

    def _closed_error(self) -> ConnectionClosed:
        reason = self._close_reason or self._end_reason or CloseReason.PEER_CLOSED
        error = ConnectionClosed(reason)
        error.connection = self
        return error

    def _receive(self, timeout: float | None) -> bytes | None:
        if not self._session:
            raise UsageError(
                "receive() is for session handlers: mark the handler with @threadwire.session, "
                "or take one message a call"
            )
        if not self._receive_lock.acquire(blocking=False):
            raise UsageError("receive() is called by another thread at this moment")
        try:
            return self.next_message(timeout)
        finally:
            self._receive_lock.release()

    def _read(self, deadline: float | None) -> bool:
        """Owner: one read into the codec, or the discovery that there is no more.

        ``False``, with nothing changed, when ``deadline`` has passed.
        """
        codec = self._codec
        with self._state_lock:
            draining = self._draining
            self._idle = codec.unread == 0
        size = self._allowance() if draining else READ_SIZE.whole
        if not size:
            self._end_reading(CloseReason.DRAINED)
            return True
        try:
            until = self._settle_time.before(deadline, time.monotonic)
            data = self._stream.read_until(until, size)
        except OSError:
            # What was begun cannot be finished: the peer would not get the answer.
            self._end_reading(CloseReason.PEER_RESET, stop=True)
            return True
        # Not locked: a drain that still sees True meets a message begun this instant, and
        # could as well have come before it.
        self._idle = False
        if data:
            self.bytes_received += len(data)
            if self._budget:
                self._budget -= len(data)
            codec.feed(data)
        elif data is None:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            codec.settle()
        else:
            self._end_reading(CloseReason.DRAINED if self._draining else CloseReason.PEER_CLOSED)
        return True

    def _allowance(self) -> int:
        """Owner, draining: how many bytes may be read at once; 0 when all that was begun is done.

        What had arrived when the drain was met is read, and then the rest of the
        message that it leaves unfinished, which is the last to be answered.
        """
        if self._budget is None:
            self._budget = self._stream.readable_bytes()
        if self._budget:
            return min(READ_SIZE.whole, self._budget)
        self._finishing = self._codec.unread > 0
        return READ_SIZE.whole if self._finishing else 0

    def _end_reading(self, reason: CloseReason, *, stop: bool = False) -> None:
        """Owner: nothing more will be read. Replies can still be sent.

        ``stop``: nor is anything handled that the codec still holds.
        """
        self._ended = True
        self._stopped = stop
        if self._end_reason is None:
            self._end_reason = reason
        self._codec.end()


def reason_of(error: FramingError) -> CloseReason:
    """The close reason for what a peer did to the framing."""
    if isinstance(error, MessageTooLarge):
        return CloseReason.MESSAGE_TOO_LARGE
    return CloseReason.FRAMING_ERROR
