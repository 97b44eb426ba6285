"""A server's state at one instant: plain values that do not change any more.

Metrics, the admin pages and ``threadwire top`` read nothing else. Taking one costs the server
nothing while it serves but counters that it keeps anyway; see :meth:`threadwire.Server.snapshot`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from .address import Address
from .durations import Histogram
from .errors import CloseReason
from .reports import Handoff

__all__ = ["ClientSnapshot", "ClientState", "Handoff", "LimitUse", "ServerSnapshot"]


class ClientState(enum.StrEnum):
    """What is going on with a client."""

    OPENING = "opening"  # its TLS handshake or PROXY header is under way
    IDLE = "idle"  # the loop has it, and no handler runs
    LOOP = "loop"  # the loop is inside its handler
    OWN_THREAD = "own-thread"  # it has a thread of its own, which waits for the peer
    BLOCKED = "blocked"  # it has a thread of its own, which is inside the handler
    WAITING = "waiting"  # it waits for a thread of its own: max_threads serve others
    CLOSING = "closing"  # it ends, and says what it still has to say


class ClientSnapshot(NamedTuple):
    """One connection."""

    id: int
    peer: Address
    local: Address
    state: ClientState
    opened_at: float  # seconds since the epoch
    age: float  # seconds since it was accepted
    idle: float  # seconds since its last message; since it was accepted, if there was none
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    busy: float | None = None  # seconds that its handler has been running; None if it is not
    line: str = ""  # where that stands, "file:line in function"
    tls: str = ""  # the version, such as TLSv1.3


class LimitUse(NamedTuple):
    """A limit, and how near it is."""

    name: str  # as the option is called
    used: float
    limit: float  # math.inf if there is none


_NONE = Histogram()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSnapshot:
    """A server, and with ``clients`` its connections, oldest first."""

    taken_at: float  # seconds since the epoch
    clock: float  # seconds, of the monotonic clock: for differences between two snapshots
    phase: str  # new, starting, serving, suspended, draining, closed
    started_at: float | None  # seconds since the epoch
    addresses: tuple[Address, ...]
    handler: str
    session: bool
    framing: str
    poller: str  # which twin serves: c or python

    # Since the start.
    accepted: int = 0
    refused: dict[CloseReason, int] = field(default_factory=dict)
    closed: dict[CloseReason, int] = field(default_factory=dict)
    messages_received: int = 0
    messages_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    handoffs: int = 0
    turns: int = 0
    handler_seconds: Histogram = _NONE  # a message handler's calls; sessions have none
    turn_seconds: Histogram = _NONE  # from readiness to the next wait
    lock_wait_seconds: Histogram | None = None  # a loop's waits for the interpreter's lock

    # Now.
    loops: int = 0
    opening: int = 0  # connections whose TLS handshake or PROXY header is under way
    connections: int = 0  # those that are open, without these
    own_threads: int = 0  # threads that serve one client alone
    waiting: int = 0  # clients that wait for one
    spare_threads: int = 0  # threads that wait for work
    limits: tuple[LimitUse, ...] = ()
    certificates: str = ""  # for which names
    certificates_expire_at: float | None = None  # seconds since the epoch
    recent_handoffs: tuple[Handoff, ...] = ()  # the last 64, oldest first
    clients: tuple[ClientSnapshot, ...] | None = None  # None if not asked for
