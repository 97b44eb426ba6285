"""A histogram's durations in fewer, wider bins: as many as there is room to draw."""

from __future__ import annotations

import bisect
import math

from .histogram import Histogram

__all__ = ["even_bins", "percentile_curve", "round_bins"]

Bin = tuple[float, float, int]  # low, high, count

# Steps within a power of ten that are about equally far apart, and round: the fewer digits
# there are to read, the better.
_SERIES = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2),
    tuple(round(10 ** (n / 24), 1) for n in range(24)),
    tuple(round(10 ** (n / 48), 2) for n in range(48)),
)

_LEAST_RATIO = 1.016  # of a bin's ends: two of a histogram's buckets, or gaps would show


def round_bins(histogram: Histogram, most: int) -> list[Bin]:
    """At most ``most`` bins from the least to the greatest, with round numbers as limits."""
    if not histogram.count:
        return []
    low, high = max(histogram.min, 1e-9), max(histogram.max, 1e-9)
    edges: list[float] = []
    for series in _SERIES:
        finer = _edges(series, low, high)
        if edges and len(finer) - 1 > most:
            break
        edges = finer
    return _counted(histogram, edges)


def even_bins(histogram: Histogram, low: float, high: float, most: int) -> list[Bin]:
    """At most ``most`` bins between ``low`` and ``high``, each wider by the same factor."""
    number = max(1, min(most, int(math.log(high / low) / math.log(_LEAST_RATIO))))
    edges = [low * (high / low) ** (n / number) for n in range(number)]
    return _counted(histogram, [*edges, high])


def percentile_curve(histogram: Histogram) -> list[tuple[float, float]]:
    """Percentages below 100, rising, and the durations that so many do not exceed.

    The last one leaves out a single duration: of more nines, nothing is known.
    """
    if not histogram.count:
        return []
    points = [(0.0, histogram.min)]
    seen = 0
    for low, high, count in histogram.buckets():
        seen += count
        share = 100 * min(seen, histogram.count - 0.5) / histogram.count
        value = min(max((low + high) / 2, histogram.min), histogram.max)
        points.append((share, histogram.max if seen == histogram.count else value))
    return points


def _edges(series: tuple[float, ...], low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)) - 1, math.floor(math.log10(high)) + 2)
    steps = [float(f"{step:g}e{power}") for power in exponents for step in series]
    first = bisect.bisect_right(steps, low) - 1
    last = bisect.bisect_right(steps, high)
    return steps[first : last + 1]


def _counted(histogram: Histogram, edges: list[float]) -> list[Bin]:
    counts = [0] * (len(edges) - 1)
    for low, high, count in histogram.buckets():
        place = bisect.bisect_right(edges, (low + high) / 2) - 1
        counts[min(max(place, 0), len(counts) - 1)] += count
    return list(zip(edges, edges[1:], counts, strict=False))
