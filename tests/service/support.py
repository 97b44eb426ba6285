"""What tests of the service share: processes whose log is understood, and crowds of clients."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import threadwire

from ..support import COMMAND, PATIENCE, eventually

# Replies tell who has served: the number of its process, and the message reversed.
APP = """
import os, sys, threading, time

WHO = b"%d " % os.getpid()

def handle(message):
    return WHO + message[::-1]

def hold(message):  # until there is a file of the message's name
    while message.startswith(b"/") and not os.path.exists(message):
        time.sleep(0.005)
    return handle(message)
"""


class Service:
    """``threadwire serve`` as a process; both of its outputs are read as they come.

    ``variables`` are added to its environment. What it logs is in ``log``, an object a line;
    what it says otherwise, such as a last error or a traceback, in ``complaints``.
    """

    def __init__(
        self,
        *arguments: str,
        listen: Sequence[str] = ("tcp://127.0.0.1:0",),
        cwd: Path | None = None,
        prefix: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        **popen: Any,
    ) -> None:
        command = [*prefix, *COMMAND, "serve", "--log-format", "json", *arguments]
        for url in listen:
            command += ["--listen", url]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, **(variables or {})},
            **popen,
        )
        self.directory = cwd or Path.cwd()
        self._heard = threading.Condition()  # guards what follows
        self._speaking = 2  # streams
        self.log: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream,))
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            with self._heard:
                if isinstance(entry, dict):
                    self.log.append(entry)
                else:
                    self.complaints.append(line.rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._speaking -= 1
            self._heard.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    def events(self, name: str, **facts: Any) -> list[dict[str, Any]]:
        """What it has logged so far under this name, with these facts."""
        with self._heard:
            return [
                entry
                for entry in self.log
                if entry["event"] == name and facts.items() <= entry.items()
            ]

    def wait_for(self, name: str, count: int = 1, **facts: Any) -> dict[str, Any]:
        """The ``count``-th event of this name with these facts, when it has come."""

        def came() -> bool:
            return len(self.events(name, **facts)) >= count or not self._speaking

        with self._heard:
            self._heard.wait_for(came, PATIENCE)
        found = self.events(name, **facts)
        assert len(found) >= count, f"no {name} {facts} in {self.everything()}"
        return found[count - 1]

    def everything(self) -> str:
        """All it has said but for who came and went, for a failed test's explanation."""
        with self._heard:
            told = [str(e) for e in self.log if e["event"] not in ("opened", "closed")]
            return "\n".join([*told, *self.complaints])

    @property
    def addresses(self) -> list[threadwire.Address]:
        """Where it listens, as soon as it does."""
        return [threadwire.parse_address(url) for url in self.wait_for("listening")["addresses"]]

    @property
    def address(self) -> threadwire.Address:
        return self.addresses[0]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait, and return the exit code; the log is complete then."""
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@contextlib.contextmanager
def running(*arguments: str, **options: Any) -> Iterator[Service]:
    service = Service(*arguments, **options)
    try:
        yield service
    finally:
        service.kill()


def dial(address: threadwire.Address, trusts: ssl.SSLContext | None = None) -> socket.socket:
    """A plain client's socket, with TLS on it for an address that wants it."""
    if address.scheme == "unix":
        made = socket.socket(socket.AF_UNIX)
    else:
        made = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    made.settimeout(PATIENCE)
    try:
        unix = address.scheme == "unix"
        made.connect(address.path if unix else (address.host, address.port))
        if address.secure:
            assert trusts is not None
            return trusts.wrap_socket(made, server_hostname="localhost")
    except BaseException:
        made.close()
        raise
    return made


def hear_line(connected: socket.socket) -> bytes:
    """A line, or what there is of it at the end of the stream."""
    line = b""
    while not line.endswith(b"\n") and (data := connected.recv(65536)):
        line += data
    return line


def ask(
    address: threadwire.Address, question: bytes = b"hello", trusts: ssl.SSLContext | None = None
) -> int:
    """Connect, ask, check the reply and leave; returns the process that has served."""
    with dial(address, trusts) as client:
        client.sendall(question + b"\n")
        return served_by(hear_line(client), question)


def served_by(reply: bytes, question: bytes) -> int:
    who, _, echo = reply.partition(b" ")
    assert echo == question[::-1] + b"\n", f"{question!r} was answered with {reply!r}"
    return int(who)


class Crowd:
    """Threads that ask, again and again, each in its own way; every reply is checked.

    A way is called with a question and returns the process that has answered it.
    """

    _PAUSE = 0.01  # seconds; what is tested is that nobody is lost, not how many there are

    def __init__(self, *ways: Callable[[bytes], int]) -> None:
        self.failures: list[str] = []  # appended to by any thread
        self._answers = [0] * len(ways)  # each by its thread
        self._last = [0] * len(ways)  # the process; each by its thread
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(n, way)) for n, way in enumerate(ways)
        ]

    def _ask(self, number: int, way: Callable[[bytes], int]) -> None:
        while not self._stop.wait(self._PAUSE):
            question = b"%d is asked by %d" % (self._answers[number], number)
            try:
                self._last[number] = way(question)
            except Exception as error:  # noqa: BLE001 - each is what the tests are about
                self.failures.append(f"client {number}: {error!r}")
                return
            self._answers[number] += 1

    def all_served(self, by: int | None = None) -> None:
        """Wait until each has been answered once more; by that process, if there is one."""
        before = list(self._answers)

        def done() -> bool:
            return all(
                now > then and by in (None, last)
                for now, then, last in zip(self._answers, before, self._last, strict=True)
            )

        eventually(lambda: self.failures or done(), f"everybody served, {by=}")
        assert not self.failures

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)


class Supervisor:
    """The socket that ``NOTIFY_SOCKET`` names."""

    def __init__(self, path: Path) -> None:
        self.variables = {"NOTIFY_SOCKET": str(path)}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(str(path))

    def hear(self, timeout: float = PATIENCE) -> tuple[int, dict[str, str]]:
        """Who says what. Raises TimeoutError."""
        self.socket.settimeout(timeout)
        room = socket.CMSG_SPACE(struct.calcsize("3i"))
        data, ((_, _, credentials),), _, _ = self.socket.recvmsg(65536, room)
        pid, _, _ = struct.unpack("3i", credentials)
        return pid, dict(line.split("=", 1) for line in data.decode().split("\n"))

    def hears(self, service: Service, *names: str) -> dict[str, str]:
        """The next message is this service's, with these assignments."""
        pid, message = self.hear()
        assert (pid, tuple(message)) == (service.pid, names)
        return message

    def hears_nothing(self, seconds: float = 0.0) -> None:
        try:
            said = self.hear(seconds)
        except (TimeoutError, BlockingIOError):
            return
        raise AssertionError(said)

    def forget(self) -> None:
        """What has been said so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.hear(0)


def calm(service: Service, but_for: Mapping[str, Any] | None = None) -> None:
    """Nothing that it has said is worth a warning, ``but_for`` what has these facts."""
    assert not service.complaints, service.everything()
    worth_it = [
        entry
        for entry in service.log
        if entry.get("level") in ("warning", "error")
        and not (but_for and but_for.items() <= entry.items())
    ]
    assert not worth_it, service.everything()
