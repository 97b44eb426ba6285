"""The clock that a server's loops keep their deadlines by.

It is the system's monotonic one. A test may give its server another that it can turn; see
:mod:`threadwire.testing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["SYSTEM", "Clock"]


class Clock:
    """The system's monotonic clock, and what another one has to offer."""

    def now(self) -> float:
        """Seconds, from any beginning; never less than before. Any thread."""
        return time.monotonic()

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have ``wake`` called, by any thread, whenever the time jumps; returns how to stop that.

        The system's clock does not jump.
        """
        return _nothing


def _nothing() -> None:
    """There is nothing to stop."""


SYSTEM = Clock()
