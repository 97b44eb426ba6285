"""What was measured, and the medians and ratios of it."""

import json
import statistics
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rows import Column


@dataclass
class Run:
    round: int
    row: str
    server: str
    values: dict[str, float]
    report: dict[str, Any]


@dataclass
class Results:
    machine: dict[str, str]
    options: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def samples(self, row: str, server: str, key: str) -> dict[int, float]:
        """What each round gave."""
        return {
            run.round: run.values[key]
            for run in self.runs
            if run.row == row and run.server == server and key in run.values
        }

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> dict[int, float]:
    """Those within each round."""
    return {turn: ours[turn] / theirs[turn] for turn in ours if theirs.get(turn)}


def median(values: Mapping[int, float]) -> float | None:
    return statistics.median(values.values()) if values else None


def number(value: float | None, column: Column) -> str:
    return "-" if value is None else f"{value * column.scale:,.{column.digits}f}"


def spread(values: Collection[float], column: Column) -> str:
    if not values:
        return "-"
    return f"{number(min(values), column)} to {number(max(values), column)}"
