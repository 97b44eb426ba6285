"""The tables of the medians and ratios."""

from collections.abc import Iterator, Sequence

from contenders import BEFORE, PURE, SUBJECT, YARDSTICK
from results import Results, median, number, ratios, spread
from rows import RATE, Row
from targets import TARGETS

PURE_ROW = "clients-64"
PURE_BASES = ("asyncio-protocol", "asyncio-streams", "gevent")


def ratio(results: Results, row: Row, server: str, base: str) -> str:
    """The median over the rounds of the ratio within a round."""
    return of_rounds(
        results.samples(row.name, server, row.metric.key),
        results.samples(row.name, base, row.metric.key),
    )


def ratio_alone(results: Results, row: Row, server: str) -> str:
    """How much of its rate when they are alone a server gives the quick clients of a row."""
    return of_rounds(
        results.samples(row.name, server, row.metric.key),
        results.samples(row.alone or "", server, row.metric.key),
    )


def of_rounds(ours: dict[int, float], theirs: dict[int, float]) -> str:
    value = median(ratios(ours, theirs))
    return "-" if value is None else f"{value:.2f}"


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def head(titles: Sequence[str]) -> list[str]:
    return [line(titles), line(["---", *["---:"] * (len(titles) - 1)])]


def row_table(results: Results, row: Row) -> list[str]:
    def found(server: str, key: str) -> dict[int, float]:
        return results.samples(row.name, server, key)

    medians = {
        run.server: median(found(run.server, row.metric.key)) or 0.0
        for run in results.runs
        if run.row == row.name
    }
    bases = [*row.bases, *([BEFORE] if BEFORE in medians else [])]
    output = [f"### {row.title}", ""]
    output += head(
        [
            *("server", row.metric.title, "min to max"),
            *(f"÷ {base}" for base in bases),
            *(["÷ alone"] if row.alone else []),
            *(column.title for column in row.columns),
        ]
    )
    for server in sorted(medians, key=medians.__getitem__, reverse=not row.lower_is_better):
        output.append(
            line(
                [
                    *(server, number(medians[server], row.metric)),
                    spread(found(server, row.metric.key).values(), row.metric),
                    *(ratio(results, row, server, base) for base in bases),
                    *([ratio_alone(results, row, server)] if row.alone else []),
                    *(number(median(found(server, one.key)), one) for one in row.columns),
                ]
            )
        )
    return [*output, ""]


def memory_table(results: Results, row: Row) -> list[str]:
    """Resident memory on the way."""
    output: list[str] = []
    for run in results.runs:
        if run.row == row.name:
            output += head([f"{run.server}: connections so far", "KiB resident"])
            output += [
                line([f"{connections:,}", f"{kib:,.0f}"])
                for connections, kib in run.report["resident_kib"]
            ]
            output.append("")
    return output


def section(title: str, titles: Sequence[str], lines: Sequence[str], note: str = "") -> list[str]:
    """A table under a heading; nothing without lines."""
    if not lines:
        return []
    return [f"### {title}", "", *head(titles), *lines, "", *([note, ""] if note else [])]


def summary_table(results: Results, rows: Sequence[Row]) -> list[str]:
    output = []
    for row in rows:
        ours = results.samples(row.name, SUBJECT, row.metric.key)
        if not ours or row.kind not in ("plain", "mixed"):
            continue
        beside = (row.bases[0], YARDSTICK)
        theirs = [results.samples(row.name, base, row.metric.key) for base in beside]
        output.append(
            line(
                [
                    *(row.name, number(median(ours), row.metric)),
                    spread(ours.values(), row.metric),
                    *(number(median(values), row.metric) for values in theirs),
                    *(of_rounds(ours, values) for values in theirs),
                    row.metric.title + (", lower is better" if row.lower_is_better else ""),
                ]
            )
        )
    return section(
        f"{SUBJECT} beside uvloop and C",
        ["row", SUBJECT, "min to max", "uvloop", "C epoll", "÷ uvloop", "÷ C epoll", "unit"],
        output,
        "uvloop is uvloop-protocol, and uvloop-executor in the rows with slow clients.",
    )


def pure_table(results: Results, rows: Sequence[Row]) -> list[str]:
    output = []
    for row in rows:
        ours = results.samples(row.name, PURE, row.metric.key)
        if row.name == PURE_ROW and ours:
            output.append(
                line(
                    [
                        *(row.name, number(median(ours), row.metric)),
                        spread(ours.values(), row.metric),
                        *(ratio(results, row, PURE, base) for base in PURE_BASES),
                    ]
                )
            )
    titles = ["row", RATE.title, "min to max", *(f"÷ {base}" for base in PURE_BASES)]
    return section(f"{PURE} beside event loops in Python", titles, output)


def targets_table(results: Results, rows: Sequence[Row]) -> list[str]:
    names = {row.name for row in rows}
    return section(
        "Targets",
        ["work", "measured", "min to max", "target", "reached"],
        [line(target.cells(results)) for target in TARGETS if target.row in names],
    )


def about_threadwire(results: Results) -> Iterator[str]:
    """Which of its engines was measured, and whether its log was complete."""
    for name in dict.fromkeys(run.server for run in results.runs if "extensions" in run.report):
        reports = [run.report for run in results.runs if run.server == name]
        loaded = sorted({one for report in reports for one in report["extensions"]})
        dropped = sum(report["log_lines_dropped"] for report in reports)
        yield (
            f"- {name}: {'with ' + ', '.join(loaded) if loaded else 'in Python alone'}; "
            f"{dropped:,} lines of its log dropped"
        )


def markdown(results: Results, rows: Sequence[Row]) -> str:
    output = ["## Comparison", ""]
    output += [f"- {key}: {value}" for key, value in results.machine.items()]
    output += about_threadwire(results)
    options = results.options
    changes = [*(f"{name}={value}" for name, value in options["env"]), options["threadwire_args"]]
    if any(changes):
        output.append(f"- threadwire is run with: `{' '.join(filter(None, changes))}`")
    output += [
        (
            f"- method: {options['rounds']} rounds of {options['seconds']:g} s after "
            f"{options['warmup']:g} s of warm-up; medians; ratios are medians of the ratios "
            "within a round" + ("; freed memory kept" if options["keep_memory"] else "")
        ),
        "",
    ]
    output += summary_table(results, rows)
    output += pure_table(results, rows)
    output += targets_table(results, rows)
    done = {run.row for run in results.runs}
    for row in rows:
        if row.name in done:
            output += row_table(results, row)
        if row.mode == "memory":
            output += memory_table(results, row)
    for title, lines in (("Skipped", results.skipped), ("Failed", results.failures)):
        if lines:
            output += [f"### {title}", "", *(f"- {text.splitlines()[0]}" for text in lines), ""]
    return "\n".join(output)
