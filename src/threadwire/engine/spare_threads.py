"""Threads that serve one job after another, so that most clients cost no thread's start.

Shared state, all under ``_lock``: the stack of idle threads' mailboxes, the set of
living threads, their tallies, and whether the cache is closed. A job goes to whoever removes a
mailbox from the stack: the giver, who then fills it, or its own thread, which gave
up waiting and ends. The last to become idle is the first to be used, so a burst's
surplus threads run out of work and end.

Threads are daemons: a handler that never returns may not keep the process from
ending. ``close()`` waits for them and says which are left.

A crowd of threads that all become ready in the same instant, as when thousands of
clients leave together, would spend both cores on asking for the interpreter's lock:
each asks again after every switch interval. So the interval grows with the number of
threads, from the point where it would otherwise be exceeded; below some hundreds of
threads nothing is changed, and it returns to what it was as they end.
"""

from __future__ import annotations

import itertools
import queue
import sys
import threading
from collections.abc import Callable

from ..durations import Histogram
from ..limits import SPARE_SECONDS
from ..transport.poller import Tally

__all__ = ["Job", "SpareThreads", "tally_here"]

Job = Callable[[], None]

_here = threading.local()  # ``tally``: that of the thread, if it is one of these


def tally_here() -> Tally | None:
    """Where the calling thread counts how long handlers take; ``None`` if it is none of these."""
    return getattr(_here, "tally", None)


# Measured: ten thousand clients that leave together are gone in seconds with 100 ms
# between switches, and not within minutes with the interpreter's 5 ms.
_SWITCH_SECONDS_PER_THREAD = 10e-6
_STEP = 128  # threads between two adjustments


class _Crowd:
    """All such threads of the process, and the switch interval that suits their number.

    An interval that somebody else sets meanwhile is left alone. Fields under ``_lock``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._before = self._ours = 0.0  # what the interval was; what it was set to, 0 if it is not

    def grow(self, change: int) -> None:
        with self._lock:
            self._threads += change
            wanted = self._threads * _SWITCH_SECONDS_PER_THREAD
            if self._threads % _STEP and not (self._ours and wanted < self._before):
                return
            now = sys.getswitchinterval()
            if self._ours and now != self._ours:
                self._ours = 0.0  # somebody else's now
            if self._ours and wanted < self._before:
                sys.setswitchinterval(self._before)
                self._ours = 0.0
            elif wanted > now:
                self._before = self._before if self._ours else now
                sys.setswitchinterval(wanted)
                self._ours = sys.getswitchinterval()


_crowd = _Crowd()


class SpareThreads:
    """Runs jobs on threads of its own.

    ``name`` begins every thread's name; ``on_start`` is what a thread calls first.
    """

    def __init__(
        self,
        name: str,
        idle_seconds: float = SPARE_SECONDS.default,
        on_start: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._on_start = on_start  # constant
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._idle: list[queue.SimpleQueue[Job | None]] = []
        self._threads: set[threading.Thread] = set()
        self._tallies: set[Tally] = set()  # of the living threads
        self._ended = Histogram()  # of those that are no more
        self._closed = False
        self._numbers = itertools.count(1)

    def run(self, job: Job) -> None:
        """Run ``job``, which must not raise, on an idle thread or a new one.

        Raises RuntimeError if the system has no thread to give, or after ``close``.
        """
        self.reserve()(job)

    def reserve(self) -> Callable[[Job | None], None]:
        """A thread that waits; what is returned gives it its job, once, and never fails.

        ``None`` for a job sends it back. Raises RuntimeError as :meth:`run` does.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("these threads are closed")
            if self._idle:
                return self._idle.pop().put
            mailbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
            thread = threading.Thread(
                target=self._work, args=(mailbox,), name=f"{self._name}-{next(self._numbers)}"
            )
            thread.daemon = True
            self._threads.add(thread)
        _crowd.grow(1)
        try:
            thread.start()
        except BaseException:
            with self._lock:
                self._threads.discard(thread)
            _crowd.grow(-1)
            raise
        return mailbox.put

    def close(self, deadline: Callable[[], float]) -> list[threading.Thread]:
        """End idle threads, wait for busy ones; returns those left when time is up.

        ``deadline`` returns the seconds left. The calling thread, if it is one of
        these, is not waited for.
        """
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            threads = list(self._threads)
        for mailbox in idle:
            mailbox.put(None)
        left = []
        for thread in threads:
            if thread is threading.current_thread():
                continue
            thread.join(max(0.0, deadline()))
            if thread.is_alive():
                left.append(thread)
        return left

    def __len__(self) -> int:
        with self._lock:
            return len(self._threads)

    @property
    def idle(self) -> int:
        """How many threads wait for a job."""
        return len(self._idle)

    @property
    def handler_seconds(self) -> Histogram:
        """How long the handlers took that were called on these threads."""
        with self._lock:
            tallies, seconds = list(self._tallies), self._ended
        if not tallies:
            return seconds
        counts, sums = zip(*(tally.read() for tally in tallies), strict=True)
        return seconds + Histogram(tuple(map(sum, zip(*counts, strict=True))), sum(sums))

    def _work(self, mailbox: queue.SimpleQueue[Job | None]) -> None:
        tally = _here.tally = Tally()
        with self._lock:
            self._tallies.add(tally)
        try:
            if self._on_start is not None:
                self._on_start()
            job = mailbox.get()
            while job is not None:
                job()
                job = None  # what the job held is free while this thread waits
                job = self._next_job()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
                self._tallies.discard(tally)
                self._ended += Histogram(*tally.read())
            _crowd.grow(-1)

    def _next_job(self) -> Job | None:
        mailbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        with self._lock:
            if self._closed:
                return None
            self._idle.append(mailbox)
        try:
            return mailbox.get(timeout=self._idle_seconds)
        except queue.Empty:
            with self._lock:
                if mailbox in self._idle:
                    self._idle.remove(mailbox)
                    return None
            # Somebody took the mailbox in between and is about to fill it.
            return mailbox.get()
