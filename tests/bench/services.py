"""Services to put load on, that do as no service should; and functions that judge replies."""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

from ..support import PATIENCE

Script = Callable[[socket.socket], None]


class Scripted:
    """A listening socket whose every connection is given to ``script``, on its own thread."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self.accepted = 0  # the accepting thread's
        self._connected: list[socket.socket] = []  # the accepting thread's, until it is joined
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                self.accepted += 1
                self._connected.append(connected)
                thread = threading.Thread(target=self._serve, args=(connected,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connected: socket.socket) -> None:
        with connected, contextlib.suppress(OSError):
            connected.settimeout(PATIENCE)
            self._script(connected)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listening.close()
        for connected in self._connected:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)


@contextlib.contextmanager
def scripted(script: Script) -> Iterator[Scripted]:
    service = Scripted(script)
    try:
        yield service
    finally:
        service.close()


def lines_of(connected: socket.socket) -> Iterator[bytes]:
    """Each line that comes, without its end."""
    unread = b""
    while data := connected.recv(65536):
        *lines, unread = (unread + data).split(b"\n")
        yield from lines


def answering(answer: Callable[[bytes], bytes]) -> Script:
    """Sends, for each line, the bytes that ``answer`` gives."""

    def script(connected: socket.socket) -> None:
        for line in lines_of(connected):
            connected.sendall(answer(line))

    return script


@contextlib.contextmanager
def stalling(at: int, seconds: float) -> Iterator[str]:
    """Echoes lines to all clients from one thread, which stalls before the ``at``-th; its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    ours, theirs = socket.socketpair()

    def serve() -> None:
        connected: list[socket.socket] = []
        count = 0
        while True:
            ready, _, _ = select.select([theirs, listening, *connected], [], [])
            if theirs in ready:
                break
            for sock in ready:
                if sock is listening:
                    connected.append(listening.accept()[0])
                    continue
                data = sock.recv(65536)
                if not data:
                    connected.remove(sock)
                    sock.close()
                    continue
                if count < at <= count + data.count(b"\n"):
                    time.sleep(seconds)
                count += data.count(b"\n")
                sock.sendall(data)
        for sock in connected:
            sock.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ours.close()
        thread.join(PATIENCE)
        listening.close()
        theirs.close()


# What replies are judged by.


def is_reversed(message: bytes, reply: bytes) -> bool:
    print("this is not part of any result")
    return reply == message[::-1]


def is_never_right(message: bytes, reply: bytes) -> bool:
    raise ValueError("nothing is good enough")


def ends_the_process(message: bytes, reply: bytes) -> bool:
    sys.exit(3)


NOT_A_FUNCTION = 1
