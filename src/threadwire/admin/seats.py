"""Room for the endpoint's own clients, however many come.

A connection on which no request is under way costs its client nothing, so it is what has to
leave when others come: the one that has waited longest. So a probe gets its answer beside
thousands of connections that ask for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..connection import Connection
from ..errors import CloseReason

__all__ = ["Seats"]


class Seats:
    """At most ``seats`` connections stay, as long as there are some that wait for a request."""

    def __init__(self, seats: int) -> None:
        self._seats = seats
        self._lock = threading.Lock()  # guards what follows
        self._taken = 0
        self._waiting: dict[int, Connection] = {}  # for a request, longest first

    @contextmanager
    def seat(self, connection: Connection) -> Iterator[None]:
        """Let it stay; if there are too many now, another one leaves."""
        with self._lock:
            self._taken += 1
            unlucky = self._pick() if self._taken > self._seats else None
        if unlucky is not None:
            unlucky.abort(CloseReason.BUSY)  # it has been promised nothing
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1
                self._waiting.pop(connection.id, None)

    def note(self, connection: Connection, waiting: bool) -> None:
        """It waits for a request from now on, or does not any more."""
        with self._lock:
            self._waiting.pop(connection.id, None)
            if waiting:
                self._waiting[connection.id] = connection

    def _pick(self) -> Connection | None:
        """Under the lock."""
        first = next(iter(self._waiting), None)
        return None if first is None else self._waiting.pop(first)
