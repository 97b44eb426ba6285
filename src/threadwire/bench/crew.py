"""The processes that make load: started together, begun together, ended together."""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import Any, Final, Self

from ..errors import ThreadwireError, UsageError
from .course import Done
from .plan import Plan
from .printable import printable
from .worker import Failed, Go, Job, Said, Stop

__all__ = ["Crew", "WorkerFailed"]

# The modules are found where this process finds them, before any of them is imported.
_PROGRAM: Final = (
    "import sys; number, *sys.path = sys.argv[1:]; "
    "from threadwire.bench.worker import main; main(int(number))"
)
_DESCRIPTORS: Final = 64  # of a process that makes load, beside its connections
_HEAD_START: Final = 0.02  # seconds in which all are told when to begin
_PATIENCE: Final = 5.0  # seconds for a process to end by itself


class WorkerFailed(ThreadwireError):
    """A process that makes load has ended in a way that was not foreseen; ``problem`` says how."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        # A traceback has what a user's function was given, and so what the service said.
        self.problem = "\n".join(map(printable, problem.splitlines()))

    def __str__(self) -> str:
        return f"a process that makes load has failed: {self.problem}"


class Crew:
    """The processes of a plan, as a context; all are gone when it is left. One thread's."""

    def __init__(self, plan: Plan) -> None:
        _have_descriptors(-(-plan.clients // plan.processes) * 2 + _DESCRIPTORS)
        self._plan = plan
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: dict[Connection[Any, Any], int] = {}  # with each process's number

    def __enter__(self) -> Self:
        try:
            with _interrupts_blocked():
                for part in range(self._plan.processes):
                    self._start(part)
            for connection, part in self._connections.items():
                connection.send(Job(self._plan, part, self._plan.processes))
        except BaseException:
            self._end(0)
            raise
        return self

    def _start(self, part: int) -> None:
        ours, theirs = Pipe()
        self._connections[ours] = part
        with theirs:
            arguments = [str(theirs.fileno()), *filter(_is_text, sys.path)]
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # what a user's function prints is not the result
                    pass_fds=(theirs.fileno(),),
                )
            )

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    @property
    def running(self) -> bool:
        """Whether any of them may have something to say."""
        return bool(self._connections)

    def listen(self, seconds: float) -> list[tuple[int, Said]]:
        """What they have said, with who it was; waits so long for it.

        Raises what one of them has failed with.
        """
        said: list[tuple[int, Said]] = []
        for connection in wait(list(self._connections), seconds):
            assert isinstance(connection, Connection)
            part = self._connections[connection]
            try:
                word: Said = connection.recv()
            except (EOFError, OSError):
                process = self._processes[part]
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE)
                problem = f"it ended by itself, with {process.returncode}"
                raise WorkerFailed(problem) from None
            if isinstance(word, Failed):
                raise word.error or WorkerFailed(word.text)
            if isinstance(word, Done):
                del self._connections[connection]
                connection.close()
            said.append((part, word))
        return said

    def go(self) -> float:
        """Have all of them begin at the same moment, which is returned."""
        start = time.monotonic() + _HEAD_START
        self._tell(Go(start))
        return start

    def stop(self) -> None:
        self._tell(Stop())

    def _tell(self, word: Go | Stop) -> None:
        for connection in self._connections:
            with contextlib.suppress(OSError):  # found out when it is listened to
                connection.send(word)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(_PATIENCE if error is None else 0)

    def forsake(self) -> None:
        """Say and hear nothing more, upon which each of them ends."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _end(self, patience: float) -> None:
        self.forsake()
        deadline = time.monotonic() + patience
        try:
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:  # at once, when this is interrupted
            for process in self._processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes that are started inherit that: Ctrl-C is for this one, which ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _have_descriptors(count: int) -> None:
    """Let the processes open so many; raises UsageError if the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise UsageError(
            f"so many clients need {count} descriptors a process, and the system allows {hard}: "
            "take fewer clients or more processes, or raise the limit (ulimit -n)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _is_text(entry: object) -> bool:
    return isinstance(entry, str) and "\0" not in entry
