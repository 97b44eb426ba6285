"""Fixtures that several test modules share."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

import threadwire
from threadwire.events import Event
from threadwire.transport import Stream

from .support import PATIENCE, eventually

Serving: TypeAlias = Callable[..., threadwire.Server]
Against: TypeAlias = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Start servers on free ports; they are closed at the end, whatever their clients do."""
    servers: list[threadwire.Server] = []

    def start(handler: Any, *addresses: str, **options: Any) -> threadwire.Server:
        server = threadwire.Server(handler, *(addresses or ("tcp://127.0.0.1:0",)), **options)
        servers.append(server.start())
        return server

    yield start
    for server in servers:
        server.close(0)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every test ends with the threads and descriptors it began with."""
    threads = set(threading.enumerate())
    descriptors = _open_descriptors()
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)
        assert not thread.is_alive(), f"{thread.name} was left behind"
    left = _open_descriptors() - descriptors
    assert not left, f"descriptors were left open: {left}"


def _open_descriptors() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:") or target.startswith("pipe:"):
            found.add(f"{number} {target}")
    return found


@pytest.fixture
def pair() -> Iterator[tuple[Stream, socket.socket]]:
    """A stream, and the plain socket that it is connected to."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    unnamed = threadwire.Address("unix", path="")
    stream = Stream(ours, unnamed, unnamed)
    yield stream, theirs
    stream.close()
    theirs.close()


@pytest.fixture
def against() -> Iterator[Against]:
    """Run a plain-socket server for one connection; gives its URL."""
    running: list[tuple[threading.Thread, socket.socket]] = []

    def start(script: Callable[[socket.socket], None]) -> str:
        listening = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            connected, _ = listening.accept()
            connected.settimeout(PATIENCE)
            with connected:
                script(connected)

        thread = threading.Thread(target=serve)
        thread.start()
        running.append((thread, listening))
        return f"tcp://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    for thread, listening in running:
        thread.join(PATIENCE)
        listening.close()


class Events:
    """What the library logged, by name; any thread may log meanwhile."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def named(self, name: str) -> list[dict[str, Any]]:
        return [
            record.msg.fields
            for record in list(self._caplog.records)
            if isinstance(record.msg, Event) and record.msg.name == name
        ]

    def closed_reason(self) -> threadwire.CloseReason:
        """Why the only connection there was has ended."""
        eventually(lambda: self.named("closed"))
        (fields,) = self.named("closed")
        reason = fields["reason"]
        assert isinstance(reason, threadwire.CloseReason)
        return reason

    def tracebacks(self) -> list[logging.LogRecord]:
        return [record for record in self._caplog.records if record.exc_info]


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Events:
    caplog.set_level(logging.INFO, logger="threadwire")
    return Events(caplog)
