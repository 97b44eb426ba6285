"""What charts remember of a server: its rates in the last minutes."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..snapshot import ServerSnapshot
from .document import changes, history_point
from .process import ProcessFacts

__all__ = ["SPAN", "History"]

SPAN = 300.0  # seconds that are remembered
_LEAST = 0.5  # seconds between two looks, for their difference to tell a rate
_MOST = 120.0  # and beyond which it tells of no time in particular


class History:
    """A point is what has changed from one look to the next.

    One thread at a time adds to it; any may read the points, which are replaced as a whole.
    """

    def __init__(self) -> None:
        self._points: tuple[dict[str, Any], ...] = ()
        self._last: tuple[ServerSnapshot, ProcessFacts] | None = None

    def add(self, now: ServerSnapshot, facts: ProcessFacts) -> None:
        """There has been a look; the snapshot may have clients, which are not kept."""
        now = dataclasses.replace(now, clients=None)
        if self._last is not None:
            before, facts_before = self._last
            passed = now.clock - before.clock
            if passed < _LEAST:  # the next one tells of this time, too
                return
            if passed <= _MOST:
                point = history_point(now, changes(now, before, facts, facts_before))
                oldest = point["time"] - SPAN
                self._points = (*(p for p in self._points if p["time"] > oldest), point)
        self._last = now, facts

    def points(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return list(self._points)
