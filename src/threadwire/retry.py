"""Trying again in a way that helps: spread out, within a deadline, within a budget.

What may be tried again without harm is for the caller to say (:mod:`threadwire.pool`).
How often and when is decided here.

- *Full jitter.* The n-th back-off is a random time between nothing and ``first_backoff`` *
  2ⁿ⁻¹, ``max_backoff`` at most, so that clients which failed together do not come back
  together. After Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
- *A budget.* Every request earns ``budget`` hundredths of a retry, whatever becomes of it, and
  a retry costs a whole one. So however long an outage lasts, retries are no more than
  ``reserve`` and that fraction of the requests: clients cannot multiply it. After Finagle's
  ``RetryBudget``; gRPC's retry throttling (proposal A6) is of the same kind.
- *A deadline.* It is for everything together. A back-off that would pass it is not begun, and
  what had failed last is raised at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TypeVar

from . import limits
from .errors import ThreadwireError, UsageError
from .value import Value

__all__ = ["Budget", "Retry", "Retrying"]

T = TypeVar("T")


class Retry(Value):
    """How a client tries again; a value, for :func:`connect`.

    attempts
        How many times a connection or a request is tried in all [10].
    first_backoff
        Seconds that the first back-off may be [0.05]; each further one may be twice as long.
    max_backoff
        Seconds that any back-off may be [2].
    budget
        How many retries every hundred requests may bring about [20].
    reserve
        How many retries the budget begins with, and the most it can save [100].

    Raises :class:`~threadwire.UsageError` for a wrong argument.
    """

    __slots__ = ("attempts", "budget", "first_backoff", "max_backoff", "reserve")

    def __init__(
        self,
        attempts: int = limits.RETRY_ATTEMPTS.whole,
        *,
        first_backoff: float = limits.FIRST_BACKOFF.default,
        max_backoff: float = limits.MAX_BACKOFF.default,
        budget: int = limits.RETRY_BUDGET.whole,
        reserve: int = limits.RETRY_RESERVE.whole,
    ) -> None:
        self.attempts = limits.RETRY_ATTEMPTS.check_whole(attempts)
        self.first_backoff = limits.FIRST_BACKOFF.check(first_backoff)
        self.max_backoff = limits.MAX_BACKOFF.check(max_backoff)
        if self.max_backoff < self.first_backoff:
            raise UsageError(
                f"max_backoff must be at least first_backoff ({first_backoff!r}), "
                f"not {max_backoff!r}"
            )
        self.budget = limits.RETRY_BUDGET.check_whole(budget)
        self.reserve = limits.RETRY_RESERVE.check_whole(reserve)

    def longest_backoff(self, failures: int) -> float:
        """The most seconds to wait after so many failures in a row, 1 or more."""
        # 2**64 is beyond every max_backoff, and not beyond what a float holds.
        return min(self.max_backoff, math.ldexp(self.first_backoff, min(failures - 1, 64)))


class Budget:
    """The retries that may still be made; any thread, for ``_lock`` is held while it counts."""

    def __init__(self, retry: Retry) -> None:
        self._earning = retry.budget
        self._most = retry.reserve * 100
        self._saved = self._most  # hundredths of a retry
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A request is being made."""
        with self._lock:
            self._saved = min(self._most, self._saved + self._earning)

    def spend(self) -> bool:
        """Whether a retry may be made, which is then paid for."""
        with self._lock:
            if self._saved < 100:
                return False
            self._saved -= 100
            return True


class Retrying:
    """Runs what may fail, and runs it again as a :class:`Retry` says; any thread.

    ``sleep`` is called for each back-off, and may return sooner. The clock and ``uniform``,
    which picks a number between two, are arguments for the sake of tests.
    """

    def __init__(
        self,
        retry: Retry,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        uniform: Callable[[float, float], float] | None = None,
    ) -> None:
        self._retry = retry
        self._budget = Budget(retry)
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform or _uniform

    def run(
        self,
        attempt: Callable[[], T],
        may_retry: Callable[[ThreadwireError], bool],
        deadline: float | None,
    ) -> T:
        """What ``attempt()`` returns, in the end.

        Raises what the last attempt raised, with the failure before it for its cause, and
        with a note that says why there was no further one.
        """
        self._budget.earn()
        before: ThreadwireError | None = None
        failures = 0
        try:
            while True:
                try:
                    return attempt()
                except ThreadwireError as error:
                    failures += 1
                    backoff = self._backoff(failures, deadline, error) if may_retry(error) else None
                    if backoff is None:
                        if error.__cause__ is None and before is not None:
                            error.__cause__ = before
                        raise
                    before = error
                self._sleep(backoff)
        finally:
            before = None  # its traceback holds this frame, which would hold it

    def _backoff(
        self, failures: int, deadline: float | None, error: ThreadwireError
    ) -> float | None:
        """The seconds to wait before the next attempt, which is paid for; or ``None``."""
        retry = self._retry
        if failures >= retry.attempts:
            if failures > 1:
                error.add_note(f"given up after {failures} attempts")
            return None
        seconds = self._uniform(0.0, retry.longest_backoff(failures))
        if deadline is not None and self._clock() + seconds >= deadline:
            error.add_note(f"given up after attempt {failures}: no time is left for another")
            return None
        if not self._budget.spend():
            error.add_note(f"given up after attempt {failures}: the retry budget is used up")
            return None
        return seconds


def _uniform(least: float, most: float) -> float:
    import random  # takes longer to import than most programs take to need it

    return random.uniform(least, most)
