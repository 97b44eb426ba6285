"""What the kernel tells about a server's process and its children."""

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path


def family(pid: int) -> Iterator[int]:
    """A process and its children, and theirs."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        # Threads and children may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def resident_kib(pid: int) -> float:
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family(pid))
    return pages * resource.getpagesize() / 1024


def threads(pid: int) -> int:
    return sum(len(os.listdir(f"/proc/{one}/task")) for one in family(pid))


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads.

    It is the sum of utime and stime of /proc/PID/stat, which counts in hundredths of a second,
    read from the process's clock instead, which counts in nanoseconds: clock_getcpuclockid(3).
    """
    return sum(time.clock_gettime(~one << 3 | 2) for one in family(pid))


def extensions(pid: int, directory: Path) -> list[str]:
    """The names of the compiled modules below a directory that a process has loaded."""
    mapped = Path(f"/proc/{pid}/maps").read_text().splitlines()
    paths = {Path(line.split(maxsplit=5)[-1]) for line in mapped if line.endswith(".so")}
    return sorted(path.name for path in paths if path.is_relative_to(directory))
