"""``threadwire bench``: load on a service, and what came of it."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConnectError
from .bench_options import bench_options, make_plan
from .options import GroupedCommand

if TYPE_CHECKING:
    from ..bench.comparison import Comparison
    from ..bench.live import Watch
    from ..bench.results import Result
    from ..bench.thresholds import Missed, Threshold

FAILURE, INTERRUPTED, TERMINATED = 1, 130, 143

_WIDTH = 100  # columns, where no terminal says how many there are


EXAMPLES = """\b
Examples:
  threadwire bench
  threadwire bench tcp://db.example:7000 --framing length:4 --expect any
  threadwire bench --rate 20k --fail-if 'p99>5ms' --fail-if 'errors>0' --html report.html
  threadwire bench --save before.json, and later: threadwire bench --compare before.json
"""


@click.command(
    cls=GroupedCommand,
    short_help="Put load on a server, and tell how it bears it.",
    epilog=EXAMPLES,
)
@bench_options
def bench(
    *,
    as_json: bool,
    save: str | None,
    compare: tuple[str, ...],
    html: str | None,
    fail_if: tuple[Threshold, ...],
    quiet: bool,
    **asked: Any,
) -> int:
    """Put load on the service at URL (default tcp://127.0.0.1:12345), and measure it.

    Many clients send messages and wait for their replies, each of which is checked. How that
    goes is shown on standard error, and then, on standard output, throughput, latency and
    errors. By default 64 clients ask for ten seconds what 'threadwire serve' answers.

    With --rate, messages are due at fixed times, and latency counts from those: a service
    that stalls cannot hide it by not being asked meanwhile. Both this corrected latency and
    the uncorrected one are told.

    Exit codes: 0 ok, 1 not one right reply or a --fail-if that holds, 2 wrong usage, 3 no
    connection at all, 130 interrupted, after what was measured until then is told, 143 ended by
    SIGTERM.
    """
    from ..bench import saving
    from ..bench.run import run
    from ..bench.thresholds import missed

    if html is not None:  # found out now if it cannot be, and not when there is much to lose
        from ..bench.report import html_of

    # Whatever is wrong is told before the load, not after.
    for path in (save, html):
        if path is not None:
            saving.require_writable(path)
    earlier = {path: saving.load(path) for path in compare}
    plan = make_plan(**asked)
    with _signals_end() as stop, _watch(plan.url, quiet=quiet) as watch:
        result = run(plan, watch, stop)
    # A run may have taken long: whatever fails from here on, as a full disk or a reader who has
    # left, it is written where it can be.
    text = saving.json_of(result)
    try:
        if save is not None:
            saving.save(save, f"{text}\n")
    finally:
        failed = missed(fail_if, result)
        comparison = _compared(result, earlier)
        try:
            if as_json:
                click.echo(text)
            elif result.connected:
                _summary(result, comparison, fail_if, failed)
        finally:
            if html is not None:
                page = html_of(result, comparison=comparison, thresholds=fail_if, missed=failed)
                saving.save(html, page)
    return _outcome(result, failed)


def _compared(result: Result, earlier: Mapping[str, Result]) -> Comparison | None:
    if not earlier:
        return None
    from ..bench.comparison import compare

    return compare(result, earlier)


@contextmanager
def _signals_end() -> Iterator[threading.Event]:
    """The first Ctrl-C asks for an end, with what was measured; the second one just ends it.

    So does SIGTERM, but leaves the terminal as it was.
    """
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def interrupt(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.exit(TERMINATED)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(url: str, *, quiet: bool) -> Watch:
    from ..bench.live import Lines, Screen, Silence

    if quiet:
        return Silence()
    if sys.stderr.isatty():
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        if not console.is_dumb_terminal:
            return Screen(console, url)
    return Lines(sys.stderr)


def _summary(
    result: Result,
    comparison: Comparison | None,
    thresholds: Sequence[Threshold],
    failed: Sequence[Missed],
) -> None:
    from rich.console import Console

    from ..bench.summary import show

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Bars and µ are not in every encoding, and no reason to lose the figures.
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    show(console, result, comparison=comparison, thresholds=thresholds, missed=failed)


def _outcome(result: Result, failed: Sequence[Missed]) -> int:
    """The exit code; why it is not 0 is told on standard error, too."""
    if result.interrupted:
        return INTERRUPTED
    if not result.connected:
        raise ConnectError(str(result.plan["url"]), _first_example(result))
    for threshold in failed:
        click.echo(f"threadwire: --fail-if {threshold}", err=True)
    if not result.messages:
        click.echo("threadwire: not one request got a right reply", err=True)
    return FAILURE if failed or not result.messages else 0


def _first_example(result: Result) -> str:
    return next((error.example for error in result.errors.values()), "no connection was made")
