"""A process that makes load, on behalf of the one that shows how it goes.

Its only argument is the descriptor of its end of a connection to that one. It is given a
:class:`Job`, says that it is ready, is told when to begin, and tells a few times a second
what it has noted. When the other end goes, so does this process.
"""

from __future__ import annotations

import functools
import gc
import os
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, TypeAlias

from ..errors import ThreadwireError
from .course import Course, Done
from .load import Load
from .plan import Plan
from .records import Snapshot

__all__ = ["Failed", "Go", "Job", "Ready", "Said", "Stop"]

_FEW_GARBAGE: Final = 100_000  # objects that may be made before it is looked for


@dataclass(frozen=True)
class Job:
    """``part`` of the ``parts`` that share ``plan``."""

    plan: Plan
    part: int
    parts: int


@dataclass(frozen=True)
class Ready:
    """Every client has tried to connect; ``up`` are connected."""

    up: int


@dataclass(frozen=True)
class Go:
    """Begin when the system's monotonic clock says ``start``."""

    start: float


@dataclass(frozen=True)
class Stop:
    """Send nothing more, and end in a moment."""


@dataclass(frozen=True)
class Failed:
    """It cannot be done; ``error`` is the caller's fault, or ``text`` is a traceback."""

    error: ThreadwireError | None
    text: str


Said: TypeAlias = Ready | Snapshot | Done | Failed


def work(connection: Connection[Any, Any]) -> None:
    """Do the job that comes by ``connection``."""
    job: Job = connection.recv()
    try:
        job.plan.expect.prepare()
        load = Load(job.plan, job.part, job.parts)
        course = Course(
            load,
            job.part,
            job.parts,
            ready=lambda up: connection.send(Ready(up)),
            tell=connection.send,
        )
        threading.Thread(target=_heed, args=(connection, load, course), daemon=True).start()
        # What there is now stays; and load makes no cycles, but a user's function may.
        gc.freeze()
        gc.set_threshold(_FEW_GARBAGE)
        load.run()
        load.close()
        connection.send(course.done)
    except ThreadwireError as error:
        connection.send(Failed(error, str(error)))
    except BrokenPipeError:
        pass  # nobody is there to be told
    except BaseException:  # noqa: BLE001 - whatever it is, the other process is to tell it
        connection.send(Failed(None, traceback.format_exc()))


def _heed(connection: Connection[Any, Any], load: Load, course: Course) -> None:
    """Pass on what is asked for, until the other end says that it is enough, or goes."""
    while True:
        try:
            asked: Go | Stop = connection.recv()
        except (EOFError, OSError):
            asked = Stop()
        if isinstance(asked, Go):
            load.post(functools.partial(course.go, asked.start))
        else:
            load.post(course.stop)
            return


def _sharpen_timers() -> None:
    """Have the system end waits when they are over, and not up to 50 µs later."""
    try:
        with open("/proc/self/timerslack_ns", "w") as file:
            file.write("1")
    except OSError:
        pass  # measured as what the load generator itself is late


def main(number: int) -> None:
    _sharpen_timers()
    os.set_inheritable(number, False)
    with Connection(number) as connection:
        work(connection)
