"""What the admin endpoint says, as values: its documents, read and checked; no I/O.

Everything in them comes from elsewhere, and some of it from clients: the path of a unix socket, the
name of a function. So every text is made harmless here, once: what a terminal would not print as a
character stands as an escape sequence that one can read, and no control character gets further.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ..errors import ThreadwireError
from ..events import show

__all__ = [
    "SCHEMA",
    "STATES",
    "Client",
    "Document",
    "DocumentError",
    "Durations",
    "LimitUse",
    "Rates",
    "clean",
    "parse_json",
    "read_client",
    "read_document",
    "read_listing",
]

SCHEMA = 1

# Seconds that no point of a history tells of, beyond which what was before belongs to another time.
_GAP = 10.0
_LONGEST = 60.0  # seconds that a point counts for, at most

# As they are counted, and in the order in which they are told.
STATES = ("idle", "loop", "own-thread", "blocked", "waiting", "opening", "closing")

_T = TypeVar("_T")


class DocumentError(ThreadwireError):
    """Not what an admin endpoint says; ``problem`` tells what is wrong with it."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


class Client(NamedTuple):
    """One client. Durations in seconds; ``busy`` is ``None`` if no handler of its runs."""

    id: int
    peer: str
    state: str
    age: float
    idle: float
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    rate: float  # messages a second
    busy: float | None
    line: str  # "file:line in function"; empty if not known
    tls: str  # the version; empty without TLS


class Durations(NamedTuple):
    """How long things took, in seconds; ``None`` where there was none."""

    p50: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What went on in the last interval, a second."""

    messages: float
    bytes_received: float
    bytes_sent: float
    accepted: float
    closed: float
    refused: float
    handoffs: float
    handler: Durations
    turn: Durations
    lock_wait: Durations | None


class LimitUse(NamedTuple):
    """A limit, and how near it is; ``limit`` is ``None`` if there is none."""

    name: str
    used: float
    limit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A server at one instant, as the endpoint tells of it."""

    time: float  # seconds since the epoch
    version: str
    python: str
    poller: str
    pid: int
    uptime: float
    cpu: float | None  # the share of one core
    resident_bytes: float
    threads: int
    addresses: tuple[str, ...]
    handler: str
    session: bool
    framing: str
    phase: str
    ready: bool
    why: str
    accepted: int
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    handoffs: int
    closed: dict[str, int]
    refused: dict[str, int]
    connections: int
    opening: int
    own_threads: int
    waiting: int
    spare_threads: int
    loops: int
    limits: tuple[LimitUse, ...]
    certificates_expire_at: float | None
    rates: Rates | None  # None in the first document after a while
    states: dict[str, int]
    clients: tuple[Client, ...]  # worst and busiest first; not all, if there are many
    total: int  # clients that there are
    left_out: int  # of these, those that are not among ``clients``
    history: tuple[float, ...]  # messages a second, up to this document; only in a first one


def clean(text: object, most: int = 500) -> str:
    """``text`` on one line, ``most`` characters of it, and nothing that a terminal would obey."""
    value = str(text)
    if len(value) > most:
        value = value[: most - 1] + "…"
    return value if value.isprintable() else show(value)[1:-1]


def parse_json(text: str | bytes) -> Any:
    """The value of ``text``; raises :class:`DocumentError`."""
    try:
        return json.loads(text)
    except RecursionError:
        raise DocumentError("JSON of too many levels") from None
    except ValueError as error:
        raise DocumentError(f"no JSON: {clean(error, 200)}") from None


def read_document(value: object) -> Document:
    """The document that ``value``, from JSON, is; raises :class:`DocumentError`."""
    top = _Members(value, "")
    schema = top.get("schema", _whole)
    if schema != SCHEMA:
        raise DocumentError(
            f"it speaks schema {schema}, and this threadwire understands {SCHEMA}; "
            "use the same version as the server's"
        )
    process, service = top.inner("process"), top.inner("service")
    totals, now, clients = top.inner("totals"), top.inner("now"), top.inner("clients")
    certificates = top.inner_or_none("certificates")
    interval = top.inner_or_none("interval")
    shown = clients.each("shown")
    return Document(
        time=top.get("time", _number),
        version=process.get("version", _text),
        python=process.get("python", _text),
        poller=process.get("poller", _text),
        pid=process.get("pid", _whole),
        uptime=process.get("uptime", _number),
        cpu=process.get_or_none("cpu", _number),
        resident_bytes=process.get_or_none("resident_bytes", _number) or 0,
        threads=process.get("threads", _whole),
        addresses=service.get("addresses", _texts),
        handler=service.get("handler", _text),
        session=service.get("session", _truth),
        framing=service.get("framing", _text),
        phase=top.get("phase", _text),
        ready=top.get("ready", _truth),
        why=top.get_or_none("why", _text) or "",
        accepted=totals.get("accepted", _whole),
        messages_received=totals.get("messages_received", _whole),
        messages_sent=totals.get("messages_sent", _whole),
        bytes_received=totals.get("bytes_received", _whole),
        bytes_sent=totals.get("bytes_sent", _whole),
        handoffs=totals.get("handoffs", _whole),
        closed=totals.inner("closed").counts(),
        refused=totals.inner("refused").counts(),
        connections=now.get("connections", _whole),
        opening=now.get("opening", _whole),
        own_threads=now.get("own_threads", _whole),
        waiting=now.get("waiting", _whole),
        spare_threads=now.get("spare_threads", _whole),
        loops=now.get("loops", _whole),
        limits=tuple(
            LimitUse(
                limit.get("name", _text),
                limit.get("used", _number),
                limit.get_or_none("limit", _number),
            )
            for limit in top.each("limits")
        ),
        certificates_expire_at=(
            certificates.get_or_none("expires_at", _number) if certificates else None
        ),
        rates=_rates(interval) if interval else None,
        states=clients.inner("states").counts(),
        clients=tuple(map(_client, shown)),
        total=clients.get("total", _whole),
        left_out=clients.get("left_out", _whole),
        history=_history(top),
    )


