"""What a limit is: a number with a name, a unit, and a reason for its default."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from .errors import UsageError

__all__ = ["OFF", "Limit"]

# Beyond these the system's own counters and clocks give up.
_LARGEST = {"bytes": 2.0**62, "seconds": 1e9, "count": 2.0**31 - 1, "a second": 1e9}

OFF = math.inf  # of a limit that may be off: as many, or as long, as it takes


class Limit(NamedTuple):
    """One limit.

    ``default`` is in ``unit``, ``smallest`` the least that makes sense; ``help`` says
    what is limited, ``reason`` why by default so much. One that is ``optional`` may be
    ``None`` or :data:`OFF`: then there is no such limit.
    """

    name: str
    unit: Literal["bytes", "seconds", "count", "a second"]
    default: float
    smallest: float
    help: str
    reason: str
    optional: bool = False

    def check(self, value: object) -> float:
        """Return ``value`` if it may stand for this limit; else raise UsageError.

        For a limit that is off :data:`OFF` is returned.
        """
        if self.optional and (value is None or value == OFF):
            return OFF
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{self.name} must be a number of {self.what}, not {value!r}")
        if not value >= self.smallest:  # so that it refuses what is no number, too
            raise UsageError(
                f"{self.name} must be at least {self.smallest:g} {self.what}, not {value!r}"
            )
        if value > _LARGEST[self.unit]:
            raise UsageError(
                f"{self.name} must be at most {_LARGEST[self.unit]:g} {self.what}, not {value!r}"
            )
        return value

    def check_whole(self, value: object) -> int:
        """Like :meth:`check`, for limits that count bytes or things; off is a huge number."""
        number = self.check(value)
        if number == OFF:
            return int(_LARGEST[self.unit])
        if number != int(number):
            raise UsageError(f"{self.name} must be a whole number, not {value!r}")
        return int(number)

    @property
    def what(self) -> str:
        return {"bytes": "bytes", "seconds": "seconds"}.get(self.unit, "items")

    @property
    def whole(self) -> int:
        """The default of a limit that counts bytes or things."""
        return int(self.default)
