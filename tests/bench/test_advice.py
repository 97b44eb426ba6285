"""What a reader is told to believe, and to try."""

from __future__ import annotations

import os
from typing import Any

import pytest

from threadwire.bench import advice as advising
from threadwire.bench.advice import advice, told_by_enough
from threadwire.bench.results import Generator, Result

from .samples import histogram, result, stalled


def words(of: Result) -> str:
    return " ".join(advice(of))


def test_a_good_run_needs_none() -> None:
    assert advice(result()) == []
    assert advice(result(plan={"rate": 100.0})) == []


def test_a_generator_at_its_limit_says_so_and_why() -> None:
    one = Generator(cpu=0.99, saturated=True, why="it used 99 % of a core.")
    (told, tried) = advice(result(generator=one))
    assert told.startswith("The load generator was itself the bottleneck: it used 99 % of a core. ")
    assert "processes 2" in tried or (os.cpu_count() or 1) == 1
    many = Generator(processes=os.cpu_count() or 1, cpu=1.0, saturated=True)
    (told, tried) = advice(result(generator=many))
    assert "bottleneck. " in told
    assert "another machine" in tried
    late = Generator(cpu=0.2, behind=0.01, saturated=True, why="it was late")
    assert "Something else took the processor" in words(result(generator=late))


def test_a_rate_that_was_not_reached_is_told_once() -> None:
    slow = result(plan={"rate": 200.0}, messages=1000)
    assert "200 messages/s were due, 100 were answered" in words(slow)
    both = result(plan={"rate": 200.0}, generator=Generator(saturated=True))
    assert "were due" not in words(both), "it is the generator's fault"


def test_a_service_that_goes_away_is_not_told_to_be_slow() -> None:
    """With advice about the rate alone: a lower one is tried, against nobody."""
    errors = {"unsent": 90, "closed": 8, "connect-refused": 2}
    told = words(result(plan={"rate": 200.0}, messages=1000, errors=errors))
    assert "200 messages/s were due, 100 were answered. The service ended connections" in told
    assert "lower --rate" not in told


def test_a_brief_wait_is_not_worth_a_word() -> None:
    given: dict[str, Any] = {
        "latency": histogram([0.0008] * 1000),
        "service": histogram([0.0003] * 1000),
    }
    assert advice(result(plan={"rate": 100.0}, **given)) == []


def test_a_stall_is_named() -> None:
    stall = stalled()
    assert "had to wait before they could be sent" in words(
        result(plan={"rate": 100.0}, latency=stall.latency, service=stall.service)
    )


def test_the_generators_own_pause_is_not_blamed_on_the_service() -> None:
    stall = stalled()
    mostly = Generator(behind=0.9, behind_max=1.0)
    given: dict[str, Any] = {"plan": {"rate": 100.0}, "latency": stall.latency}
    assert "had to wait" not in words(result(generator=mostly, service=stall.service, **given))
    now_and_then = Generator(behind_max=0.3, own_above=99.0)
    assert advice(result(generator=now_and_then)) == [
        "The load generator itself was late by up to 300 ms: latencies above p99 are its own, "
        "and not the service's."
    ]


def test_connecting_is_no_wait_for_a_connection() -> None:
    given: dict[str, Any] = {
        "latency": histogram([0.003] * 1000),
        "service": histogram([0.001] * 1000),
    }
    plan = {"rate": 100.0, "connect_each": True}
    assert "had to wait" in words(result(plan=plan, **given))
    assert "had to wait" not in words(result(plan=plan, connect=histogram([0.002]), **given))


def test_lost_requests_are_told_of() -> None:
    assert words(result(lost=histogram([2.0] * 1200))).startswith("1,200 requests got no reply. ")
    assert words(result(lost=histogram([2.0]))).startswith("1 request got no reply. ")


@pytest.mark.parametrize("kind", sorted(advising._BY_ERROR))
def test_errors_that_have_a_remedy(kind: str) -> None:
    assert advising._BY_ERROR[kind] in advice(result(errors={kind: 1}))


def test_not_one_right_reply() -> None:
    nothing = result(messages=0, latency=histogram([]), errors={"wrong-reply": 5})
    assert advice(nothing)[0] == "Not one request got a right reply."


@pytest.mark.parametrize(
    ("count", "percentage", "enough"),
    [(100, 90.0, True), (99, 90.0, False), (1000, 99.0, True), (100_000, 99.99, True),
     (99_000, 99.99, False)],
)  # fmt: skip
def test_ten_above_a_percentile_are_enough(count: int, percentage: float, enough: bool) -> None:
    assert told_by_enough(count, percentage) == enough
