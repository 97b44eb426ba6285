"""One sample a second of a server, for all who watch it.

Shared state, under ``_changed``'s lock: the newest sample, who wants more, and whether it is
over. One thread takes a sample a second while somebody watches or has asked a moment ago. Each
watcher waits for a sample newer than its last and skips those that it has missed, so one that is
stuck holds up nobody. While nobody watches, the thread has a look at the totals now and then, and
at no client: so who comes when something has gone wrong sees what went before.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ..errors import CloseReason, ConnectionClosed
from ..snapshot import ClientSnapshot, ServerSnapshot
from . import log
from .document import Changes, changes, document
from .history import History
from .process import ProcessFacts, ProcessReader

__all__ = ["PERIOD", "Sample", "Sampler"]

PERIOD = 1.0  # seconds between two samples
REST = 5.0  # seconds between two looks at the totals while nobody watches
LINGER = 10.0  # seconds that samples are taken after somebody has asked for one
_SHARE = 0.1  # of its time that the thread may spend on taking samples, however many clients
_REST_SHARE = 0.001  # of a core that it may use for looks, while nobody watches
_LONGEST_REST = 30.0  # seconds, however much a look costs
_GAP = 5 * PERIOD  # seconds after which what has changed tells nothing of now


class Sample:
    """A server at one instant, with what has changed since the one before. It never changes."""

    __slots__ = ("_taken_at", "changes", "data", "number", "process", "snapshot")

    def __init__(
        self, number: int, snapshot: ServerSnapshot, process: ProcessFacts, since: Changes | None
    ) -> None:
        self.number = number  # higher than that of all before
        self.snapshot = snapshot
        self.process = process
        self.changes = since
        self._taken_at = time.monotonic()
        self.data = _encode(document(snapshot, process, since))  # the document, on one line

    @property
    def age(self) -> float:
        """Seconds since it was taken."""
        return time.monotonic() - self._taken_at

    def client(self, number: int) -> ClientSnapshot | None:
        """The client with this id."""
        return next((c for c in self.snapshot.clients or () if c.id == number), None)

    def rate(self, connection: int) -> float:
        """How many messages a client has sent a second of late."""
        return 0.0 if self.changes is None else self.changes.rates.get(connection, 0.0)

    def event(self) -> bytes:
        """The document as a server-sent event."""
        return b"id: %d\nevent: snapshot\ndata: %b\n\n" % (self.number, self.data)

    def first_event(self, history: list[dict[str, Any]]) -> bytes:
        """The same, with the history: what a stream begins with."""
        data = b'%b,"history":%b}' % (self.data.removesuffix(b"}"), _encode(history))
        return b"retry: 1000\nid: %d\nevent: snapshot\ndata: %b\n\n" % (self.number, data)


class Take(Protocol):
    """Makes a snapshot."""

    def __call__(self, *, clients: bool) -> ServerSnapshot: ...


class Sampler:
    """Takes samples by ``take``; see above."""

    def __init__(self, take: Take) -> None:
        self._take_snapshot = take
        self._taking = threading.Lock()  # held while a sample is taken, by whichever thread
        self._process: ProcessReader | None = None  # under _taking; there between start and close
        self._history = History()  # under _taking to add to it
        self._changed = threading.Condition()  # guards all that follows
        self._newest: Sample | None = None
        self._last_tick: Sample | None = None  # the thread's last, from which rates are counted
        self._number = 0
        self._watchers = 0
        self._wanted_until = 0.0  # on the monotonic clock
        self._over = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Once. Raises RuntimeError or OSError if no thread or descriptor is to be had."""
        with self._taking:
            self._process = ProcessReader()
        thread = threading.Thread(target=self._run, name="threadwire-admin-sampler", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self.close()
            raise
        self._thread = thread

    def stop(self) -> None:
        """Let everybody go who waits, and take no more by oneself; any number of times."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Stop; from here on there are no samples at all."""
        self.stop()
        with self._taking:
            if self._process is not None:
                self._process.close()
                self._process = None

    def sample(self, max_age: float) -> Sample:
        """The newest one, taken now if it is older than so many seconds.

        Raises ConnectionClosed when it is over, else whatever taking it raises.
        """
        with self._changed:
            self._wanted_until = time.monotonic() + LINGER
            self._changed.notify_all()
        with self._taking:
            with self._changed:
                newest = self._newest
            if newest is not None and newest.age <= max_age:
                return newest
            return self._take(tick=False)

    @contextlib.contextmanager
    def watch(self) -> Iterator[Callable[[], Sample | None]]:
        """Gives a function that waits for the thread's next sample; ``None`` when it is over.

        The first may be the last that there was, if it is not older than the next would be.
        """
        with self._changed:
            self._watchers += 1
            self._changed.notify_all()
            last = self._last_tick
            seen = last.number if last is not None and last.age > PERIOD else 0

        def next_sample() -> Sample | None:
            nonlocal seen
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._ticked_after(seen))
                if self._over or self._last_tick is None:
                    return None
                seen = self._last_tick.number
                return self._last_tick

        try:
            yield next_sample
        finally:
            with self._changed:
                self._watchers -= 1

    def _ticked_after(self, number: int) -> bool:
        return self._last_tick is not None and self._last_tick.number > number

    def history(self) -> list[dict[str, Any]]:
        """The rates of the last minutes, oldest first."""
        return self._history.points()

    # The thread.

    def _run(self) -> None:
        while (wanted := self._wanted()) is not None:
            begun, cpu = time.monotonic(), time.thread_time()
            try:
                with self._taking:
                    if wanted:
                        self._take(tick=True)
                    else:
                        self._look()
            except Exception as error:  # noqa: BLE001 - the next one may go well
                log.failed("sample", error)
            took = time.monotonic() - begun
            if wanted:
                self._pause(max(PERIOD, took / _SHARE) - took, or_wanted=False)
            else:  # on a busy server most of the time goes by while it waits: a look costs no more
                rest = min(max(REST, (time.thread_time() - cpu) / _REST_SHARE), _LONGEST_REST)
                self._pause(rest - took, or_wanted=True)

    def _wanted(self) -> bool | None:
        """Whether samples are to be taken; ``None`` when it is over."""
        with self._changed:
            wanted = self._is_wanted()
            if not wanted:
                self._newest = self._last_tick = None  # which would tell of thousands of clients
            return None if self._over else wanted

    def _is_wanted(self) -> bool:
        return bool(self._watchers) or time.monotonic() < self._wanted_until

    def _pause(self, seconds: float, *, or_wanted: bool) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._over or (or_wanted and self._is_wanted()), max(0.0, seconds)
            )

    # With _taking held.

    def _look(self) -> None:
        if self._process is not None:
            self._history.add(self._take_snapshot(clients=False), self._process.facts())

    def _take(self, *, tick: bool) -> Sample:
        if self._process is None:
            raise ConnectionClosed(CloseReason.DRAINED)
        snapshot, facts = self._take_snapshot(clients=True), self._process.facts()
        with self._changed:
            last = self._last_tick
            self._number += 1
            number = self._number
        if last is not None and snapshot.clock - last.snapshot.clock > _GAP:
            last = None
        since = None
        if tick and last is not None:
            since = changes(snapshot, last.snapshot, facts, last.process)
        elif last is not None:
            since = last.changes
        sample = Sample(number, snapshot, facts, since)
        if tick:
            self._history.add(snapshot, facts)
        with self._changed:
            self._newest = sample
            if tick:
                self._last_tick = sample
            self._changed.notify_all()
        return sample


def _encode(value: object) -> bytes:
    """``value`` as JSON in ASCII, since a path can hold what UTF-8 cannot."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
