"""What a process has too much of when something was left open."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from types import TracebackType
from typing import NamedTuple, Self

from ..units import format_size
from .arguments import check_seconds, check_whole

__all__ = ["Leaks", "Usage"]

_LOOK_AGAIN = 0.02  # seconds


class Usage(NamedTuple):
    """What a process has at one moment.

    ``threads`` by name, ``descriptors`` by what they are open on, in the system's words;
    ``memory`` is what is resident, in bytes.
    """

    threads: Counter[str]
    descriptors: Counter[str]
    memory: int


class Leaks:
    """Compares threads, descriptors and memory of a process before and after its block.

    ::

        with Leaks():
            with serving(handler) as served:
                ...

    pid
        The process [this one].
    threads, descriptors
        How many more there may be at the end [0].
    memory
        How many bytes more may be resident at the end [16 MiB]; ``None``: any number.
        Python keeps some of what it has used once: let the block's work be done once before.
    settle
        Seconds within which what is ending has to be gone [5].

    AssertionError says what there is too much of, thread by thread and descriptor by
    descriptor. If the block itself raises, nothing is looked at. ``before`` and ``after`` are
    :class:`Usage`.

    It reads ``/proc``, so it is for Linux; of a process of another user it may see nothing,
    and raises what the system says.
    """

    def __init__(
        self,
        pid: int | None = None,
        *,
        threads: int = 0,
        descriptors: int = 0,
        memory: int | None = 16 << 20,
        settle: float = 5.0,
    ) -> None:
        for name, value in (("threads", threads), ("descriptors", descriptors), ("memory", memory)):
            if value is not None:
                check_whole(name, value, 0)
        self._pid = os.getpid() if pid is None else pid
        self._threads = threads
        self._descriptors = descriptors
        self._memory = memory
        self._settle = check_seconds("settle", settle)
        self.before = self.after = Usage(Counter(), Counter(), 0)

    def __enter__(self) -> Self:
        self.before = self._measure()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.check()

    def check(self) -> None:
        """Compare with ``before``, waiting for what is ending; raises AssertionError."""
        deadline = time.monotonic() + self._settle
        tick = threading.Event()
        while True:
            self.after = self._measure()
            problems = self._problems()
            if not problems:
                return
            if time.monotonic() >= deadline:
                raise AssertionError(
                    f"after {self._settle:g} s, process {self._pid} still has "
                    + "; ".join(problems)
                )
            tick.wait(_LOOK_AGAIN)

    def _problems(self) -> list[str]:
        problems = []
        for what, before, after, allowed in (
            ("threads", self.before.threads, self.after.threads, self._threads),
            ("descriptors", self.before.descriptors, self.after.descriptors, self._descriptors),
        ):
            more = after.total() - before.total()
            if more > allowed:
                problems.append(f"{more} more {what}: {_listed(after - before)}")
        more = self.after.memory - self.before.memory
        if self._memory is not None and more > self._memory:
            amounts = (format_size(amount) for amount in (more, self._memory))
            problems.append("{} more memory, where {} are allowed".format(*amounts))
        return problems

    def _measure(self) -> Usage:
        directory = f"/proc/{self._pid}"
        if self._pid == os.getpid():
            gc.collect()  # what only the collector still holds is no leak
        return Usage(self._thread_names(directory), _descriptors(directory), _resident(directory))

    def _thread_names(self, directory: str) -> Counter[str]:
        known = {}
        if self._pid == os.getpid():  # the system's names are shorter
            known = {str(thread.native_id): thread.name for thread in threading.enumerate()}
        names: Counter[str] = Counter()
        for number in os.listdir(f"{directory}/task"):
            try:
                with open(f"{directory}/task/{number}/comm", encoding="utf-8") as file:
                    names[known.get(number) or file.read().strip()] += 1
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
        return names


def _descriptors(directory: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for number in os.listdir(f"{directory}/fd"):
        try:
            found[os.readlink(f"{directory}/fd/{number}")] += 1
        except FileNotFoundError:
            continue  # closed meanwhile, as the one that lists them
    return found


def _resident(directory: str) -> int:
    with open(f"{directory}/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _listed(more: Counter[str]) -> str:
    return ", ".join(
        f"{count} of {name}" if count > 1 else name for name, count in sorted(more.items())
    )
