"""What has been read of a connection, and whether more is to come.

All of it belongs to the connection's owner: the loop, or a thread of its own. The three
flags that other threads set are only looked at here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import CloseReason, FramingError, MessageTooLarge, TlsError, TruncatedMessage
from .framing import Codec
from .framing.codec import SettleTime
from .limits import READ_SIZE
from .transport import Stream

if TYPE_CHECKING:
    from .transport.tls import Tls

__all__ = ["Incoming", "reason_of"]


class Incoming:
    """The reading half of a connection: it is fed and asked for messages; it waits for nothing."""

    __slots__ = (
        "_budget",
        "_closing",
        "_codec",
        "_deaf",
        "_draining",
        "_end_reason",
        "_ended",
        "_finishing",
        "_peer_gone",
        "_settle_time",
        "_stopped",
        "_stream",
        "_tls",
        "_violation",
        "bytes_received",
        "messages_received",
    )

    def __init__(self, stream: Stream, codec: Codec) -> None:
        self._stream = stream  # constant; see Stream for who may call what
        self._codec = codec  # owner; encode() by any thread
        self.messages_received = 0  # owner, like all up to the flags
        self.bytes_received = 0
        self._ended = False  # no more will be read
        self._end_reason: CloseReason | None = None  # why not
        self._stopped = False  # nor is what the codec still holds to be handled
        self._peer_gone = False  # the peer has ended its side, so nothing is unread
        self._settle_time: SettleTime | None = None  # made when a codec has to guess
        self._budget: int | None = None  # bytes a drain still lets it read
        self._finishing = False  # the message begun is the last
        self._violation: FramingError | TlsError | None = None  # what the peer did wrong
        # Owner and send lock together to set; so the holder of either may use it. See Tls.
        self._tls: Tls | None = None

        # Flags, set by whoever holds the connection's state lock.
        self._draining = False  # what was begun is to be finished, no more
        self._closing = False  # nothing more is to be sent or handled
        self._deaf = False  # we have shut down the reading side ourselves

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be handled, even if it has been read."""
        return self._closing or self._stopped

    @property
    def end_reason(self) -> CloseReason | None:
        """Why nothing more is read, ``None`` while something may be."""
        return self._end_reason

    @property
    def violation(self) -> FramingError | TlsError | None:
        """What the peer did to the framing, or to TLS."""
        return self._violation

    @property
    def begun(self) -> bool:
        """Whether a message, or a TLS record, has begun to arrive and is not complete."""
        return self._codec.unread > 0 or (self._tls is not None and self._tls.begun)

    def feed(self, data: bytes) -> None:
        """Take what was read. Raises TlsError."""
        if self._budget:
            self._budget = max(0, self._budget - len(data))
        if self._tls is not None:
            self._feed_sealed(self._tls, data)
        else:
            self.bytes_received += len(data)
            self._codec.feed(data)

    def _feed_sealed(self, tls: Tls, data: bytes) -> None:
        try:
            data = tls.open(data)
            if tls.failure is not None:  # nobody would get the answer to what came before it
                tls.open(b"")
        except TlsError as error:
            self._violation = error
            self.end_reading(CloseReason.TLS_ERROR, stop=True)
            raise
        if data:
            self.bytes_received += len(data)
            self._codec.feed(data)
        if tls.ended and not self._ended:
            self.note_peer_end(CloseReason.PEER_CLOSED)

    def decoded(self) -> bytes | None:
        """The next message that has been read whole. Raises FramingError."""
        try:
            message = self._codec.next_message()
        except FramingError as error:
            self._violation = error
            self._ended = True
            raise
        if message is not None:
            self.messages_received += 1
            if self._finishing:
                self.end_reading(CloseReason.DRAINED, stop=True)
        return message

    def allowance(self) -> int:
        """How many bytes may be read at once; 0, when draining, if all that was begun is done.

        What had arrived when the drain was met is read, and then the rest of the
        message that it leaves unfinished, which is the last to be answered.
        """
        if not self._draining:
            return READ_SIZE.whole
        if self._budget is None:
            self._budget = self._stream.readable_bytes()
        if self._budget:
            return min(READ_SIZE.whole, self._budget)
        self._finishing = self.begun
        return READ_SIZE.whole if self._finishing else 0

    def settle_at(
        self, deadline: float | None = None, now: Callable[[], float] = time.monotonic
    ) -> float | None:
        """By when to stop waiting for bytes: ``deadline``, or sooner if the codec has to guess."""
        if self._codec.patience is None:
            return deadline
        if self._settle_time is None:
            self._settle_time = SettleTime(self._codec)
        return self._settle_time.before(deadline, now)

    def note_peer_end(self, reason: CloseReason, *, stop: bool = False) -> None:
        """The stream has ended; ``stop`` if by a reset, so that nobody would get an answer.

        Raises FramingError or TlsError for one that ended without TLS's own end, within a
        message.
        """
        if self._tls is not None and not stop:
            self._require_tls_end(self._tls)
        self._peer_gone = stop or not self._deaf
        if self._draining and not stop:
            reason = CloseReason.DRAINED
        self.end_reading(reason, stop=stop)

    def _require_tls_end(self, tls: Tls) -> None:
        """Anybody on the way can end the stream: what is incomplete then is nobody's message."""
        if tls.ended or tls.info is None or self._deaf or not self.begun:
            return
        unread = self._codec.unread
        self._violation = (
            TruncatedMessage(unread, self.bytes_received - unread)
            if unread
            else TlsError("the stream ended within a record")
        )
        self.end_reading(reason_of(self._violation), stop=True)
        raise self._violation

    def is_over(self) -> bool:
        """Whether, all that was read being handled, nothing more is to come."""
        if self._draining and not self._ended and not self.allowance():
            self.end_reading(CloseReason.DRAINED)
        return self._ended or self.finished

    def end_reading(self, reason: CloseReason, *, stop: bool = False) -> None:
        """Nothing more will be read. Replies can still be sent.

        ``stop``: nor is anything handled that the codec still holds.
        """
        self._ended = True
        self._stopped = stop
        if self._end_reason is None:
            self._end_reason = reason
        self._codec.end()


def reason_of(error: FramingError | TlsError) -> CloseReason:
    """The close reason for what a peer did to the framing, or to TLS."""
    if isinstance(error, TlsError):
        return CloseReason.TLS_ERROR
    if isinstance(error, MessageTooLarge):
        return CloseReason.MESSAGE_TOO_LARGE
    return CloseReason.FRAMING_ERROR
