"""What the admin endpoint's tests share: clients that speak HTTP, and plain bytes."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple

import threadwire
from threadwire.admin import Admin

from ..support import PATIENCE, Peer, wait_for


class Answer(NamedTuple):
    """A response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        text = self.json()["error"]
        assert isinstance(text, str)
        return text


def _answer(response: HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def http(admin: Admin) -> HTTPConnection:
    """A kept connection of the standard library's client; to be closed."""
    connection = HTTPConnection(admin.address.host, admin.address.port, timeout=PATIENCE)
    connection.connect()
    return connection


def ask_on(
    connection: HTTPConnection,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection.request(method, path, headers=dict(headers or {}))
    return _answer(connection.getresponse())


def ask(
    admin: Admin, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    with contextlib.closing(http(admin)) as connection:
        return ask_on(connection, path, method, headers)


def say(
    address: threadwire.Address, data: bytes, *, finish: bool = False, method: str = "GET"
) -> list[Answer]:
    """What a client hears that sends ``data``, up to the end of the stream."""
    with Peer(address) as peer:
        with contextlib.suppress(OSError):  # it may be closed before all of it is sent
            peer.say(data)
            if finish:
                peer.finish()
        return answers(peer.socket, method)


def answers(connected: socket.socket, method: str = "GET") -> list[Answer]:
    """The responses up to the end of the stream; more than one if it is kept."""
    found = []
    while _has_more(connected):
        response = HTTPResponse(connected, method=method)
        response.fp.close()
        response.fp = _Unbuffered(connected)  # type: ignore[assignment]
        response.begin()
        found.append(_answer(response))
    return found


def _has_more(connected: socket.socket) -> bool:
    try:
        return bool(connected.recv(1, socket.MSG_PEEK))
    except ConnectionResetError:
        return False


class _Unbuffered:
    """A socket as a file that reads no byte beyond what it is asked for."""

    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected

    def read(self, size: int = -1) -> bytes:
        parts = []
        while size and (data := self._connected.recv(size if size > 0 else 65536)):
            parts.append(data)
            size -= len(data) if size > 0 else 0
        return b"".join(parts)

    def readline(self, limit: int = -1) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) != limit and (byte := self._connected.recv(1)):
            line += byte
        return line

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Events:
    """A reader of /events."""

    def __init__(self, admin: Admin, headers: Mapping[str, str] | None = None) -> None:
        self.connection = http(admin)
        self.connection.request("GET", "/events", headers=dict(headers or {}))
        self.response = self.connection.getresponse()

    def fields(self) -> dict[str, str]:
        """The next event's, by name; empty at the end of the stream."""
        found: dict[str, str] = {}
        while (line := self.response.readline().decode().rstrip("\n")) or not found:
            if not line and not found:
                return found
            name, _, value = line.partition(": ")
            found[name] = value
        return found

    def document(self) -> Any:
        return json.loads(self.fields()["data"])

    def until(self, wanted: Callable[[Any], object]) -> Any:
        """The first document that is as wanted."""
        for _ in range(int(PATIENCE)):
            document = self.document()
            if wanted(document):
                return document
        raise AssertionError(f"no document was as wanted; the last one: {document}")

    def close(self) -> None:
        self.response.close()
        self.connection.close()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Blocking:
    """A handler that stays inside for messages ``stay``, until it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.go = threading.Event()

    def __call__(self, message: bytes) -> bytes:
        if message == b"stay":
            self.inside.set()
            wait_for(self.go)
        return message[::-1]


@contextlib.contextmanager
def blocked(server: threadwire.Server, handler: Blocking) -> Iterator[Peer]:
    """A client whose handler has been called and does not return."""
    with Peer(server.address) as peer:
        peer.say(b"stay\n")
        wait_for(handler.inside)
        try:
            yield peer
        finally:
            handler.go.set()
