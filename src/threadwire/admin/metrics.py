"""The metrics: declared once, in one table, which the exposition and the documentation follow.

:func:`documentation` makes the table in docs/metrics.md of it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as plain_text
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS_TYPE
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.registry import Collector

from .._version import __version__
from ..durations import BOUNDS, Histogram
from ..errors import CloseReason
from ..snapshot import ServerSnapshot

__all__ = ["BUCKETS", "METRICS", "Exposition", "documentation"]

PHASES = ("new", "starting", "serving", "suspended", "draining", "closed")
REFUSALS = (
    CloseReason.BUSY,
    CloseReason.ADDRESS_BUSY,
    CloseReason.DENIED,
    CloseReason.NO_CAPACITY,
)

# The histograms' bounds: of those that are counted by, 1, 2.5 and 5 of each decade.
_STEPS = (0, 4, 7)
_FEWEST = 10e-6  # seconds; what is quicker is all the same
BUCKETS = tuple(
    bound for number, bound in enumerate(BOUNDS) if number % 10 in _STEPS and bound >= _FEWEST
)

# Label values with what is counted for them; () for a metric without labels.
Readings: TypeAlias = Iterable[tuple[tuple[str, ...], float]]


class Counter(NamedTuple):
    """What only grows; its name is exposed with ``_total``."""

    name: str
    help: str
    read: Callable[[ServerSnapshot], Readings]
    labels: tuple[str, ...] = ()
    kind: str = "counter"

    def family(self, snapshot: ServerSnapshot) -> Metric:
        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for values, count in self.read(snapshot):
            family.add_metric(values, count)
        return family


class Gauge(NamedTuple):
    """What rises and falls; without readings it is absent."""

    name: str
    help: str
    read: Callable[[ServerSnapshot], Readings]
    labels: tuple[str, ...] = ()
    kind: str = "gauge"

    def family(self, snapshot: ServerSnapshot) -> Metric:
        family = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        for values, value in self.read(snapshot):
            family.add_metric(values, value)
        return family


class Durations(NamedTuple):
    """How long something took each time; absent where it is not measured."""

    name: str
    help: str
    read: Callable[[ServerSnapshot], Histogram | None]
    labels: tuple[str, ...] = ()
    kind: str = "histogram"

    def family(self, snapshot: ServerSnapshot) -> Metric:
        family = HistogramMetricFamily(self.name, self.help)
        durations = self.read(snapshot)
        if durations is not None:
            counts = [*durations.up_to(BUCKETS), durations.count]
            bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
            family.add_metric((), list(zip(bounds, counts, strict=True)), durations.total)
        return family


class Info(NamedTuple):
    """Facts as labels of a metric that is always 1; its name is exposed with ``_info``."""

    name: str
    help: str
    read: Callable[[ServerSnapshot], dict[str, str]]
    labels: tuple[str, ...]
    kind: str = "info"

    def family(self, snapshot: ServerSnapshot) -> Metric:
        return InfoMetricFamily(self.name, self.help, self.read(snapshot))


Declaration: TypeAlias = Counter | Gauge | Durations | Info


def _one(value: float) -> Readings:
    return [((), value)]


def _by_reason(counts: Mapping[CloseReason, int], reasons: Iterable[CloseReason]) -> Readings:
    """A count for each of ``reasons``, also where it is 0, and for whatever else was counted."""
    known = dict.fromkeys(reasons, 0) | dict(counts)
    return [((reason.value,), count) for reason, count in known.items()]


METRICS: tuple[Declaration, ...] = (
    Info(
        "threadwire_build",
        "What serves: threadwire's version, Python's, and which twin of the poller.",
        lambda s: {
            "version": __version__,
            "python": platform.python_version(),
            "poller": s.poller,
        },
        ("version", "python", "poller"),
    ),
    Gauge(
        "threadwire_start_time_seconds",
        "When the server started, in seconds since the epoch; absent before.",
        lambda s: [] if s.started_at is None else _one(s.started_at),
    ),
    Gauge(
        "threadwire_phase",
        "1 for the phase that the server is in, 0 for the others.",
        lambda s: [((phase,), float(s.phase == phase)) for phase in PHASES],
        ("phase",),
    ),
    Gauge(
        "threadwire_connections",
        "Connections that are open.",
        lambda s: _one(s.connections),
    ),
    Gauge(
        "threadwire_connections_opening",
        "Connections whose TLS handshake or PROXY header is under way.",
        lambda s: _one(s.opening),
    ),
    Counter(
        "threadwire_connections_accepted",
        "Clients that were let in; those refused later, after a PROXY header or for "
        "max_handshakes, too.",
        lambda s: _one(s.accepted),
    ),
    Counter(
        "threadwire_connections_refused",
        "Connections refused, by the reason.",
        lambda s: _by_reason(s.refused, REFUSALS),
        ("reason",),
    ),
    Counter(
        "threadwire_connections_closed",
        "Connections closed, by the reason.",
        lambda s: _by_reason(s.closed, CloseReason),
        ("reason",),
    ),
    Counter(
        "threadwire_messages_received",
        "Messages received whole.",
        lambda s: _one(s.messages_received),
    ),
    Counter("threadwire_messages_sent", "Messages sent.", lambda s: _one(s.messages_sent)),
    Counter(
        "threadwire_received_bytes",
        "Bytes received, with the framing, and without TLS.",
        lambda s: _one(s.bytes_received),
    ),
    Counter(
        "threadwire_sent_bytes",
        "Bytes sent, with the framing, and without TLS.",
        lambda s: _one(s.bytes_sent),
    ),
    Durations(
        "threadwire_handler_duration_seconds",
        "How long calls of the message handler took; sessions have none.",
        lambda s: s.handler_seconds,
    ),
    Durations(
        "threadwire_loop_turn_duration_seconds",
        "How long turns of the loop took, from readiness to the next wait.",
        lambda s: s.turn_seconds,
    ),
    Durations(
        "threadwire_interpreter_lock_wait_seconds",
        "How long the loop waited for the interpreter's lock; absent with the poller in Python.",
        lambda s: s.lock_wait_seconds,
    ),
    Counter("threadwire_loop_turns", "Turns of the loop.", lambda s: _one(s.turns)),
    Counter(
        "threadwire_handoffs",
        "Times that the loop was taken from a thread whose handler held it up.",
        lambda s: _one(s.handoffs),
    ),
    Gauge("threadwire_loops", "Loops that serve.", lambda s: _one(s.loops)),
    Gauge(
        "threadwire_own_threads",
        "Threads that serve one client alone.",
        lambda s: _one(s.own_threads),
    ),
    Gauge(
        "threadwire_own_thread_waiters",
        "Clients that wait for a thread of their own.",
        lambda s: _one(s.waiting),
    ),
    Gauge(
        "threadwire_spare_threads",
        "Threads that wait for work.",
        lambda s: _one(s.spare_threads),
    ),
    Gauge(
        "threadwire_limit",
        "A limit, by the option's name; +Inf if there is none.",
        lambda s: [((use.name,), use.limit) for use in s.limits],
        ("name",),
    ),
    Gauge(
        "threadwire_limit_used",
        "How much of the limit is used.",
        lambda s: [((use.name,), use.used) for use in s.limits],
        ("name",),
    ),
    Gauge(
        "threadwire_certificate_expiry_timestamp_seconds",
        "When the first of the certificates expires, in seconds since the epoch; absent without.",
        lambda s: [] if s.certificates_expire_at is None else _one(s.certificates_expire_at),
    ),
)


class Exposition:
    """The metrics as text; each time one snapshot, which ``take`` returns."""

    def __init__(self, take: Callable[[], ServerSnapshot]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)  # ours, not the process' one
        self._registry.register(_Snapshots(take))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics if ``accept``, a header, names that."""
        if "application/openmetrics-text" in accept.lower():
            return openmetrics_text(self._registry), OPENMETRICS_TYPE  # type: ignore[no-untyped-call]
        return plain_text(self._registry), CONTENT_TYPE_PLAIN_0_0_4


class _Snapshots(Collector):
    def __init__(self, take: Callable[[], ServerSnapshot]) -> None:
        self._take = take

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        snapshot = self._take()
        for declaration in METRICS:
            yield declaration.family(snapshot)


_SUFFIXES = {"counter": "_total", "info": "_info"}


def documentation() -> str:
    """The declarations as a table in Markdown."""
    lines = ["| metric | type | labels | |", "|---|---|---|---|"]
    for each in METRICS:
        name = each.name + _SUFFIXES.get(each.kind, "")
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| `{name}` | {each.kind} | {labels} | {each.help} |")
    return "\n".join(lines)
