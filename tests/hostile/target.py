"""The server under attack: a process of its own, and what it costs."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import threadwire
from threadwire import Framing, Lines
from threadwire.testing import Leaks

from ..support import Served, eventually

__all__ = [
    "ROOT",
    "SETTLE",
    "Target",
    "as_user",
    "await_stop",
    "processor_seconds",
    "scaled",
]

ROOT = Path(__file__).parents[2]

# The share of the full counts that attacks are made with.
_SCALE = float(os.environ.get("THREADWIRE_HOSTILE", "0.2"))
SETTLE = 15.0  # seconds within which a server has to be rid of an attack
_TICKS = os.sysconf("SC_CLK_TCK")
_MOMENT = 0.03  # seconds; the log gathers its lines for a third of that
# By default glibc keeps what was freed, up to 64 MiB for each of some arenas: with it measured as
# well, nothing of what the server itself keeps could be seen.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(128 << 10)}
_RESET_PEAK = "5"  # proc(5), clear_refs


def scaled(count: int, least: int = 1) -> int:
    """As many of ``count`` as are made in this run."""
    return max(least, round(count * _SCALE))


class Target(Served):
    """``threadwire serve`` with a handler of :mod:`.handlers`, for the length of a block.

    handler
        ``quick``, ``blocking`` or ``session``.
    options
        What else the command is given.
    framing
        How messages lie in the stream [``Lines()``].
    limits
        Options of prlimit(1) that it is started with.
    user
        The number of the user that it runs as [of whoever runs this].
    environment
        Variables of its own.

    ``at_rest.check()`` waits until it has no more threads and descriptors than at its start.
    """

    def __init__(
        self,
        handler: str,
        *options: str,
        framing: Framing | None = None,
        listen: Sequence[str] = ("tcp://127.0.0.1:0",),
        limits: Sequence[str] = (),
        user: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.handler = handler
        self.framing = framing or Lines()
        prefix = ["env", "-u", "THREADWIRE_HOSTILE"]  # which is none of the command's variables
        if limits:
            prefix += ["prlimit", *limits]
        prefix += as_user(user)
        super().__init__(
            f"tests.hostile.handlers:{handler}",
            f"--framing={self.framing}",
            "--log-format=json",
            *options,
            listen=listen,
            cwd=str(ROOT),
            prefix=prefix,
            options={**_ALLOCATOR, **(environment or {})},
        )
        self.pid = self.process.pid
        found = re.findall(r"(?:tcp|tls|unix)://[^\s,\"]+", self.greeting)
        self.addresses = [threadwire.parse_address(url) for url in found]
        if not self.addresses:
            self.kill()
            raise AssertionError(f"it does not serve: {self.log}")
        unchanged(lambda: self.threads)  # until all of its own are started
        # One more: from the first hand-off on the watchdog may have a thread in reserve.
        self.at_rest = Leaks(self.pid, threads=1, memory=None, settle=SETTLE)
        self.at_rest.__enter__()

    # Its log.

    def events(self, name: str, **facts: object) -> list[dict[str, Any]]:
        """Its log's lines about events of this name, with these facts; oldest first."""
        lines = [json.loads(line) for line in self.log[:] if f'"event": "{name}"' in line]
        return [line for line in lines if all(line.get(key) == facts[key] for key in facts)]

    def await_events(self, name: str, count: int, **facts: object) -> list[dict[str, Any]]:
        """The same, as soon as there are ``count``."""
        eventually(
            lambda: len(self.events(name, **facts)) >= count,
            f"{count} times {name} {facts} in the log",
        )
        return self.events(name, **facts)

    def count(self, name: str) -> int:
        """How many events of this name its log tells of: by a line, or in a count of repeats."""
        repeated = sum(line["count"] for line in self.events("repeated", of=name))
        return len(self.events(name)) + int(repeated)

    def await_count(self, name: str, count: int) -> int:
        """The same, as soon as it is ``count``."""
        eventually(lambda: self.count(name) >= count, f"{count} times {name} in the log")
        return self.count(name)

    def await_quiet(self) -> int:
        """Wait until nothing more is logged; returns how many lines there are."""
        return unchanged(lambda: len(self.log))

    def serves_on(self) -> None:
        """AssertionError if something has happened that no peer may bring about."""
        assert self.process.poll() is None, f"it has ended: {self.log[-20:]}"
        for name in ("engine-failed", "accept-failed", "log-dropped"):
            assert not self.events(name), self.events(name)[:3]

    # What it costs.

    @property
    def memory(self) -> int:
        """Bytes that are resident."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """The most that were since :meth:`reset_peak`."""
        return self._status("VmHWM")

    def reset_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")

    @property
    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.M)
        assert found is not None, text
        return int(found[1]) << 10

    # What is done to it.

    def limit(self, resource_number: int, soft: int) -> None:
        """Change one of its limits while it runs."""
        _, hard = resource.prlimit(self.pid, resource_number)
        resource.prlimit(self.pid, resource_number, (soft, hard))

    def freeze(self) -> None:
        """It gets no processor from here on; what comes waits with the system."""
        self.process.send_signal(signal.SIGSTOP)
        await_stop(self.pid)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note("the last of the server's log:\n" + "\n".join(self.log[-8:]))
        self.kill()


def unchanged(count: Callable[[], int]) -> int:
    """Wait until ``count()`` has been the same for a moment; returns it."""
    tick = threading.Event()
    before = -1
    while before != (before := count()):
        tick.wait(_MOMENT)
    return before


def as_user(number: int | None) -> list[str]:
    """What goes before a command that another user is to run."""
    if number is None:
        return []
    return ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups"]


def processor_seconds(pid: int) -> float:
    """That a process has used so far."""
    user, system = _stat(pid)[11:13]
    return (int(user) + int(system)) / _TICKS


def await_stop(pid: int) -> None:
    """Wait until a process is stopped, as by SIGSTOP."""
    eventually(lambda: _stat(pid)[0] == "T", "the process to be stopped")


def _stat(pid: int) -> list[str]:
    """What proc(5) says of a process, from the third field on."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return text.rpartition(")")[2].split()
