"""Open loop: what is due, and which client sends it.

The schedule itself is the queue of what is due and not sent, so that it takes no memory
however long it gets. What has waited for ``timeout`` is given up, as ``unsent``.

When the load itself was late with a message, though a client was free, it was so with all that
had come due by then: they are sent late, too, and the client that becomes free for them only
later is not to blame for it.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator

from .client import Client, State
from .plan import Plan
from .records import Records

__all__ = ["Rota"]

_PAUSE = 0.001  # seconds of being late from which on the load is taken to have paused


class Rota:
    """Belongs to the process's load; in a closed loop it has nothing to do.

    ``ask`` has a client send the next request, which was due at the given time.
    ``exhausted`` is called when the schedule has come to its end.
    """

    def __init__(
        self,
        plan: Plan,
        clients: list[Client],
        records: Records,
        ask: Callable[[Client, float], None],
        exhausted: Callable[[], None],
    ) -> None:
        self._timeout = plan.timeout
        self._pipeline = plan.pipeline
        self._each = plan.connect_each
        self._clients = clients
        self._records = records
        self._ask = ask
        self._exhausted = exhausted
        self._due: Iterator[float] = iter(())  # times of the clock, in order
        self.next_due = math.inf
        self.crowded = False  # no client has room
        self._idle: deque[Client] = deque()  # with nothing to do, the longest so first
        self._paused = (0.0, 0.0)  # from when to when the load was late last
        self._turn = 0  # among clients that have something to do, and room

    def follow(self, due: Iterator[float]) -> None:
        """Send by this schedule from now on."""
        self._due = due
        self.next_due = next(due, math.inf)

    def limit(self, more: int) -> None:
        """Send so many more."""
        if more > 0:  # one has been taken from the schedule already
            self._due = itertools.islice(self._due, more - 1)
        else:
            self._due, self.next_due = iter(()), math.inf
            self._exhausted()

    def give_up(self, now: float, *, as_errors: bool = True) -> None:
        """What is due and not sent is lost, and what is not due yet will never be sent."""
        count = 0
        while self.next_due <= now:
            count += 1
            self._records.lose(now - self.next_due)
            self.next_due = next(self._due, math.inf)
        if count and as_errors:
            self._count_unsent(count)
        self._due, self.next_due = iter(()), math.inf

    def free(self, client: Client, now: float) -> None:
        """It can be asked again."""
        self.crowded = False
        if client.full:
            client.full = False
            client.free_since = now
        if not client.flight and not client.idle and client.begun:
            client.idle = True
            self._idle.append(client)

    def look_again(self) -> None:
        """What is due may have waited too long."""
        self.crowded = False

    def send_due(self, now: float) -> None:
        """Have sent what is due, as far as there is room."""
        note = self._records.behind.append
        while self.next_due <= now:
            due = self.next_due
            if now - due > self._timeout:
                self._records.lose(now - due)
                self._count_unsent(1)
            else:
                client = self._find_room()
                if client is None:
                    self.crowded = True
                    return
                note(self._lateness(due, client.free_since, now))
                self._ask(client, due)
                client.full = len(client.flight) >= self._pipeline
            self.next_due = next(self._due, math.inf)
        if self.next_due == math.inf:
            self._exhausted()

    def _lateness(self, due: float, free_since: float, now: float) -> float:
        """Seconds that the load itself has kept waiting what was due."""
        late = now - max(due, free_since)
        began, ended = self._paused
        if late > _PAUSE:
            self._paused = (now - late, now)
        elif due <= ended:
            late = max(late, ended - max(due, began))
        return late

    def _find_room(self) -> Client | None:
        idle = self._idle
        while idle:
            client = idle.popleft()
            client.idle = False
            if not client.flight and (self._each or client.state is State.UP):
                return client
        if self._pipeline > 1:
            clients = self._clients
            for _ in clients:
                self._turn = (self._turn + 1) % len(clients)
                client = clients[self._turn]
                if client.state is State.UP and len(client.flight) < self._pipeline:
                    return client
        return None

    def _count_unsent(self, count: int) -> None:
        example = "due, but no connection was free for it in time"
        self._records.error("unsent", example, count)
