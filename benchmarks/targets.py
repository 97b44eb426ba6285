"""What threadwire is to reach, each a figure or a ratio of the rows."""

from collections.abc import Collection
from dataclasses import dataclass

from contenders import NO_PIN, PURE, SUBJECT, YARDSTICK
from results import Results, median, number, ratios, spread
from rows import (
    CONNECTS,
    IDLE_KIB,
    P50,
    QUICK_ALONE,
    QUICK_P99,
    QUICK_RATE,
    RATE,
    SLOW_MEAN_RATIO,
    SLOW_P99_RATIO,
    Column,
)

RATIO = Column("", "", digits=3)


@dataclass(frozen=True)
class Target:
    """``measured`` of a server on a row; over another server's, or its own on another row."""

    row: str
    measured: Column
    bound: float
    at_most: bool = False
    server: str = SUBJECT
    over: str | None = None
    over_row: str | None = None

    @property
    def is_ratio(self) -> bool:
        return self.over is not None or self.over_row is not None

    @property
    def work(self) -> str:
        base = f" ÷ {self.over}" if self.over else " ÷ alone" if self.over_row else ""
        return f"{self.row}: {self.server}{base}, {self.measured.title}"

    def values(self, results: Results) -> dict[int, float]:
        ours = results.samples(self.row, self.server, self.measured.key)
        if not self.is_ratio:
            return ours
        row, server = self.over_row or self.row, self.over or self.server
        return ratios(ours, results.samples(row, server, self.measured.key))

    def cells(self, results: Results) -> list[str]:
        column = RATIO if self.is_ratio else self.measured
        values = self.values(results)
        middle = median(values)
        if middle is None:
            reached = "-"
        else:
            found = middle * column.scale
            reached = (
                "yes" if (found <= self.bound if self.at_most else found >= self.bound) else "no"
            )
        return [
            self.work,
            number(middle, column),
            spread(values.values(), column),
            f"{'≤' if self.at_most else '≥'} {self.bound:,g}",
            reached,
        ]


def beside_slow(
    row: str, of_alone: float, p99: float, mean: float, slow_p99: float
) -> list[Target]:
    return [
        Target(row, QUICK_RATE, of_alone, over_row=QUICK_ALONE),
        Target(row, QUICK_P99, p99, at_most=True),
        Target(row, SLOW_MEAN_RATIO, mean, at_most=True),
        Target(row, SLOW_P99_RATIO, slow_p99, at_most=True),
    ]


TARGETS: Collection[Target] = [
    Target("clients-64", RATE, 1.10, over="uvloop-protocol"),
    Target("clients-64", RATE, 0.90, over=YARDSTICK),
    Target("clients-512", RATE, 1.25, over="uvloop-protocol"),
    Target("clients-512", RATE, 0.90, over=YARDSTICK),
    Target("kib-1", RATE, 1.05, over="uvloop-protocol"),
    Target("pipeline-32", RATE, 1.05, over="uvloop-protocol"),
    Target("mib-1", RATE, 1.00, over="uvloop-protocol"),
    Target("one-client", P50, 1.05, at_most=True, over="uvloop-protocol"),
    Target("connect", CONNECTS, 1.00, over="uvloop-protocol"),
    Target("clients-64", RATE, 1.00, server=PURE, over="asyncio-protocol"),
    Target("clients-64", RATE, 1.40, server=PURE, over="asyncio-streams"),
    Target("clients-64", RATE, 1.40, server=PURE, over="gevent"),
    Target("sessions-64", RATE, 1.00, server=NO_PIN, over="asyncio-streams"),
    Target("sessions-64", RATE, 1.30, over="gevent-pinned"),
    *beside_slow("sleep-40", of_alone=0.9, p99=2, mean=1.05, slow_p99=1.15),
    *beside_slow("sleep-500", of_alone=0.5, p99=5, mean=1.1, slow_p99=1.3),
    Target("burn-2", QUICK_RATE, 25_000),
    Target("burn-2", QUICK_P99, 20, at_most=True),
    Target("idle", IDLE_KIB, 1.5, at_most=True),
]
