"""What several processes have noted, put together."""

from __future__ import annotations

import pytest

from threadwire.bench.course import TICK, Done
from threadwire.bench.gathering import Gathering
from threadwire.bench.plan import Plan
from threadwire.bench.records import Records, Snapshot
from threadwire.bench.results import Phase

URL = "tcp://127.0.0.1:12345"


def snapshot(
    tick: int,
    latencies: list[float],
    *,
    phase: Phase = "measuring",
    errors: int = 0,
    behind: float | None = None,
    seconds: float = TICK,
) -> Snapshot:
    records = Records()
    records.latencies.extend(latencies)
    records.services.extend(latencies)
    if behind is not None:
        records.behind.append(behind)
    if errors:
        records.error("closed", "it closed", errors)
    records.bytes_sent = 10 * len(latencies)
    return records.take(phase, tick, seconds, 1)


def gathered(plan: Plan, *said: tuple[int, Snapshot | Done]) -> Gathering:
    gathering = Gathering(plan)
    gathering.begin(0.0)
    for part, word in said:
        gathering.add(part, word)
    return gathering


def test_processes_add_up() -> None:
    plan = Plan(url=URL, processes=2, rate=10)
    result = gathered(
        plan,
        (0, snapshot(0, [0.1, 0.2])),
        (1, snapshot(0, [0.3], errors=2)),
        (1, snapshot(1, [0.4])),
        (0, Done(0.5, 0.25)),
        (1, Done(0.5, 0.75)),
    ).result(interrupted=False)
    assert (result.messages, result.messages_per_second) == (4, 8.0)
    assert result.latency.count == result.service.count == 4
    assert result.bytes_sent == 40
    assert result.errors["closed"].count == 2
    assert [interval.messages for interval in result.intervals] == [3, 1]
    assert [interval.errors for interval in result.intervals] == [2, 0]
    assert result.intervals[0].max == 0.3
    assert result.generator.cpu == 0.75
    assert not result.saturated


def test_what_comes_before_and_after_does_not_count_for_the_rate() -> None:
    result = gathered(
        Plan(url=URL),
        (0, snapshot(0, [0.9] * 5, phase="warmup", errors=3)),
        (0, snapshot(0, [0.1])),
        (0, snapshot(1, [0.7], phase="finishing", errors=1)),
        (0, Done(0.25, 0.1)),
    ).result(interrupted=False)
    assert (result.messages, result.messages_per_second) == (1, 4.0)
    assert (result.latency.count, result.latency.max) == (2, 0.7)
    assert result.errors["closed"].count == 1
    assert result.errors_before["closed"].count == 3
    assert sum(interval.messages for interval in result.intervals) == 1


def test_lost_requests_are_in_the_latency_and_not_in_the_rate() -> None:
    some = snapshot(1, [])
    some.lost.record(2.0, 3)
    late = snapshot(1, [], phase="finishing")
    late.lost.record(3.0)
    before = snapshot(0, [], phase="warmup")
    before.lost.record(9.0)
    words: list[Snapshot | Done] = [before, snapshot(0, [0.1] * 4), some, late, Done(1.0, 0.1)]
    said = [(0, word) for word in words]
    result = gathered(Plan(url=URL, rate=10.0), *said).result(interrupted=False)
    assert (result.messages, result.messages_per_second) == (4, 4.0)
    assert (result.lost.count, result.latency.count, result.service.count) == (4, 8, 4)
    assert (result.latency.max, result.service.max) == (3.0, 0.1)
    assert result.latency.percentile(75) == pytest.approx(2.0, rel=0.01)
    assert [(one.messages, one.max) for one in result.intervals] == [(4, 0.1), (0, 2.0)]


def test_a_process_that_does_not_tell_the_end_has_measured_so_long_as_it_said() -> None:
    said = [(0, snapshot(tick, [0.1] * 5)) for tick in range(4)]
    result = gathered(Plan(url=URL), *said).result(interrupted=True)
    assert (result.messages, result.seconds, result.messages_per_second) == (20, 1.0, 20.0)
    assert len(result.intervals) == 4


