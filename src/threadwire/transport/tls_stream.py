"""A connected socket with TLS on it: :class:`Stream` once more, for clients.

It reads and writes plaintext with the same methods, deadlines and meanings; what follows is
where records, which come and go whole, make a difference.

Reading. One record may bring more than was asked for, or, like a change of keys, nothing. So
decrypted bytes may lie here while the socket is quiet: ``wait`` knows. A stream that ends
without TLS's own end has been cut, by whomever: ``ConnectionResetError``, as for a reset.
What came before it, or before a record that is wrong (:class:`~threadwire.TlsError`), is
read first.

Writing. ``_unsent`` is ciphertext that the system has not taken yet. It is never dropped and
nothing overtakes it, so that the peer always sees whole records, whatever write was given
up. ``write_nowait`` encrypts no more once there is some; it goes out with the next write or,
since the last writer need not come back, in the course of a ``wait``.

Who may do what is as for Stream. The reader may have to write, too, when the peer asks for an
answer; so the socket is written under ``_lock``, which is never held while waiting. It also
guards what says so below. The lock may be taken again by the thread that has it: a signal
handler, or a finalizer, can shut the stream down from inside.
"""

from __future__ import annotations

import contextlib
import errno
import math
import ssl
import threading
import time
from typing import Self

from ..errors import TimeLimitError, TlsError
from ..limits import READ_SIZE, WRITE_PROGRESS
from .stream import Stream
from .tls import HUNG_UP, Tls, TlsInfo

__all__ = ["TlsStream"]

_READ_SIZE = READ_SIZE.whole
_WRITE_PROGRESS = WRITE_PROGRESS.whole
_MOST_READS = 64  # that bring no data, before whoever reads looks at the clock again
_SEAL_SIZE = 1 << 16  # bytes encrypted at a time, and so the most that waits to be sent


