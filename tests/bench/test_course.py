"""The end of a run that somebody ends early: what is on its way is awaited for a moment."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from threadwire.bench.course import Course
from threadwire.bench.expect import Echo
from threadwire.bench.load import Load
from threadwire.bench.plan import Plan
from threadwire.bench.records import Snapshot

from ..support import PATIENCE, eventually, wait_for
from .services import lines_of, scripted


class Run:
    """One process's share, on a thread; ``stop`` is what Ctrl-C does."""

    def __init__(self, plan: Plan) -> None:
        self.told: list[Snapshot] = []  # the load's thread's, until it is joined
        self.load = Load(plan, 0, 1)
        self.course = Course(self.load, 0, 1, ready=self._go, tell=self.told.append)
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self.load.run)
        self._thread.start()

    def _go(self, _up: int) -> None:
        self.load.post(lambda: self.course.go(time.monotonic()))

    def stop(self) -> None:
        def stop() -> None:
            self.course.stop()
            self.stopped.set()

        self.load.post(stop)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(PATIENCE)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> dict[str, int]:
        """How many were answered, how many lost, and how many of those are errors."""
        self._thread.join(PATIENCE)
        assert not self.running
        self.load.close()
        return {
            "answered": sum(told.latency.count for told in self.told),
            "lost": sum(told.lost.count for told in self.told),
            "errors": sum(each.count for told in self.told for each in told.errors.values()),
        }


class Held:
    """Answers some, and the next when it is let."""

    def __init__(self, at_once: int) -> None:
        self._left = at_once
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __call__(self, connected: socket.socket) -> None:
        for line in lines_of(connected):
            if not self._left:
                self.asked.set()
                wait_for(self.go_on)
            self._left -= self._left > 0
            connected.sendall(line + b"\n")


def plan_for(url: str, rate: float | None, duration: float = 600.0) -> Plan:
    return Plan(url=url, clients=1, rate=rate, warmup=0.0, duration=duration, expect=Echo())


@pytest.mark.parametrize("rate", [None, 50.0])
def test_what_is_on_its_way_when_somebody_ends_it_is_awaited(
    monkeypatch: pytest.MonkeyPatch, rate: float | None
) -> None:
    """With it given up at once: every run that is ended early has lost requests."""
    monkeypatch.setattr("threadwire.bench.course._LAST_MOMENT", PATIENCE)
    held = Held(at_once=3)
    with scripted(held) as service, Run(plan_for(service.url, rate)) as run:
        wait_for(held.asked)
        run.stop()
        wait_for(run.stopped)
        assert run.running
        held.go_on.set()
        found = run.end()
    assert found["answered"] == 4
    assert found["errors"] == 0
    if rate is None:
        assert found["lost"] == 0


def test_what_does_not_come_is_lost_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadwire.bench.course._LAST_MOMENT", 0.01)
    held = Held(at_once=3)
    with scripted(held) as service, Run(plan_for(service.url, None)) as run:
        wait_for(held.asked)
        run.stop()
        assert run.end() == {"answered": 3, "lost": 1, "errors": 0}
        held.go_on.set()


def test_an_end_that_has_come_by_itself_is_hastened(monkeypatch: pytest.MonkeyPatch) -> None:
    """With five seconds for what is on its way all the same: who presses Ctrl-C waits for them."""
    monkeypatch.setattr("threadwire.bench.course._LAST_MOMENT", 0.01)
    monkeypatch.setattr("threadwire.bench.course._LONGEST_FINISH", 10 * PATIENCE)
    held = Held(at_once=3)
    with scripted(held) as service, Run(plan_for(service.url, None, 0.05)) as run:
        wait_for(held.asked)
        eventually(lambda: run.course.done.seconds)
        assert run.running
        run.stop()
        assert run.end() == {"answered": 3, "lost": 1, "errors": 0}
        held.go_on.set()
