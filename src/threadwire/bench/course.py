"""The course of one process's run: connecting, ramp, warm-up, measuring, finishing.

Whatever comes after measuring has begun is noted, however early it was asked for: what a
service owes from the warm-up is part of how it does. What is due within the measured time is
awaited when it is over, so that a stall at the end cannot hide, but counts no more for the
rate.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .client import Client, State
from .load import Load
from .records import Snapshot
from .results import Phase
from .schedule import due_times

__all__ = ["TICK", "Course", "Done"]

TICK: Final = 0.25  # seconds between snapshots
_OPENING: Final = 64  # connections that are being made at a time, at the beginning
_LONGEST_FINISH: Final = 5.0  # seconds for the replies that are due at the end
_LAST_MOMENT: Final = 0.25  # seconds for them when somebody ends the run, and waits
_FINISH_PAUSE: Final = 0.002  # seconds between two looks at whether they have come


@dataclass(frozen=True)
class Done:
    """The end: ``seconds`` were measured.

    Of them, from 0 to 1, a core was used for ``cpu``, and waited for in vain for ``waited``.
    """

    seconds: float
    cpu: float
    waited: float = 0.0


class Course:
    """Belongs to the load's thread.

    ready
        Called once every client has a connection, or has failed to make one.
    tell
        Called with what has been noted.
    """

    def __init__(
        self,
        load: Load,
        part: int,
        parts: int,
        *,
        ready: Callable[[int], None],
        tell: Callable[[Snapshot], None],
    ) -> None:
        self._load = load
        self._plan = load.plan
        self._part, self._parts = part, parts
        self._ready = ready
        self._tell = tell
        self._phase: Phase = "connecting"
        self._took = time.monotonic()  # when the last snapshot was taken
        self._tick = 0
        self._origin = self._took  # of the ticks
        self._began = 0.0  # measuring
        self._cpu = self._waited = 0.0  # seconds of this thread's, when it began
        self._finish_by = math.inf
        self._stopped = False  # somebody has ended the run
        self.done = Done(0.0, 0.0)
        clients = load.clients[:1] if self._plan.connect_each else load.clients
        self._untried = set(clients)
        self._to_connect = deque(clients)
        load.tried = self._tried
        load.exhausted = self._exhausted
        for _ in range(_OPENING):
            self._connect_next()
        self._set_tick()

    # Connecting.

    def _connect_next(self) -> None:
        if self._to_connect:
            self._load.connector.connect(self._to_connect.popleft())

    def _tried(self, client: Client) -> None:
        if client not in self._untried:
            return
        self._untried.discard(client)
        if not self._load.up and len(self._load.clients) - len(self._untried) >= _OPENING:
            # Nobody is there; the others need not find that out one by one, however long it takes.
            self._untried.difference_update(self._to_connect)
            self._to_connect.clear()
        # Not from here, which may be called by connecting.
        self._load.timers.after(0.0, self._connect_next)
        if not self._untried:
            up = self._load.up
            self._snap()
            if self._plan.connect_each and client.state is State.UP:
                self._load.connector.drop(client, politely=True)
            self._ready(up)

    # From here on posted.

    def go(self, start: float) -> None:
        """Begin when the clock says ``start``."""
        plan, timers = self._plan, self._load.timers
        self._phase = "ramp" if plan.ramp else "warmup"
        clients = self._load.clients
        for n, client in enumerate(clients):
            wait = plan.ramp * (n * self._parts + self._part) / plan.clients
            moment = start + (wait if plan.rate is None else 0.0)
            timers.at(moment, functools.partial(self._load.begin, client))
        measuring = start + plan.ramp + plan.warmup
        if plan.rate is not None:
            until = math.inf if plan.duration is None else measuring + plan.duration
            seconds = due_times(
                plan.rate,
                plan.arrivals,
                ramp=plan.ramp,
                seed=plan.seed,
                part=self._part,
                parts=self._parts,
            )
            moments = (start + second for second in seconds)
            due = itertools.takewhile(lambda moment: moment < until, moments)
            timers.at(start, functools.partial(self._load.rota.follow, due))
        if plan.ramp:
            timers.at(start + plan.ramp, self._warm_up)
        timers.at(measuring, self._measure)
        self._begin_ticks(start)

    def stop(self) -> None:
        """Once: send nothing more, and wait for hardly anything.

        What is unanswered then counts with the time that it has waited for, lest the stall that
        made somebody end the run is hidden; but it is no error, for it may still be answered.
        """
        self._stopped = True
        now = time.monotonic()
        until = now + min(_LAST_MOMENT, self._plan.timeout)
        if self._phase == "measuring":
            self._end_measuring(now)
            self._load.stop_sending(at_once=True)
            self._finish_by = until
            self._finish()
        elif self._phase == "finishing":
            self._finish_by = min(self._finish_by, until)
        else:
            self._end()

    # The phases.

    def _warm_up(self) -> None:
        self._snap()
        self._phase = "warmup"

    def _measure(self) -> None:
        plan = self._plan
        self._snap()
        self._phase = "measuring"
        self._began, self._cpu, self._waited = self._took, time.thread_time(), _waited_for_core()
        if plan.requests is not None:
            self._load.limit(self._share(plan.requests))
        if plan.duration is not None:
            self._load.timers.at(self._began + plan.duration, self._time_is_up)
        self._begin_ticks(self._began)

    def _share(self, requests: int) -> int:
        """How many of them are this part's: as many for each client, or at most one more."""
        clients = self._plan.clients
        whole, rest = divmod(clients, self._parts)
        before = self._part * whole + min(self._part, rest)
        until = before + len(self._load.clients)
        return requests * until // clients - requests * before // clients

    def _begin_ticks(self, origin: float) -> None:
        """Count from ``origin`` on; ticks from another one are nothing any more."""
        self._origin, self._tick = origin, 0
        self._set_tick()

    def _set_tick(self) -> None:
        """Take a snapshot when the next tick is over."""
        passed = max(0, math.floor((time.monotonic() - self._origin) / TICK))
        at = self._origin + (passed + 1) * TICK
        self._load.timers.at(at, functools.partial(self._on_tick, self._origin))

    def _on_tick(self, origin: float) -> None:
        if origin != self._origin or self._phase == "finishing":
            return
        self._snap()
        self._tick = max(0, math.floor((self._took - origin) / TICK))
        if self._phase == "measuring" and self._is_hopeless():
            self._end_measuring(self._took)
            self._load.give_up()
            self._end()
        else:
            self._set_tick()

    def _is_hopeless(self) -> bool:
        """Whether nothing but a number of replies would end it, and none is to be expected."""
        load, plan = self._load, self._plan
        silent = self._took - max(load.last_answer, self._began)
        return (
            plan.duration is None
            and silent > 2 * plan.timeout
            and all(client.failures > 1 for client in load.clients)
        )

    def _exhausted(self) -> None:
        """All requests have been sent; which ends the run, if a number of them was asked for."""
        asked_for = self._plan.requests is not None and self._phase == "measuring"
        if asked_for and self._finish_by == math.inf:
            self._finish_by = -math.inf  # no further look is needed
            # Not from here: what has just come is being noted.
            self._load.timers.after(0.0, self._await_last)

    def _await_last(self) -> None:
        if self._phase != "measuring":
            return
        if self._load.busy:
            self._load.timers.after(_FINISH_PAUSE, self._await_last)
        else:
            self._end_measuring(max(self._load.last_answer, self._began))
            self._end()

    def _time_is_up(self) -> None:
        if self._phase != "measuring":
            return
        self._end_measuring(time.monotonic())
        self._load.stop_sending()
        self._finish_by = time.monotonic() + min(_LONGEST_FINISH, self._plan.timeout)
        self._finish()

    def _finish(self) -> None:
        if self._load.busy and time.monotonic() < self._finish_by:
            self._load.timers.after(_FINISH_PAUSE, self._finish)
        else:
            self._load.give_up(as_errors=not self._stopped)
            self._end()

    def _end_measuring(self, now: float) -> None:
        cpu, waited = time.thread_time() - self._cpu, _waited_for_core() - self._waited
        elapsed = max(time.monotonic() - self._began, 1e-6)
        self._snap(now)
        self._phase = "finishing"
        self.done = Done(now - self._began, cpu / elapsed, waited / elapsed)

    def _end(self) -> None:
        self._snap()
        self._load.over = True

    def _snap(self, now: float | None = None) -> None:
        now = time.monotonic() if now is None else now
        seconds, self._took = now - self._took, now
        self._tell(self._load.records.take(self._phase, self._tick, seconds, self._load.up))


def _waited_for_core() -> float:
    """Seconds that this thread could have run, had there been a core for it.

    The second figure of ``/proc/PID/schedstat``, in nanoseconds (Linux,
    Documentation/scheduler/sched-stats.rst); 0 where the system does not count.
    """
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
