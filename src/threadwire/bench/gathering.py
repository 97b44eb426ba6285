"""What all processes of a run have noted, put together."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from .course import TICK, Done
from .histogram import Histogram
from .plan import Plan
from .records import Snapshot, add_error
from .results import ErrorKind, Generator, Interval, Phase, Progress, Result

__all__ = ["Gathering"]

_MOST_INTERVALS: Final = 240  # then two of them become one
_FULL: Final = 0.95  # of a core; a process that uses more, or would, has no time left to be on time
_LATE: Final = 0.001  # seconds that are of no account
_LATE_SHARE: Final = 0.5  # of what is measured; lateness beyond it decides the outcome
_HIGHEST: Final = ((99.9, 99.0), (100, 99.9))  # percentiles, with the ones below them
_PHASES: Final[tuple[Phase, ...]] = ("connecting", "ramp", "warmup", "measuring", "finishing")


@dataclass
class _Sum:
    """One interval, so far."""

    messages: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)

    def add(self, other: _Sum) -> None:
        self.messages += other.messages
        self.errors += other.errors
        self.latency.merge(other.latency)


class Gathering:
    """Owned by the thread that runs the plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._phases: list[Phase] = ["connecting"] * plan.processes
        self._up = [0] * plan.processes
        # By process: messages and seconds of the last second's snapshots.
        self._recent: list[deque[tuple[int, float]]] = [
            deque(maxlen=round(1 / TICK)) for _ in range(plan.processes)
        ]
        self._done: dict[int, Done] = {}
        self._seconds = [0.0] * plan.processes  # measured so far
        self._start: float | None = None  # of the monotonic clock; when the first message was due
        self._measured = False
        self._ended: float | None = None
        self._width = 1  # ticks of an interval
        self._intervals: dict[int, _Sum] = {}
        self._messages = 0
        self._connects = self._connects_before = 0
        self._bytes_sent = self._bytes_received = 0
        self._latency, self._service = Histogram(), Histogram()
        self._lost = Histogram()  # which are in _latency, too
        self._behind, self._connect = Histogram(), Histogram()
        self._early = Histogram()  # latencies before measuring
        self._errors: dict[str, ErrorKind] = {}
        self._errors_before: dict[str, ErrorKind] = {}

    def begin(self, start: float) -> None:
        self._start = start

    @property
    def connected(self) -> bool:
        return self._connect.count > 0

    def add(self, part: int, said: Snapshot | Done) -> None:
        if isinstance(said, Done):
            self._done[part] = said
            return
        self._phases[part] = said.phase
        self._up[part] = said.up
        if said.seconds > TICK / 4:
            self._recent[part].append((said.latency.count, said.seconds))
        self._connect.merge(said.connect)
        measured = said.phase in ("measuring", "finishing")
        for kind, error in said.errors.items():
            add_error(self._errors if measured else self._errors_before, kind, error)
        if not measured:
            self._connects_before += said.connect.count
            self._early.merge(said.latency)
            return
        self._measured = True
        self._latency.merge(said.latency)
        self._latency.merge(said.lost)
        self._lost.merge(said.lost)
        self._service.merge(said.service)
        self._behind.merge(said.behind)
        if said.phase == "measuring":
            self._seconds[part] += said.seconds
            self._add_measured(said)

    def _add_measured(self, said: Snapshot) -> None:
        self._messages += said.latency.count
        self._connects += said.connect.count
        self._bytes_sent += said.bytes_sent
        self._bytes_received += said.bytes_received
        errors = sum(error.count for error in said.errors.values())
        while said.tick // self._width >= _MOST_INTERVALS:
            self._halve()
        interval = self._intervals.setdefault(said.tick // self._width, _Sum())
        interval.add(_Sum(said.latency.count, errors, said.latency))
        interval.latency.merge(said.lost)

    def _halve(self) -> None:
        before, self._intervals = self._intervals, {}
        self._width *= 2
        for number, interval in before.items():
            self._intervals.setdefault(number // 2, _Sum()).add(interval)

    # What it comes to.

    def progress(self) -> Progress:
        phase = min(self._phases, key=_PHASES.index)
        elapsed = 0.0 if self._start is None else max(0.0, time.monotonic() - self._start)
        planned = self._plan.seconds
        done = 0.0
        if planned is not None:
            done = elapsed / planned
        if self._plan.requests is not None:
            done = max(done, self._messages / self._plan.requests)
        return Progress(
            phase=phase,
            elapsed=elapsed,
            planned=planned,
            done=min(1.0, done),
            connected=sum(self._up),
            clients=self._plan.clients,
            messages=self._messages if self._measured else self._early.count,
            rate=self._rate(),
            errors=dict(self._errors if self._measured else self._errors_before),
            latency=self._latency if self._measured else self._early,
        )

    def _rate(self) -> float:
        total = 0.0
        for recent in self._recent:
            seconds = sum(seconds for _, seconds in recent)
            total += sum(count for count, _ in recent) / seconds if seconds else 0.0
        return total

    def result(self, *, interrupted: bool) -> Result:
        # A process that hangs says no last word, but what it has said before counts.
        told = {part: done.seconds for part, done in self._done.items()}
        seconds = max(told.get(part, so_far) for part, so_far in enumerate(self._seconds))
        sent_at_once = self._plan.rate is None and not self._plan.connect_each
        began = 0.0 if self._start is None else self._start + self._plan.ramp + self._plan.warmup
        return Result(
            started_at=time.time() - (time.monotonic() - began if began else 0.0),
            seconds=seconds,
            plan=self._plan.summary(),
            messages=self._messages,
            messages_per_second=_per_second(self._messages, seconds),
            connects=self._connects,
            connects_per_second=_per_second(self._connects, seconds),
            connects_before=self._connects_before,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            latency=self._latency,
            service=self._latency if sent_at_once else self._service,
            lost=self._lost,
            connect=self._connect,
            errors=self._errors if self._measured else self._errors_before,
            errors_before=self._errors_before if self._measured else {},
            intervals=tuple(self._told_intervals(seconds)),
            generator=self._generator(),
            interrupted=interrupted,
        )

    def _told_intervals(self, seconds: float) -> list[Interval]:
        """All of them, also those in which nothing came."""
        told = []
        length = self._width * TICK
        for number in range(max(self._intervals, default=-1) + 1):
            interval = self._intervals.get(number, _Sum())
            at = number * length
            if seconds - at < TICK / 100 and not (interval.messages or interval.errors):
                continue
            latency = interval.latency
            told.append(
                Interval(
                    at=at,
                    seconds=max(min(length, seconds - at), TICK / 100),
                    messages=interval.messages,
                    errors=interval.errors,
                    p50=latency.percentile(50),
                    p99=latency.percentile(99),
                    max=latency.max,
                )
            )
        return told

    def _generator(self) -> Generator:
        busiest = max(
            self._done.values(), key=lambda done: done.cpu + done.waited, default=Done(0.0, 0.0)
        )
        behind = self._behind.percentile(99)
        why = ""
        if busiest.cpu > _FULL:
            why = f"its busiest process used {busiest.cpu:.0%} of a core"
        elif busiest.cpu + busiest.waited > _FULL:
            why = (
                f"its busiest process used {busiest.cpu:.0%} of a core, and for "
                f"{busiest.waited:.0%} of the time no core was free for it"
            )
        elif self._is_late(99):
            why = (
                f"1 % of the messages were sent {behind * 1e3:.3g} ms or more after they were due, "
                "though a connection was free for them"
            )
        own_above = None
        if not why:
            own_above = next((below for q, below in _HIGHEST if self._is_late(q)), None)
        return Generator(
            processes=self._plan.processes,
            cpu=min(1.0, busiest.cpu),
            waited=min(1.0, busiest.waited),
            behind=behind,
            behind_max=self._behind.max,
            saturated=bool(why),
            why=why,
            own_above=own_above,
        )

    def _is_late(self, q: float) -> bool:
        """Whether that percentile of the latency is the generator's lateness, for the most part."""
        return self._behind.percentile(q) > max(_LATE, _LATE_SHARE * self._latency.percentile(q))


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0
