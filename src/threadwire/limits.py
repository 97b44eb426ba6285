"""Every limit of threadwire: its name, unit, default and the reason for it.

A limit is declared once, here; keyword arguments, command-line options, help
texts and documentation take name and default from the declaration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .errors import UsageError

try:
    import resource
except ImportError:  # a system without descriptor limits
    resource = None  # type: ignore[assignment]

__all__ = [
    "ACCEPT_PAUSE",
    "BACKLOG",
    "CLIENT_TIMEOUT",
    "DRAIN_TIMEOUT",
    "JOIN_GRACE",
    "LIMITS",
    "LINGER_BYTES",
    "LINGER_TIMEOUT",
    "LOG_QUEUE",
    "MAX_CLIENTS",
    "MAX_MESSAGE",
    "PIPELINE_BYTES",
    "PIPELINE_WINDOW",
    "READ_SIZE",
    "SPARE_SECONDS",
    "WRITE_TIMEOUT",
    "Limit",
    "default_max_clients",
]


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit; ``default`` is in ``unit``, ``smallest`` the least that makes sense."""

    name: str
    unit: Literal["bytes", "seconds", "count"]
    default: float
    smallest: float
    reason: str

    def check(self, value: object) -> float:
        """Return ``value`` if it may stand for this limit; else raise UsageError."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{self.name} must be a number of {self.what}, not {value!r}")
        if not self.smallest <= value < math.inf:
            raise UsageError(
                f"{self.name} must be at least {self.smallest:g} {self.what}, not {value!r}"
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
    "a larger message ends its connection before it is buffered; "
    "1 MiB holds any line a person or device writes and bounds a client's memory",
)
BACKLOG = Limit(
    "backlog",
    "count",
    1024,
    1,
    "connections the system holds until they are accepted; enough for a burst of reconnects, "
    "and the system caps it (net.core.somaxconn)",
)
MAX_CLIENTS = Limit(
    "max_clients",
    "count",
    10_000,
    1,
    "further clients wait in the listen backlog; less where the descriptor limit allows less",
)
WRITE_TIMEOUT = Limit(
    "write_timeout",
    "seconds",
    30.0,
    0.001,
    "how long a peer may read nothing of a reply that waits for it; then the connection is closed",
)
DRAIN_TIMEOUT = Limit(
    "drain_timeout",
    "seconds",
    30.0,
    0.0,
    "how long a closing server lets begun messages finish; then the rest is cut and listed",
)
CLIENT_TIMEOUT = Limit(
    "timeout",
    "seconds",
    10.0,
    0.001,
    "how long a client waits to connect, to send, and for each reply",
)
PIPELINE_WINDOW = Limit(
    "window",
    "count",
    1024,
    1,
    "requests a client may have unanswered; enough to keep a far server busy, in bounded memory",
)
PIPELINE_BYTES = Limit(
    "pipeline_bytes",
    "bytes",
    1 << 20,
    1,
    "requests a client holds encoded but unsent; past it the source of requests waits",
)
READ_SIZE = Limit(
    "read_size",
    "bytes",
    64 << 10,
    1,
    "the most one read takes: large enough for full speed, small enough to stay below the "
    "allocator's mmap threshold",
)
LINGER_TIMEOUT = Limit(
    "linger_timeout",
    "seconds",
    1.0,
    0.0,
    "how long an ended connection goes on discarding what its peer still sends, so that a last "
    "reply is not destroyed by a reset",
)
LINGER_BYTES = Limit(
    "linger_bytes", "bytes", 16 << 20, 0, "how much of that is discarded before the reset comes"
)
SPARE_SECONDS = Limit(
    "spare_seconds",
    "seconds",
    10.0,
    0.0,
    "how long a thread without work waits for more before it ends",
)
ACCEPT_PAUSE = Limit(
    "accept_pause",
    "seconds",
    0.1,
    0.001,
    "how long accepting rests when descriptors, threads or memory are not to be had",
)
JOIN_GRACE = Limit(
    "join_grace",
    "seconds",
    1.0,
    0.0,
    "how long close() waits for threads whose connections it has cut",
)
LOG_QUEUE = Limit(
    "log_queue",
    "count",
    10_000,
    1,
    "log lines held while the log's reader is slow; further ones are dropped and counted, "
    "so that no client waits for a log",
)

LIMITS: dict[str, Limit] = {
    limit.name: limit for limit in list(globals().values()) if isinstance(limit, Limit)
}

_DESCRIPTOR_RESERVE = 64  # listeners, logs, the handler's own files and sockets


def default_max_clients() -> int:
    """``max_clients`` where none is given: what descriptors allow, at most 10,000."""
    if resource is None:
        return MAX_CLIENTS.whole
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CLIENTS.whole
    return max(1, min(MAX_CLIENTS.whole, soft - _DESCRIPTOR_RESERVE))
