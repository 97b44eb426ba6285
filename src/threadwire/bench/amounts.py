"""Counts, rates, ranges of sizes and percentages, as people write them and read them.

A count is ``5000``, ``5,000``, ``20k`` or ``1.5M``; a rate is a count a second, ``20k`` or
``20k/s``. Sizes are ``64``, ``1KiB`` or, as a range, ``64..4KiB``. Durations are those of
:mod:`threadwire.units`.
"""

from __future__ import annotations

import re
from fractions import Fraction

from ..errors import UsageError
from ..units import format_duration, parse_size

__all__ = [
    "NOTHING",
    "duration_words",
    "parse_count",
    "parse_rate",
    "parse_share",
    "parse_sizes",
    "rate_words",
    "ratio_words",
    "share_words",
    "traffic_words",
]

_AMOUNT = re.compile(
    r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)\s*([kKM]?)\s*", re.ASCII
)
_SHARE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*%\s*", re.ASCII)
_FACTORS = {"": 1, "k": 1000, "K": 1000, "M": 1000_000}

_MOST_DIGITS = 24  # of an amount, commas included: more than any machine sends

NOTHING = "-"  # stands where there is no value


def _amount(text: str) -> Fraction | None:
    match = _AMOUNT.fullmatch(text)
    if match is None or len(match[1]) > _MOST_DIGITS:
        return None
    return Fraction(match[1].replace(",", "")) * _FACTORS[match[2]]


def parse_count(text: str) -> int:
    """The whole number in ``text``; raises :class:`~threadwire.UsageError`."""
    amount = _amount(text)
    if amount is None or amount.denominator != 1:
        raise UsageError(f"{text!r} is not a whole number; write 5000, 20k or 1M")
    return int(amount)


def parse_rate(text: str) -> float:
    """How many a second ``text`` says; raises :class:`~threadwire.UsageError`."""
    amount = _amount(text.strip().removesuffix("/s"))
    if amount is None:
        raise UsageError(f"{text!r} is not a number a second; write 500, 20k or 20k/s")
    return float(amount)


def parse_share(text: str) -> float:
    """The percentage in ``text``, as a part of 1; raises :class:`~threadwire.UsageError`.

    The sign is needed, so that nobody takes 1 for one percent, or for all; but 0 is 0.
    """
    match = _SHARE.fullmatch(text)
    if match is not None and len(match[1]) <= _MOST_DIGITS:
        return float(match[1]) / 100
    if _amount(text) == 0:
        return 0.0
    raise UsageError(f"{text!r} is not a percentage; write 1% or 0.1%")


def parse_sizes(text: str) -> tuple[int, int]:
    """The least and the greatest size in ``text``: ``64`` or ``64..4KiB``."""
    low, dots, high = text.partition("..")
    try:
        least = parse_size(low)
        most = parse_size(high) if dots else least
    except UsageError:
        problem = "is not a size or a range of sizes; write 64, 1KiB or 64..4KiB"
        raise UsageError(f"{text!r} {problem}") from None
    if least > most:
        raise UsageError(f"{text!r}: the lesser size comes first, as in 64..4KiB")
    return least, most


def duration_words(seconds: float | None) -> str:
    """``seconds`` as ``412 µs``, ``1.25 ms``, ``2.5 s``; three digits are told."""
    return NOTHING if seconds is None else format_duration(seconds)


def rate_words(rate: float | None) -> str:
    """Whole where that is exact enough: ``148,210``, ``99.5``, ``0.25``."""
    if rate is None:
        return NOTHING
    return f"{rate:,.0f}" if rate >= 99.95 or rate == 0 else f"{rate:.3g}"


def share_words(share: float | None) -> str:
    """A part of 1 as a percentage: ``12.5 %``, ``0.012 %``."""
    if share is None:
        return NOTHING
    percentage = share * 100
    if 0.95 <= percentage < 99.95:
        return f"{percentage:.1f} %"
    # What is not quite all must not be told as all of it, and not nothing as nothing.
    return f"{percentage:.4g} %" if percentage > 1 else f"{percentage:.2g} %"


def traffic_words(size: float) -> str:
    """``size`` bytes a second: ``950 B/s``, ``64.2 KiB/s``, ``1.24 MiB/s``."""
    for unit in ("B/s", "KiB/s", "MiB/s"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.0f} GiB/s" if size >= 99.5 else f"{size:.3g} GiB/s"


def ratio_words(ratio: float | None) -> str:
    """``1.07x``; three digits are told, from a hundred on whole ones."""
    if ratio is None:
        return NOTHING
    return f"{ratio:,.0f}x" if ratio >= 99.95 else f"{ratio:.2f}x"
