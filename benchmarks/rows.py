"""The rows of the comparison: what is measured, and what is shown of it."""

from collections.abc import Sequence
from dataclasses import dataclass

SLOW_MS = 100


@dataclass(frozen=True)
class Column:
    title: str
    key: str
    scale: float = 1.0
    digits: int = 0


P50 = Column("p50 µs", "p50")
P99 = Column("p99 µs", "p99")
RATE = Column("messages/s", "rate")


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    arguments: Sequence[str]
    metric: Column = RATE
    columns: Sequence[Column] = (P50, P99)
    mixed: bool = False
    idle: bool = False
    lower_is_better: bool = False

    @property
    def baseline(self) -> str:
        return "uvloop-executor" if self.mixed else "uvloop-protocol"


def load(clients: int, size: int = 64, pipeline: int = 1) -> list[str]:
    return ["--clients", str(clients), "--size", str(size), "--pipeline", str(pipeline)]


def slow_row(name: str, prefix: str, slow: int, title: str) -> Row:
    return Row(
        name,
        title,
        [
            *load(32 + slow),
            *("--sleepers", str(slow), "--slow-prefix", prefix, "--sleep-ms", str(SLOW_MS)),
        ],
        Column("quick messages/s", "rate"),
        [
            Column("quick p50 µs", "p50"),
            Column("quick p99 µs", "p99"),
            Column("quick longest wait ms", "oldest", 1e-3),
            Column("slow mean ms", "slow_mean", 1e-3, 1),
            Column("slow p50 ms", "slow_p50", 1e-3, 1),
            Column("slow p99 ms", "slow_p99", 1e-3, 1),
            Column("slow replies", "slow_messages"),
            Column("slow longest wait ms", "slow_oldest", 1e-3),
        ],
        mixed=True,
    )


def all_rows(idle_connections: int) -> list[Row]:
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
            Column("connects/s", "rate"),
        ),
        slow_row("sleep-40", "sleep ", 40, "40 sleepers (100 ms) beside 32 quick clients"),
        slow_row("sleep-500", "sleep ", 500, "500 sleepers (100 ms) beside 32 quick clients"),
        slow_row("burn-2", "burn ", 2, "2 burners (100 ms of CPU) beside 32 quick clients"),
        Row(
            "idle",
            f"resident memory per connection, {idle_connections:,} idle ones",
            ["--mode", "idle", *load(idle_connections)],
            Column("KiB/connection", "kib", digits=2),
            [Column("KiB before", "kib_before")],
            idle=True,
            lower_is_better=True,
        ),
    ]
