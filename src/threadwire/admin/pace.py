"""How much of the processor requests may take: so many a second, and the rest wait.

Threads share the interpreter with the service, so a client that asks again and again, as fast
as it can, has to wait for its turn; nobody is refused.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

__all__ = ["Pace"]


class Pace:
    """Lets ``burst`` requests pass at once, and ``rate`` a second after that. Any thread."""

    def __init__(
        self, rate: float, burst: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._gap = 1 / rate
        self._saved = (burst - 1) / rate
        self._now = now
        self._lock = threading.Lock()  # guards what follows
        self._next = -math.inf  # when the next request is due, if they come evenly

    def delay(self) -> float:
        """How many seconds the request that asks has to wait; it has got its turn."""
        with self._lock:
            now = self._now()
            due = max(self._next, now - self._saved)
            self._next = due + self._gap
            return max(0.0, due - now)

    def wait(self) -> None:
        """Wait for one's turn."""
        seconds = self.delay()
        if seconds:
            time.sleep(seconds)
