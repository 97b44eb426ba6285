"""Checking what callers give: a wrong argument fails at once, and is named."""

from __future__ import annotations

import math
from typing import TypeGuard

from ..errors import UsageError

__all__ = ["check_seconds", "check_share", "check_whole"]

_NO_LIMIT = 1 << 62


def check_whole(name: str, value: object, least: int, most: int = _NO_LIMIT) -> int:
    """``value``, if it is a whole number in these bounds; raises UsageError."""
    if type(value) is not int or not least <= value <= most:
        upper = " or more" if most == _NO_LIMIT else f" to {most:,}"
        raise UsageError(f"{name} must be a whole number, {least}{upper}, not {value!r}")
    return value


def check_seconds(name: str, value: object) -> float:
    """``value``, if it is a finite number, 0 or more; raises UsageError."""
    if not (_is_number(value) and 0 <= value < math.inf):
        raise UsageError(f"{name} must be 0 or more seconds, not {value!r}")
    return float(value)


def check_share(name: str, value: object) -> float:
    """``value``, if it is a number from 0 to 1; raises UsageError."""
    if not (_is_number(value) and 0 <= value <= 1):
        raise UsageError(f"{name} must be a share, 0 to 1, not {value!r}")
    return float(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
