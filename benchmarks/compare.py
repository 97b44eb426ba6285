"""Measure threadwire beside other servers that do the same work.

    python benchmarks/compare.py --rounds 3 --seconds 2

Builds the load generator and the C server, starts every server on a free
loopback port, runs the rows of README.md and prints Markdown tables.
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from contenders import BEFORE, Contenders, Server
from machine import machine
from measuring import measure
from processes import Failed, build, present, raise_file_limit
from report import markdown
from results import Results, Run, number
from rows import Row, all_rows

SPARE_FILES = 200


def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name}: choose from {', '.join(known)}")
        return chosen

    return parse


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def interpreter(text: str) -> str:
    found = shutil.which(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: not a program")
    # Links stay as they are: one of them is what makes a virtual environment.
    return os.path.abspath(found)


def setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text}: must be NAME=VALUE")
    return name, value


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known_rows = [row.name for row in all_rows(1, 1)]
    known_servers = list(dict.fromkeys(server.name for server in Contenders("", [], {}).all()))
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of a run")
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--rows", type=some_of(known_rows), help=", ".join(known_rows))
    parser.add_argument("--servers", type=some_of(known_servers), help=", ".join(known_servers))
    parser.add_argument("--idle-connections", type=positive, default=10_000)
    parser.add_argument(
        "--million-connections",
        type=positive,
        default=200_000,
        metavar="N",
        help="how many the row `million` makes; 1000000 for what its name says",
    )
    parser.add_argument(
        "--python",
        type=interpreter,
        default=sys.executable,
        metavar="PROGRAM",
        help="the interpreter of the servers, with the packages they need; this one by default",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured here")
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="run every server with glibc set to keep freed memory",
    )
    parser.add_argument(
        "--threadwire-args",
        default="",
        metavar="ARGUMENTS",
        help="more arguments for `threadwire serve`, in one string",
    )
    parser.add_argument(
        "--before",
        metavar="DIRECTORY",
        help="another checkout of threadwire, built in place, to be measured as threadwire-before",
    )
    parser.add_argument(
        "--env",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set this in the environment of `threadwire serve`; may be given several times",
    )
    return parser.parse_args()


def run_all(options: argparse.Namespace, rows: Sequence[Row], results: Results) -> None:
    contenders = Contenders(
        options.python, options.threadwire_args.split(), dict(options.env), options.before
    )
    servers = present(
        options.python,
        [
            server
            for server in contenders.all()
            if not options.servers or server.name in (*options.servers, BEFORE)
        ],
        results.skipped,
    )
    for line in results.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    for turn in range(options.rounds):
        for row in rows:
            if turn and row.once:
                continue
            fitting = [server for server in servers if row.kind in server.kinds]
            # Every round begins with another server.
            start = turn % max(1, len(fitting))
            for server in fitting[start:] + fitting[:start]:
                run_one(turn, row, server, options, results)


def run_one(
    turn: int, row: Row, server: Server, options: argparse.Namespace, results: Results
) -> None:
    label = f"round {turn + 1}, {row.name}, {server.name}"
    try:
        values, report = measure(row, server, options)
    except Failed as error:
        results.failures.append(f"{label}: {error}")
        print(f"FAILED {label}: {error}", file=sys.stderr, flush=True)
        return
    results.runs.append(Run(turn + 1, row.name, server.name, values, report))
    text = number(values.get(row.metric.key), row.metric)
    print(f"{label}: {text} {row.metric.title}", file=sys.stderr, flush=True)


def main() -> int:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    build()
    files = raise_file_limit()
    rows = [
        row
        for row in all_rows(options.idle_connections, options.million_connections)
        if not options.rows or row.name in options.rows
    ]
    told = {key: str(value) if key == "json" else value for key, value in vars(options).items()}
    results = Results(machine(options.python), told)
    if files < options.idle_connections + SPARE_FILES and any(row.mode == "idle" for row in rows):
        results.skipped.append(f"idle: a process may open only {files} files (ulimit -n)")
        rows = [row for row in rows if row.mode != "idle"]
    run_all(options, rows, results)
    print(markdown(results, rows))
    if options.json:
        options.json.write_text(results.as_json())
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
