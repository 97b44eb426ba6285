"""What tests share: peers that speak in plain sockets, and processes to talk to.

Everything that waits has a deadline, so that a test which would hang fails instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

import threadwire

PATIENCE = 20.0  # seconds: far longer than anything takes, far shorter than for ever


def reverse(message: bytes) -> bytes:
    return message[::-1]


class Peer:
    """A plain socket connected to ``address``: a client that threadwire did not write."""

    def __init__(self, address: threadwire.Address, receive_buffer: int | None = None) -> None:
        family = socket.AF_UNIX if address.scheme == "unix" else socket.AF_INET
        if ":" in address.host:
            family = socket.AF_INET6
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        target = address.path if address.scheme == "unix" else (address.host, address.port)
        try:
            self.socket.connect(target)
        except OSError:
            self.socket.close()
            raise

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self, size: int) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end of the stream."""
        parts = []
        while size and (data := self.socket.recv(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def hear_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and (data := self.socket.recv(1)):
            line += data
        return line

    def hear_all(self) -> bytes:
        """Everything up to the end of the stream."""
        parts = []
        while data := self.socket.recv(65536):
            parts.append(data)
        return b"".join(parts)

    def finish(self) -> None:
        """Send no more, but go on listening."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave with a reset."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
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


def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait until ``condition()`` holds; for states that nothing announces."""
    tick = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError(f"it never came about: {what or condition}")


def read_to_the_end(connected: socket.socket) -> None:
    while connected.recv(65536):
        pass


def wait_for(event: threading.Event) -> None:
    assert event.wait(PATIENCE), "the event never came"


class signal_here:
    """Send the calling thread a signal once ``when()`` holds; join what is returned.

    A signal that comes in the instant before a system call begins does not interrupt it,
    and the interpreter notices it only when the call ends; so, like a person, this asks
    again when nothing has happened for a while.
    """

    def __init__(self, number: signal.Signals, when: Callable[[], object]) -> None:
        self._noticed = threading.Event()
        self._thread = threading.Thread(
            target=self._send, args=(threading.get_ident(), number, when)
        )
        self._thread.start()

    def _send(self, thread: int, number: signal.Signals, when: Callable[[], object]) -> None:
        eventually(when)
        for _ in range(5):
            signal.pthread_kill(thread, number)
            if self._noticed.wait(2):
                return

    def join(self) -> None:
        self._noticed.set()
        self._thread.join(PATIENCE)


COMMAND = [sys.executable, "-m", "threadwire"]


class Served:
    """``threadwire serve`` as a process; its log is read as it comes."""

    def __init__(
        self,
        *arguments: str,
        listen: Sequence[str] = ("tcp://127.0.0.1:0",),
        cwd: str | None = None,
        prefix: Sequence[str] = (),
        read_log: bool = True,
        options: dict[str, str] | None = None,
    ) -> None:
        command = [*prefix, *COMMAND, "serve", *arguments]
        for url in listen:
            command += ["--listen", url]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, **(options or {})},
        )
        self.log: list[str] = []  # appended to by one thread alone
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        if read_log:
            self._reader.start()
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        found = re.findall(r"(?:tcp|unix)://[^\s,\"]+", self.greeting)
        self.addresses = [threadwire.parse_address(url) for url in found]

    @property
    def address(self) -> threadwire.Address:
        return self.addresses[0]

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait, and return the exit code; the log is complete then."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        if self._reader.is_alive():
            self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        if self._reader.is_alive():
            self._reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def served(*arguments: str, **options: object) -> Iterator[Served]:
    server = Served(*arguments, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.kill()


def run(
    *arguments: str, stdin: str | bytes | None = None, cwd: str | None = None
) -> subprocess.CompletedProcess[str]:
    """The command, run to its end, with what it wrote."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=b"" if data is None else data,
        capture_output=True,
        timeout=3 * PATIENCE,
        cwd=cwd,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode()
    )
