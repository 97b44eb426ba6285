"""Every limit of threadwire: its name, unit, default and the reason for it.

A limit is declared once, here; keyword arguments, command-line options, help
texts and documentation take name and default from the declaration.
"""

from __future__ import annotations

import resource
from typing import Literal, NamedTuple

from .errors import UsageError

__all__ = [
    "ACCEPT_PAUSE",
    "BACKLOG",
    "CLIENT_TIMEOUT",
    "DRAIN_TIMEOUT",
    "HANDOFF_AFTER",
    "HIGH_WATER",
    "JOIN_GRACE",
    "LIMITS",
    "LINGER_BYTES",
    "LINGER_TIMEOUT",
    "LOG_QUEUE",
    "MAX_CLIENTS",
    "MAX_MESSAGE",
    "MAX_THREADS",
    "PIPELINE_BYTES",
    "PIPELINE_WINDOW",
    "QUIET_SECONDS",
    "READ_SIZE",
    "SPARE_SECONDS",
    "SWITCH_INTERVAL",
    "WRITE_TIMEOUT",
    "Limit",
    "default_max_clients",
]


# Beyond these the system's own counters and clocks give up.
_LARGEST = {"bytes": 2.0**62, "seconds": 1e9, "count": 2.0**31 - 1}


class Limit(NamedTuple):
    """One limit.

    ``default`` is in ``unit``, ``smallest`` the least that makes sense; ``help`` says
    what is limited, ``reason`` why by default so much.
    """

    name: str
    unit: Literal["bytes", "seconds", "count"]
    default: float
    smallest: float
    help: str
    reason: str

    def check(self, value: object) -> float:
        """Return ``value`` if it may stand for this limit; else raise UsageError."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{self.name} must be a number of {self.what}, not {value!r}")
        if not value >= self.smallest:  # so that it refuses what is no number, too
            raise UsageError(
                f"{self.name} must be at least {self.smallest:g} {self.what}, not {value!r}"
            )
        if value > _LARGEST[self.unit]:
            raise UsageError(
                f"{self.name} must be at most {_LARGEST[self.unit]:g} {self.what}, not {value!r}"
            )
        return value

    def check_whole(self, value: object) -> int:
        """Like :meth:`check`, for limits that count bytes or things."""
        number = self.check(value)
        if number != int(number):
            raise UsageError(f"{self.name} must be a whole number, not {value!r}")
        return int(number)

    @property
    def what(self) -> str:
        return {"bytes": "bytes", "seconds": "seconds", "count": "items"}[self.unit]

    @property
    def whole(self) -> int:
        """The default of a limit that counts bytes or things."""
        return int(self.default)


MAX_MESSAGE = Limit(
    "max_message",
    "bytes",
    1 << 20,
    1,
    "The most bytes a received message may have; a larger one ends its connection.",
    "holds any line that a person or a device writes, and bounds a client's memory",
)
BACKLOG = Limit(
    "backlog",
    "count",
    1024,
    1,
    "How many connections the system holds until they are accepted.",
    "enough for a burst of reconnects; the system may cap it (net.core.somaxconn)",
)
MAX_CLIENTS = Limit(
    "max_clients",
    "count",
    10_000,
    1,
    "How many clients are served at once; further ones wait in the backlog.",
    "bounds threads and memory; less where the descriptor limit allows less",
)
WRITE_TIMEOUT = Limit(
    "write_timeout",
    "seconds",
    30.0,
    0.001,
    "How long a peer may read nothing of a reply that waits for it before it is closed.",
    "longer than any network's hiccup, short enough that dead peers do not pile up",
)
DRAIN_TIMEOUT = Limit(
    "drain_timeout",
    "seconds",
    30.0,
    0.0,
    "How long stopping lets begun messages finish; then the rest is cut and listed.",
    "what supervisors allow a service by default to stop",
)
CLIENT_TIMEOUT = Limit(
    "timeout",
    "seconds",
    10.0,
    0.001,
    "How long to wait to connect, to send, and for each reply.",
    "longer than a reply takes, shorter than a person's patience",
)
PIPELINE_WINDOW = Limit(
    "window",
    "count",
    1024,
    1,
    "How many requests of a pipeline may be unanswered.",
    "keeps a far server busy in bounded memory",
)
PIPELINE_BYTES = Limit(
    "pipeline_bytes",
    "bytes",
    1 << 20,
    1,
    "How many bytes of requests a pipeline holds unsent before its source waits.",
    "a few times what one write takes",
)
READ_SIZE = Limit(
    "read_size",
    "bytes",
    64 << 10,
    1,
    "The most bytes one read takes.",
    "enough for full speed, and below the size for which the allocator maps memory anew each time",
)
LINGER_TIMEOUT = Limit(
    "linger_timeout",
    "seconds",
    1.0,
    0.0,
    "How long an ended connection goes on discarding what its peer still sends.",
    "closing with unread bytes resets the connection and destroys a last reply under way",
)
LINGER_BYTES = Limit(
    "linger_bytes",
    "bytes",
    16 << 20,
    0,
    "How many bytes are discarded so before the connection is reset after all.",
    "a peer that never stops sending is owed no more",
)
HANDOFF_AFTER = Limit(
    "handoff_after",
    "seconds",
    0.005,
    0.0005,
    "How long a handler may hold up the shared loop before its client gets a thread of its own.",
    "other clients do not notice so short a wait, and few quick handlers take as long",
)
QUIET_SECONDS = Limit(
    "quiet_seconds",
    "seconds",
    1.0,
    0.001,
    "How long a slow client's own thread waits for its next message before it lets go of it.",
    "keeps a busy client's thread, and costs no thread for one that asks now and then",
)
MAX_THREADS = Limit(
    "max_threads",
    "count",
    1000,
    1,
    "How many clients with slow handlers have threads of their own; further ones wait for one.",
    "bounds what blocking handlers can take of memory and of the machine",
)
SWITCH_INTERVAL = Limit(
    "switch_interval",
    "seconds",
    0.001,
    0.000001,
    "How long a thread that computes may keep the interpreter's lock while another waits for it.",
    "measured: lets quick clients through beside handlers that compute, and costs nothing else",
)
HIGH_WATER = Limit(
    "high_water",
    "bytes",
    256 << 10,
    1,
    "How many bytes of replies a client may have waiting in the shared loop.",
    "a full turn's replies, and little beside what the system itself holds for a connection",
)
SPARE_SECONDS = Limit(
    "spare_seconds",
    "seconds",
    10.0,
    0.0,
    "How long a thread without a client waits for one before it ends.",
    "keeps a busy server from starting threads, and an idle one from keeping them",
)
ACCEPT_PAUSE = Limit(
    "accept_pause",
    "seconds",
    0.1,
    0.001,
    "How long accepting rests when descriptors, threads or memory are not to be had.",
    "quick enough to recover unnoticed, slow enough to cost no processor time",
)
JOIN_GRACE = Limit(
    "join_grace",
    "seconds",
    1.0,
    0.0,
    "How long closing waits for threads whose connections it has cut.",
    "a thread that was woken needs a moment; one that computes will not come",
)
LOG_QUEUE = Limit(
    "log_queue",
    "count",
    10_000,
    1,
    "How many log lines are held while whoever reads the log is slow.",
    "no client waits for a log; further lines are dropped and counted",
)

LIMITS: dict[str, Limit] = {
    limit.name: limit for limit in list(globals().values()) if isinstance(limit, Limit)
}

_DESCRIPTOR_RESERVE = 64  # listeners, logs, the handler's own files and sockets


def default_max_clients() -> int:
    """``max_clients`` where none is given: what descriptors allow, at most 10,000."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CLIENTS.whole
    return max(1, min(MAX_CLIENTS.whole, soft - _DESCRIPTOR_RESERVE))
