"""A stall whose outcome is known.

A service that is asked ``RATE`` times a second stalls once, for ``STALL`` seconds of the
``DURATION`` that is measured. ``RATE * STALL`` requests are due meanwhile, evenly, so their
waiting is uniform between nothing and ``STALL``; the others hardly wait. So the part of all
requests that wait longer than x is (STALL - x) / DURATION, and percentile q is, as long as
that is positive, STALL - (1 - q / 100) * DURATION.
"""

from __future__ import annotations

from typing import Any

import pytest

from threadwire.bench.expect import Echo
from threadwire.bench.plan import Plan
from threadwire.bench.results import Result
from threadwire.bench.run import run

from .services import stalling

# Few enough that what has piled up is soon made good, also where the machine is busy.
RATE, STALL, DURATION = 200.0, 1.0, 2.5
SLACK = 0.3  # seconds, of a machine that has other things to do; it only ever adds to a wait
BUCKET = 0.004  # of a percentile, and the gap between two requests


def stalled(**options: Any) -> Result:
    with stalling(at=int(RATE / 2), seconds=STALL) as url:
        plan = Plan(url=url, clients=1, warmup=0.0, duration=DURATION, expect=Echo(), **options)
        return run(plan)


def predicted(q: float) -> float:
    return STALL - (1 - q / 100) * DURATION


def test_the_corrected_percentiles_are_as_predicted() -> None:
    result = stalled(rate=RATE)
    assert not result.errors
    for q in (70, 80, 90, 99, 99.9):
        expected = predicted(q)
        low = (1 - BUCKET) * expected - 2 / RATE
        assert low <= result.latency.percentile(q) <= expected + SLACK, q
    assert result.latency.max >= STALL - 1 / RATE
    # What is not predicted to wait does not.
    assert result.latency.percentile(50) < SLACK
    # Without the correction the stall is one slow request among hundreds.
    assert result.service.percentile(99) < SLACK
    assert result.service.max >= STALL
    # And it was not the load that was late.
    assert result.generator.behind_max < STALL / 2


def test_a_closed_loop_does_not_see_it() -> None:
    """Which is why it takes an open one: the client waits, and asks nothing meanwhile."""
    result = stalled()
    assert result.latency.count > 1000
    assert result.latency.percentile(99.9) < SLACK
    assert result.latency.max >= STALL


def test_intervals_show_when_it_was() -> None:
    result = stalled(rate=RATE)
    silent = [interval.at for interval in result.intervals if not interval.messages]
    assert len(silent) >= 2
    assert silent == [silent[0] + 0.25 * n for n in range(len(silent))]
    assert max(interval.max for interval in result.intervals) == result.latency.max


def test_a_stall_at_the_end_does_not_hide() -> None:
    with stalling(at=int(RATE / 5), seconds=STALL) as url:
        plan = Plan(url=url, clients=1, warmup=0.0, rate=RATE, duration=0.5, expect=Echo())
        result = run(plan)
    assert not result.errors
    assert result.latency.count == pytest.approx(RATE / 2, abs=2)
    assert result.messages < 0.3 * RATE, "they came too late to count for the rate"
    assert result.latency.max >= STALL
    assert result.latency.percentile(50) > STALL / 2
