"""Histograms of durations: what is read off them."""

from __future__ import annotations

import itertools
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire.durations import BOUNDS, Histogram

durations = st.lists(st.integers(0, 200_000_000_000), min_size=1)


def histogram(nanoseconds: list[int]) -> Histogram:
    counts = [0] * (len(BOUNDS) + 1)
    for each in nanoseconds:
        counts[bisect_left(BOUNDS, each / 1e9)] += 1
    return Histogram(tuple(counts), sum(nanoseconds))


def test_the_bounds_are_ten_a_decade_and_round() -> None:
    assert len(BOUNDS) == 81
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert {1e-6, 1e-5, 2.5e-4, 0.001, 0.005, 0.1, 1.0, 2.5, 100.0} <= set(BOUNDS)
    steps = [high / low for low, high in itertools.pairwise(BOUNDS)]
    assert 1.2 < min(steps) < max(steps) < 1.3


@given(durations, st.floats(0, 100))
def test_a_percentile_is_in_the_real_ones_bucket(found: list[int], percent: float) -> None:
    """By the nearest-rank method, the real one is that of the rank rounded up."""
    rank = max(1, -(-len(found) * percent // 100))
    real = sorted(found)[int(rank) - 1] / 1e9
    read = histogram(found).percentile(percent)
    assert read is not None
    bucket = bisect_left(BOUNDS, real)
    if bucket == len(BOUNDS):
        assert read == BOUNDS[-1]
    else:
        low = BOUNDS[bucket - 1] if bucket else 0.0
        assert low <= read <= BOUNDS[bucket]


@given(durations)
def test_the_longest_is_the_bound_of_its_bucket(found: list[int]) -> None:
    longest = histogram(found).longest
    assert longest is not None
    assert longest >= min(max(found) / 1e9, BOUNDS[-1])


def test_nothing_has_no_percentile() -> None:
    assert Histogram().percentile(50) is None
    assert Histogram().longest is None
    assert Histogram().count == 0


@given(durations, durations)
def test_what_came_since_is_what_was_added(before: list[int], more: list[int]) -> None:
    early, late = histogram(before), histogram(before + more)
    assert early + histogram(more) == late
    assert late.since(early) == histogram(more)
    assert late.count == len(before) + len(more)


@given(durations)
def test_up_to_counts_those_that_are_no_longer(found: list[int]) -> None:
    bounds = [1e-6, 0.0025, 1.0, 100.0]
    expected = [sum(each / 1e9 <= bound for each in found) for bound in bounds]
    assert histogram(found).up_to(bounds) == expected


def test_a_histogram_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Histogram().nanoseconds = 5