class TlsStream(Stream):
    """``plain`` with TLS on it, whose handshake is complete; made by :meth:`secure`."""

    __slots__ = (
        "_at",
        "_deaf",
        "_half_closed",
        "_lock",
        "_plain",
        "_raw",
        "_read_limit",
        "_sent",
        "_tls",
        "_unsent",
        "_writing",
    )

    def __init__(self, plain: Stream, tls: Tls) -> None:
        super().__init__(plain.socket, plain.peer, plain.local)
        self._raw = plain  # constant
        self._tls = tls  # constant; see there
        self._plain, self._at = tls.open(b""), 0  # reader: decrypted, and read up to there
        self._read_limit: float | None = None  # reader: seconds that a read may wait
        self._deaf = False  # any thread to set: we have shut down the reading side ourselves
        self._writing = False  # writer to set: it is inside write()
        self._lock = threading.RLock()
        self._unsent = memoryview(b"")  # under the lock, like the rest
        self._sent = 0  # bytes that the system has taken, ever
        self._half_closed = False  # nothing more is to be sent after what is unsent

    @classmethod
    def secure(
        cls,
        plain: Stream,
        context: ssl.SSLContext,
        server_name: str | None,
        timeout: float | None,
    ) -> Self:
        """Shake hands with the server that ``plain`` is connected to.

        ``server_name`` is what its certificate has to be for; ``timeout`` the seconds that
        the handshake may take (``None``: as long as it takes).

        Raises :class:`~threadwire.TlsError`, :class:`~threadwire.TimeLimitError`, and
        :class:`~threadwire.UsageError` for a wrong argument. ``plain`` is closed then.
        """
        try:
            tls = Tls(context, server_side=False, server_name=server_name)
            _shake_hands(plain, tls, timeout)
            return cls(plain, tls)
        except BaseException:
            plain.close()
            raise

    @property
    def tls(self) -> TlsInfo | None:
        return self._tls.info

    # Reading: the owner.

    def read(self, size: int = _READ_SIZE) -> bytes | None:
        return self._read_by(self._read_limit, size)

    def limit_reads(self, seconds: float) -> None:
        self._read_limit = seconds or None

    def read_nowait(self, size: int = _READ_SIZE) -> bytes | None:
        """As Stream's; ``None`` also for part of a record. Raises TlsError."""
        for _ in range(_MOST_READS):
            if self._at < len(self._plain):
                part = self._plain[self._at : self._at + size]
                self._at += len(part)
                if self._at == len(self._plain):
                    self._plain, self._at = b"", 0
                return part
            if self._tls.ended:
                return b""
            data = b"" if self._tls.failure is not None else self._raw.read_nowait()
            if data is None:
                return None
            if not data and self._tls.failure is None:
                if self._deaf:
                    return b""
                raise ConnectionResetError(
                    errno.ECONNRESET, "the stream was cut: it ended without the end of TLS"
                )
            try:
                self._plain = self._tls.open(data)
            finally:
                if self._tls.pending:
                    self._flush_quietly()
        return None

    def read_within(self, seconds: float, size: int = _READ_SIZE) -> bytes | None:
        return self._read_by(seconds, size)

    def _read_by(self, seconds: float | None, size: int) -> bytes | None:
        deadline = None if seconds is None else time.monotonic() + seconds
        while (data := self.read_nowait(size)) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not self.wait(left, readable=True)[0]:
                return None
        return data

    def readable_bytes(self) -> int:
        """How many bytes have arrived and not been read, some of them still encrypted."""
        return len(self._plain) - self._at + self._raw.readable_bytes()

    def unsent_bytes(self) -> int:
        return len(self._unsent) + self._raw.unsent_bytes()

    def discard(self, most: int, seconds: float) -> None:
        with contextlib.suppress(TlsError):  # which ends the stream as well
            super().discard(most, seconds)

    # Writing: whoever holds the send lock.

    def write(
        self, data: bytes | memoryview, stall_timeout: float | None, deadline: float = math.inf
    ) -> None:
        stall = math.inf if stall_timeout is None else stall_timeout
        self._writing = True
        try:
            begun, by_then, taken = time.monotonic(), self._sent, 0
            with memoryview(data) as view:
                while True:
                    with self._lock:
                        taken += self._write_some(view[taken:])
                        if taken == len(view) and not self._unsent:
                            return
                        sent = self._sent
                    if sent - by_then >= _WRITE_PROGRESS:
                        begun, by_then = time.monotonic(), sent
                    until = min(begun + stall, deadline)
                    left = None if until == math.inf else until - time.monotonic()
                    # Not self.wait, which would send what is to be sent here.
                    room = self._raw.wait(left, writable=True)[1]
                    if not room or (left is not None and left <= 0):
                        raise TimeLimitError("room for a reply", stall_timeout or 0.0)
        finally:
            self._writing = False

    def write_nowait(self, data: bytes | memoryview) -> int:
        """Take as much of ``data`` as there is room for now; returns the number of bytes.

        The last of it may be sent later, see above.
        """
        with self._lock, memoryview(data) as view:
            return self._write_some(view)

    # Waiting.

    def wait(
        self,
        seconds: float | None,
        *,
        readable: bool = False,
        writable: bool = False,
        wake: int | None = None,
    ) -> tuple[bool, bool]:
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            ready = readable and self._has_news()
            left = None if deadline is None else deadline - time.monotonic()
            flushing = bool(self._unsent)
            can_read, can_write = self._raw.wait(
                0 if ready else left, readable=readable, writable=writable or flushing, wake=wake
            )
            can_read |= ready
            if not (can_read or can_write):
                return False, False
            if can_write and flushing:
                can_write = self._flush_quietly()
            if can_read or (writable and can_write):
                return can_read, writable and can_write

    def _has_news(self) -> bool:
        """Whether a read would find something, whatever the socket says."""
        tls = self._tls
        return self._at < len(self._plain) or tls.ended or tls.failure is not None

    # Ending: shutdown from any thread, close by the owner.

    def shutdown_read(self) -> None:
        self._deaf = True
        self._raw.shutdown_read()

    def shutdown_write(self) -> None:
        """Send what is unsent and TLS's own end, as there is room for it, then the stream's.

        If another thread is in a write, that is cut short, as it is without TLS.
        """
        with self._lock:
            if self._writing:
                self._half_closed = True
                self._raw.shutdown_write()
            else:
                self._end()

    def shutdown(self) -> None:
        """End both directions; the peer is told if it takes no waiting."""
        self._deaf = True
        with self._lock:
            self._end()
        self._raw.shutdown()

    def close(self) -> None:
        if self.fileno() >= 0:
            with self._lock:
                self._end()
        self._raw.close()

    # Lock held.

    def _write_some(self, view: memoryview) -> int:
        """Encrypt and send, until the system takes no more; BrokenPipeError after the end."""
        taken = 0
        while self._flush() and taken < len(view):
            piece = view[taken : taken + _SEAL_SIZE]
            self._unsent = memoryview(self._tls.seal(piece))
            taken += len(piece)
        return taken

    def _flush(self) -> bool:
        """Send what is unsent, and the answers that reading has made; whether all went."""
        while True:
            if not self._unsent:
                if not self._tls.pending:
                    return True
                self._unsent = memoryview(self._tls.take())
            sent = self._raw.write_nowait(self._unsent)
            self._sent += sent
            self._unsent = self._unsent[sent:]
            if self._unsent:
                return False

    def _end(self) -> None:
        if not self._half_closed:
            self._half_closed = True
            self._unsent = memoryview(bytes(self._unsent) + self._tls.take_end())
        self._flush_quietly()

    # Any thread.

    def _flush_quietly(self) -> bool:
        """As ``_flush``, but errors are left for the next read or write to meet."""
        with self._lock:
            try:
                sent = self._flush()
            except OSError:
                self._unsent = memoryview(b"")  # nothing will ever be sent any more
                return True  # worth trying, as the system says of a broken socket
            if sent and self._half_closed:
                self._raw.shutdown_write()
            return sent


def _shake_hands(plain: Stream, tls: Tls, timeout: float | None) -> None:
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    data: bytes | None = b""
    try:
        while not tls.handshake(data or b""):
            if tls.pending:
                plain.write(tls.take(), None, deadline)
            data = plain.read_until(None if deadline == math.inf else deadline)
            if data is None:
                raise TimeLimitError("TLS handshake", timeout or 0.0)
            if not data:
                raise TlsError(HUNG_UP)
        plain.write(tls.take(), None, deadline)
    except TlsError:
        # The peer is told why, if it takes no waiting.
        with contextlib.suppress(OSError):
            plain.write_nowait(tls.take())
        raise
    except TimeLimitError:
        raise TimeLimitError("TLS handshake", timeout or 0.0) from None
    except OSError as error:
        raise TlsError(HUNG_UP) from error
