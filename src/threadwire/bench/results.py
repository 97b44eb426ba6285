"""What a run has come to, and what is known of it while it goes on.

:meth:`Result.to_json` is what ``--json`` prints and ``--save`` keeps; ``schema`` is raised
when a field changes its meaning or goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from ..errors import UsageError
from .histogram import Histogram

__all__ = ["SCHEMA", "ErrorKind", "Generator", "Interval", "Phase", "Progress", "Result"]

SCHEMA: Final = 1

Phase: TypeAlias = Literal["connecting", "ramp", "warmup", "measuring", "finishing"]


@dataclass(frozen=True)
class ErrorKind:
    """How often one thing went wrong, and what it looked like the first time."""

    count: int
    example: str


@dataclass(frozen=True)
class Interval:
    """A part of the measured time.

    ``at`` is when it begins, in seconds since measuring began, and ``seconds`` how long it is.
    ``messages`` and ``errors`` are those that came in it; ``p50``, ``p99`` and ``max`` are
    their latencies, corrected, in seconds, and 0 without any.
    """

    at: float
    seconds: float
    messages: int
    errors: int
    p50: float
    p99: float
    max: float

    @property
    def messages_per_second(self) -> float:
        return self.messages / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Generator:
    """What the load generator itself has done.

    ``cpu`` is how much of one core its busiest process used while it measured, from 0 to 1,
    and ``waited`` how much of the time it could have run, and no core was free for it.
    ``behind`` is the 99th percentile of how late messages were sent, in seconds, though a
    connection was free for them, and ``behind_max`` the most; 0 in a closed loop, which has
    no schedule. ``saturated`` says that it may have been the bottleneck itself, ``why`` by
    what that is told.
    """

    processes: int = 1
    cpu: float = 0.0
    waited: float = 0.0
    behind: float = 0.0
    behind_max: float = 0.0
    saturated: bool = False
    why: str = ""


@dataclass(frozen=True)
class Result:
    """What a run has come to.

    started_at
        When measuring began, in seconds since 1970.
    seconds
        How long was measured.
    plan
        What was asked for, see :meth:`.plan.Plan.summary`.
    messages, messages_per_second
        Right replies that came within the measured time.
    connects, connects_per_second
        Connections made within it; before it, in ``connects_before``.
    bytes_sent, bytes_received
        In the measured time, framing included, TLS not.
    latency
        Corrected: from when each request was due to its reply; in a closed loop, from when
        it was sent. Replies that came after the measured time, to requests due within it,
        are in it, too.
    service
        Uncorrected: from when it was really sent. In a closed loop the same.
    connect
        How long connections took, TLS handshake included; also those made before measuring.
    errors
        By kind, of the measured time; those of the time before it if nothing was measured.
    errors_before
        By kind, of what came before: connecting, ramp and warm-up.
    """

    started_at: float
    seconds: float
    plan: Mapping[str, Any]
    messages: int
    messages_per_second: float
    connects: int
    connects_per_second: float
    bytes_sent: int
    bytes_received: int
    latency: Histogram
    service: Histogram
    connect: Histogram
    connects_before: int = 0
    errors: Mapping[str, ErrorKind] = field(default_factory=dict)
    errors_before: Mapping[str, ErrorKind] = field(default_factory=dict)
    intervals: tuple[Interval, ...] = ()
    generator: Generator = field(default_factory=Generator)
    interrupted: bool = False

    @property
    def error_count(self) -> int:
        return sum(kind.count for kind in self.errors.values())

    @property
    def connected(self) -> bool:
        """Whether there was any connection at all."""
        return self.connects + self.connects_before > 0

    @property
    def open_loop(self) -> bool:
        return self.plan.get("loop") == "open"

    @property
    def saturated(self) -> bool:
        return self.generator.saturated

    def to_json(self) -> dict[str, Any]:
        """An object for JSON; times are in seconds."""
        return {
            "schema": SCHEMA,
            "started_at": self.started_at,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
            "plan": dict(self.plan),
            "messages": self.messages,
            "messages_per_second": self.messages_per_second,
            "connects": self.connects,
            "connects_per_second": self.connects_per_second,
            "connects_before": self.connects_before,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "latency": self.latency.to_json(),
            "service": self.service.to_json(),
            "connect": self.connect.to_json(),
            "errors": {kind: asdict(error) for kind, error in self.errors.items()},
            "errors_before": {k: asdict(error) for k, error in self.errors_before.items()},
            "intervals": [asdict(interval) for interval in self.intervals],
            "generator": asdict(self.generator),
        }

    @classmethod
    def from_json(cls, data: Any) -> Result:
        """The result that :meth:`to_json` has told of.

        Raises :class:`~threadwire.UsageError` if it is none, or of another schema.
        """
        if not isinstance(data, dict) or "schema" not in data:
            raise UsageError("not a result of threadwire bench: it has no schema")
        if data["schema"] != SCHEMA:
            raise UsageError(f"a result of schema {data['schema']!r}; known is {SCHEMA}")
        try:
            return cls(
                **{name: kind(data[name]) for name, kind in _PLAIN.items()},
                plan=dict(data["plan"]),
                latency=Histogram.from_json(data["latency"]),
                service=Histogram.from_json(data["service"]),
                connect=Histogram.from_json(data["connect"]),
                errors=_errors(data["errors"]),
                errors_before=_errors(data["errors_before"]),
                intervals=tuple(Interval(**interval) for interval in data["intervals"]),
                generator=Generator(**data["generator"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"not a result of threadwire bench: {error!r}") from error


def _errors(data: Mapping[str, Any]) -> dict[str, ErrorKind]:
    return {kind: ErrorKind(**error) for kind, error in data.items()}


_PLAIN: Final[Mapping[str, type[Any]]] = {
    "started_at": float,
    "seconds": float,
    "interrupted": bool,
    "messages": int,
    "messages_per_second": float,
    "connects": int,
    "connects_per_second": float,
    "connects_before": int,
    "bytes_sent": int,
    "bytes_received": int,
}


@dataclass(frozen=True)
class Progress:
    """How a run goes; all counts are since measuring began, except in the phases before it.

    ``elapsed`` is in seconds since the first message, ``planned`` how long it will take in
    all, ``None`` if nobody knows; ``done`` is the part of what was planned, from 0 to 1.
    ``rate`` is of the last second. ``latency`` is corrected, and not to be changed.
    """

    phase: Phase
    elapsed: float
    planned: float | None
    done: float
    connected: int
    clients: int
    messages: int
    rate: float
    errors: Mapping[str, ErrorKind]
    latency: Histogram

    @property
    def error_count(self) -> int:
        return sum(kind.count for kind in self.errors.values())
