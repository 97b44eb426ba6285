"""What one process notes while it makes load, and passes on a few times a second."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from .histogram import Histogram
from .printable import printable
from .results import ERROR_KINDS, ErrorKind, Phase

__all__ = ["Records", "Snapshot", "add_error"]

_EXAMPLE = 1000  # characters that are kept of one

_MOST_LOST = 4096  # durations that are collected, however many are lost at once


@dataclass
class Snapshot:
    """What has been noted since the last one.

    ``tick`` counts them from 0 since measuring began, ``seconds`` is the time it covers, and
    ``up`` how many connections there are. The histograms are as in :class:`.results.Result`,
    ``behind`` those of :class:`.results.Generator`; in a closed loop ``service`` is empty,
    for it would be the same as ``latency``. ``latency`` is of right replies alone, and ``lost``
    of the requests that got no reply: how long they were waited for.
    """

    phase: Phase
    tick: int
    seconds: float
    up: int
    bytes_sent: int = 0
    bytes_received: int = 0
    latency: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    lost: Histogram = field(default_factory=Histogram)
    behind: Histogram = field(default_factory=Histogram)
    connect: Histogram = field(default_factory=Histogram)
    errors: dict[str, ErrorKind] = field(default_factory=dict)


class Records:
    """Belongs to the process's load. Durations are collected, and binned many at a time."""

    def __init__(self) -> None:
        self.latencies = array("d")
        self.services = array("d")
        self.lost = array("d")
        self.behind = array("d")
        self.connects = array("d")
        self.bytes_sent = 0
        self.bytes_received = 0
        self._noted = Snapshot("connecting", 0, 0.0, 0)

    def error(self, kind: str, example: str, count: int = 1) -> None:
        add_error(self._noted.errors, kind, ErrorKind(count, example))

    def count_latency(self, seconds: float, count: int) -> None:
        """So many replies took so long, each of them."""
        self._noted.latency.record(seconds, count)

    def lose(self, seconds: float) -> None:
        """A request gets no reply, and was waited for so long."""
        self.lost.append(max(0.0, seconds))
        if len(self.lost) >= _MOST_LOST:
            self.bin()

    def bin(self) -> None:
        """Move what was collected into the histograms."""
        noted = self._noted
        for collected, histogram in (
            (self.latencies, noted.latency),
            (self.services, noted.service),
            (self.lost, noted.lost),
            (self.behind, noted.behind),
            (self.connects, noted.connect),
        ):
            if collected:
                histogram.record_many(collected)
                del collected[:]

    def take(self, phase: Phase, tick: int, seconds: float, up: int) -> Snapshot:
        """All that was noted since this was last called."""
        self.bin()
        taken, self._noted = self._noted, Snapshot("connecting", 0, 0.0, 0)
        taken.phase, taken.tick, taken.seconds, taken.up = phase, tick, seconds, up
        taken.bytes_sent, self.bytes_sent = self.bytes_sent, 0
        taken.bytes_received, self.bytes_received = self.bytes_received, 0
        return taken


def add_error(errors: dict[str, ErrorKind], kind: str, more: ErrorKind) -> None:
    """Count ``more`` of a kind; the first example stays, fit to be shown."""
    known = errors.get(kind)
    if known is None:
        if kind not in ERROR_KINDS:
            raise ValueError(f"{kind!r} is no kind of error")
        known = ErrorKind(0, printable(more.example, _EXAMPLE))
    errors[kind] = ErrorKind(known.count + more.count, known.example)
