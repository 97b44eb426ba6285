"""The sampler: when it takes samples, and that nobody holds it up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from threadwire import ConnectionClosed
from threadwire.admin.sampler import Sample, Sampler
from threadwire.snapshot import ServerSnapshot

from ..conftest import Events
from ..support import PATIENCE, eventually, wait_for
from .snapshots import client, snapshot


class Source:
    """Gives snapshots, each with more messages than the one before, and counts them."""

    def __init__(self) -> None:
        self.taken = 0  # under the sampler's lock, like what follows
        self.looks = 0  # those without clients
        self.fails = False
        self.hold: threading.Event | None = None
        self.held = threading.Event()

    def __call__(self, *, clients: bool) -> ServerSnapshot:
        if self.hold is not None:
            self.held.set()
            wait_for(self.hold)
        if self.fails:
            raise ZeroDivisionError
        if not clients:
            self.looks += 1
            return snapshot(clock=time.monotonic(), messages_received=self.taken)
        self.taken += 1
        return snapshot(
            clock=time.monotonic(),
            messages_received=self.taken,
            clients=(client(1, messages_received=self.taken),),
        )


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def sampler(source: Source) -> Iterator[Sampler]:
    sampler = Sampler(source)
    sampler.start()
    yield sampler
    sampler.close()


def document(sample: Sample | None) -> Any:
    assert sample is not None
    return json.loads(sample.data)


def test_no_client_is_looked_at_unless_somebody_wants_it(sampler: Sampler, source: Source) -> None:
    eventually(lambda: source.looks)
    assert source.taken == 0
    with sampler.watch() as next_sample:
        assert next_sample()
        assert source.taken >= 1


def test_who_comes_sees_what_was_before(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """With looks while somebody watches only: the charts begin empty."""
    monkeypatch.setattr("threadwire.admin.sampler.REST", 0.01)
    monkeypatch.setattr("threadwire.admin.sampler._REST_SHARE", 1.0)
    monkeypatch.setattr("threadwire.admin.history._LEAST", 0.0)
    sampler = Sampler(source)
    sampler.start()
    eventually(lambda: source.looks >= 4)
    assert len(sampler.history()) >= 2
    with sampler.watch() as next_sample:
        assert document(next_sample())["interval"] is None
        assert sampler.history()[-1]["messages_per_second"] > 0
    sampler.close()


def test_a_watcher_gets_one_sample_after_another(sampler: Sampler) -> None:
    with sampler.watch() as next_sample:
        first, second = next_sample(), next_sample()
    assert first is not None
    assert second is not None
    assert document(first)["interval"] is None
    interval = document(second)["interval"]
    assert 0.5 < interval["seconds"] < 5
    assert interval["messages_per_second"] == pytest.approx(1 / interval["seconds"], abs=0.01)
    assert second.rate(1) == interval["messages_per_second"]
    assert second.number > first.number
    assert sampler.history()[-1]["messages_per_second"] == pytest.approx(
        interval["messages_per_second"], rel=1
    )


def test_who_comes_later_gets_the_last_sample_at_once(sampler: Sampler) -> None:
    with sampler.watch() as next_sample, sampler.watch() as another:
        assert next_sample() is another()


def test_all_watchers_get_the_same_sample(sampler: Sampler, source: Source) -> None:
    with ExitStack() as stack:
        watchers = [stack.enter_context(sampler.watch()) for _ in range(20)]
        got = {watcher() for watcher in watchers}
    assert len(got) == 1
    assert source.taken == 1


def test_a_watcher_that_is_stuck_misses_samples_and_holds_up_nobody(sampler: Sampler) -> None:
    with sampler.watch() as stuck, sampler.watch() as next_sample:
        assert stuck() is next_sample()
        missed, last = next_sample(), next_sample()
        caught_up = stuck()
    assert missed is not None
    assert caught_up is last
    assert caught_up is not missed


def test_who_asks_gets_a_sample_that_is_not_older_than_wanted(
    sampler: Sampler, source: Source
) -> None:
    with sampler.watch() as next_sample:
        ticked = next_sample()
        assert sampler.sample(60.0) is ticked
        fresh = sampler.sample(0.0)
        assert fresh is not ticked
        assert document(fresh)["totals"]["messages_received"] == 2
        assert sampler.sample(60.0) is fresh


def test_what_is_taken_between_has_the_interval_of_the_last_regular_one(sampler: Sampler) -> None:
    with sampler.watch() as next_sample:
        next_sample()
        regular = document(next_sample())
        between = document(sampler.sample(0.0))
    assert between["interval"] == regular["interval"]
    assert between["totals"] != regular["totals"]


def test_what_is_taken_between_is_for_who_asked_alone(sampler: Sampler) -> None:
    with sampler.watch() as next_sample:
        next_sample()
        between = sampler.sample(0.0)
        regular = next_sample()
    assert regular is not between
    assert document(regular)["interval"]["seconds"] > 0.5


def test_samples_go_on_for_a_while_after_somebody_has_asked(
    sampler: Sampler, source: Source
) -> None:
    sampler.sample(0.0)
    eventually(lambda: source.taken >= 3)


def test_one_sample_is_taken_at_a_time(sampler: Sampler, source: Source) -> None:
    source.hold = threading.Event()
    got: list[Sample] = []
    asking = [
        threading.Thread(target=lambda: got.append(sampler.sample(PATIENCE))) for _ in range(10)
    ]
    for thread in asking:
        thread.start()
    wait_for(source.held)
    source.hold.set()
    for thread in asking:
        thread.join(PATIENCE)
    assert len(got) == 10
    assert len(set(got)) <= 2, "the thread itself may have taken one"


def test_a_sample_that_fails_is_logged_and_the_next_may_do(
    sampler: Sampler, source: Source, events: Events
) -> None:
    source.fails = True
    with pytest.raises(ZeroDivisionError):
        sampler.sample(0.0)
    eventually(lambda: events.named("admin-failed"))
    source.fails = False
    assert document(sampler.sample(0.0))["schema"] == 1


def test_stopping_lets_watchers_go(source: Source) -> None:
    sampler = Sampler(source)
    sampler.start()
    ended = threading.Event()

    def watch() -> None:
        with sampler.watch() as next_sample:
            while next_sample() is not None:
                pass
        ended.set()

    watching = threading.Thread(target=watch)
    watching.start()
    eventually(lambda: source.taken)
    sampler.stop()
    wait_for(ended)
    watching.join(PATIENCE)
    sampler.close()
    sampler.close()


def test_after_the_end_there_are_no_samples(source: Source) -> None:
    sampler = Sampler(source)
    with pytest.raises(ConnectionClosed):
        sampler.sample(0.0)
    sampler.start()
    sampler.close()
    with pytest.raises(ConnectionClosed):
        sampler.sample(0.0)


def test_a_first_event_has_the_history_and_each_is_one_block(sampler: Sampler) -> None:
    sample = sampler.sample(0.0)
    lines = sample.event().decode().split("\n")
    assert lines[:2] == [f"id: {sample.number}", "event: snapshot"]
    assert lines[2].removeprefix("data: ") == sample.data.decode()
    assert lines[3:] == ["", ""]
    first = sample.first_event([{"time": 1.0}]).decode()
    assert first.startswith("retry: 1000\n")
    data = next(line for line in first.split("\n") if line.startswith("data: "))
    assert json.loads(data.removeprefix("data: ")) == {
        **json.loads(sample.data),
        "history": [{"time": 1.0}],
    }
