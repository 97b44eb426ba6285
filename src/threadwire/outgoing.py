"""What is to be sent on a connection: replies that wait, their framing, and counts.

``_pending`` holds whole frames (and perhaps the rest of one) that the owner has put there
and nobody has written, ``_raw`` replies that come after them and are still to be framed. The
owner appends; only a holder of the send lock removes. Whoever writes anything writes what is
pending first, so the order of an owner's replies is kept.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .errors import UsageError
from .framing import Codec
from .incoming import Incoming
from .transport import Stream

if TYPE_CHECKING:
    from .transport.tls import Tls

__all__ = ["Outgoing", "require_frame"]


class Outgoing(Incoming):
    """The writing half of a connection, upon the reading half; nothing here waits."""

    __slots__ = (
        "_answered",
        "_framed",
        "_pending",
        "_raw",
        "_send_lock",
        "_sent",
        "_unframed",
        "_written",
    )

    def __init__(self, stream: Stream, codec: Codec) -> None:
        super().__init__(stream, codec)
        self._send_lock = threading.Lock()
        self._pending: list[bytes | memoryview] | None = None
        self._raw: list[bytes] | None = None
        self._unframed: BaseException | None = (
            None  # send lock to set: what a reply's framing raised
        )
        # Messages and bytes, in two parts each: what the loop writes the short way, and all else.
        self._answered = self._framed = 0  # owner
        self._sent = self._written = 0  # send lock

    @property
    def messages_sent(self) -> int:
        return self._answered + self._sent

    @property
    def bytes_sent(self) -> int:
        return self._framed + self._written

    # Owner.

    def pending(self) -> list[bytes | memoryview]:
        """Where frames are put that the loop is going to write."""
        if self._pending is None:
            self._pending = []
        return self._pending

    def replies(self) -> list[bytes]:
        """Where replies are put that the loop is going to frame and write."""
        if self._raw is None:
            self._raw = []
        return self._raw

    def take_unframed(self) -> BaseException | None:
        """Owner: why a reply could not be framed; the replies after it are nothing any more."""
        error, self._unframed = self._unframed, None
        if error is not None:
            self._raw = None
        return error

    # Send lock held.

    @property
    def has_pending(self) -> bool:
        """Whether there is something to be written; any thread, as a hint."""
        return bool(self._pending or self._raw or (self._tls is not None and self._tls.pending))

    def take_pending(self, data: bytes = b"") -> bytes | memoryview:
        """Take out what is pending, followed by ``data``, for the caller to write."""
        if self._raw:
            self._frame_raw()
        pending = self._pending
        if not pending:
            return data if self._tls is None else self._tls.seal(data)
        taken = pending[:]  # the owner may append meanwhile
        del pending[: len(taken)]
        for part in taken:
            if type(part) is bytes:  # else the rest of what was counted before
                self._written += len(part)
        if data:
            taken.append(data)
        if self._tls is not None:
            return _sealed(self._tls, taken)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _frame_raw(self) -> None:
        """Make the replies that have no framing yet pending, up to one that cannot be framed."""
        raw, pending = self._raw, self.pending()
        if raw is None or self._unframed is not None:
            return
        replies = raw[:]  # the owner may append meanwhile
        try:
            frames = self._codec.encode_all(replies)
            require_frame(frames)
            pending.append(frames)
        except BaseException:  # noqa: BLE001 - which one it was is found out now
            for sent, reply in enumerate(replies):
                try:
                    frame = self._codec.encode(reply)
                    require_frame(frame)
                    pending.append(frame)
                except BaseException as error:  # noqa: BLE001 - the owner's to explain
                    self._unframed = error
                    del replies[sent:]
                    break
        self._sent += len(replies)
        del raw[: len(replies)]

    def take_tls_end(self) -> bool:
        """TLS's own end of what is sent is pending from here on; whether there is one to come.

        There is none before the handshake is complete.
        """
        tls = self._tls
        if tls is None or tls.info is None or tls.closing:
            return False
        self.pending().append(memoryview(tls.take_end()))
        return True

    def put_back(self, rest: memoryview) -> None:
        """What could not be written of what was taken is pending again, before all else."""
        self.pending().insert(0, rest)


def _sealed(tls: Tls, parts: list[bytes | memoryview]) -> bytes | memoryview:
    """``parts`` as they go out; what was put back after a short write is encrypted already."""
    rest = parts.pop(0) if isinstance(parts[0], memoryview) else b""
    sealed = tls.seal(b"".join(parts))
    if not rest or not sealed:
        return rest or sealed
    return b"".join((rest, sealed))


def require_frame(frame: object) -> None:
    """Raise unless a codec has given what can be written."""
    if type(frame) is not bytes:
        raise UsageError(f"a codec's encode() must return bytes, not {type(frame).__name__}")
