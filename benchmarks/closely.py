"""Measure this tree of threadwire closely beside another one.

    python benchmarks/closely.py --before DIRECTORY --rows clients-64,connect

`compare.py` starts a server, measures it and ends it before the next one: where the system places
two processes then moves a figure more than a change of a per cent does. Here both servers run all
the time on one core, and the load generator on another; brief loads go to the one and the other in
turn, the order reversed every time. A start's ratio is the median of its rounds' ratios, and the
figure the median of several starts, for what memory looks like is another with each.

`DIRECTORY` is a checkout, built in place; given this one, the ratio shows what chance does. The
table goes to standard output as Markdown, progress to standard error.
"""

import argparse
import contextlib
import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from compare import interpreter, positive, some_of
from contenders import SUBJECT, Contenders, Server
from machine import machine
from processes import Failed, build, raise_file_limit, run_loadgen, running
from rows import Row, all_rows

ROWS = [row for row in all_rows(1, 1) if row.mode == "load" and row.kind in ("plain", "alone")]


def on_core(core: int, server: Server) -> Server:
    return dataclasses.replace(server, command=["taskset", "-c", str(core), *server.command])


def measure(row: Row, port: int, options: argparse.Namespace) -> float:
    report = run_loadgen(row.arguments, port, options.seconds, options.warmup)
    if row.metric.key == "p50":
        return float(report["latency"]["p50"])
    rate = "connects_per_second" if "connect" in row.arguments else "messages_per_second"
    return float(report[rate])


def one_start(row: Row, servers: Sequence[Server], options: argparse.Namespace) -> list[float]:
    """Both servers' figures in each of the rounds: before, after, before, after, ..."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(running(server, False)).port for server in servers]
        for port in ports:
            measure(row, port, options)
        found = []
        for turn in range(options.rounds):
            values = [0.0, 0.0]
            for which in (0, 1) if turn % 2 else (1, 0):
                values[which] = measure(row, ports[which], options)
            found += values
    return found


def line(row: Row, starts: Sequence[Sequence[float]]) -> str:
    before, after = ([value for start in starts for value in start[n::2]] for n in (0, 1))
    ratios = sorted(
        median(new / old for old, new in zip(start[::2], start[1::2], strict=True))
        for start in starts
    )
    return (
        f"| {row.title} | {median(before):,.0f} | {median(after):,.0f} "
        f"| {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) |"
    )


def table(options: argparse.Namespace) -> Iterator[str]:
    here, serving = sorted(os.sched_getaffinity(0))[-1], min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {here})  # the load generator's, too
    contenders = Contenders(options.python, ["-q"], {}, options.before)
    subject = contenders.threadwire(SUBJECT, "handlers:reverse", ("plain", "alone"))
    servers = [on_core(serving, server) for server in (contenders.older()[0], subject)]
    yield "| work | before | after | ÷ before, median of starts (least to most) |"
    yield "| --- | ---: | ---: | ---: |"
    for row in ROWS:
        if options.rows and row.name not in options.rows:
            continue
        starts = []
        for start in range(options.starts):
            starts.append(one_start(row, servers, options))
            print(f"start {start + 1}: {line(row, starts[-1:])}", file=sys.stderr, flush=True)
        yield line(row, starts)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, metavar="DIRECTORY")
    parser.add_argument("--rows", type=some_of([row.name for row in ROWS]))
    parser.add_argument("--starts", type=positive, default=5)
    parser.add_argument("--rounds", type=positive, default=12, help="of each start")
    parser.add_argument("--seconds", type=float, default=0.25, help="of each load")
    parser.add_argument("--warmup", type=float, default=0.05)
    parser.add_argument("--python", type=interpreter, default=sys.executable, metavar="PROGRAM")
    options = parser.parse_args()
    if shutil.which("taskset") is None or len(os.sched_getaffinity(0)) < 2:
        parser.error("it takes taskset, and two cores")
    raise_file_limit()
    build()
    for name, fact in machine(options.python).items():
        print(f"- {name}: {fact}")
    print()
    try:
        for text in table(options):
            print(text, flush=True)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
