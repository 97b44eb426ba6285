"""What a loop has to do at a later time. Owned by whoever runs the loop."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

__all__ = ["Timer", "Timers"]


class Timer:
    """One call to come; :meth:`cancel` makes it nothing."""

    __slots__ = ("call", "number", "when")

    def __init__(self, when: float, number: int, call: Callable[[], None]) -> None:
        self.when = when
        self.number = number
        self.call: Callable[[], None] | None = call

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.number) < (other.when, other.number)

    def cancel(self) -> None:
        self.call = None


class Timers:
    """Calls to come, in the order of their times, which are the monotonic clock's seconds."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._numbers = itertools.count()

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        timer = Timer(when, next(self._numbers), call)
        heapq.heappush(self._heap, timer)
        return timer

    def left(self, now: float) -> float | None:
        """Seconds until the next call is due; ``None`` if there is none."""
        heap = self._heap
        while heap and heap[0].call is None:
            heapq.heappop(heap)
        return max(0.0, heap[0].when - now) if heap else None

    def due(self, now: float) -> list[Callable[[], None]]:
        """Take out what is due at ``now``; what those calls set themselves comes later."""
        heap, calls = self._heap, []
        while heap and (heap[0].call is None or heap[0].when <= now):
            timer = heapq.heappop(heap)
            if timer.call is not None:
                calls.append(timer.call)
                timer.call = None
        return calls
