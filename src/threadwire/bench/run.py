"""Carrying out a plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from .course import Done
from .crew import Crew
from .gathering import Gathering
from .plan import Plan
from .records import Snapshot
from .results import Progress, Result
from .worker import Ready

__all__ = ["run"]

_LOOK: Final = 0.1  # seconds between two looks at whether to stop
_WATCH: Final = 0.125  # seconds between two calls of watch
_LAST_WORDS: Final = 5.0  # seconds for the processes to tell the rest when they are stopped


class Stopping(Protocol):
    """What :class:`threading.Event` has."""

    def is_set(self) -> bool: ...


def run(
    plan: Plan,
    watch: Callable[[Progress], None] | None = None,
    stop: Stopping | None = None,
) -> Result:
    """Make the load that ``plan`` asks for, and tell what came of it.

    watch
        Called with how it goes, some eight times a second, in this thread. The load comes
        from other processes, which take no notice of it.
    stop
        Ends the run early when it is set. So does Ctrl-C, once: the result is of what has
        been measured until then, and says that it was interrupted. After that, Ctrl-C ends
        the processes at once, and KeyboardInterrupt is raised.

    Raises :class:`~threadwire.UsageError` for what shows to be wrong only now,
    :class:`~threadwire.ConnectError` where the service's name is not known, and
    :class:`~.crew.WorkerFailed`. A service that cannot be reached is no exception: its
    result has no connections, and the errors say why.
    """
    gathering = Gathering(plan)
    with Crew(plan) as crew:
        running = _Running(plan, crew, gathering, watch, stop)
        try:
            running.run()
        except KeyboardInterrupt:
            if running.interrupted or (stop is not None and stop.is_set()):
                raise  # the second one, while the processes were to have their last word
            running.interrupt()
    return gathering.result(interrupted=running.interrupted)


class _Running:
    """One run; one thread's."""

    def __init__(
        self,
        plan: Plan,
        crew: Crew,
        gathering: Gathering,
        watch: Callable[[Progress], None] | None,
        stop: Stopping | None,
    ) -> None:
        self._crew = crew
        self._gathering = gathering
        self._watch = watch
        self._stop = stop
        self._ready = 0
        self._processes = plan.processes
        self._up = 0
        self._shown = 0.0  # when watch was called last
        self.interrupted = False

    def run(self) -> None:
        while self._crew.running:
            self._listen(_LOOK)
            self._show()
            if self._stop is not None and self._stop.is_set():
                self.interrupt()
                return
        self._show(at_once=True)

    def interrupt(self) -> None:
        """End the run now, with what has been measured."""
        self.interrupted = True
        self._crew.stop()
        deadline = time.monotonic() + _LAST_WORDS
        while self._crew.running and time.monotonic() < deadline:
            self._listen(_LOOK)

    def _listen(self, seconds: float) -> None:
        for part, said in self._crew.listen(seconds):
            if isinstance(said, Snapshot | Done):
                self._gathering.add(part, said)
            elif isinstance(said, Ready):
                self._ready += 1
                self._up += said.up
                if self._ready == self._processes:
                    self._begin()

    def _begin(self) -> None:
        if self._up:
            self._gathering.begin(self._crew.go())
        else:
            self._crew.stop()

    def _show(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._watch is not None and (at_once or now - self._shown >= _WATCH):
            self._shown = now
            self._watch(self._gathering.progress())
