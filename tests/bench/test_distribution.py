"""Fewer, wider bins: nothing may be lost in them."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire.bench.distribution import even_bins, percentile_curve, round_bins

from .samples import histogram, spread_out, stalled

DURATIONS = st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=60)


@given(DURATIONS, st.integers(4, 30))
def test_every_duration_is_in_one_round_bin(durations: list[float], most: int) -> None:
    bins = round_bins(histogram(durations), most)
    assert sum(count for _, _, count in bins) == len(durations)
    assert bins[0][0] <= min(durations)
    assert bins[-1][1] >= max(durations)
    for (_, end, _), (start, _, _) in itertools.pairwise(bins):
        assert end == start
    # Where even one bin for each power of ten is too many, there are as many as that.
    assert len(bins) <= max(most, math.log10(max(durations) / min(durations)) + 2)


@pytest.mark.parametrize(
    ("low", "high", "edges"),
    [
        (0.001, 0.0038, [0.001, 0.0012, 0.0015, 0.0018, 0.0022, 0.0027, 0.0033, 0.0039]),
        (0.0001, 0.9, [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]),
    ],
)
def test_limits_of_round_bins_have_few_digits(low: float, high: float, edges: list[float]) -> None:
    bins = round_bins(histogram([low, high]), 10)
    found = [bins[0][0], *(end for _, end, _ in bins)]
    assert found == pytest.approx(edges)


def test_durations_are_in_the_bins_that_say_so() -> None:
    durations = histogram([0.0011] * 3 + [0.0031] * 2 + [0.9])
    for bins in (round_bins(durations, 10), even_bins(durations, 0.001, 1.0, 10)):
        for seconds, count in ((0.0011, 3), (0.0031, 2), (0.9, 1)):
            assert [found for low, high, found in bins if low <= seconds < high] == [count]


def test_no_durations_have_no_bins() -> None:
    assert round_bins(histogram([]), 10) == []
    assert percentile_curve(histogram([])) == []


@given(DURATIONS)
def test_every_duration_is_in_one_even_bin(durations: list[float]) -> None:
    low, high = min(durations), max(durations) * 1.02
    bins = even_bins(histogram(durations), low, high, 60)
    assert 1 <= len(bins) <= 60
    assert sum(count for _, _, count in bins) == len(durations)
    assert (bins[0][0], bins[-1][1]) == (low, high)
    # Not narrower than what is known: bins would be empty by turns.
    assert all(end / start > 1.015 for start, end, _ in bins)


@given(DURATIONS)
def test_the_curve_rises_from_the_least_to_the_greatest(durations: list[float]) -> None:
    curve = percentile_curve(histogram(durations))
    assert curve[0] == (0.0, min(durations))
    share, seconds = curve[-1]
    assert share == pytest.approx(100 - 50 / len(durations))
    assert seconds == max(durations)
    for (share, seconds), (next_share, next_seconds) in itertools.pairwise(curve):
        assert next_share > share
        assert next_seconds >= seconds


def test_the_curve_says_what_the_percentiles_say() -> None:
    durations = spread_out(10_000)
    for share, seconds in percentile_curve(durations)[1:]:
        assert seconds == pytest.approx(durations.percentile(share), rel=0.01)


def test_a_stall_is_in_the_corrected_curve_from_95_percent_on() -> None:
    corrected = dict(percentile_curve(stalled().latency))
    slow = [share for share, seconds in corrected.items() if seconds > 0.01]
    assert 95 <= min(slow) < 95.2
