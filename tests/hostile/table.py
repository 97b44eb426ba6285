"""``python -m tests.hostile.table``: make all attacks once, and print what became of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from .trial import PROPERTY, Outcome

_HEADINGS = (
    "attack",
    "what happened",
    "answers",
    "errors",
    "worst ms",
    "MiB before / most / after",
    "threads",
    "descriptors",
    "log lines",
)


class Table:
    """A plugin of pytest's that collects the outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.outcomes += [
                Outcome(*value)
                for name, value in report.user_properties
                if name == PROPERTY and isinstance(value, list)
            ]


def lay_out(outcomes: Iterable[Outcome]) -> str:
    """A table in Markdown."""
    rows = [_HEADINGS, tuple("-" * len(heading) for heading in _HEADINGS)]
    rows += [_cells(outcome) for outcome in outcomes]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.attack,
        outcome.happened,
        f"{outcome.answers:,}",
        f"{outcome.errors:,}",
        f"{outcome.worst * 1e3:.1f}",
        " / ".join(f"{size / (1 << 20):.1f}" for size in outcome.memory),
        "{} / {}".format(*outcome.threads),
        "{} / {}".format(*outcome.descriptors),
        f"{outcome.log_lines:,}",
    )


def main(arguments: list[str]) -> int:
    """``arguments``: what else pytest is to be given, as ``-k drip``."""
    table = Table()
    where = str(Path(__file__).parent)
    code = pytest.main([where, "-q", "-p", "no:cacheprovider", *arguments], plugins=[table])
    print(lay_out(table.outcomes))
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
