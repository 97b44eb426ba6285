"""What a result says, by name: for thresholds, comparisons and whatever shows it.

``p50``, ``p99.9``, ``min``, ``mean``, ``max`` and ``stdev`` are of the latency, corrected, in
which lost requests have the time for which they were waited for; with ``uncorrected.`` or
``connect.`` before them of those durations. Beside them:
``messages``, ``messages_per_second`` (``rate`` for short), ``connects``,
``connects_per_second``, ``errors``, ``errors.KIND`` and ``error_rate``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from ..errors import UsageError
from ..units import parse_duration
from .amounts import (
    duration_words,
    parse_count,
    parse_rate,
    parse_share,
    rate_words,
    share_words,
)
from .histogram import Histogram
from .results import ERROR_KINDS, Result

__all__ = ["MEASURES_HELP", "Measure", "error_rate", "errors", "measure_of"]

Kind = Literal["duration", "rate", "count", "share"]

MEASURES_HELP = (
    "p50, p99.9 or another percentile, min, mean, max, stdev (also as uncorrected.p99 or "
    "connect.p99), messages, messages_per_second or rate, connects, connects_per_second, "
    "errors, errors.KIND, error_rate"
)

_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,6})?|100)", re.ASCII)


class Measure(NamedTuple):
    """A named value of a result; ``value`` gives None where nothing was measured."""

    name: str
    kind: Kind
    value: Callable[[Result], float | None]

    def words(self, value: float | None) -> str:
        """``value`` for people, with its unit."""
        return _WORDS[self.kind](value)

    def parse(self, text: str) -> float:
        """A value of this measure, with its unit; raises :class:`~threadwire.UsageError`."""
        return _PARSE[self.kind](text)


def measure_of(name: str) -> Measure:
    """The measure called ``name``; raises :class:`~threadwire.UsageError`."""
    if name in _PLAIN:
        kind, value = _PLAIN[name]
        return Measure(name, kind, value)
    first, _, rest = name.partition(".")
    if first == "errors":
        return Measure(name, "count", _errors_of(_kind_of_error(rest)))
    durations, statistic = (first, rest) if first in _DURATIONS else ("", name)
    of_durations = _statistic(statistic)
    if of_durations is None:
        raise UsageError(f"{name!r} is nothing that is measured; write {MEASURES_HELP}")
    return Measure(name, "duration", _of(_DURATIONS[durations], of_durations))


def errors(result: Result) -> int:
    """How many requests and connections failed."""
    return sum(kind.count for kind in result.errors.values())


def error_rate(result: Result) -> float | None:
    """The failed ones among all, as a part of 1; None when nothing was tried."""
    failed = errors(result)
    tried = result.messages + failed
    return failed / tried if tried else None


# Each kind, to and from text.


def _number_words(number: float | None) -> str:
    return rate_words(number) if number is None else f"{number:,.0f}"


def _parse_duration(text: str) -> float:
    """With a unit: who writes p99>5 seldom means seconds."""
    if text[-1:].isalpha() or not text.strip("0. "):
        return parse_duration(text)
    raise UsageError(f"{text!r} has no unit; write 5ms or 0.5s")


_WORDS: dict[Kind, Callable[[float | None], str]] = {
    "duration": duration_words,
    "rate": lambda rate: rate_words(rate) if rate is None else f"{rate_words(rate)}/s",
    "count": _number_words,
    "share": share_words,
}
_PARSE: dict[Kind, Callable[[str], float]] = {
    "duration": _parse_duration,
    "rate": parse_rate,
    "count": parse_count,
    "share": parse_share,
}


# Where each is found.

_Statistic = Callable[[Histogram], float]

_PLAIN: dict[str, tuple[Kind, Callable[[Result], float | None]]] = {
    "messages": ("count", lambda result: result.messages),
    "messages_per_second": ("rate", lambda result: result.messages_per_second),
    "rate": ("rate", lambda result: result.messages_per_second),
    "connects": ("count", lambda result: result.connects),
    "connects_per_second": ("rate", lambda result: result.connects_per_second),
    "errors": ("count", errors),
    "error_rate": ("share", error_rate),
}

_DURATIONS: dict[str, Callable[[Result], Histogram]] = {
    "": lambda result: result.latency,
    "uncorrected": lambda result: result.service,
    "connect": lambda result: result.connect,
}

_STATISTICS: dict[str, _Statistic] = {
    "min": lambda durations: durations.min,
    "mean": lambda durations: durations.mean,
    "max": lambda durations: durations.max,
    "stdev": lambda durations: durations.stdev,
}


def _statistic(name: str) -> _Statistic | None:
    if found := _PERCENTILE.fullmatch(name):
        percentage = float(found[1])
        return lambda durations: durations.percentile(percentage)
    return _STATISTICS.get(name)


def _of(
    durations_of: Callable[[Result], Histogram], statistic: _Statistic
) -> Callable[[Result], float | None]:
    def value(result: Result) -> float | None:
        durations = durations_of(result)
        nothing = not durations.count
        if durations is result.latency:
            # Lost requests alone tell how long they would have taken at least, and no more.
            nothing = durations.count == result.lost.count
        return None if nothing else statistic(durations)

    return value


def _kind_of_error(name: str) -> str:
    """A mistaken name would be one that never occurs, and its threshold always kept."""
    if name in ERROR_KINDS:
        return name
    import difflib

    kinds = sorted(ERROR_KINDS)
    close = difflib.get_close_matches(name.lower(), kinds, 1)
    meant = f"did you mean 'errors.{close[0]}'?" if close else f"there are {', '.join(kinds)}"
    raise UsageError(f"'errors.{name}': errors of no kind are called {name!r}; {meant}")


def _errors_of(kind: str) -> Callable[[Result], float]:
    def count(result: Result) -> int:
        found = result.errors.get(kind)
        return found.count if found else 0

    return count
