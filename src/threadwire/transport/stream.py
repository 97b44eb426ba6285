"""A connected socket, as the rest of threadwire sees it.

The socket stays in blocking mode. Reads that may wait for ever are one plain
``recv``, which costs one system call and gives up the interpreter's lock once.
Everything with a deadline asks with ``MSG_DONTWAIT`` and polls when there is
nothing to be had.

Who may do what:

- reading: one thread at a time (the connection's owner);
- writing: one thread at a time (whoever holds the connection's send lock);
- ``shutdown_*``: any thread, at any time before ``close``; it is how a thread that
  waits in a read or write is woken;
- ``close``: the owner, when nobody can be reading or writing any more, so that
  the descriptor's number is never used for another file under somebody's feet.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import math
import select
import socket
import struct
import termios
import time

from ..address import Address
from ..errors import TimeLimitError
from ..limits import READ_SIZE, WRITE_PROGRESS
from .poller import hang_up, send_now

_READ_SIZE = READ_SIZE.whole
_WRITE_PROGRESS = WRITE_PROGRESS.whole
# What one system call is offered, so that the kernel never has to look at all of a huge reply.
_WRITE_SIZE = 1 << 20
_POLL_SLICE = 1 << 30  # milliseconds; poll() takes a C int


def set_tcp_options(sock: socket.SocketType) -> None:
    """What every connection has; a listening socket's connections inherit it."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # Replies are written whole, so waiting to fill a segment only delays them.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class Stream:
    """One connected stream socket, TCP or unix."""

    __slots__ = ("_fd", "local", "peer", "socket")

    def __init__(self, connected: socket.SocketType, peer: Address, local: Address) -> None:
        """``connected`` is in blocking mode, and has its options set."""
        self.socket = connected
        self._fd = connected.fileno()
        self.peer = peer
        self.local = local

    def fileno(self) -> int:
        return self.socket.fileno()

    # Reading: the owner.

    def read(self, size: int = _READ_SIZE) -> bytes | None:
        """Wait for bytes, for as long as it takes; ``b""`` at the end of the stream.

        ``None`` when the limit that :meth:`limit_reads` has set is over.
        """
        try:
            return self.socket.recv(size)
        except BlockingIOError:
            return None

    def limit_reads(self, seconds: float) -> None:
        """Let :meth:`read` wait no longer than this; 0 is for ever.

        The system keeps the time (``SO_RCVTIMEO``), so that a read stays one system call.
        """
        whole, rest = divmod(seconds, 1)
        limit = struct.pack("@ll", int(whole), int(rest * 1e6))
        # Not connected any more: reads return at once.
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)

    def read_nowait(self, size: int = _READ_SIZE) -> bytes | None:
        """Bytes that are there now; ``b""`` at the end of the stream; ``None`` if none are."""
        try:
            return self.socket.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def read_until(self, moment: float | None, size: int = _READ_SIZE) -> bytes | None:
        """Like :meth:`read`, but ``None`` when the monotonic clock has passed ``moment``."""
        if moment is None:
            return self.read(size)
        return self.read_within(max(0.0, moment - time.monotonic()), size)

    def read_within(self, seconds: float, size: int = _READ_SIZE) -> bytes | None:
        """Like :meth:`read`, but ``None`` when ``seconds`` have gone by."""
        # Asked first, since mostly there is nothing yet and a refused read costs more.
        if self.wait(seconds, readable=True)[0]:
            return self.read_nowait(size)
        return None

    def readable_bytes(self) -> int:
        """How many bytes have arrived and not been read."""
        count = array.array("i", [0])
        fcntl.ioctl(self.socket.fileno(), termios.FIONREAD, count)
        return count[0]

    def unsent_bytes(self) -> int:
        """How many bytes were written that the peer's system has not acknowledged."""
        count = array.array("i", [0])
        try:
            fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, count)
        except (OSError, ValueError):
            return 0  # not to be known of this kind of socket
        return count[0]

    def discard(self, most: int, seconds: float) -> None:
        """Read and forget until the stream ends, ``most`` bytes or ``seconds`` are used up."""
        deadline = time.monotonic() + seconds
        while most > 0 and (left := deadline - time.monotonic()) > 0:
            try:
                data = self.read_within(left, min(most, _READ_SIZE))
            except OSError:
                return  # a reset ends the stream as well
            if not data:
                return
            most -= len(data)

    # Writing: whoever holds the send lock.

    def write(
        self, data: bytes | memoryview, stall_timeout: float | None, deadline: float = math.inf
    ) -> None:
        """Write all of ``data``.

        Raises :class:`~threadwire.TimeLimitError` when the peer has not made room for the
        next ``write_progress`` bytes, or for what is left, in ``stall_timeout`` seconds
        (``None``: however long it takes), or when the monotonic clock has passed ``deadline``;
        part may have been sent.
        """
        sent = send_now(self.socket, self._fd, data)
        if sent == len(data):
            return
        stall = math.inf if stall_timeout is None else stall_timeout
        begun, by_then, unsent = time.monotonic(), sent, self.unsent_bytes()
        with memoryview(data) as view:
            while sent < len(data):
                until = min(begun + stall, deadline)
                left = None if until == math.inf else until - time.monotonic()
                room = self.wait(left, writable=True)[1] and (left is None or left > 0)
                if room:
                    sent += self.write_nowait(view[sent : sent + _WRITE_SIZE])
                # The system tells of room only when there is much of it, which may be megabytes;
                # so a slow peer can have read a piece nevertheless.
                elif time.monotonic() >= deadline or (
                    sent - by_then + unsent - self.unsent_bytes() < _WRITE_PROGRESS
                ):
                    raise TimeLimitError("room for a reply", stall_timeout or 0.0)
                if not room or sent - by_then >= _WRITE_PROGRESS:
                    begun, by_then, unsent = time.monotonic(), sent, self.unsent_bytes()

    def write_nowait(self, data: bytes | memoryview) -> int:
        """Write what there is room for now; returns the number of bytes."""
        return send_now(self.socket, self._fd, data)

    # Waiting.

    def wait(
        self,
        seconds: float | None,
        *,
        readable: bool = False,
        writable: bool = False,
        wake: int | None = None,
    ) -> tuple[bool, bool]:
        """Wait until the socket is ready, or descriptor ``wake`` is readable, or time is up.

        Returns whether it is worth reading and whether it is worth writing. An
        error or the end of the stream makes both worth trying.
        """
        poll = select.poll()
        poll.register(
            self.socket, (select.POLLIN if readable else 0) | (select.POLLOUT if writable else 0)
        )
        if wake is not None:
            poll.register(wake, select.POLLIN)
        milliseconds = None if seconds is None else min(max(0, seconds) * 1000, _POLL_SLICE)
        own = self.socket.fileno()
        for number, events in poll.poll(milliseconds):
            if number == own:
                broken = bool(events & (select.POLLERR | select.POLLHUP | select.POLLNVAL))
                return (
                    readable and (broken or bool(events & select.POLLIN)),
                    writable and (broken or bool(events & select.POLLOUT)),
                )
        return False, False

    # Ending: shutdown from any thread, close by the owner.

    def shutdown_read(self) -> None:
        self._shutdown(socket.SHUT_RD)

    def shutdown_write(self) -> None:
        self._shutdown(socket.SHUT_WR)

    def shutdown(self) -> None:
        self._shutdown(socket.SHUT_RDWR)

    def _shutdown(self, how: int) -> None:
        try:  # noqa: SIM105 - suppress() would take as long again
            self.socket.shutdown(how)
        except OSError:
            pass  # not connected any more, which is what was wanted

    def close(self) -> None:
        """Close the descriptor; the stream ends for the peer, too, whoever has a duplicate."""
        hang_up(self.socket)
