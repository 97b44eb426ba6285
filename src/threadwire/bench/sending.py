"""What clients send: all of a turn's in one call, and the rest when there is room for it."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable

from ..errors import describe_os_error
from ..transport.poller import WRITE, Poller
from .client import Asked, Blocked, Client
from .records import Records
from .requests import Burst

__all__ = ["Sender", "broken_by"]

_MOST_PIECE = 1 << 20  # bytes that one call offers the system


class Sender:
    """Belongs to the process's load. ``broke`` is called when a connection takes no more."""

    def __init__(
        self,
        poller: Poller,
        records: Records,
        broke: Callable[[Client, str, str], None],
    ) -> None:
        self._poller = poller
        self._records = records
        self._broke = broke
        self.pairs: list[tuple[int, bytes | memoryview]] = []  # what the next flush sends
        self._senders: list[Client] = []  # and for whom
        self._queued: list[Client] = []  # those whose ``out`` it sends
        self._asked: list[Asked | Burst] = []  # what it has to note the time of

    def note(self, asked: Iterable[Asked | Burst]) -> None:
        """They are sent with the next flush, which notes the time."""
        self._asked.extend(asked)

    def add(self, client: Client, data: bytes) -> None:
        """Send ``data`` next; for a client that has nothing else to be sent."""
        self.pairs.append((client.fd, data))
        self._senders.append(client)

    def queue(self, client: Client, data: bytes) -> None:
        """Send ``data``, as it is, behind what is to be sent already."""
        if not data:
            return  # TLS keeps it for now
        if not client.out:
            self._queued.append(client)
        client.out.append(data)

    def flush(self) -> None:
        """Send all that is to be sent, in one call."""
        if self._queued:
            self._gather()
        if self._asked:
            # Some of it may have to wait for room, which is the service's doing.
            now = time.monotonic()
            for asked in self._asked:
                asked.sent = now
            self._asked.clear()
        pairs, senders = self.pairs, self._senders
        if not pairs:
            return
        self.pairs, self._senders = [], []
        counts = self._poller.write(pairs)
        if counts is None:
            self._records.bytes_sent += sum([len(data) for _, data in pairs])
            return
        for client, (_, data), count in zip(senders, pairs, counts, strict=True):
            if count < 0:
                self._broke(client, *broken_by(-count, client.unanswered))
                continue
            self._records.bytes_sent += count
            if count < len(data):
                client.out.insert(0, memoryview(data)[count:])
                self._block(client)

    def _gather(self) -> None:
        queued, self._queued = self._queued, []
        for client in queued:
            out = client.out
            if out and client.blocked is None and client.sock is not None:
                data = out[0] if len(out) == 1 else b"".join(out)
                out.clear()
                self.pairs.append((client.fd, data))
                self._senders.append(client)

    def _block(self, client: Client) -> None:
        """Wait for room to write."""
        if client.blocked is None and client.sock is not None:
            client.blocked = Blocked(client, client.sock.dup())
            self._poller.add(client.blocked.sock, client.blocked, WRITE)

    def resume(self, blocked: Blocked) -> None:
        """There may be room: send as much as it takes of what waits."""
        client = blocked.client
        if client.blocked is not blocked:
            return  # it was dropped meanwhile
        out = client.out
        while out:
            piece = memoryview(out[0])[:_MOST_PIECE]
            counts = self._poller.write([(client.fd, piece)])
            count = len(piece) if counts is None else counts[0]
            if count < 0:
                self._broke(client, *broken_by(-count, client.unanswered))
                return
            self._records.bytes_sent += count
            if count == len(out[0]):
                del out[0]
            else:
                out[0] = memoryview(out[0])[count:]
            if count < len(piece):
                return
        self.unblock(client)

    def unblock(self, client: Client) -> None:
        """Wait for room no more."""
        if client.blocked is not None:
            self._poller.remove(client.blocked.sock.fileno())
            client.blocked.sock.close()
            client.blocked = None


def broken_by(number: int, unanswered: int) -> tuple[str, str]:
    """Kind and example for an error of a connection that was up."""
    when = " before the service had replied" if unanswered else ""
    if number in (errno.ECONNRESET, errno.EPIPE):
        return "reset", f"the connection was reset{when}"
    return "network", f"{describe_os_error(OSError(number, ''))}{when}"
