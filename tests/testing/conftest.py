"""A server of plain sockets, and what reads from it: for tests that look at every byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

import threadwire
from threadwire.testing import FaultProxy, Peer

from ..support import PATIENCE


class PlainServer:
    """Listens; a test accepts by hand."""

    def __init__(self, listening: socket.socket, address: threadwire.Address) -> None:
        self._listening = listening
        self._accepted: list[socket.socket] = []
        self.address = address

    def accept(self) -> socket.socket:
        connected, _ = self._listening.accept()
        connected.settimeout(PATIENCE)
        self._accepted.append(connected)
        return connected

    def close(self) -> None:
        for each in (*self._accepted, self._listening):
            each.close()


def hear_all(connected: socket.socket) -> bytes:
    """Up to the end of the stream."""
    return b"".join(iter(lambda: connected.recv(65536), b""))


def hear(connected: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; fewer only at the end of the stream."""
    heard = b""
    while len(heard) < size and (data := connected.recv(size - len(heard))):
        heard += data
    return heard


def hear_until_reset(connected: socket.socket) -> bytes:
    """What comes before a reset, which has to come."""
    heard = b""
    while True:
        try:
            data = connected.recv(65536)
        except ConnectionResetError:
            return heard
        assert data, "the stream has ended, without a reset"
        heard += data


DATA = Random(1).randbytes(300_000)


def hear_beside(connected: socket.socket) -> Callable[[], bytes]:
    """Read to the end of the stream, in a thread; what is returned waits for all of it."""
    heard: list[bytes] = []
    thread = threading.Thread(target=lambda: heard.append(hear_all(connected)))
    thread.start()

    def wait() -> bytes:
        thread.join(PATIENCE)
        assert heard, "the stream has not ended, or was reset"
        return heard[0]

    return wait


def through(proxy: FaultProxy, server: PlainServer) -> tuple[Peer, socket.socket]:
    """A connection: the client's end, and the server's."""
    client = Peer(proxy.address)
    return client, server.accept()


@pytest.fixture(params=["tcp", "unix"])
def plain_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PlainServer]:
    if request.param == "unix":
        path = str(tmp_path / "plain.sock")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(path)
        listening.listen()
        address = threadwire.Address("unix", path=path)
    else:
        listening = socket.create_server(("127.0.0.1", 0))
        address = threadwire.Address("tcp", "127.0.0.1", listening.getsockname()[1])
    listening.settimeout(PATIENCE)
    server = PlainServer(listening, address)
    yield server
    server.close()
