"""How a run goes, while it goes: drawn on a terminal, or told in lines now and then.

Both are called with a :class:`~.results.Progress` a few times a second, by the thread that
waits for the run; the load comes from other processes, which this does not disturb.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from ..units import format_duration
from .amounts import duration_words, rate_words
from .description import several
from .results import Phase, Progress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

__all__ = ["Lines", "Screen", "Silence", "Watch"]

_PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_SECONDS = 0.5  # for each of them
_MOST_SPARKS = 60
_LABELS = 14  # columns for what stands to the left of the sparks
_KINDS = 4  # of errors that are named

_PHASES: dict[Phase, str] = {
    "connecting": "connecting",
    "ramp": "ramping up",
    "warmup": "warming up",
    "measuring": "measuring",
    "finishing": "waiting for the last replies",
}


class Watch(Protocol):
    """What follows a run, within ``with``."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __call__(self, progress: Progress, /) -> None: ...


class Silence:
    """Nothing is told."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, progress: Progress, /) -> None:
        pass


class Lines(Silence):
    """A line now and then, for logs; ``clock`` counts seconds.

    Every second in a run of up to twenty; every twentieth of a longer one, but once in ten
    seconds.
    """

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._next = 0.0
        self._phase: Phase | None = None

    def __call__(self, progress: Progress, /) -> None:
        now = self._clock()
        if now < self._next and progress.phase == self._phase:
            return
        self._next = now + min(max(1.0, (progress.planned or 0) / 20), 10.0)
        self._phase = progress.phase
        self._out.write(f"threadwire: {line_of(progress)}\n")
        self._out.flush()


def line_of(progress: Progress) -> str:
    """All of it in one line."""
    told = [f"{_PHASES[progress.phase]}, {_time(progress)}"]
    if progress.phase == "connecting" or not progress.messages:
        told.append(f"{progress.connected:,} of {progress.clients:,} clients connected")
    if progress.messages:
        told.append(f"{rate_words(progress.rate)} messages/s")
        told.append(f"p50 {duration_words(progress.latency.percentile(50.0))}")
        told.append(f"p99 {duration_words(progress.latency.percentile(99.0))}")
    if progress.error_count:
        told.append(f"{several(progress.error_count, 'error')} ({_kinds(progress)})")
    return "; ".join(told)


def _time(progress: Progress) -> str:
    elapsed = f"{progress.elapsed:.1f} s" if progress.elapsed < 60 else None
    words = elapsed or format_duration(progress.elapsed)
    if progress.planned is not None:
        return f"{words} of {format_duration(progress.planned)}"
    return f"{words}, {progress.done:.0%} done"


def _kinds(progress: Progress) -> str:
    """The kinds of errors, the most frequent first."""
    kinds = sorted(progress.errors.items(), key=lambda item: -item[1].count)
    words = [f"{kind} {error.count:,}" for kind, error in kinds[:_KINDS]]
    return ", ".join([*words, "…"] if len(kinds) > _KINDS else words)


class Screen:
    """A part of the terminal that is drawn anew each time, and is gone at the end."""

    def __init__(
        self, console: Console, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._name = name
        self._clock = clock
        self._live: Live | None = None
        self._rates: deque[float] = deque(maxlen=_MOST_SPARKS)
        self._next_spark = 0.0

    def __enter__(self) -> Self:
        from rich.live import Live

        # Drawn when there is something new: a thread of rich's own has nothing to add.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, traceback)
            self._live = None

    def __call__(self, progress: Progress, /) -> None:
        if self._live is None:
            return
        self._remember(progress)
        self._live.update(self._drawn(progress), refresh=True)

    def _remember(self, progress: Progress) -> None:
        now = self._clock()
        if progress.phase in {"connecting", "finishing"}:
            return
        if now >= self._next_spark:
            self._next_spark = now + _SPARK_SECONDS
            self._rates.append(progress.rate)

    def _drawn(self, progress: Progress) -> RenderableType:
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(self._name, "bold")
        head.append(f"  {_PHASES[progress.phase]}", "cyan")
        part = min(max(progress.done, 0.0), 1.0)
        width = min(self._console.width - 1, 60)
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(overflow="fold")
        rows.add_row("time", _time(progress))
        if progress.phase == "connecting" or progress.connected < progress.clients:
            rows.add_row("clients", f"{progress.connected:,} of {progress.clients:,} connected")
        rows.add_row("rate", self._rate(progress))
        rows.add_row("latency", self._latency(progress))
        count = progress.error_count
        errors = Text(f"{count:,}", "red" if count else "")
        if count:
            errors.append(f"  {_kinds(progress)}")
        rows.add_row("errors", errors)
        # A bar alone does not end its line.
        return Group(head, Padding(ProgressBar(1.0, part, width=max(width, 1)), 0), rows)

    def _rate(self, progress: Progress) -> Text:
        from rich.text import Text

        words = Text(no_wrap=True, overflow="crop")
        words.append(f"{rate_words(progress.rate)}/s", "bold green")
        room = max(self._console.width - _LABELS - len(words), 1)
        words.append(f"  {sparkline(list(self._rates)[-room:])}", "green")
        return words

    def _latency(self, progress: Progress) -> Text:
        from rich.text import Text

        if not progress.latency.count:
            return Text("no reply yet", "dim")
        told = [
            f"p{percentage:g} {duration_words(progress.latency.percentile(percentage))}"
            for percentage in _PERCENTILES
        ]
        return Text("  ".join([*told, f"max {duration_words(progress.latency.max)}"]))


def sparkline(values: Sequence[float]) -> str:
    """A character for each value, from nothing to the greatest of them."""
    most = max(values, default=0.0)
    if not most:
        return _SPARKS[0] * len(values)
    return "".join(_SPARKS[round(value / most * (len(_SPARKS) - 1))] for value in values)
