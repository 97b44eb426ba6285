"""The watchdog: takes the baton from a thread whose handler holds up its loop.

It looks at each loop twice in ``handoff_after``. If it finds one and the same call in the
baton's place both times, it takes the baton and gives it to a thread that it had in reserve.
Without one it takes nothing: a loop without a leader would be worse than one that waits.

Where hand-offs are frequent its patience gets shorter, so that a crowd of clients that all
become slow costs the others little each.

While all loops wait for readiness it sleeps. A leader stops waiting, and then says, under the
watchdog's lock, that a turn with work begins; so either the watchdog sees that it does not wait,
or the leader sees that the watchdog sleeps.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from .. import events
from ..reports import Handoff
from ..rules import Rules
from .baton import Baton
from .loop import Loop
from .spare_threads import SpareThreads

__all__ = ["Watchdog"]

_REST_AFTER = 20  # looks at loops that stand still
_RECENT = 1.0  # seconds for which a hand-off shortens the patience
_LEAST_PATIENCE = 0.0005  # seconds
_RECENT_HANDOFFS = 64  # that are told of one by one


class Watchdog:
    """Watches ``loops`` from a thread of its own."""

    def __init__(
        self,
        loops: Sequence[Loop],
        threads: SpareThreads,
        rules: Rules,
        name: str,
        on_start: Callable[[], None] | None,
    ) -> None:
        self._loops = loops
        self._threads = threads
        self._rules = rules
        self._on_start = on_start
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._resting = False  # under the lock
        self._stopping = False  # under the lock
        # The watchdog's to change, anybody's to read.
        self.handoffs = 0
        self.recent: collections.deque[Handoff] = collections.deque(maxlen=_RECENT_HANDOFFS)
        # The watchdog's own.
        self._seen: dict[Loop, tuple[object, ...] | None] = dict.fromkeys(loops)
        self._successor: Callable[[Callable[[], None] | None], None] | None = None
        self._said = False  # that there is no thread to be had
        self._handoffs: collections.deque[float] = collections.deque(maxlen=64)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()
        for loop in self._loops:
            loop.watch = self.wake

    def stop(self) -> None:
        """When the loops have ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def wake(self) -> None:
        """A leader: a turn with work has begun, and has been counted."""
        with self._lock:
            if self._resting:
                self._resting = False
                self._changed.notify()

    def _run(self) -> None:
        if self._on_start is not None:
            self._on_start()
        still = 0
        while True:
            busy = [self._look(loop) for loop in self._loops]
            still = 0 if any(busy) else still + 1
            with self._changed:
                if self._stopping:
                    break
                if still > _REST_AFTER and all(map(self._rests, self._loops)):
                    self._resting = True
                    while self._resting and not self._stopping:
                        self._changed.wait()
                    still = 0
                if not self._stopping:
                    self._changed.wait(self._patience() / 2)
        if self._successor is not None:
            self._successor(None)

    def _patience(self) -> float:
        """Seconds that a call may hold up its loop, at this moment."""
        recent = self._handoffs
        while recent and recent[0] < time.monotonic() - _RECENT:
            recent.popleft()
        return max(_LEAST_PATIENCE, self._rules.handoff_after / (1 + len(recent)))

    def _rests(self, loop: Loop) -> bool:
        """Whether the loop waits for its next turn, which it will announce."""
        seen = self._seen[loop]
        return loop.waits and seen is not None and seen[0] == loop.turns

    def _look(self, loop: Loop) -> bool:
        """Look at one loop; whether it does anything. Hands it over if it is held up."""
        baton = loop.baton
        connection = baton.busy_with()
        # One connection has one call, or one run of calls, in a turn.
        now = (loop.turns, baton, connection)
        before, self._seen[loop] = self._seen[loop], now
        if connection is not None and now == before:
            self._hand_over(loop, baton)
        return connection is not None or before is None or now[0] != before[0]

    def _hand_over(self, loop: Loop, baton: Baton[Any]) -> None:
        if self._successor is None:
            try:
                self._successor = self._threads.reserve()
            except BaseException as error:  # noqa: BLE001 - whatever it is: no thread to be had
                if not self._said:
                    self._said = True
                    events.stuck(error)
                return
            self._said = False
        successor = Baton[Any]()  # before, for it might fail
        connection = baton.take()
        if connection is None:
            return
        now = time.monotonic()
        connection.own(baton.leader)
        connection.busy_since = now - self._patience()  # it began a little earlier
        loop.baton = successor
        baton.note_taken()
        self._successor(lambda: loop.lead(successor, connection))
        self._successor = None
        self._handoffs.append(now)
        self.recent.append(Handoff(time.time(), connection.id))
        self.handoffs += 1
