"""Room for the endpoint's own clients, however many come, and however much they ask.

When there are too many connections, one leaves that has been promised nothing: of those that
wait for a request the one that has waited longest; and if none does, the next whose request has
been answered. So a probe gets its answer beside thousands of connections that ask for nothing,
and beside those that never stop asking.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..connection import Connection
from ..errors import CloseReason

__all__ = ["Seats"]


class Seats:
    """``seats`` connections may stay; who comes has in any case the time for a first request."""

    def __init__(self, seats: int) -> None:
        self._seats = seats
        self._lock = threading.Lock()  # guards what follows
        self._waiting: dict[int, Connection] = {}  # for a request, longest first
        self._served: set[int] = set()  # those that have had a request
        self._taken = 0  # seats, without those of the connections that are being closed
        self._leaving: set[int] = set()  # these

    @contextmanager
    def seat(self, connection: Connection) -> Iterator[None]:
        """Let it stay; if there are too many now, another one leaves."""
        with self._lock:
            self._taken += 1
            first = next(iter(self._waiting), None)
            unlucky = None
            if first is not None and self._taken > self._seats:
                unlucky = self._dismiss(self._waiting[first])
        if unlucky is not None:
            unlucky.abort(CloseReason.BUSY)
        try:
            yield
        finally:
            with self._lock:
                self._taken -= connection.id not in self._leaving
                self._waiting.pop(connection.id, None)
                self._leaving.discard(connection.id)
                self._served.discard(connection.id)

    def note(self, connection: Connection, waiting: bool) -> None:
        """It waits for a request from now on, or has one."""
        unlucky = None
        with self._lock:
            if not waiting:
                self._waiting.pop(connection.id, None)
                self._served.add(connection.id)
            elif connection.id in self._served and self._taken > self._seats:
                unlucky = self._dismiss(connection)
            else:
                self._waiting[connection.id] = connection
        if unlucky is not None:
            unlucky.abort(CloseReason.BUSY)

    def _dismiss(self, connection: Connection) -> Connection:
        """Under the lock; it is the caller's to be closed, without the lock."""
        self._waiting.pop(connection.id, None)
        self._leaving.add(connection.id)
        self._taken -= 1
        return connection
