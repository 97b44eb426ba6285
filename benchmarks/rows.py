"""The rows of the comparison: what is measured, and what is shown of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from contenders import YARDSTICK, Kind

SLOW_MS = 100
QUICK_CLIENTS = 32
QUICK_ALONE = f"quick-{QUICK_CLIENTS}"
MEMORY_STEP = 100_000


@dataclass(frozen=True)
class Column:
    title: str
    key: str
    scale: float = 1.0
    digits: int = 0


P50 = Column("p50 µs", "p50")
P99 = Column("p99 µs", "p99")
RATE = Column("messages/s", "rate")
QUICK_RATE = Column("quick messages/s", "rate")
QUICK_P50 = Column("quick p50 ms", "p50", 1e-3, 2)
QUICK_P99 = Column("quick p99 ms", "p99", 1e-3, 2)
# Of the time that a slow handler takes in any case.
SLOW_MEAN_RATIO = Column(f"slow mean ÷ {SLOW_MS} ms", "slow_mean", 1e-3 / SLOW_MS, 3)
SLOW_P99_RATIO = Column(f"slow p99 ÷ {SLOW_MS} ms", "slow_p99", 1e-3 / SLOW_MS, 3)
CONNECTS = Column("connects/s", "rate")
IDLE_KIB = Column("KiB/connection", "kib", digits=2)

BASES: dict[Kind, Sequence[str]] = {
    "plain": ("uvloop-protocol", YARDSTICK),
    "mixed": ("uvloop-executor",),
    "sessions": ("asyncio-streams", "gevent", "gevent-pinned"),
    "alone": (),
}


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    arguments: Sequence[str]
    metric: Column = RATE
    columns: Sequence[Column] = (P50, P99)
    kind: Kind = "plain"
    mode: Literal["load", "idle", "memory"] = "load"
    lower_is_better: bool = False
    # The row in which the quick clients are alone.
    alone: str | None = None
    # Measured in the first round only.
    once: bool = False

    @property
    def bases(self) -> Sequence[str]:
        """The servers beside which the others are shown as a ratio."""
        return BASES[self.kind]


def load(clients: int, size: int = 64, pipeline: int = 1) -> list[str]:
    return ["--clients", str(clients), "--size", str(size), "--pipeline", str(pipeline)]


def slow_row(name: str, prefix: str, slow: int, title: str) -> Row:
    return Row(
        name,
        f"{title} beside {QUICK_CLIENTS} quick clients",
        [
            *load(QUICK_CLIENTS + slow),
            *("--sleepers", str(slow), "--slow-prefix", prefix, "--sleep-ms", str(SLOW_MS)),
        ],
        QUICK_RATE,
        [
            QUICK_P50,
            QUICK_P99,
            Column("quick longest wait ms", "oldest", 1e-3),
            SLOW_MEAN_RATIO,
            SLOW_P99_RATIO,
            Column("slow mean ms", "slow_mean", 1e-3, 1),
            Column("slow p50 ms", "slow_p50", 1e-3, 1),
            Column("slow p99 ms", "slow_p99", 1e-3, 1),
            Column("slow replies", "slow_messages"),
            Column("slow first replies, mean ms", "slow_first_mean", 1e-3, 1),
            Column("slow longest wait ms", "slow_oldest", 1e-3),
        ],
        kind="mixed",
        alone=QUICK_ALONE,
    )


def all_rows(idle_connections: int, million_connections: int) -> list[Row]:
    return [
        Row("clients-64", "64 clients, 64 bytes, one in flight", load(64)),
        Row("clients-512", "512 clients, 64 bytes, one in flight", load(512)),
        Row("kib-1", "64 clients, 1 KiB, one in flight", load(64, 1024)),
        Row("pipeline-32", "64 clients, 64 bytes, 32 in flight", load(64, pipeline=32)),
        Row("mib-1", "8 clients, 1 MiB, one in flight", load(8, 1 << 20)),
        Row(
            "one-client",
            "one client, 64 bytes, one in flight: p50",
            load(1),
            P50,
            [RATE, P99],
            lower_is_better=True,
        ),
        Row(
            "connect",
            "connect, ask, close; 32 clients at a time",
            ["--mode", "connect", *load(32)],
            CONNECTS,
        ),
        Row(
            "sessions-64",
            "sessions: 64 clients, 64 bytes, one in flight",
            load(64),
            kind="sessions",
        ),
        Row(
            QUICK_ALONE,
            f"{QUICK_CLIENTS} quick clients alone, the same handler as beside slow ones",
            load(QUICK_CLIENTS),
            QUICK_RATE,
            [QUICK_P50, QUICK_P99],
            kind="mixed",
        ),
        slow_row("sleep-40", "sleep ", 40, f"40 sleepers ({SLOW_MS} ms)"),
        slow_row("sleep-500", "sleep ", 500, f"500 sleepers ({SLOW_MS} ms)"),
        slow_row("burn-2", "burn ", 2, f"2 burners ({SLOW_MS} ms of CPU)"),
        Row(
            "idle",
            f"resident memory per connection, {idle_connections:,} idle ones",
            ["--mode", "idle", *load(idle_connections)],
            IDLE_KIB,
            [
                Column("KiB before", "kib_before"),
                Column("threads while idle", "threads"),
                Column("CPU ms/s while idle", "cpu", 1e3, 2),
            ],
            mode="idle",
            lower_is_better=True,
        ),
        Row(
            "million",
            f"resident memory after {million_connections:,} connections, 32 at a time",
            ["--mode", "connect", *load(32)],
            Column("KiB after the last", "kib"),
            [
                Column("KiB before", "kib_before"),
                Column(f"KiB more than after the first {MEMORY_STEP:,}", "kib_growth"),
                CONNECTS,
            ],
            kind="alone",
            mode="memory",
            lower_is_better=True,
            once=True,
        ),
    ]
