"""Counts of durations in buckets at most 1 % wide, from nanoseconds to years.

The bucket of a duration is the upper half of its number of seconds as an IEEE 754 single:
its exponent and the first seven bits of its fraction. So each power of two is divided into
128 buckets, and each of them is at most 1/128 of its values wide. The system can bin many
durations so without a line of Python for each of them.

Log-linear buckets are the idea of Gil Tene's HdrHistogram (http://hdrhistogram.org).
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..errors import UsageError
from .fields import amount, whole

__all__ = ["Histogram"]

_BEYOND = 0x7F80  # the first bucket that is not a number of seconds: infinity
_UPPER_HALF = slice(1 if sys.byteorder == "little" else 0, None, 2)


class Histogram:
    """Durations, in seconds; owned by one thread at a time.

    Mean, least and greatest are exact; percentiles are the middle of a bucket, and so right
    to within 0.4 %.
    """

    __slots__ = ("_counts", "_max", "_min", "_sum", "count")

    def __init__(self) -> None:
        self.count = 0
        self._counts: Counter[int] = Counter()  # by bucket
        self._sum = 0.0
        self._min = math.inf
        self._max = 0.0

    def record(self, seconds: float, count: int = 1) -> None:
        """Count a duration, ``count`` times."""
        if not 0 <= seconds < math.inf or count < 0:
            raise UsageError(f"a duration must be 0 or more seconds, not {seconds!r}")
        if count:
            self._counts[_bucket(seconds)] += count
            self.count += count
            self._sum += seconds * count
            self._min = min(self._min, seconds)
            self._max = max(self._max, seconds)

    def record_many(self, seconds: Iterable[float]) -> None:
        """Count each of them."""
        values = seconds if isinstance(seconds, array) else array("d", seconds)
        if not values:
            return
        least, most = min(values), max(values)
        singles = memoryview(array("f", values)).cast("B").cast("H")
        buckets = singles.tolist()[_UPPER_HALF]
        # A NaN can hide from a comparison, but not its bucket.
        if not least >= 0 or max(buckets) >= _BEYOND:
            raise UsageError("a duration must be 0 or more seconds")
        self._counts.update(buckets)
        self.count += len(values)
        self._sum += sum(values)
        self._min = min(self._min, least)
        self._max = max(self._max, most)

    def merge(self, other: Histogram) -> None:
        """Count what ``other`` has counted, too."""
        self._counts.update(other._counts)
        self.count += other.count
        self._sum += other._sum
        self._min = min(self._min, other._min)
        self._max = max(self._max, other._max)

    # What comes out; of an empty histogram all of it is 0.

    @property
    def mean(self) -> float:
        return self._sum / self.count if self.count else 0.0

    @property
    def stdev(self) -> float:
        """The standard deviation, from the buckets' middles."""
        if not self.count:
            return 0.0
        mean = self.mean
        squares = math.fsum(
            count * (self._middle(bucket) - mean) ** 2 for bucket, count in self._counts.items()
        )
        return math.sqrt(squares / self.count)

    @property
    def min(self) -> float:
        return self._min if self.count else 0.0

    @property
    def max(self) -> float:
        return self._max

    def percentile(self, q: float) -> float:
        """Seconds that ``q`` percent of the durations, from 0 to 100, do not exceed."""
        if not 0 <= q <= 100:
            raise UsageError(f"a percentile is from 0 to 100, not {q!r}")
        if not self.count:
            return 0.0
        # Rounded, lest 99.9 % of 1,000 become 1,000 by what binary fractions cannot say.
        rank = max(1, math.ceil(round(q * self.count / 100, 6)))
        if rank == 1:
            return self._min
        if rank >= self.count:
            return self._max
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return self._middle(bucket)
        return self._max

    def buckets(self) -> list[tuple[float, float, int]]:
        """Those with something in them, as ``(low, high, count)``, the lowest first.

        A duration is in it if it is at least ``low``, and less than ``high``.
        """
        return [(_low(n), _low(n + 1), self._counts[n]) for n in sorted(self._counts)]

    def to_json(self) -> dict[str, Any]:
        """An object for JSON; seconds throughout, ``buckets`` being ``[low, high, count]``.

        Of an empty histogram there is nothing to tell, and all but the count is null.
        """
        told = {
            "mean": self.mean,
            "stdev": self.stdev,
            "min": self.min,
            "max": self.max,
            **{f"p{q}": self.percentile(float(q)) for q in ("50", "90", "99", "99.9", "99.99")},
        }
        return {
            "count": self.count,
            **(told if self.count else dict.fromkeys(told)),
            "buckets": [
                [float(f"{low:.6g}"), float(f"{high:.6g}"), count]
                for low, high, count in self.buckets()
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> Histogram:
        """The histogram that :meth:`to_json` has told of; raises UsageError."""
        made = cls()
        try:
            for low, high, count in data["buckets"]:
                made._counts[_bucket((amount(low) + amount(high)) / 2)] += whole(count)
            made.count = whole(data["count"])
            if made.count:
                made._sum = amount(data["mean"]) * made.count
                made._min = amount(data["min"])
                made._max = amount(data["max"])
        except (KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise UsageError(f"not a histogram: {error!r}") from error
        if made.count != sum(made._counts.values()):
            raise UsageError("not a histogram: its buckets do not add up to its count")
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return self._counts == other._counts and (self.min, self.max) == (other.min, other.max)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}, mean {self.mean:.6g} s>"

    def _middle(self, bucket: int) -> float:
        """Never outside of what was counted."""
        return min(max((_low(bucket) + _low(bucket + 1)) / 2, self._min), self._max)


def _bucket(seconds: float) -> int:
    number: int = struct.unpack("=I", struct.pack("=f", seconds))[0] >> 16
    return number


def _low(bucket: int) -> float:
    """Where a bucket begins, and the one before it ends."""
    if bucket >= _BEYOND:
        return math.inf
    low: float = struct.unpack("=f", struct.pack("=I", bucket << 16))[0]
    return low
