"""What a run has come to, and what is known of it while it goes on.

:meth:`Result.to_json` is what ``--json`` prints and ``--save`` keeps; ``schema`` is raised
when a field changes its meaning or goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, TypeAlias, TypeVar

from ..errors import UsageError
from .fields import amount, flag, mapping, plain, text, whole
from .histogram import Histogram

__all__ = [
    "ERROR_KINDS",
    "SCHEMA",
    "ErrorKind",
    "Generator",
    "Interval",
    "Phase",
    "Progress",
    "Result",
]

SCHEMA: Final = 1

# Whatever is counted is one of them, and no threshold is about another; docs/bench.md has each.
ERROR_KINDS: Final = frozenset(
    {
        "connect-refused",
        "connect-timeout",
        "connect-failed",
        "tls",
        "closed",
        "reset",
        "network",
        "timeout",
        "wrong-reply",
        "too-much",
        "framing",
        "unsent",
        "unanswered",
    }
)

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
    their latencies, corrected, in seconds, lost requests included, and 0 without any.
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
    what that is told. If not, but for its highest latencies it was late itself, ``own_above``
    is the percentile above which they are its own, and not the service's.
    """

    processes: int = 1
    cpu: float = 0.0
    waited: float = 0.0
    behind: float = 0.0
    behind_max: float = 0.0
    saturated: bool = False
    why: str = ""
    own_above: float | None = None


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
        it was sent, or connecting for it began. Replies that came after the measured time, to
        requests due within it, are in it, too, and so are the lost requests.
    service
        Uncorrected: from when it was really sent to its reply. In a closed loop whose
        connections stay the same as ``latency``.
    lost
        Requests that got no reply, with the time after which they were given up: at least so
        long they would have taken.
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
    lost: Histogram = field(default_factory=Histogram)
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
            "lost": self.lost.to_json(),
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
                **{name: checked(data[name]) for name, checked in _PLAIN.items()},
                plan={name: _of_plan(name, value) for name, value in data["plan"].items()},
                latency=Histogram.from_json(data["latency"]),
                service=Histogram.from_json(data["service"]),
                lost=Histogram.from_json(data["lost"]),
                connect=Histogram.from_json(data["connect"]),
                errors=_errors(data["errors"]),
                errors_before=_errors(data["errors_before"]),
                intervals=tuple(_checked(Interval, one) for one in data["intervals"]),
                generator=_checked(Generator, data["generator"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"not a result of threadwire bench: {error!r}") from error


def _errors(data: Mapping[str, Any]) -> dict[str, ErrorKind]:
    return {text(kind): _checked(ErrorKind, error) for kind, error in data.items()}


def _of_plan(name: str, value: object) -> object:
    # A seed is any whole number, and nothing is computed from it.
    return value if name == "seed" and type(value) is int else plain(value)


_Part = TypeVar("_Part", ErrorKind, Interval, Generator)

_CHECKS: Final[Mapping[str, Callable[[object], Any]]] = {
    "int": whole,
    "float": amount,
    "float | None": lambda value: None if value is None else amount(value),
    "bool": flag,
    "str": text,
}


def _checked(part: type[_Part], data: Any) -> _Part:
    """A part of a result; what a later version has added to it is left out."""
    found = mapping(data)
    return part(**{one.name: _CHECKS[str(one.type)](found[one.name]) for one in fields(part)})


_PLAIN: Final[Mapping[str, Callable[[object], Any]]] = {
    "started_at": amount,
    "seconds": amount,
    "interrupted": flag,
    "messages": whole,
    "messages_per_second": amount,
    "connects": whole,
    "connects_per_second": amount,
    "connects_before": whole,
    "bytes_sent": whole,
    "bytes_received": whole,
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
