"""A result beside earlier ones: ratios, and whether they are more than chance.

No figure is the same twice. What it varies by anyway is its spread: with several earlier
results the range over them; with one, and for what is measured now, the range over the
intervals of its own run, where they have the figure.

Runs differ by more than the intervals of one do: two of them prove nothing, and a verdict takes
three earlier ones. A figure has changed if it lies outside of what these span, and does so by
more than the width of a histogram's bucket. The range over a few runs is narrower than what they
vary by: a further one lies outside of the range of three every other time. So that range counts
with its own width on either side. And rate and p50, of which a run has what its intervals have,
must also differ from what today's intervals vary by.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .amounts import NOTHING, rate_words, ratio_words
from .description import differences
from .measures import Measure, measure_of
from .results import Interval, Result

__all__ = ["Comparison", "Row", "compare"]

Spread = tuple[float, float] | None
Verdict = Literal["better", "worse", "same", ""]  # without a word: nobody can tell

_MEASURES = ("messages_per_second", "p50", "p90", "p99", "p99.9", "max", "errors")
_CONNECTS = ("connects_per_second", "connect.p50", "connect.p99")

_WHOLE = 0.8  # of the longest interval: a shorter one varies more than it should
_FEWEST = 3  # intervals that make a spread
_FEWEST_RUNS = 3  # that show what runs vary by

_ALIKE = 0.01  # of a figure: histograms tell no lesser difference

# What a whole run has is what its intervals have, on average. Of a run's p99 or max that is
# not true: one bad interval makes it, whatever the others were.
_TYPICAL = {"messages_per_second", "p50"}


@dataclass(frozen=True)
class Row:
    """A measure now and earlier; ``earlier`` is the median where there are several."""

    measure: Measure
    now: float | None
    now_spread: Spread
    earlier: float | None
    earlier_spread: Spread
    usual: Spread  # outside of which it has changed

    @property
    def name(self) -> str:
        return _NAMES.get(self.measure.name, self.measure.name)

    @property
    def ratio(self) -> float | None:
        """Now over earlier."""
        if self.now is None or not self.earlier:
            return None
        return self.now / self.earlier

    @property
    def ratio_words(self) -> str:
        return ratio_words(self.ratio)

    @property
    def verdict(self) -> Verdict:
        if self.now is None or self.earlier is None or self.usual is None:
            return ""
        if _within(self.now, self.usual):
            return "same"
        if abs(self.now - self.earlier) <= _ALIKE * self.earlier:
            return "same"
        if self.measure.name in _TYPICAL and _within(self.earlier, self.now_spread):
            return "same"
        more_is_better = self.measure.kind == "rate"
        return "better" if (self.now > self.earlier) == more_is_better else "worse"

    def words(self, value: float | None) -> str:
        # A rate's name says that it is one.
        return rate_words(value) if self.measure.kind == "rate" else self.measure.words(value)

    def spread_words(self, spread: Spread) -> str:
        if spread is None:
            return NOTHING
        low, high = (self.words(end) for end in spread)
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Comparison:
    """``title`` says what the earlier results are; ``differences`` in what the plans differ.

    ``notes`` are sentences on what the comparison is worth.
    """

    title: str
    rows: tuple[Row, ...]
    differences: tuple[str, ...]
    earlier: Mapping[str, Result]  # by what they are called
    notes: tuple[str, ...] = ()


def compare(now: Result, earlier: Mapping[str, Result]) -> Comparison:
    """``now`` beside one or more ``earlier`` ones, which are called by the mapping's keys."""
    names = list(_MEASURES)
    if now.plan.get("connect_each"):
        names += _CONNECTS
    results = list(earlier.values())
    rows = tuple(_row(measure_of(name), now, results) for name in names)
    one = len(earlier) == 1
    title = next(iter(earlier)) if one else f"the median of {len(earlier)}: {', '.join(earlier)}"
    told: dict[str, list[str]] = {}
    for name, result in earlier.items():
        for line in differences(now.plan, result.plan):
            told.setdefault(line, []).append(name)
    lines = [
        line if len(names) == len(earlier) else f"{', '.join(names)}: {line}"
        for line, names in told.items()
    ]
    return Comparison(title, rows, tuple(lines), earlier, tuple(_notes(earlier)))


def _notes(earlier: Mapping[str, Result]) -> Iterator[str]:
    if len(earlier) < _FEWEST_RUNS:
        yield "This may all be chance: give three or more earlier results for a verdict."
    if names := ", ".join(name for name, result in earlier.items() if result.interrupted):
        yield f"Interrupted, and so shorter than was asked for: {names}."
    if names := ", ".join(name for name, result in earlier.items() if result.saturated):
        yield f"The load generator was itself the bottleneck: {names}."


def _row(measure: Measure, now: Result, earlier: Sequence[Result]) -> Row:
    values = [value for result in earlier if (value := measure.value(result)) is not None]
    spread: Spread = None
    usual: Spread = None
    if len(earlier) == 1:
        spread = _over_intervals(measure, earlier[0])
    elif len(values) > 1:
        spread = low, high = min(values), max(values)
        if len(values) >= _FEWEST_RUNS:
            usual = low - (high - low), high + (high - low)
    return Row(
        measure,
        measure.value(now),
        _over_intervals(measure, now),
        statistics.median(values) if values else None,
        spread,
        usual,
    )


def _over_intervals(measure: Measure, result: Result) -> Spread:
    value_of = _OF_INTERVAL.get(measure.name)
    if value_of is None or not result.intervals:
        return None
    longest = max(interval.seconds for interval in result.intervals)
    whole = [one for one in result.intervals if one.seconds >= _WHOLE * longest]
    # Where nothing came, there is no latency; but there is a rate.
    is_rate = measure.kind == "rate"
    values = [value_of(interval) for interval in whole if interval.messages or is_rate]
    return (min(values), max(values)) if len(values) >= _FEWEST else None


def _within(value: float, spread: Spread) -> bool:
    return spread is not None and spread[0] <= value <= spread[1]


def _interval_rate(interval: Interval) -> float:
    return interval.messages_per_second


_OF_INTERVAL: dict[str, Callable[[Interval], float]] = {
    "messages_per_second": _interval_rate,
    "p50": lambda interval: interval.p50,
    "p99": lambda interval: interval.p99,
    "max": lambda interval: interval.max,
}
_NAMES = {"messages_per_second": "messages/s", "connects_per_second": "connections/s"}
