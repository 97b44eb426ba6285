"""A plain socket at a server: a client that knows nothing of threadwire, and may misbehave."""

from __future__ import annotations

import select
import socket
import struct
import time
from types import TracebackType
from typing import Self

from ..address import Address, parse_address
from ..errors import ConnectError, TimeLimitError
from .targets import find_targets

__all__ = ["GONE", "Peer"]

_READ_SIZE = 64 << 10
# What poll() tells of a connection whose other side has ended, read or not.
GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Peer:
    """Connected to ``address``; says and hears bytes as they are.

    address
        ``tcp://host:port`` or ``unix:///path``. To a ``tls://`` server it speaks without
        TLS.
    receive_buffer
        Bytes of the system's buffer for what it has not read yet [the system's choice].
    timeout
        Seconds that each call may take [10]; then
        :class:`~threadwire.TimeLimitError` is raised.

    ``socket`` is there for everything else. One thread at a time. Raises
    :class:`~threadwire.ConnectError`.
    """

    def __init__(
        self, address: str | Address, *, receive_buffer: int | None = None, timeout: float = 10.0
    ) -> None:
        self.address = parse_address(address)
        self.timeout = timeout
        self.socket = _connect(self.address, receive_buffer, timeout)

    # What waits.

    def say(self, data: bytes) -> None:
        """Send all of ``data``."""
        try:
            self.socket.settimeout(self.timeout)
            self.socket.sendall(data)
        except TimeoutError:
            raise TimeLimitError(f"room for {len(data)} bytes", self.timeout) from None

    def hear(self, size: int) -> bytes:
        """Exactly ``size`` bytes; fewer only at the end of the stream."""
        heard = bytearray()
        deadline = time.monotonic() + self.timeout
        while len(heard) < size and (data := self._receive(size - len(heard), deadline, heard)):
            heard += data
        return bytes(heard)

    def hear_line(self) -> bytes:
        """Up to the next newline, and with it; without one only at the end of the stream."""
        heard = bytearray()
        deadline = time.monotonic() + self.timeout
        while not heard.endswith(b"\n") and (data := self._receive(1, deadline, heard)):
            heard += data
        return bytes(heard)

    def hear_all(self) -> bytes:
        """Everything up to the end of the stream."""
        heard = bytearray()
        deadline = time.monotonic() + self.timeout
        while data := self._receive(_READ_SIZE, deadline, heard):
            heard += data
        return bytes(heard)

    def wait_end(self) -> None:
        """Wait until the server has ended its side or the connection, reading nothing."""
        if not self._poll(GONE, self.timeout):
            raise TimeLimitError("end of the connection", self.timeout)

    def wait_room(self, seconds: float) -> bool:
        """Wait until something can be sent, or the connection has ended; whether that is so."""
        return self._poll(select.POLLOUT, seconds)

    # What does not.

    @property
    def ended(self) -> bool:
        """Whether the server has ended its side or the connection, as far as is known here."""
        return self._poll(GONE, 0)

    def offer(self, data: bytes | memoryview) -> int:
        """Send what there is room for now; returns how many bytes that was."""
        self.socket.settimeout(0)
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    def overhear(self) -> bytes | None:
        """What is there now; ``b""`` at the end of the stream, ``None`` if nothing has come."""
        self.socket.settimeout(0)
        try:
            return self.socket.recv(_READ_SIZE)
        except BlockingIOError:
            return None

    def finish(self) -> None:
        """Send no more, but go on listening."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Inner workings.

    def _receive(self, size: int, deadline: float, heard: bytearray) -> bytes:
        """One read; ``heard`` is what has come before, to be told of."""
        # 0 would mean not to wait at all.
        self.socket.settimeout(max(1e-6, deadline - time.monotonic()))
        try:
            return self.socket.recv(size)
        except TimeoutError:
            had = f"{bytes(heard[:40])!r}{'…' if len(heard) > 40 else ''}" if heard else "nothing"
            raise TimeLimitError(
                f"more bytes from {self.address} ({had} came)", self.timeout
            ) from None

    def _poll(self, events: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.socket, events)
        return bool(poll.poll(seconds * 1000))


def _connect(address: Address, receive_buffer: int | None, timeout: float) -> socket.socket:
    """To the first of its addresses that takes it."""
    failure = ConnectError(str(address), "the host has no address")
    for family, name in find_targets(address):
        connecting = socket.socket(family, socket.SOCK_STREAM)
        try:
            if receive_buffer is not None:  # before connecting, which is when it is agreed on
                connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if family != socket.AF_UNIX:
                connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connecting.settimeout(timeout)
            connecting.connect(name)  # type: ignore[arg-type]
            return connecting
        except OSError as error:
            connecting.close()
            failure = ConnectError(str(address), error)
    raise failure