def read_client(value: object) -> tuple[Client, tuple[str, ...]]:
    """A client and its handler's stack, oldest call first; raises :class:`DocumentError`."""
    members = _Members(value, "client")
    stack = members.array("stack") if members.has("stack") else []
    lines = (line for entry in stack for line in str(entry).splitlines())
    return _client(members), tuple(clean(line) for line in lines)


def read_listing(value: object) -> tuple[list[tuple[Client, dict[str, Any]]], bool]:
    """Clients, each with what it was read from, and whether there are more.

    Raises :class:`DocumentError`.
    """
    members = _Members(value, "")
    found = [(_client(entry), dict(entry.value)) for entry in members.each("clients")]
    return found, members.get("more", _truth)


def _client(members: _Members) -> Client:
    return Client(
        id=members.get("id", _whole),
        peer=members.get("peer", _text),
        state=members.get("state", _text),
        age=members.get("age", _number),
        idle=members.get("idle", _number),
        messages_received=members.get("messages_received", _whole),
        messages_sent=members.get("messages_sent", _whole),
        bytes_received=members.get("bytes_received", _whole),
        bytes_sent=members.get("bytes_sent", _whole),
        rate=members.get_or_none("rate", _number) or 0.0,
        busy=members.get_or_none("busy", _number),
        line=members.get_or_none("line", _text) or "",
        tls=members.get_or_none("tls", _text) or "",
    )


def _history(top: _Members) -> tuple[float, ...]:
    """What came right before the document, which may be among it, too."""
    if not top.has("history"):
        return ()
    now = begun = top.get("time", _number)
    rates: list[float] = []
    for point in reversed(top.each("history")):
        time, rate = point.get("time", _number), point.get("messages_per_second", _number)
        seconds = point.get("seconds", _number)
        if begun - time > _GAP:
            break
        if time < now:
            rates += [rate] * max(1, round(min(seconds, _LONGEST)))
        begun = time - seconds
    return tuple(reversed(rates))


def _rates(members: _Members) -> Rates:
    lock_wait = members.inner_or_none("lock_wait")
    return Rates(
        messages=members.get("messages_per_second", _number),
        bytes_received=members.get("bytes_received_per_second", _number),
        bytes_sent=members.get("bytes_sent_per_second", _number),
        accepted=members.get("accepted_per_second", _number),
        closed=members.get("closed_per_second", _number),
        refused=members.get("refused_per_second", _number),
        handoffs=members.get("handoffs_per_second", _number),
        handler=_durations(members.inner("handler")),
        turn=_durations(members.inner("turn")),
        lock_wait=_durations(lock_wait) if lock_wait else None,
    )


def _durations(members: _Members) -> Durations:
    return Durations(
        members.get_or_none("p50", _number),
        members.get_or_none("p99", _number),
        members.get_or_none("max", _number),
    )


class _Members:
    """A JSON object's members; every fault is a DocumentError that names the member."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise DocumentError(f"{path or 'what it says'} is no JSON object")
        self.value: Mapping[str, Any] = value
        self._path = path

    def has(self, name: str) -> bool:
        return self.value.get(name) is not None

    def get(self, name: str, read: Callable[[Any], _T]) -> _T:
        try:
            return read(self.value[name])
        except KeyError:
            raise DocumentError(f"{self._name(name)} is missing") from None
        except TypeError as error:
            raise DocumentError(f"{self._name(name)} is {error}") from None

    def get_or_none(self, name: str, read: Callable[[Any], _T]) -> _T | None:
        return self.get(name, read) if self.has(name) else None

    def inner(self, name: str) -> _Members:
        return _Members(self.get(name, _anything), self._name(name))

    def inner_or_none(self, name: str) -> _Members | None:
        return self.inner(name) if self.has(name) else None

    def array(self, name: str) -> list[Any]:
        return self.get(name, _list)

    def each(self, name: str) -> list[_Members]:
        path = self._name(name)
        return [_Members(value, f"{path}[{n}]") for n, value in enumerate(self.array(name))]

    def counts(self) -> dict[str, int]:
        return {clean(name, 60): self.get(name, _whole) for name in self.value}

    def _name(self, name: str) -> str:
        name = clean(name, 60)
        return f"{self._path}.{name}" if self._path else name


def _anything(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return clean(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _number(value: Any) -> float:
    # Beyond 2**53 a number is no count, size or time any more, and may not fit into a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 2**80:
        raise TypeError("no number")
    return value


def _whole(value: Any) -> int:
    number = _number(value)
    if number != math.floor(number):
        raise TypeError("no whole number")
    return int(number)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value
