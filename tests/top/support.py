"""What the tests of ``threadwire top`` share: a server to watch, with clients of all kinds."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import threadwire
from threadwire.admin import Admin
from threadwire.top.endpoint import Endpoint, parse_admin_url

from ..support import PATIENCE, Peer, eventually, wait_for

ADDRESS = "127.0.0.1:0"


class Watched:
    """A server whose handler blocks on b"block", and its admin endpoint."""

    def __init__(self, address: str = ADDRESS, **options: Any) -> None:
        self.blocked = threading.Event()
        self._go_on = threading.Event()
        self.server = threadwire.Server(
            self.handle, "tcp://127.0.0.1:0", framing=threadwire.Lines()
        )
        self.server.start()
        self._options = options
        self.admin = Admin(self.server, address, **options).start()
        self.peers: list[Peer] = []

    def handle(self, message: bytes) -> bytes:
        if message == b"block":
            self.stand_still()
        return message[::-1]

    def stand_still(self) -> None:
        self.blocked.set()
        self._go_on.wait(3 * PATIENCE)

    @property
    def url(self) -> str:
        return self.admin.url

    def endpoint(self, token_file: str | None = None, ca: str | None = None) -> Endpoint:
        return Endpoint(parse_admin_url(self.url), token_file=token_file, ca=ca)

    def client(self) -> Peer:
        """One that has sent nothing."""
        before = len(self.server.connections)
        self.peers.append(Peer(self.server.address))
        eventually(lambda: len(self.server.connections) > before)
        return self.peers[-1]

    def blocked_client(self) -> Peer:
        """One whose handler does not return."""
        peer = self.client()
        peer.say(b"block\n")
        wait_for(self.blocked)
        return peer

    def stop_admin(self) -> None:
        self.admin.close()

    def start_admin(self) -> None:
        """Again, where it was."""
        self.admin = Admin(self.server, self.admin.address, **self._options).start()

    def close(self) -> None:
        self._go_on.set()
        for peer in self.peers:
            peer.close()
        self.admin.close()
        self.server.close(0)


def answering(data: bytes) -> Callable[[socket.socket], None]:
    """A server's script: read a request, and say this."""

    def script(connected: socket.socket) -> None:
        heard = b""
        while b"\r\n\r\n" not in heard and (more := connected.recv(65536)):
            heard += more
        with contextlib.suppress(ConnectionError):  # who has heard enough hangs up
            connected.sendall(data)

    return script


def http_answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
