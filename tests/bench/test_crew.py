"""The processes that make load."""

from __future__ import annotations

import os
import signal

import pytest

import threadwire
from threadwire.bench.course import Done
from threadwire.bench.crew import Crew, WorkerFailed
from threadwire.bench.expect import Reverse
from threadwire.bench.plan import Plan
from threadwire.bench.worker import Ready

from ..conftest import Serving
from ..support import PATIENCE, eventually, reverse


def plan_for(server: threadwire.Server, **options: object) -> Plan:
    given = {"clients": 4, "processes": 2, "warmup": 0.0, "duration": 60.0, "expect": Reverse()}
    return Plan(url=str(server.addresses[0]), **{**given, **options})  # type: ignore[arg-type]


def until_ready(crew: Crew) -> None:
    ready = 0
    while ready < 2:
        said = crew.listen(PATIENCE)
        assert said, "nobody said anything"
        ready += sum(isinstance(word, Ready) and word.up == 2 for _, word in said)


def test_a_process_that_is_killed_is_told_of(serving: Serving) -> None:
    with Crew(plan_for(serving(reverse))) as crew:
        until_ready(crew)
        os.kill(crew.pids[0], signal.SIGKILL)
        with pytest.raises(WorkerFailed, match="ended by itself, with -9"):
            while True:
                crew.listen(PATIENCE)


def test_nobody_is_left_when_it_is_left(serving: Serving) -> None:
    server = serving(reverse)
    with pytest.raises(KeyError), Crew(plan_for(server)) as crew:
        until_ready(crew)
        crew.go()
        pids = crew.pids
        raise KeyError
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    eventually(lambda: not server.connections)


def test_when_it_is_stopped_each_tells_the_end(serving: Serving) -> None:
    with Crew(plan_for(serving(reverse))) as crew:
        until_ready(crew)
        crew.go()
        crew.stop()
        done = []
        while crew.running:
            done += [part for part, word in crew.listen(PATIENCE) if isinstance(word, Done)]
    assert sorted(done) == [0, 1]


def test_a_process_ends_when_its_maker_does(serving: Serving) -> None:
    server = serving(reverse)
    with Crew(plan_for(server)) as crew:
        until_ready(crew)
        crew.go()
        eventually(lambda: all(c.messages_received for c in server.connections))
        crew.forsake()
        eventually(lambda: not server.connections)


def test_ctrl_c_is_not_for_them(serving: Serving) -> None:
    with Crew(plan_for(serving(reverse), duration=0.3)) as crew:
        until_ready(crew)
        for pid in crew.pids:
            os.kill(pid, signal.SIGINT)
        crew.go()
        while crew.running:
            crew.listen(PATIENCE)


def test_what_has_failed_is_told_without_what_a_terminal_would_obey() -> None:
    """A service's reply gets there by a user's function that fails with it."""
    failed = WorkerFailed("Traceback:\n  SystemExit: \x1b[2J\n")
    assert str(failed).splitlines()[1] == "  SystemExit: \\x1b[2J"
