"""Results beside earlier ones: ratios, spreads, and what is no more than chance."""

from __future__ import annotations

import dataclasses

import pytest

from threadwire.bench.comparison import Comparison, Row, compare
from threadwire.bench.results import Generator, Interval, Result

from .samples import histogram, intervals, result, spread_out


def row(comparison: Comparison, name: str) -> Row:
    (found,) = [row for row in comparison.rows if row.name == name]
    return found


def verdict_of(now: Result, earlier: Result, name: str) -> str:
    """With three earlier ones, all alike."""
    return row(compare(now, dict.fromkeys("abc", earlier)), name).verdict


def run(rate: float, by: float = 0.0, scale: float = 1.0) -> Result:
    """At ``rate`` a second, give or take ``by``; its p99 by interval does not vary."""
    each = intervals([rate - by, rate, rate + by], p99=0.002 * scale)
    return result(
        messages=int(3 * rate), seconds=3.0, intervals=each, latency=spread_out(1000, scale)
    )


def test_ratios_are_of_now_over_earlier() -> None:
    comparison = compare(run(300), {"before.json": run(200, scale=2.0)})
    assert comparison.title == "before.json"
    assert row(comparison, "messages/s").ratio == pytest.approx(1.5)
    assert row(comparison, "messages/s").ratio_words == "1.50x"
    assert row(comparison, "p50").ratio == pytest.approx(0.5, rel=0.01)
    assert row(comparison, "errors").ratio is None
    assert row(comparison, "errors").ratio_words == "-"


@pytest.mark.parametrize(
    ("now", "earlier", "verdict"),
    [
        (run(200), run(200), "same"),
        (run(300), run(200), "better"),
        (run(100), run(200), "worse"),
        (run(205, by=10), run(200), "same"),
        (run(215, by=10), run(200, by=10), "better"),
        (run(185, by=10), run(200, by=10), "worse"),
    ],
)
def test_a_rate_has_changed_when_it_is_outside_of_both_spreads(
    now: Result, earlier: Result, verdict: str
) -> None:
    assert verdict_of(now, earlier, "messages/s") == verdict


def test_less_latency_is_better() -> None:
    quick, slow = run(200), run(200, scale=2.0)
    assert verdict_of(quick, slow, "p99") == verdict_of(quick, slow, "p90") == "better"
    assert verdict_of(slow, quick, "p99") == "worse"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_verdict_takes_three_earlier_ones(count: int) -> None:
    comparison = compare(run(300, scale=9.0), {name: run(200) for name in "abc"[:count]})
    verdicts = {row.verdict for row in comparison.rows if row.name != "errors"}
    assert verdicts == ({"better", "worse"} if count == 3 else {""})
    why = "This may all be chance: give three or more earlier results for a verdict."
    assert comparison.notes == (() if count == 3 else (why,))


def test_earlier_ones_that_are_worth_less_are_told_of() -> None:
    cut = dataclasses.replace(run(200), interrupted=True)
    busy = dataclasses.replace(run(200), generator=Generator(saturated=True))
    assert compare(run(200), {"a": run(200), "b": cut, "c": busy, "d": cut}).notes == (
        "Interrupted, and so shorter than was asked for: b, d.",
        "The load generator was itself the bottleneck: c.",
    )


def test_one_bad_interval_does_not_excuse_a_p99() -> None:
    calm = result(intervals=intervals([100] * 5, p99=0.002), latency=histogram([0.002] * 100))
    stalled = result(
        intervals=(*intervals([100] * 4, p99=0.002), *intervals([100], p99=1.0)),
        latency=histogram([0.002] * 90 + [1.0] * 10),
    )
    assert verdict_of(stalled, calm, "p99") == "worse"


def test_an_interval_in_which_nothing_came_is_part_of_the_rates_spread() -> None:
    stood = result(intervals=(*intervals([100] * 3), Interval(3.0, 1.0, 0, 0, 0, 0, 0)))
    comparison = compare(stood, {"x": stood})
    assert row(comparison, "messages/s").now_spread == (0.0, 100.0)
    assert row(comparison, "p99").now_spread == (0.002, 0.002), "there is no latency of nothing"


def test_several_earlier_ones_are_their_median_and_range() -> None:
    earlier = {name: run(rate) for name, rate in (("a", 200), ("b", 210), ("c", 220))}
    comparison = compare(run(230), earlier)
    assert comparison.title == "the median of 3: a, b, c"
    rate = row(comparison, "messages/s")
    assert (rate.earlier, rate.earlier_spread) == (210.0, (200.0, 220.0))
    assert rate.spread_words(rate.earlier_spread) == "200 to 220"
    assert row(compare(run(250, scale=3), earlier), "p90").verdict == "worse"


@pytest.mark.parametrize(
    ("now", "verdict"), [(179, "worse"), (181, "same"), (239, "same"), (241, "better")]
)
def test_the_range_over_a_few_runs_is_less_than_what_they_vary_by(now: int, verdict: str) -> None:
    earlier = {name: run(rate) for name, rate in (("a", 200), ("b", 210), ("c", 220))}
    assert row(compare(run(now), earlier), "messages/s").verdict == verdict


def test_what_histograms_cannot_tell_apart_is_the_same() -> None:
    assert verdict_of(run(201), run(200), "messages/s") == "same"
    assert verdict_of(run(203), run(200), "messages/s") == "better"


def test_a_short_interval_and_two_of_them_are_no_spread() -> None:
    last = result(intervals=(*intervals([100] * 3), intervals([100] * 4)[3]))
    short = result(
        intervals=(*last.intervals[:3], last.intervals[3].__class__(3, 0.1, 1, 0, 1, 1, 1))
    )
    now = row(compare(short, {"x": last}), "messages/s")
    assert now.now_spread == (100.0, 100.0)
    few = result(intervals=intervals([100, 200]))
    assert row(compare(few, {"x": few}), "messages/s").now_spread is None


def test_connections_are_compared_where_they_are_the_load() -> None:
    each = result(plan={"connect_each": True}, connects=100, connects_per_second=10.0)
    names = [row.name for row in compare(each, {"x": each}).rows]
    assert names[-3:] == ["connections/s", "connect.p50", "connect.p99"]
    assert "connections/s" not in [row.name for row in compare(run(1), {"x": run(1)}).rows]


def test_plans_that_differ_are_told_of_once() -> None:
    now, other = result(), result(plan={"clients": 32})
    assert compare(now, {"x": now}).differences == ()
    assert compare(now, {"x": other, "y": other}).differences == ("clients: 32, now 64",)
    assert compare(now, {"x": other, "y": now}).differences == ("x: clients: 32, now 64",)


def test_what_was_not_measured_has_no_ratio() -> None:
    nothing = result(latency=histogram([]), messages=0, intervals=())
    found = row(compare(nothing, {"x": nothing}), "p99")
    assert (found.now, found.earlier, found.ratio, found.verdict) == (None, None, None, "")
    assert found.words(found.now) == found.spread_words(found.now_spread) == "-"
