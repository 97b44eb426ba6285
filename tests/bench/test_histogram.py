"""The histogram, against sorted lists and against HdrHistogram."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import threadwire
from threadwire.bench.histogram import Histogram

DURATIONS = st.floats(min_value=1e-9, max_value=1e6)
MANY = st.lists(DURATIONS, min_size=1, max_size=200)
PERCENTS = st.floats(min_value=0, max_value=100)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def nearest_rank(values: list[float], q: float) -> float:
    ordered = sorted(values)
    rank = max(1, math.ceil(round(q * len(ordered) / 100, 6)))
    return ordered[rank - 1]


@settings(deadline=None)
@given(MANY, PERCENTS)
def test_a_percentile_is_that_of_the_sorted_values(values: list[float], q: float) -> None:
    assert filled(values).percentile(q) == pytest.approx(nearest_rank(values, q), rel=0.004)


@settings(deadline=None)
@given(MANY)
def test_counts_mean_and_extremes_are_exact(values: list[float]) -> None:
    histogram = filled(values)
    assert histogram.count == len(values)
    assert histogram.min == histogram.percentile(0) == min(values)
    assert histogram.max == histogram.percentile(100) == max(values)
    assert histogram.mean == pytest.approx(statistics.fmean(values))


@settings(deadline=None)
@given(MANY)
def test_the_standard_deviation_is_near(values: list[float]) -> None:
    exact = statistics.pstdev(values)
    assert filled(values).stdev == pytest.approx(exact, rel=0.01, abs=max(values) * 0.008)


@settings(deadline=None)
@given(MANY)
def test_one_by_one_is_the_same_as_many_at_once(values: list[float]) -> None:
    one_by_one = Histogram()
    for value in values:
        one_by_one.record(value)
    assert one_by_one == filled(values) == filled(array("d", values))  # type: ignore[arg-type]


@settings(deadline=None)
@given(MANY, MANY)
def test_merged_ones_are_as_one(some: list[float], others: list[float]) -> None:
    merged = filled(some)
    merged.merge(filled(others))
    assert merged == filled(some + others)
    assert merged.count == len(some) + len(others)
    assert merged.mean == pytest.approx(statistics.fmean(some + others))


@settings(deadline=None)
@given(MANY)
def test_buckets_hold_what_was_counted_and_are_narrow(values: list[float]) -> None:
    buckets = filled(values).buckets()
    assert sum(count for _, _, count in buckets) == len(values)
    assert all(high - low <= 0.01 * high for low, high, _ in buckets)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(buckets))
    for low, high, count in buckets:
        # A value within a ten-millionth of a bucket's end may be in the one above.
        most = sum(low * (1 - 1e-6) <= value < high for value in values)
        least = sum(low <= value < high * (1 - 1e-6) for value in values)
        assert least <= count <= most


@settings(deadline=None)
@given(MANY)
def test_it_comes_back_from_json(values: list[float]) -> None:
    histogram = filled(values)
    back = Histogram.from_json(json.loads(json.dumps(histogram.to_json())))
    assert back == histogram
    assert back.mean == pytest.approx(histogram.mean)


@settings(deadline=None)
@given(st.lists(st.integers(min_value=1, max_value=3_600_000_000), min_size=1, max_size=500))
def test_it_agrees_with_hdrhistogram(microseconds: list[int]) -> None:
    hdrh = pytest.importorskip("hdrh.histogram")
    other = hdrh.HdrHistogram(1, 3_600_000_000, 3)
    for value in microseconds:
        other.record_value(value)
    ours = filled([value / 1e6 for value in microseconds])
    # Its own ranks differ by half of one, so at the ranks themselves both must agree.
    for rank in {1, len(microseconds) // 2 + 1, len(microseconds)}:
        q = 100 * rank / len(microseconds)
        assert ours.percentile(q) * 1e6 == pytest.approx(
            other.get_value_at_percentile(q), rel=0.006, abs=1
        )


def test_an_empty_one_is_all_zero() -> None:
    histogram = Histogram()
    assert (histogram.count, histogram.min, histogram.max) == (0, 0, 0)
    assert (histogram.mean, histogram.stdev, histogram.percentile(99)) == (0, 0, 0)
    assert histogram.buckets() == []
    told = histogram.to_json()
    assert (told.pop("count"), told.pop("buckets")) == (0, [])
    assert {"mean", "min", "max", "p50", "p99.99"} <= set(told)
    assert set(told.values()) == {None}, "and none of it is said to be that quick"
    assert Histogram.from_json(histogram.to_json()) == histogram
    histogram.record_many([])
    assert histogram.count == 0


def test_ranks_are_not_moved_by_binary_fractions() -> None:
    histogram = filled([0.001] * 999 + [1.0])
    assert histogram.percentile(99.9) == pytest.approx(0.001, rel=0.004)
    assert histogram.percentile(99.91) == 1.0


def test_a_duration_can_be_counted_many_times_at_once() -> None:
    histogram = Histogram()
    histogram.record(0.5, 3)
    histogram.record(1.0, 0)
    assert histogram == filled([0.5, 0.5, 0.5])


def test_nothing_and_the_very_long_have_their_buckets() -> None:
    histogram = filled([0.0, 1e9])
    assert histogram.min == 0.0
    assert histogram.max == 1e9
    assert len(histogram.buckets()) == 2


@pytest.mark.parametrize("wrong", [-1.0, -1e-9, math.nan, math.inf])
def test_what_is_no_duration_is_refused(wrong: float) -> None:
    histogram = Histogram()
    with pytest.raises(threadwire.UsageError):
        histogram.record(wrong)
    with pytest.raises(threadwire.UsageError):
        histogram.record_many([0.5, wrong, 0.25])
    assert histogram.count == 0


@pytest.mark.parametrize("wrong", [-1, 101, math.nan])
def test_what_is_no_percentile_is_refused(wrong: float) -> None:
    with pytest.raises(threadwire.UsageError):
        filled([1.0]).percentile(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"count": 1, "mean": 1, "min": 1, "max": 1, "buckets": []},
        {"count": 1, "mean": 1, "min": 1, "max": 1, "buckets": [[1, 2]]},
        {"count": 1, "mean": 1, "min": 1, "max": 1, "buckets": [[1, 2, -1]]},
        {"count": 1, "mean": 1, "min": 1, "max": 1, "buckets": [[1, 1e300, 1]]},
        {"count": 1.5, "mean": 1, "min": 1, "max": 1, "buckets": [[1, 2, 1]]},
        {"count": 1, "mean": "1", "min": 1, "max": 1, "buckets": [[1, 2, 1]]},
    ],
)
def test_what_is_no_histogram_is_refused(wrong: object) -> None:
    with pytest.raises(threadwire.UsageError, match="not a histogram"):
        Histogram.from_json(wrong)
