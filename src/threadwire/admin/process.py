"""What the system says of this process."""

from __future__ import annotations

import os
import platform
import resource
import time
from typing import NamedTuple

from .._version import __version__

__all__ = ["ProcessFacts", "ProcessReader"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ProcessFacts(NamedTuple):
    """This process at one instant."""

    pid: int
    version: str  # threadwire's
    python: str
    started_at: float  # seconds since the epoch
    uptime: float  # seconds
    cpu_seconds: float  # of all threads, since the start
    resident_bytes: int
    open_files: int  # descriptors
    threads: int  # also those that are not Python's


class ProcessReader:
    """Reads /proc/self, as proc(5) describes it, also when no descriptor is to be had any more."""

    def __init__(self) -> None:
        self._stat = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._stat)

    def facts(self) -> ProcessFacts:
        # The fields after the command's name, which may hold anything; the first is number 3.
        stat = os.pread(self._stat, 4096, 0).rpartition(b")")[2].split()
        uptime = max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(stat[19]) / _TICKS)
        return ProcessFacts(
            os.getpid(),
            __version__,
            platform.python_version(),
            time.time() - uptime,
            uptime,
            (int(stat[11]) + int(stat[12])) / _TICKS,
            int(stat[21]) * _PAGE,
            _open_files(),
            int(stat[17]),
        )


def _open_files() -> int:
    """Since Linux 6.2 the directory's size is their number; before, they have to be listed."""
    count = os.stat("/proc/self/fd").st_size
    if not count:
        try:
            count = len(os.listdir("/proc/self/fd"))
        except OSError:  # which takes a descriptor, too: there are as many as there may be
            count = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return count
