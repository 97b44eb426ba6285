"""Measure what it costs a service to be watched.

    python benchmarks/watched.py --rounds 7 --seconds 2

64 clients of the load generator in C, 64 bytes, one in flight, against `threadwire serve`, while
nobody watches, and while others do: metrics are read once a second, one live page is open, or ten,
or one beside 9,000 idle clients. They take turns on servers that are started anew each round.
Medians; ratios are medians of the ratios within a round: to a service without an admin endpoint,
or for the page beside idle clients, to as many of them and no page.

The table goes to standard output as Markdown, progress to standard error.
"""

import argparse
import contextlib
import http.client
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from contenders import SUBJECT, Contenders
from machine import machine
from processes import build, raise_file_limit, run_loadgen, running


@dataclass(frozen=True)
class Watching:
    """Who looks: so many pages, and whether Prometheus does; beside so many idle clients."""

    name: str
    title: str
    pages: int = 0
    scraped: bool = False
    idle: int = 0
    admin: bool = True
    against: str = "none"


WAYS = [
    Watching("none", "no admin endpoint", admin=False),
    Watching("nobody", "an admin endpoint that nobody asks"),
    Watching("scraped", "metrics once a second", scraped=True),
    Watching("page", "one live page", pages=1),
    Watching("pages", "ten live pages", pages=10),
    Watching("idle", "9,000 idle clients, nobody watches", idle=9000, against="none"),
    Watching("idle-page", "9,000 idle clients, one live page", idle=9000, pages=1, against="idle"),
]


def read_events(port: int, stop: threading.Event) -> None:
    """What a page does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/events")
    with contextlib.closing(connection), connection.getresponse() as response:
        while not stop.is_set() and response.readline():
            pass


def scrape(port: int, stop: threading.Event) -> None:
    """What Prometheus does, more often than it does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        while not stop.wait(1.0):
            connection.request("GET", "/metrics")
            connection.getresponse().read()


@contextlib.contextmanager
def watched(way: Watching, port: int) -> Iterator[None]:
    stop = threading.Event()
    watchers = [read_events] * way.pages + [scrape] * way.scraped
    threads = [threading.Thread(target=watcher, args=(port, stop)) for watcher in watchers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def idle_clients(count: int, port: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"\n")
            client.recv(1)  # so it has been accepted
        yield


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def measure(way: Watching, seconds: float, warmup: float) -> dict[str, float]:
    admin = free_port()
    more = ["--admin", f"127.0.0.1:{admin}"] if way.admin else []
    contenders = Contenders(sys.executable, ["-q", *more], {})
    server = contenders.threadwire(SUBJECT, "handlers:reverse", ("plain",))
    with (
        running(server, keep_memory=False) as process,
        idle_clients(way.idle, process.port),
        watched(way, admin),
    ):
        report = run_loadgen(["--clients", "64"], process.port, seconds, warmup)
    return {"rate": report["messages_per_second"], "p99": report["latency"]["p99"]}


def table(measured: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    yield "| while | messages/s | min to max | ratio | p99 µs |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for way in WAYS:
        found = [values["rate"] for values in measured[way.name]]
        against = [values["rate"] for values in measured[way.against]]
        ratios = sorted(one / other for one, other in zip(found, against, strict=True))
        spread = f"{median(ratios):.3f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        p99 = median(values["p99"] for values in measured[way.name])
        lowest, highest = f"{min(found):,.0f}", f"{max(found):,.0f}"
        yield (
            f"| {way.title} | {median(found):,.0f} | {lowest} to {highest} "
            f"| {'-' if way.name == way.against else spread} | {p99:,.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    options = parser.parse_args()
    raise_file_limit()
    build()
    measured: dict[str, list[dict[str, float]]] = {way.name: [] for way in WAYS}
    for turn in range(options.rounds):
        for way in WAYS[turn % len(WAYS) :] + WAYS[: turn % len(WAYS)]:
            values = measure(way, options.seconds, options.warmup)
            measured[way.name].append(values)
            print(f"round {turn + 1}, {way.title}: {values}", file=sys.stderr)
    for name, fact in machine(sys.executable).items():
        print(f"- {name}: {fact}")
    print()
    print("\n".join(table(measured)))


if __name__ == "__main__":
    main()
