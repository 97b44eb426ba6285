"""What these tests share: processes, and what stands in for one side of a handover."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from threadwire.handover import Taken, take

from ..support import PATIENCE, eventually, wait_for


class Reports:
    """What an offer reports; appended to by its thread.

    With ``hold_at`` the offer's thread stays in the report of that word, ``held``, and hears
    nothing until ``go_on``.
    """

    def __init__(self, hold_at: str = "") -> None:
        self.all: list[tuple[str, str]] = []
        self.held, self.go_on = threading.Event(), threading.Event()
        self._hold_at = hold_at
        self._seen = 0

    def __call__(self, what: str, detail: str) -> None:
        self.all.append((what, detail))
        if what == self._hold_at:
            self.held.set()
            wait_for(self.go_on)

    def wait_for(self, what: str) -> str:
        """The next one with this word, after those that were waited for before; what it says."""

        def has_come() -> bool:
            return what in [word for word, _ in self.all[self._seen :]]

        eventually(has_come, f"{what} in {self.all}")
        while True:
            word, detail = self.all[self._seen]
            self._seen += 1
            if word == what:
                return detail


def assert_it_stands(path: str) -> None:
    """A new process can take the sockets (and thinks better of it)."""
    with taking(path) as taken:
        assert [listener.address for listener in taken.listeners] == ["tcp://:1"]


def taking(path: str) -> Taken:
    taken = take(path)
    assert taken is not None
    return taken


class Raw:
    """A process that connects to an offer and says what it likes."""

    def __init__(self, path: str, *, connect: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        if connect:
            self.socket.connect(path)

    def say(self, *words: str, version: object = 1) -> None:
        for word in words:
            self.socket.send(json.dumps({"handover": version, "say": word}).encode())

    def hear(self) -> dict[str, Any] | None:
        data, fds, _, _ = socket.recv_fds(self.socket, 1 << 17, 300)
        for fd in fds:
            os.close(fd)
        if not data:
            return None
        answer = json.loads(data)
        assert isinstance(answer, dict)
        return answer

    def refusal(self) -> str:
        """Why it was refused; the conversation is over then."""
        answer = self.hear()
        assert answer is not None
        assert answer["say"] == "refused"
        assert answer["problem"]
        assert self.hear() is None
        return str(answer["why"])

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


@contextlib.contextmanager
def killed_at_the_end(*processes: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=PATIENCE)


LISTENERS = {"handover": 1, "say": "listeners", "left": 0}
