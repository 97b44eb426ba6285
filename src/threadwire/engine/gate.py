"""How many may come, how fast, and what is said to those who may not."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..limits import OFF
from .admission import Admission

__all__ = ["Gate", "Permits"]


class Permits:
    """How many clients may be served at once. Any thread; every field under ``_lock``."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._taken = 0
        self._wanted: Callable[[], None] | None = None

    def take(self, when_freed: Callable[[], None]) -> bool:
        """Take one; if there is none, ``when_freed`` is called once when one is given back.

        It is called by whoever gives back, under the lock: it must not block.
        """
        with self._lock:
            if self._taken < self.most:
                self._taken += 1
                return True
            self._wanted = when_freed
            return False

    def give_back(self) -> None:
        with self._lock:
            self._taken -= 1
            if self._wanted is not None:
                self._call_wanted()

    def resize(self, most: int) -> None:
        """Allow so many from now on; those that are too many then stay as long as they like."""
        with self._lock:
            self.most = most
            self._call_wanted()

    def _call_wanted(self) -> None:
        """Under the lock, so that forget() leaves no call under way."""
        if self._taken < self.most:
            wanted, self._wanted = self._wanted, None
            if wanted is not None:
                wanted()

    def forget(self) -> None:
        """After this, the last ``when_freed`` is neither called nor being called."""
        with self._lock:
            self._wanted = None


class Gate:
    """What the acceptor asks before it accepts.

    permits
        As many as there may be clients.
    admission
        Judges addresses, and counts who is refused.
    refuse
        Whether those beyond ``max_clients`` are accepted and refused; otherwise they wait.
    rate
        Clients accepted a second; ``OFF`` for as many as come.

    ``refuse`` and ``rate`` may be changed at any time, by any thread.
    """

    def __init__(
        self, permits: Permits, admission: Admission, *, refuse: bool = False, rate: float = OFF
    ) -> None:
        self.permits = permits
        self.admission = admission
        self.refuse = refuse
        self.rate = rate
