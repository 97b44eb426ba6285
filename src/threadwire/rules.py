"""The limits that a server's engine goes by, all in one place.

The server makes one :class:`Rules` and may change it while it serves, from any thread, one
attribute at a time. Everybody else only reads, each time anew, so that a change holds from
the next look on; who cannot wait for that is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from . import limits
from .clock import SYSTEM, Clock

if TYPE_CHECKING:
    import ssl

__all__ = ["Rules", "TlsContext"]


class TlsContext(Protocol):
    """Where the context of a new TLS connection comes from."""

    @property
    def context(self) -> ssl.SSLContext: ...


class Rules:
    """Seconds, bytes and counts as :mod:`.limits` declares them; ``OFF`` is no limit.

    ``tls`` is what TLS is made with, ``None`` where there is none.
    """

    __slots__ = (
        "_watchers",
        "clock",
        "handoff_after",
        "handshake_timeout",
        "high_water",
        "idle_timeout",
        "max_handshakes",
        "max_threads",
        "message_timeout",
        "proxy_timeout",
        "slow",
        "tls",
        "write_timeout",
    )

    def __init__(
        self,
        *,
        handoff_after: float = limits.HANDOFF_AFTER.default,
        handshake_timeout: float = limits.HANDSHAKE_TIMEOUT.default,
        high_water: int = limits.HIGH_WATER.whole,
        idle_timeout: float = limits.IDLE_TIMEOUT.default,
        max_handshakes: int = limits.MAX_HANDSHAKES.whole,
        max_threads: int = limits.MAX_THREADS.whole,
        message_timeout: float = limits.MESSAGE_TIMEOUT.default,
        proxy_timeout: float = limits.PROXY_TIMEOUT.default,
        slow: float = limits.SLOW.default,
        write_timeout: float = limits.WRITE_TIMEOUT.default,
        clock: Clock = SYSTEM,
        tls: TlsContext | None = None,
    ) -> None:
        self.handoff_after = handoff_after
        self.handshake_timeout = handshake_timeout
        self.high_water = high_water
        self.idle_timeout = idle_timeout
        self.max_handshakes = max_handshakes
        self.max_threads = max_threads
        self.message_timeout = message_timeout
        self.proxy_timeout = proxy_timeout
        self.slow = slow
        self.write_timeout = write_timeout
        self.clock = clock  # constant
        self.tls = tls  # constant
        self._watchers: list[Callable[[], object]] = []  # appended to before the server starts

    def watch(self, tell: Callable[[], object]) -> None:
        """Have ``tell`` called, by any thread, after every change; it must not block."""
        self._watchers.append(tell)

    def tell(self) -> None:
        """Whoever has changed something, when all of it is changed."""
        for tell in self._watchers:
            tell()
