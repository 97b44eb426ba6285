"""Numbers in few characters, for columns: at most seven, whatever they are."""

from __future__ import annotations

import math

__all__ = ["NOTHING", "count", "duration", "rate", "size"]

NOTHING = "-"  # stands where there is no value

_THOUSANDS = ("", "k", "M", "G", "T", "P")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def duration(seconds: float | None) -> str:
    """``250µs``, ``12.3ms``, ``2.50s``, ``3m05s``, ``2h05m``, ``5d03h``, ``400d``."""
    if seconds is None:
        return NOTHING
    seconds = max(0.0, seconds)
    return _below_a_minute(seconds) if seconds < 59.95 else _longer(max(60, math.floor(seconds)))


def _below_a_minute(seconds: float) -> str:
    if not seconds:
        return "0s"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f}µs"
    return f"{_three(seconds * 1e3)}ms" if seconds < 0.9995 else f"{_three(seconds)}s"


def _longer(seconds: int) -> str:
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if not hours:
        return f"{minutes}m{seconds % 60:02d}s"
    if not days:
        return f"{hours}h{minutes % 60:02d}m"
    if days < 100:
        return f"{days}d{hours % 24:02d}h"
    return f"{days}d" if days < 100_000 else ">99999d"


def size(amount: float) -> str:
    """``45B``, ``64.0KiB``, ``1.46MiB``."""
    return _scaled(amount, 1024, _BINARY)


def count(number: float) -> str:
    """``99999`` as it is, and what is more as ``123k``, ``1.23M``."""
    return f"{number:.0f}" if number < 99_999.5 else _scaled(number, 1000, _THOUSANDS)


def rate(a_second: float | None) -> str:
    """``0``, ``0.5``, ``12.3``, ``999``, ``1.23k``, ``1.23M``."""
    if a_second is None:
        return NOTHING
    if a_second < 9.95:
        return f"{a_second:.1f}".removesuffix(".0")
    if a_second < 99.95:
        return f"{a_second:.1f}"
    return _scaled(a_second, 1000, _THOUSANDS)


def _scaled(amount: float, base: int, units: tuple[str, ...]) -> str:
    amount = max(0.0, amount)
    if amount < 999.5:
        return f"{amount:.0f}{units[0]}"
    for unit in units[1:]:
        amount /= base
        if amount < 999.5:
            return f"{_three(amount)}{unit}"
    return f">999{units[-1]}"


def _three(number: float) -> str:
    """A number below 1,000 with three digits."""
    if number < 9.995:
        return f"{number:.2f}"
    return f"{number:.1f}" if number < 99.95 else f"{number:.0f}"
