"""When messages are due."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire.bench.schedule import due_times

RATES = st.floats(min_value=0.1, max_value=1e6)


@settings(deadline=None)
@given(RATES, st.integers(1, 7))
def test_all_parts_together_keep_constant_gaps(rate: float, parts: int) -> None:
    each = [due_times(rate, "constant", part=part, parts=parts) for part in range(parts)]
    merged = list(itertools.islice(heapq.merge(*each), 50))
    assert merged == pytest.approx([k / rate for k in range(50)])


@settings(deadline=None)
@given(RATES, st.floats(min_value=0.01, max_value=100))
def test_in_a_ramp_the_rate_grows_evenly(rate: float, ramp: float) -> None:
    due = list(itertools.islice(due_times(rate, "constant", ramp=ramp), 500))
    for k, moment in enumerate(due):
        if moment < ramp:
            assert rate * moment**2 / (2 * ramp) == pytest.approx(k, abs=1e-6)
        else:
            assert rate * (moment - ramp / 2) == pytest.approx(k, abs=1e-6)


@settings(deadline=None)
@given(st.sampled_from(["constant", "poisson"]), RATES, st.floats(0, 10), st.integers())
def test_times_are_in_order(
    arrivals: Literal["constant", "poisson"], rate: float, ramp: float, seed: int
) -> None:
    due = list(itertools.islice(due_times(rate, arrivals, ramp=ramp, seed=seed), 200))
    assert due == sorted(due)
    assert due[0] >= 0


def test_random_arrivals_are_a_poisson_process() -> None:
    due = list(itertools.islice(due_times(1000.0, "poisson", seed=1), 20_000))
    gaps = [after - before for before, after in itertools.pairwise(due)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.001, rel=0.03)
    # Exponential gaps: their deviation is their mean, and one in e is longer than it.
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert deviation == pytest.approx(mean, rel=0.05)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(1 / math.e, rel=0.05)


def test_random_arrivals_follow_from_the_seed_and_differ_between_parts() -> None:
    def first(**options: int) -> list[float]:
        return list(itertools.islice(due_times(10.0, "poisson", **options), 20))

    assert first(seed=1) == first(seed=1)
    assert first(seed=1) != first(seed=2)
    assert first(part=0, parts=2) != first(part=1, parts=2)


def test_parts_share_the_rate_of_random_arrivals() -> None:
    each = [due_times(1000.0, "poisson", part=part, parts=4) for part in range(4)]
    count = sum(len(list(itertools.takewhile(lambda moment: moment < 10, due))) for due in each)
    assert count == pytest.approx(10_000, rel=0.05)
