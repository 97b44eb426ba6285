"""Compare `threadwire bench` with the load generator in C, on the same server.

    python benchmarks/agreement.py --rounds 5 --seconds 2

Where the load is as much as the server bears, what counts is how many messages a second each
of the two drives. Below that, it is whether they measure the same latency. Both send lines of
random letters, check every reply, and take turns on servers that are started anew each round.

The tables go to standard output as Markdown, progress to standard error. The exit status is 1
if a run failed or the two disagree: by more than LEAST_RATE in the messages a second of 64
clients with one message in flight or 32, or by more than FURTHEST in a p50 below saturation, or
in a p99 of the server whose slow replies are its own doing. The p99 of a few microseconds is the
machine's: of each run it tells how often something else was in the way.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from contenders import SUBJECT, YARDSTICK, Contenders, Server
from machine import machine
from processes import SOURCE_DIR, Failed, Running, build, run_loadgen, running

sys.path.insert(0, str(SOURCE_DIR))  # this checkout's, in the processes that make load, too

from threadwire.bench.expect import Reverse
from threadwire.bench.messages import Sizes
from threadwire.bench.plan import Plan
from threadwire.bench.run import run

LEAST_RATE = 0.7  # of the messages a second that the one in C drives
FURTHEST = 0.15  # that a latency below saturation may be off

PACED = "threadwire-paced"

Values = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One work, done by one server. ``saturated``: it is as much as the server bears."""

    server: str
    clients: int
    size: int = 64
    pipeline: int = 1
    saturated: bool = False

    @property
    def title(self) -> str:
        clients = "one client" if self.clients == 1 else f"{self.clients} clients"
        return f"{self.server}: {clients}, {self.size} bytes, {self.pipeline} in flight"


ROWS = [
    Row(SUBJECT, 64, saturated=True),
    Row(SUBJECT, 512, saturated=True),
    Row(SUBJECT, 64, size=1024, saturated=True),
    Row(SUBJECT, 64, pipeline=32, saturated=True),
    Row(SUBJECT, 4, saturated=True),
    Row(YARDSTICK, 64, saturated=True),
    Row(SUBJECT, 1),
    Row(YARDSTICK, 1),
    Row(PACED, 16),
    Row(PACED, 16, pipeline=2),
]
RATED = {ROWS[0], ROWS[3]}  # the rates that LEAST_RATE is for; the others are told


def in_c(row: Row, server: Running, seconds: float, warmup: float) -> Values:
    counts = {"clients": row.clients, "size": row.size, "pipeline": row.pipeline}
    arguments = [word for name, count in counts.items() for word in (f"--{name}", str(count))]
    report = run_loadgen(arguments, server.port, seconds, warmup)
    latency = report["latency"]
    return {"rate": report["messages_per_second"], "p50": latency["p50"], "p99": latency["p99"]}


def in_python(row: Row, server: Running, seconds: float, warmup: float) -> Values:
    result = run(
        Plan(
            url=f"tcp://127.0.0.1:{server.port}",
            clients=row.clients,
            pipeline=row.pipeline,
            messages=Sizes(row.size),
            expect=Reverse(),
            duration=seconds,
            warmup=warmup,
        )
    )
    if result.errors:
        raise Failed(f"threadwire bench: {dict(result.errors)}")
    return {
        "rate": result.messages_per_second,
        "p50": result.latency.percentile(50) * 1e6,
        "p99": result.latency.percentile(99) * 1e6,
        "cpu": result.generator.cpu,
    }


GENERATORS: dict[str, Callable[[Row, Running, float, float], Values]] = {
    "c": in_c,
    "python": in_python,
}


def servers(contenders: Contenders) -> dict[str, Server]:
    found = {server.name: server for server in reversed(contenders.all())}
    found[SUBJECT] = contenders.threadwire(SUBJECT, "handlers:reverse", ("plain",))
    found[PACED] = contenders.threadwire(PACED, "paced:paced", ("plain",))
    return found


def measure(options: argparse.Namespace) -> dict[Row, list[dict[str, Values]]]:
    known = servers(Contenders(sys.executable, [], {}))
    measured: dict[Row, list[dict[str, Values]]] = {row: [] for row in ROWS}
    for turn in range(options.rounds):
        for row in ROWS:
            # They take turns at being the first.
            names = sorted(GENERATORS, reverse=bool(turn % 2))
            with running(known[row.server], keep_memory=False) as server:
                values = {
                    name: GENERATORS[name](row, server, options.seconds, options.warmup)
                    for name in names
                }
            measured[row].append(values)
            print(f"round {turn + 1}, {row.title}: {values}", file=sys.stderr)
    return measured


def ratios(rounds: Sequence[dict[str, Values]], key: str) -> list[float]:
    return [values["python"][key] / values["c"][key] for values in rounds]


def number(values: Sequence[float], digits: int = 0) -> str:
    return f"{median(values):,.{digits}f}"


def ratio(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def report(measured: dict[Row, list[dict[str, Values]]]) -> tuple[str, bool]:
    """The tables, and whether the two agree."""
    lines = [
        "| saturated | C messages/s | bench messages/s | bench ÷ C | CPU of bench |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    agree = True
    for row, rounds in measured.items():
        if not row.saturated:
            continue
        rates = ratios(rounds, "rate")
        agree = agree and (row not in RATED or median(rates) >= LEAST_RATE)
        rate = {name: number([values[name]["rate"] for values in rounds]) for name in GENERATORS}
        cpu = number([values["python"]["cpu"] for values in rounds], 2)
        lines.append(f"| {row.title} | {rate['c']} | {rate['python']} | {ratio(rates)} | {cpu} |")
    lines += [
        "",
        "| below saturation | C p50 µs | bench p50 µs | bench ÷ C | C p99 µs | bench p99 µs "
        "| bench ÷ C |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row, rounds in measured.items():
        if row.saturated:
            continue
        cells = [row.title]
        for key in ("p50", "p99"):
            off = ratios(rounds, key)
            if key == "p50" or row.server == PACED:
                agree = agree and abs(median(off) - 1) <= FURTHEST
            cells += [
                *(number([values[name][key] for values in rounds], 1) for name in ("c", "python")),
                ratio(off),
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines), agree


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a run [2]")
    parser.add_argument("--warmup", type=float, default=0.5, help="of a run, in seconds [0.5]")
    options = parser.parse_args()
    build()
    about: dict[str, Any] = machine(sys.executable)
    try:
        measured = measure(options)
    except Failed as error:
        print(f"agreement: {error}", file=sys.stderr)
        return 1
    for key in ("date", "processor", "system", "python"):
        print(f"- {key}: {about[key]}")
    print(
        f"- method: {options.rounds} rounds of {options.seconds:g} s after {options.warmup:g} s of "
        "warm-up, in turn; medians; ratios are medians of the ratios within a round, and the "
        "smallest and greatest of them\n"
    )
    tables, agree = report(measured)
    print(tables)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