def test_intervals_in_which_nothing_came_are_told() -> None:
    result = gathered(
        Plan(url=URL), (0, snapshot(0, [0.1])), (0, snapshot(3, [0.1])), (0, Done(1.0, 0.1))
    ).result(interrupted=False)
    assert [interval.messages for interval in result.intervals] == [1, 0, 0, 1]
    assert [interval.at for interval in result.intervals] == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("ticks", [240, 241, 1000, 10_000])
def test_a_long_run_has_longer_intervals(ticks: int) -> None:
    said = [(0, snapshot(tick, [0.1])) for tick in range(ticks)]
    result = gathered(Plan(url=URL), *said, (0, Done(ticks * TICK, 0.1))).result(interrupted=False)
    assert 120 <= len(result.intervals) <= 240
    assert sum(interval.messages for interval in result.intervals) == ticks
    assert sum(interval.seconds for interval in result.intervals) == pytest.approx(ticks * TICK)


def test_a_generator_without_time_to_spare_says_so() -> None:
    result = gathered(Plan(url=URL), (0, snapshot(0, [0.1])), (0, Done(1.0, 0.99))).result(
        interrupted=False
    )
    assert result.saturated
    assert "99% of a core" in result.generator.why
    said = (0, snapshot(0, [0.1])), (0, Done(1.0, 0.5, 0.48))
    generator = gathered(Plan(url=URL), *said).result(interrupted=False).generator
    assert generator.saturated
    assert (generator.cpu, generator.waited) == (0.5, 0.48)
    assert "for 48% of the time no core was free for it" in generator.why


@pytest.mark.parametrize(
    ("latency", "behind", "saturated"),
    [(0.1, 0.01, False), (0.1, 0.06, True), (0.0001, 0.0009, False), (0.0001, 0.002, True)],
)
def test_a_generator_that_is_late_says_so(latency: float, behind: float, saturated: bool) -> None:
    result = gathered(
        Plan(url=URL, rate=10.0), (0, snapshot(0, [latency], behind=behind)), (0, Done(1.0, 0.1))
    ).result(interrupted=False)
    assert result.saturated == saturated
    assert result.generator.behind_max == behind
    assert ("after they were due" in result.generator.why) == saturated


@pytest.mark.parametrize(
    ("behind", "own_above"),
    [([0.0] * 1000, None), ([0.0] * 995 + [0.09] * 5, 99.0), ([0.0] * 1999 + [0.06], 99.9)],
)
def test_a_generator_that_was_late_now_and_then_says_from_where_on(
    behind: list[float], own_above: float | None
) -> None:
    noted = snapshot(0, [0.001] * (len(behind) - 5) + [0.1] * 5)
    noted.behind.record_many(behind)
    result = gathered(Plan(url=URL, rate=10.0), (0, noted), (0, Done(1.0, 0.1))).result(
        interrupted=False
    )
    assert not result.saturated
    assert result.generator.own_above == own_above


def test_how_it_goes() -> None:
    plan = Plan(url=URL, requests=10, duration=None, processes=2)
    gathering = Gathering(plan)
    assert gathering.progress().phase == "connecting"
    gathering.add(0, snapshot(0, [0.1], phase="warmup"))
    gathering.add(1, snapshot(0, [0.1, 0.1], phase="warmup"))
    progress = gathering.progress()
    assert (progress.phase, progress.messages, progress.done) == ("warmup", 3, 0)
    assert progress.rate == pytest.approx(3 / TICK)
    gathering.add(0, snapshot(0, [0.1] * 5, errors=4))
    gathering.add(1, snapshot(0, []))
    progress = gathering.progress()
    assert (progress.phase, progress.messages, progress.done) == ("measuring", 5, 0.5)
    assert (progress.connected, progress.error_count) == (2, 4)
    assert progress.planned is None


def test_without_a_connection_the_first_errors_are_all_there_is() -> None:
    gathering = Gathering(Plan(url=URL))
    gathering.add(0, snapshot(0, [], phase="connecting", errors=2))
    result = gathering.result(interrupted=False)
    assert not result.connected
    assert result.errors["closed"].count == 2
    assert result.errors_before == {}
    assert (result.seconds, result.messages_per_second, result.intervals) == (0, 0, ())
