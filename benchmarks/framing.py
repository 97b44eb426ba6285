"""Measure how fast each framing takes a stream apart, and whether that stays linear.

    python benchmarks/framing.py
    python benchmarks/framing.py --framings lines,length:4 --rounds 1 --json framing.json

No network: the chunks lie in memory. Time is processor time, so that other work
on the machine disturbs little. The median of the rounds is printed as a Markdown
table. ``2N : N`` is the time for the whole stream over that for half of it: about
2 where work is linear. A message of raw is a chunk, whatever lies in it.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from threadwire import Framing, UnencodableMessage, UsageError, parse_framing

KIB = 1 << 10
MIB = 1 << 20
SMALL = 64

FRAMINGS = (
    "lines",
    "lines:crlf",
    r"delimited:\x03",
    "delimited:--end--",
    "length:4",
    "length:4:little:offset=2:inclusive",
    "netstring",
    "raw",
    "auto",
)


@dataclass(frozen=True)
class Stream:
    """A stream as it is fed: ``data``, ``piece`` bytes at a time."""

    data: bytes
    piece: int
    limit: int


@dataclass(frozen=True)
class Workload:
    name: str
    make: Callable[[Framing, float], Stream]


@dataclass(frozen=True)
class Result:
    framing: str
    workload: str
    mib_per_second: float
    messages_per_second: float
    messages: int
    ratio: float
    seconds: list[float]
    ratios: list[float]


def one_large(size: int, piece: int) -> Callable[[Framing, float], Stream]:
    """One message; as raw has none, as many bytes."""

    def make(framing: Framing, scale: float) -> Stream:
        length = int(size * scale)
        return Stream(framing.codec().encode(b"x" * length), piece, length)

    return make


def many_small(size: int) -> Callable[[Framing, float], Stream]:
    def make(framing: Framing, scale: float) -> Stream:
        data = framing.codec().encode(b"x" * SMALL)
        return Stream(data * (int(size * scale) // len(data)), 64 * KIB, 64 * KIB)

    return make


def workloads(scale: float) -> list[Workload]:
    large, pieces, small = int(64 * MIB * scale), int(1_000_000 * scale), int(64 * MIB * scale)
    return [
        Workload(f"one message of {large / MIB:g} MiB, 1 KiB at a time", one_large(large, KIB)),
        Workload(f"one message, {pieces:,} times 1 byte", one_large(pieces, 1)),
        Workload(f"{SMALL}-byte messages, 64 KiB at a time", many_small(small)),
    ]


def chunks_of(stream: Stream) -> list[bytes]:
    return [stream.data[i : i + stream.piece] for i in range(0, len(stream.data), stream.piece)]


def decode(framing: Framing, chunks: list[bytes], limit: int) -> tuple[float, int]:
    """Processor seconds, and messages: taken after each chunk, as a server does."""
    codec = framing.codec(limit)
    feed, next_message = codec.feed, codec.next_message
    count = 0
    gc.collect()
    began = time.process_time()
    for chunk in chunks:
        feed(chunk)
        while next_message() is not None:
            count += 1
    codec.end()
    while next_message() is not None:
        count += 1
    return time.process_time() - began, count


def measure(framing: Framing, workload: Workload, rounds: int) -> Result:
    stream, half = workload.make(framing, 1), workload.make(framing, 0.5)
    chunks, half_chunks = chunks_of(stream), chunks_of(half)
    seconds: list[float] = []
    ratios: list[float] = []
    count = 0
    for _ in range(rounds):
        of_half, _ = decode(framing, half_chunks, half.limit)
        of_whole, count = decode(framing, chunks, stream.limit)
        seconds.append(of_whole)
        ratios.append(of_whole / of_half)
    middle = statistics.median(seconds)
    return Result(
        str(framing),
        workload.name,
        len(stream.data) / MIB / middle,
        count / middle,
        count,
        statistics.median(ratios),
        seconds,
        ratios,
    )


def results(framings: list[Framing], scale: float, rounds: int) -> Iterator[Result]:
    for workload in workloads(scale):
        for framing in framings:
            print(f"{workload.name}: {framing}", file=sys.stderr)
            try:
                yield measure(framing, workload, rounds)
            except UnencodableMessage as error:
                print(f"  left out: {error}", file=sys.stderr)


def table_row(result: Result) -> str:
    messages = f"{result.messages_per_second:,.0f}" if result.messages > 1 else ""
    return (
        f"| {result.workload} | `{result.framing}` | {result.mib_per_second:,.1f} "
        f"| {messages} | {result.ratio:.2f} |"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--framings",
        default=",".join(FRAMINGS),
        help="comma-separated, as threadwire's --framing takes them [all]",
    )
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--scale", type=float, default=1.0, help="a factor for all sizes [1]")
    parser.add_argument("--json", metavar="FILE", help="write every measurement there, too")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if given.rounds < 1 or given.scale <= 0:
        print("--rounds must be at least 1, --scale more than 0", file=sys.stderr)
        return 2
    try:
        framings = [parse_framing(spec) for spec in given.framings.split(",")]
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    system = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{system}, {platform.machine()}; median of {given.rounds}\n")
    print("| Stream | Framing | MiB/s | messages/s | 2N : N |")
    print("| --- | --- | ---: | ---: | ---: |")
    measured = []
    for result in results(framings, given.scale, given.rounds):
        measured.append(result)
        print(table_row(result), flush=True)
    if given.json:
        report = {"python": system, "results": [asdict(result) for result in measured]}
        Path(given.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
