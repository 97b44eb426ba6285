"""How long things took: a histogram's buckets, and what can be read off them.

The bounds are those of the Renard series R10 (ISO 3): ten a decade, each some 26 % above the
one before, and round numbers such as 1, 2.5 and 5 among them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from .value import Value

__all__ = ["BOUNDS", "Histogram"]

_STEPS = (100, 125, 160, 200, 250, 315, 400, 500, 630, 800)

# Seconds, from a microsecond to a hundred seconds; a bucket holds what is no longer than its
# bound and longer than the one before. What is longer than all of them is in one more bucket.
BOUNDS: tuple[float, ...] = (
    *(step * 10**decade / 10**8 for decade in range(8) for step in _STEPS),
    100.0,
)
_NONE = (0,) * (len(BOUNDS) + 1)


class Histogram(Value):
    """How many durations there were of each length, at one instant.

    ``counts`` has one bucket for each of :data:`BOUNDS` and one for what is longer;
    ``nanoseconds`` is the sum of all of them, a whole number: sums of floats depend on their
    order, and a sum that only ever grows must not get less by a rounding.
    """

    __slots__ = ("counts", "nanoseconds")

    counts: tuple[int, ...]
    nanoseconds: int

    def __init__(self, counts: tuple[int, ...] = _NONE, nanoseconds: int = 0) -> None:
        self.counts = counts
        self.nanoseconds = nanoseconds

    @property
    def total(self) -> float:
        """The sum of all of them, in seconds."""
        return self.nanoseconds / 1e9

    @property
    def count(self) -> int:
        """How many durations there were."""
        return sum(self.counts)

    def __add__(self, other: Histogram) -> Histogram:
        """Both together."""
        counts = tuple(map(int.__add__, self.counts, other.counts))
        return Histogram(counts, self.nanoseconds + other.nanoseconds)

    def since(self, before: Histogram) -> Histogram:
        """What has come since an earlier state of the same."""
        counts = tuple(map(int.__sub__, self.counts, before.counts))
        return Histogram(counts, self.nanoseconds - before.nanoseconds)

    def percentile(self, percent: float) -> float | None:
        """The duration, in seconds, that ``percent`` of them do not exceed; ``None`` if none is.

        Within a bucket they are taken to lie evenly. What is beyond the last bound is given as
        the last bound.
        """
        wanted = self.count * percent / 100
        if not self.count:
            return None
        below = 0
        for number, count in enumerate(self.counts[:-1]):
            if count and below + count >= wanted:
                low = BOUNDS[number - 1] if number else 0.0
                return low + (BOUNDS[number] - low) * max(0.0, wanted - below) / count
            below += count
        return BOUNDS[-1]

    @property
    def longest(self) -> float | None:
        """The bound of the longest one's bucket, in seconds; ``None`` if there is none."""
        for number in range(len(BOUNDS), -1, -1):
            if self.counts[number]:
                return BOUNDS[min(number, len(BOUNDS) - 1)]
        return None

    def up_to(self, bounds: Sequence[float]) -> list[int]:
        """How many were no longer than each of ``bounds``, which are among :data:`BOUNDS`."""
        return [sum(self.counts[: bisect_left(BOUNDS, bound) + 1]) for bound in bounds]
