"""Thresholds: what may not be, as in ``p99>5ms`` or ``error_rate>0.1%``.

A threshold is a measure's name, one of ``>``, ``>=``, ``<``, ``<=``, and a value with the
unit of that measure. It is missed when what it says is the case, and also when nothing was
measured that could tell: a server that never answered has not kept its p99.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..errors import UsageError
from .measures import Measure, measure_of
from .results import Result

__all__ = ["Missed", "Threshold", "missed", "parse_threshold"]

_FORM = re.compile(r"\s*([^\s<>=]+)\s*([<>]=?)\s*([^\s<>=](?:[^<>=]*[^\s<>=])?)\s*")

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class Threshold(NamedTuple):
    """``measure``, ``sign`` and ``limit``: it is missed when the comparison holds."""

    measure: Measure
    sign: str
    limit: float
    text: str  # as it was written

    def is_missed(self, value: float | None) -> bool:
        """Whether ``value`` of the measure is on the wrong side; None always is."""
        return value is None or _OPERATORS[self.sign](value, self.limit)


class Missed(NamedTuple):
    """A threshold that was missed, with what was measured instead; None: nothing."""

    threshold: Threshold
    value: float | None

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.threshold.text}: there is nothing it could be told from"
        return f"{self.threshold.text}: it is {self.threshold.measure.words(self.value)}"


def parse_threshold(text: str) -> Threshold:
    """The threshold that ``text`` says; raises :class:`~threadwire.UsageError`."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a threshold; write what may not be, as in 'p99>5ms' or 'errors>0'"
        )
    measure = measure_of(match[1])
    return Threshold(measure, match[2], measure.parse(match[3]), text.strip())


def missed(thresholds: Iterable[Threshold], result: Result) -> list[Missed]:
    """All those that ``result`` misses, in their order."""
    values = [(threshold, threshold.measure.value(result)) for threshold in thresholds]
    return [Missed(threshold, value) for threshold, value in values if threshold.is_missed(value)]
