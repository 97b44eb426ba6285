"""A clock that stands still until a test turns it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .. import clock
from .arguments import check_seconds
from .waiting import eventually

__all__ = ["Clock"]


class Clock(clock.Clock):
    """For ``Server(..., clock=clock)``: deadlines pass when :meth:`turn` says so.

    ::

        clock = Clock()
        with serving(handler, message_timeout=30, clock=clock) as served:
            peer = served.peer()
            peer.say(b"half a mess")
            clock.turn_until(lambda: peer.ended)

    running
        Whether it also goes on by itself, as the system's clock does [no: a test that is
        slow for once then sees no deadline that it has not asked for].

    It starts at the system's monotonic time. What goes by it is what a server's loops keep
    the time of: the deadlines for a handshake, a message, an idle client, and replies that a
    client of the loop does not read; and their pauses, as of accepting when there are no
    descriptors, and of a connection that ends. On a clock that stands still they last until it
    is turned.

    Threads that wait inside the system go by the system's clock: a session's
    ``receive(timeout)``, a client with a thread of its own that does not read, ``time.sleep``
    in a handler, and a drain. So does the time that a handler may hold up the loop.
    """

    def __init__(self, *, running: bool = False) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._turned = 0.0  # any thread may read it
        self._watchers: dict[object, Callable[[], None]] = {}
        self._running = running  # constant
        self._start = time.monotonic()  # constant

    def now(self) -> float:
        """Seconds; never less than before. Any thread."""
        return (time.monotonic() if self._running else self._start) + self._turned

    def turn(self, seconds: float) -> None:
        """Let so many seconds pass at once, and wake whoever watches.

        What is due then is done by other threads. That something was *not* due is known when
        another client of the same server has been answered after the turn.
        """
        check_seconds("seconds", seconds)  # a clock never goes back
        with self._lock:
            self._turned += seconds
            watchers = list(self._watchers.values())
        for wake in watchers:
            wake()

    def turn_until(
        self, condition: Callable[[], object], *, step: float = 1.0, timeout: float = 10.0
    ) -> float:
        """Turn by ``step`` seconds, again and again, until ``condition()`` holds.

        Returns how many seconds that were. For what has to happen some time: a server does not
        watch every deadline, but looks around several times within a timeout, and takes
        what has happened since the last time as if it were new. AssertionError after
        ``timeout`` seconds of the system's time.
        """
        turned = 0.0

        def come() -> object:
            nonlocal turned
            if condition():
                return True
            self.turn(step)
            turned += step
            return False

        eventually(come, f"{condition} on a clock", timeout=timeout)
        return turned

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have ``wake`` called at each turn; returns how to stop that.

        ``wake`` may still be under way, or about to be called, when that returns.
        """
        place = object()
        with self._lock:
            self._watchers[place] = wake

        def stop() -> None:
            with self._lock:
                self._watchers.pop(place, None)

        return stop
