"""Durations and sizes as people write them.

A duration is ``500ms``, ``2s``, ``1m``, ``1h`` or plain seconds; a size is
``64KiB``, ``1MiB``, ``1GiB`` (powers of 1,024), ``64kB``, ``1MB``, ``1GB``
(powers of 1,000), ``512B`` or plain bytes.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from .errors import UsageError

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-zµ]*)\s*", re.ASCII)

_MOST_DIGITS = 30  # of a size: more than anybody has, and than int() refuses

_SECONDS = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}


def parse_duration(text: str) -> float:
    """Seconds in ``text``; raises :class:`UsageError`."""
    match = _NUMBER.fullmatch(text)
    if match is None or (factor := _SECONDS.get(match[2])) is None:
        raise UsageError(f"{text!r} is not a duration; write 500ms, 2s, 1m or plain seconds")
    seconds = float(match[1]) * factor
    if seconds == math.inf:
        raise UsageError(f"{text!r} is too long a duration")
    return seconds


def parse_size(text: str) -> int:
    """Bytes in ``text``; raises :class:`UsageError`."""
    match = _NUMBER.fullmatch(text)
    factor = _BYTES.get(match[2].lower()) if match else None
    if match is None or factor is None or len(match[1]) > _MOST_DIGITS:
        raise UsageError(f"{text!r} is not a size; write 64KiB, 1MiB or plain bytes")
    size = Fraction(match[1]) * factor
    if size.denominator != 1:
        raise UsageError(f"{text!r} is not a whole number of bytes")
    return int(size)


def format_duration(seconds: float) -> str:
    """``seconds`` for people: ``250 µs``, ``12.3 ms``, ``2.5 s``, ``3 m 5 s``, ``2 h 5 m``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = math.floor(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} m"


def format_size(size: int) -> str:
    """``size`` for people: ``45 B``, ``64 KiB``, ``1.5 MiB``."""
    if size < 1 << 10:
        return f"{size} B"
    for factor, unit in ((1 << 10, "KiB"), (1 << 20, "MiB"), (1 << 30, "GiB")):
        if size < factor << 10 or unit == "GiB":
            return f"{_rounded(size / factor)} {unit}"
    raise AssertionError("unreachable")


def _rounded(number: float) -> str:
    """To four digits, without an exponent and without zeros at the end."""
    text = f"{number:,.{max(0, 4 - len(str(int(number))))}f}".replace(",", "")
    return text.rstrip("0").rstrip(".") if "." in text else text
