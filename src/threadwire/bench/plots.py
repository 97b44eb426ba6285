"""The report's plots: rate and latency over time, the percentile curve, the distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .amounts import duration_words, rate_words, share_words
from .charts import (
    Axis,
    Bars,
    Curve,
    Point,
    linear_axis,
    log_axis,
    nines_axis,
    plot,
    span_axis,
)
from .comparison import Comparison
from .distribution import even_bins, percentile_curve
from .histogram import Histogram
from .results import Interval, Result

__all__ = ["plots"]

_BINS = 60
_EARLIER = ("earlier", "earlier second", "earlier third")  # how their curves look
_LEAST = 1e-6  # seconds: the least that a log axis begins with


def plots(result: Result, comparison: Comparison | None) -> Iterator[str]:
    """Those that there is something to show in."""
    if result.intervals:
        yield _rate_over_time(result)
        if result.latency.count:
            yield _latency_over_time(result)
    if result.latency.count:
        yield _percentiles(result, comparison)
        yield _distribution(result)


def _time_axis(result: Result) -> Axis:
    end = max(one.at + one.seconds for one in result.intervals)
    return span_axis("seconds since measuring began", 0.0, end, lambda value: f"{value:.4g} s")


def _over_time(result: Result, value: Callable[[Interval], float | None]) -> list[Point]:
    return [(one.at + one.seconds / 2, value(one)) for one in result.intervals]


def _rate_over_time(result: Result) -> str:
    rates = _over_time(result, lambda one: one.messages_per_second)
    curves = [Curve("messages", "rate", rates, filled=True)]
    if result.errors:
        failed = _over_time(result, lambda one: one.errors / one.seconds if one.seconds else 0.0)
        curves.append(Curve("errors", "failed", failed, filled=True))
    asked = result.plan.get("rate")
    most = max(value or 0.0 for curve in curves for _, value in curve.points)
    y = linear_axis("a second", 0.0, max(most, asked or 0.0, 1.0), rate_words)
    mark = None if asked is None else (asked, f"{rate_words(asked)} due")
    return plot("Rate over time", _time_axis(result), y, curves, mark=mark)


def _latency_over_time(result: Result) -> str:
    answered = [one for one in result.intervals if one.max > 0]
    if not answered:
        return ""

    def when_answered(name: str) -> Callable[[Interval], float | None]:
        return lambda one: getattr(one, name) if one.max > 0 else None

    curves = [
        Curve("p50", "p50", _over_time(result, when_answered("p50"))),
        Curve("p99", "p99", _over_time(result, when_answered("p99"))),
        Curve("max", "most", _over_time(result, when_answered("max"))),
    ]
    low = min(max(one.p50, _LEAST) for one in answered)
    y = log_axis("latency", low, max(one.max for one in answered), duration_words)
    title = "Latency over time, corrected" if result.open_loop else "Latency over time"
    return plot(title, _time_axis(result), y, curves)


def _percentiles(result: Result, comparison: Comparison | None) -> str:
    curves = [Curve("corrected" if result.open_loop else "latency", "corrected", [])]
    drawn = [result.latency]
    if result.open_loop:
        curves.append(Curve("uncorrected", "uncorrected", []))
        drawn.append(result.service)
    for look, (name, earlier) in zip(_EARLIER, _earlier(comparison), strict=False):
        curves.append(Curve(name, look, []))
        drawn.append(earlier.latency)
    points = [percentile_curve(histogram) for histogram in drawn]
    curves = [
        Curve(curve.name, curve.look, found) for curve, found in zip(curves, points, strict=True)
    ]
    x = nines_axis("percentile", max(found[-1][0] for found in points if found))
    return plot("Percentiles", x, _durations_axis(drawn), curves)


def _earlier(comparison: Comparison | None) -> list[tuple[str, Result]]:
    if comparison is None:
        return []
    return [item for item in comparison.earlier.items() if item[1].latency.count]


def _distribution(result: Result) -> str:
    drawn = [result.latency, *([result.service] if result.open_loop else [])]
    x = _durations_axis(drawn)
    low, high = (max(_LEAST, edge(drawn)) for edge in (_least, _greatest))
    names = ("corrected", "uncorrected") if result.open_loop else ("latency",)
    shapes = [
        Bars(name, name if result.open_loop else "corrected", _shares(histogram, low, high), n > 0)
        for n, (name, histogram) in enumerate(zip(names, drawn, strict=True))
    ]
    most = max(share for shape in shapes for _, _, share in shape.bars)
    y = linear_axis("of all", 0.0, most, share_words)
    return plot("Distribution of latency", x, y, shapes)


def _shares(histogram: Histogram, low: float, high: float) -> Sequence[tuple[float, float, float]]:
    return [
        (start, end, count / histogram.count)
        for start, end, count in even_bins(histogram, low, max(high, low * 1.02), _BINS)
        if count
    ]


def _durations_axis(drawn: Sequence[Histogram]) -> Axis:
    return log_axis("latency", max(_least(drawn), _LEAST), _greatest(drawn), duration_words)


def _least(histograms: Sequence[Histogram]) -> float:
    return min(one.min for one in histograms if one.count)


def _greatest(histograms: Sequence[Histogram]) -> float:
    return max(_LEAST * 2, *(one.max for one in histograms if one.count))
