"""Values from JSON, checked: a saved result may have been written by anything since.

Each raises ValueError, and so what is wrong is known before there is any load.
"""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import repr as short
from typing import Any, Final

from .printable import printable

__all__ = ["amount", "flag", "mapping", "plain", "text", "whole"]

# Beyond them arithmetic would fail, and there is nothing like it to be measured.
_MOST_COUNT: Final = 1 << 63
_MOST_AMOUNT: Final = 1e18


def whole(value: object) -> int:
    """A count."""
    if type(value) is not int or not 0 <= value < _MOST_COUNT:
        raise ValueError(f"{short(value)} is not a count")
    return value


def amount(value: object) -> float:
    """Seconds, a rate or a share."""
    # Compared before it is converted, which not every integer can be; NaN is in no range.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{short(value)} is not a number")
    if not 0 <= value <= _MOST_AMOUNT:
        raise ValueError(f"{short(value)} is not a number from 0 to {_MOST_AMOUNT:g}")
    return float(value)


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{short(value)} is neither true nor false")
    return value


def text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{short(value)} is not a text")
    return printable(value)


def mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{short(value)} is not an object")
    return value


def plain(value: object) -> object:
    """Something that a plan is made of: a text, a number, true, false or null."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    amount(value)
    return value
