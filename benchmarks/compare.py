"""Measure threadwire beside other servers that do the same work.

    python benchmarks/compare.py --rounds 3 --seconds 3

Builds the load generator and the C server, starts every server on a free
loopback port, runs the rows of README.md and prints Markdown tables.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SERVERS_DIR = HERE / "servers"
BUILD_DIR = HERE / "build"
SOURCE_DIR = HERE.parent / "src"
LOADGEN = BUILD_DIR / "loadgen"

READY = re.compile(r"listening (\d+)|tcp://127\.0\.0\.1:(\d+)")
READY_SECONDS = 20.0
END_SECONDS = 60.0
LOADGEN_SPARE_SECONDS = 60.0
IDLE_SECONDS = 60
SETTLE_SECONDS = 1.0
SPARE_FILES = 200
SLOW_MS = 100
# glibc gives blocks of 128 KiB and more back to the system when they are freed, until a program
# happens to free a big one; these let it keep them.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}
SUBJECT = "threadwire"
YARDSTICK = "c-epoll"


class Failed(Exception):
    """A run that gave no result."""


@dataclass(frozen=True)
class Server:
    name: str
    command: Sequence[str]
    module: str | None = None
    mixed: bool = False
    # Its event loop runs the slow handlers, and notices a signal only after them.
    blocked: bool = False


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(SERVERS_DIR / script), *arguments, "--port", "0"]


def threadwire(handler: str, extra: Sequence[str]) -> list[str]:
    return [
        *(sys.executable, "-m", "threadwire", "serve"),
        *("--listen", "tcp://127.0.0.1:0", "--framing", "lines"),
        *extra,
        handler,
    ]


def all_servers(extra: Sequence[str]) -> list[Server]:
    return [
        Server(SUBJECT, threadwire("handlers:reverse", extra), "threadwire.__main__"),
        Server(YARDSTICK, [str(BUILD_DIR / "epoll_server"), "--port", "0"]),
        Server("uvloop-protocol", python("asyncio_protocol.py", "--loop", "uvloop"), "uvloop"),
        Server("uvloop-streams", python("asyncio_streams.py", "--loop", "uvloop"), "uvloop"),
        Server("asyncio-protocol", python("asyncio_protocol.py", "--loop", "asyncio")),
        Server("asyncio-streams", python("asyncio_streams.py", "--loop", "asyncio")),
        Server("gevent", python("gevent_server.py"), "gevent"),
        Server("twisted", python("twisted_server.py"), "twisted"),
        Server("socketserver", python("socketserver_threads.py")),
        Server("pinned-threads", python("pinned_threads.py")),
        Server(SUBJECT, threadwire("handlers:mixed", extra), "threadwire.__main__", mixed=True),
        Server("pinned-threads", python("pinned_threads.py", "--mixed"), mixed=True),
        *(
            Server(
                f"uvloop-{where}",
                python("uvloop_mixed.py", "--where", where),
                "uvloop",
                mixed=True,
                blocked=where == "inline",
            )
            for where in ("inline", "executor", "routed")
        ),
    ]


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


# ---------------------------------------------------------------- processes


def build() -> None:
    BUILD_DIR.mkdir(exist_ok=True)
    sources = {
        LOADGEN: HERE / "loadgen.c",
        BUILD_DIR / "epoll_server": SERVERS_DIR / "epoll_server.c",
    }
    for program, source in sources.items():
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True
        )


def tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, 2000, max(0, size - 2000)).decode(errors="replace").strip()
    return f"\n{text}" if text else ""


def wait_until_ready(process: subprocess.Popen[bytes], output: int) -> int:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        # A positioned read: the server writes at the offset it shares with this descriptor.
        text = os.pread(output, 8192, 0).decode(errors="replace")
        complete = text[: text.rfind("\n") + 1]
        if match := READY.search(complete):
            return int(match[1] or match[2])
        if process.poll() is not None:
            raise Failed(f"ended with status {process.returncode} before it was ready")
        time.sleep(0.01)
    raise Failed(f"was not ready after {READY_SECONDS:g} s")


def end(process: subprocess.Popen[bytes], blocked: bool) -> None:
    if process.poll() is not None:
        raise Failed(f"ended by itself with status {process.returncode}")
    process.terminate()
    try:
        status = process.wait(1.0 if blocked else END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        if blocked:
            return
        raise Failed(f"did not end within {END_SECONDS:g} s of SIGTERM") from None
    if status not in (0, -signal.SIGTERM):
        raise Failed(f"ended with status {status} after SIGTERM")


@contextlib.contextmanager
def running(server: Server, keep_memory: bool) -> Iterator[tuple[int, int]]:
    """The process id and the port of a started server; ends it."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            server.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=SERVERS_DIR,
            env=environment() | (KEEP_MEMORY if keep_memory else {}),
        )
        try:
            port = wait_until_ready(process, output.fileno())
            yield process.pid, port
            end(process, server.blocked)
        except Failed as error:
            raise Failed(f"{error}{tail(errors.fileno())}") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def environment() -> dict[str, str]:
    """Where threadwire is measured from: this checkout, whatever is installed."""
    paths = [str(SOURCE_DIR), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def run_loadgen(arguments: Sequence[str], port: int, seconds: float, warmup: float) -> Any:
    timing = ["--seconds", f"{seconds:g}", "--warmup", f"{warmup:g}"]
    try:
        done = subprocess.run(
            [str(LOADGEN), "--port", str(port), "--json", *timing, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + warmup + LOADGEN_SPARE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed("the load generator did not end in time") from None
    if done.returncode:
        raise Failed(f"the load generator ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def resident_kib(pid: int) -> float:
    """The resident memory of a process and its children."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    total = pages * resource.getpagesize() / 1024
    for task in Path(f"/proc/{pid}/task").iterdir():
        # Threads and children may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                total += resident_kib(int(child))
    return total


# -------------------------------------------------------------- measurement


def latency_values(report: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    latency = report["latency"] or {}
    values = {f"{prefix}{key}": latency[key] for key in ("p50", "p99", "mean") if key in latency}
    # What is still unanswered at the end counts too: in a stall it is all there is.
    longest = max(report["oldest_in_flight"], latency.get("max", 0.0))
    return values | {f"{prefix}oldest": longest, f"{prefix}messages": report["messages"]}


def measure_load(row: Row, port: int, options: argparse.Namespace) -> tuple[dict[str, float], Any]:
    report = run_loadgen(row.arguments, port, options.seconds, options.warmup)
    values = latency_values(report) | {"rate": report["messages_per_second"]}
    if "slow" in report:
        values |= latency_values(report["slow"], "slow_")
    return values, report


def measure_idle(row: Row, pid: int, port: int, connections: int) -> tuple[dict[str, float], Any]:
    run_loadgen(load(16), port, 0.2, 0.0)
    before = resident_kib(pid)
    command = [str(LOADGEN), "--port", str(port), "--seconds", str(IDLE_SECONDS), *row.arguments]
    # The load generator bounds its own time, so nothing here waits for ever.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != f"holding {connections}\n":
            raise Failed(f"idle connections: {holder.stderr.read().strip()}")
        time.sleep(SETTLE_SECONDS)
        after = resident_kib(pid)
        holder.stdin.close()
        if holder.wait(END_SECONDS):
            raise Failed(f"idle connections: {holder.stderr.read().strip()}")
    values = {"kib": (after - before) / connections, "kib_before": before}
    return values, {"connections": connections}


def measure(row: Row, server: Server, options: argparse.Namespace) -> tuple[dict[str, float], Any]:
    with running(server, options.keep_memory) as (pid, port):
        if row.idle:
            return measure_idle(row, pid, port, options.idle_connections)
        return measure_load(row, port, options)


def importable(module: str) -> bool:
    """Whether the servers' interpreter finds a module, in the servers' environment."""
    check = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    done = subprocess.run(
        [sys.executable, "-c", check, module],
        env=environment(),
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def present(servers: Sequence[Server], skipped: list[str]) -> list[Server]:
    modules = {server.module for server in servers if server.module}
    missing = {module for module in modules if not importable(module)}
    for server in servers:
        line = f"{server.name}: {server.module} is not installed"
        if server.module in missing and line not in skipped:
            skipped.append(line)
    return [server for server in servers if server.module not in missing]


def raise_file_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


def run_all(options: argparse.Namespace, rows: Sequence[Row], results: Results) -> None:
    servers = present(
        [
            server
            for server in all_servers(options.threadwire_args.split())
            if not options.servers or server.name in options.servers
        ],
        results.skipped,
    )
    for line in results.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    for turn in range(options.rounds):
        for row in rows:
            fitting = [server for server in servers if server.mixed == row.mixed]
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


# ------------------------------------------------------------------- tables


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


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known_rows = [row.name for row in all_rows(1)]
    known_servers = list(dict.fromkeys(server.name for server in all_servers([])))
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of a run")
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--rows", type=some_of(known_rows), help=", ".join(known_rows))
    parser.add_argument("--servers", type=some_of(known_servers), help=", ".join(known_servers))
    parser.add_argument("--idle-connections", type=positive, default=10_000)
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
    return parser.parse_args()


def main() -> int:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    build()
    files = raise_file_limit()
    rows = [
        row for row in all_rows(options.idle_connections) if row.name in (options.rows or row.name)
    ]
    told = {key: str(value) if key == "json" else value for key, value in vars(options).items()}
    results = Results(machine(), told)
    if files < options.idle_connections + SPARE_FILES and any(row.idle for row in rows):
        results.skipped.append(f"idle: a process may open only {files} files (ulimit -n)")
        rows = [row for row in rows if not row.idle]
    run_all(options, rows, results)
    print(markdown(results, rows))
    if options.json:
        options.json.write_text(json.dumps(asdict(results), indent=1) + "\n")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
