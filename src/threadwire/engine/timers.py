"""What a loop has to do at a later time. Owned by whoever runs the loop."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from ..clock import SYSTEM, Clock

__all__ = ["Timer", "Timers"]

_FEW = 64  # cancelled timers that are not worth clearing away


class Timer:
    """One call to come; :meth:`cancel` makes it nothing."""

    __slots__ = ("_timers", "call", "number", "when")

    def __init__(self, when: float, number: int, call: Callable[[], None], timers: Timers) -> None:
        self.when = when
        self.number = number
        self.call: Callable[[], None] | None = call
        self._timers = timers

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.number) < (other.when, other.number)

    def cancel(self) -> None:
        if self.call is not None:
            self.call = None
            self._timers.cancelled()


class Timers:
    """Calls to come, in the order of their times, which are ``clock``'s seconds.

    Cancelled ones stay in the heap until they are due, or are more than half of it.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self.now = clock.now
        self.heap: list[Timer] = []  # for others to see that there is nothing in it
        self._numbers = itertools.count()
        self._cancelled = 0  # in the heap

    def __len__(self) -> int:
        return len(self.heap) - self._cancelled

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        timer = Timer(when, next(self._numbers), call, self)
        heapq.heappush(self.heap, timer)
        return timer

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make ``call`` when so many seconds have gone by."""
        return self.at(self.now() + seconds, call)

    def cancelled(self) -> None:
        """A timer: it is nothing any more."""
        self._cancelled += 1
        if self._cancelled > _FEW and self._cancelled * 2 > len(self.heap):
            self.heap = [timer for timer in self.heap if timer.call is not None]
            heapq.heapify(self.heap)
            self._cancelled = 0

    def left(self) -> float | None:
        """Seconds until the next call is due; ``None`` if there is none."""
        heap = self.heap
        if not heap:
            return None
        while heap and heap[0].call is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return max(0.0, heap[0].when - self.now()) if heap else None

    def due(self) -> list[Callable[[], None]]:
        """Take out what is due now; what those calls set themselves comes later."""
        heap: list[Timer] = self.heap
        calls: list[Callable[[], None]] = []
        if not heap:
            return calls
        now = self.now()
        while heap and heap[0].when <= now:
            timer = heapq.heappop(heap)
            if timer.call is None:
                self._cancelled -= 1
            else:
                calls.append(timer.call)
                timer.call = None  # cancelling it from now on changes nothing
        return calls
