"""Where serving threads run: on one core together, on a build with the interpreter's lock.

With that lock only one of them runs Python at a time anyway. On several cores each hands
the lock to a thread on another core and back with every message, which costs two to
three times what serving the message does; on one core the next thread simply goes on.

It is a matter of single threads, not of the process: threads that a handler's libraries
have started keep the cores they had. (A thread or process that a handler itself starts
inherits its one core; such a handler is better served without pinning.)
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

__all__ = ["loop_count", "on_one_core"]


def on_one_core() -> Callable[[], None]:
    """A function that pins the thread that calls it, to the same core each time.

    It does nothing where there is nothing to gain: without the interpreter's lock, with a
    single core, or where the system has no affinity. Processes are spread over the cores
    by their number.
    """
    if not has_lock() or not hasattr(os, "sched_setaffinity"):
        return _stay
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return _stay
    core = cores[os.getpid() % len(cores)]

    def pin() -> None:
        # A core that was taken from the process meanwhile: the thread runs where it can.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {core})

    return pin


def _stay() -> None:
    """Leave the thread where it is."""


def has_lock() -> bool:
    """Whether this interpreter runs one thread of Python at a time."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def loop_count() -> int:
    """How many loops a process is best served by: one, or one a core if there is no lock."""
    if has_lock():
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
