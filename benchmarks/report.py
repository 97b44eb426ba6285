"""The results, and the tables of their medians and ratios."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contenders import SUBJECT, YARDSTICK
from rows import Column, Row


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


def machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    versions = []
    for package in ("uvloop", "gevent", "twisted"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{model[1] if model else platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(versions) or "none",
    }


def number(value: float | None, column: Column) -> str:
    return "-" if value is None else f"{value * column.scale:,.{column.digits}f}"


def samples(results: Results, row: Row, server: str, key: str) -> dict[int, float]:
    return {
        run.round: run.values[key]
        for run in results.runs
        if run.row == row.name and run.server == server and key in run.values
    }


def median(values: Mapping[int, float]) -> float | None:
    return statistics.median(values.values()) if values else None


def ratio(results: Results, row: Row, server: str, base: str) -> str:
    """The median over the rounds of the ratio within a round."""
    ours = samples(results, row, server, row.metric.key)
    theirs = samples(results, row, base, row.metric.key)
    ratios = {turn: ours[turn] / theirs[turn] for turn in ours if theirs.get(turn)}
    value = median(ratios)
    return "-" if value is None else f"{value:.2f}"


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def head(titles: Sequence[str]) -> list[str]:
    return [line(titles), line(["---", *["---:"] * (len(titles) - 1)])]


def spread(results: Results, row: Row, server: str) -> str:
    found = samples(results, row, server, row.metric.key).values()
    if not found:
        return "-"
    return f"{number(min(found), row.metric)} to {number(max(found), row.metric)}"


def row_table(results: Results, row: Row) -> list[str]:
    medians = {
        run.server: median(samples(results, row, run.server, row.metric.key)) or 0.0
        for run in results.runs
        if run.row == row.name
    }
    bases = [row.baseline] if row.mixed else [row.baseline, YARDSTICK]
    output = [f"### {row.title}", ""]
    output += head(
        [
            *("server", row.metric.title, "min to max"),
            *(f"÷ {base}" for base in bases),
            *(column.title for column in row.columns),
        ]
    )
    for server in sorted(medians, key=medians.__getitem__, reverse=not row.lower_is_better):
        output.append(
            line(
                [
                    *(server, number(medians[server], row.metric), spread(results, row, server)),
                    *(ratio(results, row, server, base) for base in bases),
                    *(
                        number(median(samples(results, row, server, column.key)), column)
                        for column in row.columns
                    ),
                ]
            )
        )
    return [*output, ""]


def summary_table(results: Results, rows: Sequence[Row]) -> list[str]:
    output = [f"### {SUBJECT} beside uvloop and C", ""]
    output += head(
        ["row", SUBJECT, "min to max", "uvloop", "C epoll", "÷ uvloop", "÷ C epoll", "unit"]
    )
    for row in rows:
        ours = samples(results, row, SUBJECT, row.metric.key)
        if not ours:
            continue
        output.append(
            line(
                [
                    row.name,
                    number(median(ours), row.metric),
                    spread(results, row, SUBJECT),
                    *(
                        number(median(samples(results, row, base, row.metric.key)), row.metric)
                        for base in (row.baseline, YARDSTICK)
                    ),
                    *(ratio(results, row, SUBJECT, base) for base in (row.baseline, YARDSTICK)),
                    row.metric.title + (", lower is better" if row.lower_is_better else ""),
                ]
            )
        )
    note = "uvloop is uvloop-protocol, and uvloop-executor in the rows with slow clients."
    return [*output, "", note, ""]


def markdown(results: Results, rows: Sequence[Row]) -> str:
    output = ["## Comparison", ""]
    output += [f"- {key}: {value}" for key, value in results.machine.items()]
    options = results.options
    output += [
        (
            f"- method: {options['rounds']} rounds of {options['seconds']:g} s after "
            f"{options['warmup']:g} s of warm-up; medians; ratios are medians of the ratios "
            "within a round" + ("; freed memory kept" if options["keep_memory"] else "")
        ),
        "",
    ]
    done = {run.row for run in results.runs}
    if any(run.server == SUBJECT for run in results.runs):
        output += summary_table(results, rows)
    for row in rows:
        if row.name in done:
            output += row_table(results, row)
    for title, lines in (("Skipped", results.skipped), ("Failed", results.failures)):
        if lines:
            output += [f"### {title}", "", *(f"- {text.splitlines()[0]}" for text in lines), ""]
    return "\n".join(output)


def as_json(results: Results) -> str:
    return json.dumps(asdict(results), indent=1) + "\n"
