"""A result on a terminal, or in a file: the figures, the distribution, what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .advice import advice, told_by_enough
from .amounts import duration_words, rate_words, share_words, traffic_words
from .comparison import Comparison
from .description import load_words, messages_words, several, time_words
from .distribution import round_bins
from .histogram import Histogram
from .results import ErrorKind, Result
from .thresholds import Missed, Threshold

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["BEFORE", "PERCENTILES", "show"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)

BEFORE = "errors before measuring"

_BINS = 16
_BAR = 40  # columns, at most
_BESIDE_BAR = 32  # columns for the duration and the share
_WIDE = 96  # columns, from which there is room for spreads
_EIGHTHS = " ▏▎▍▌▋▊▉"
_EXAMPLE = 300  # characters that are shown of one


def show(
    console: Console,
    result: Result,
    *,
    comparison: Comparison | None = None,
    thresholds: Sequence[Threshold] = (),
    missed: Sequence[Missed] = (),
) -> None:
    """Print all that there is to tell of ``result``."""
    parts: list[RenderableType] = [_head(result), _figures(result)]
    if result.latency.count:
        parts += [_latency(result), *_distribution(result, console.width)]
    if result.plan.get("connect_each") and result.connect.count:
        parts.append(_connects(result))
    for title, errors in (("errors", result.errors), (BEFORE, result.errors_before)):
        if errors:
            parts.append(_errors(title, errors))
    if comparison is not None:
        parts.append(_comparison(comparison, spreads=console.width >= _WIDE))
    if thresholds:
        parts.append(_thresholds(thresholds, missed))
    parts += _advice(result)
    for part in parts:
        console.print(part)
        console.print()


def _text(words: str = "", style: str = "") -> Text:
    from rich.text import Text

    return Text(words, style)


def _table(*columns: str) -> Table:
    """Without lines; all columns but the first are for figures."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for n, name in enumerate(columns):
        table.add_column(name, justify="right" if n else "left", no_wrap=True)
    return table


def _head(result: Result) -> Text:
    words = _text()
    words.append(str(result.plan.get("url")), "bold")
    if result.interrupted:
        words.append("  interrupted", "yellow")
    for line in (
        load_words(result.plan),
        messages_words(result.plan),
        time_words(result.plan, result.seconds),
    ):
        words.append(f"\n{line}", "dim")
    return words


def _figures(result: Result) -> Text:
    words = _text()
    words.append(f"{rate_words(result.messages_per_second)} messages/s", "bold green")
    words.append(f"   {several(result.messages, 'message')}, ")
    failed = result.error_count
    words.append(several(failed, "error"), "red" if failed else "")
    if result.connects and (result.plan.get("connect_each") or result.connects_per_second >= 1):
        words.append(f"\n{rate_words(result.connects_per_second)} connections/s", "bold")
        words.append(f"   {several(result.connects, 'connection')}")
    if result.seconds:
        sent, received = (
            traffic_words(size / result.seconds)
            for size in (result.bytes_sent, result.bytes_received)
        )
        words.append(f"\n{sent} sent, {received} received")
    return words


def _latency(result: Result) -> Table:
    columns = {"latency": result.latency}
    if result.open_loop:
        columns = {"corrected": result.latency, "uncorrected": result.service}
    table = _table("" if result.open_loop else "latency", *(columns if result.open_loop else [""]))
    _durations(table, list(columns.values()))
    return table


def _connects(result: Result) -> Table:
    table = _table("connecting", "")
    _durations(table, [result.connect])
    return table


def _durations(table: Table, histograms: Sequence[Histogram]) -> None:
    for percentage in PERCENTILES:
        cells = [duration_words(histogram.percentile(percentage)) for histogram in histograms]
        sure = all(told_by_enough(histogram.count, percentage) for histogram in histograms)
        # What rests on less than ten durations is there, but not put forward.
        table.add_row(f"p{percentage:g}", *cells, style="" if sure else "dim")
    for name in ("max", "mean", "stdev"):
        table.add_row(name, *(duration_words(getattr(one, name)) for one in histograms))


def _distribution(result: Result, width: int) -> Iterator[Table]:
    # Of few durations, narrow bins would show chance.
    bins = round_bins(result.latency, min(_BINS, round(2 * result.latency.count ** (1 / 3))))
    if len(bins) < 2:
        return
    most = max(count for _, _, count in bins)
    longest = max(min(_BAR, width - _BESIDE_BAR), 1)
    table = _table("corrected, from" if result.open_loop else "latency, from", "", "of all")
    table.columns[0].justify, table.columns[1].justify = "right", "left"
    for low, _, count in bins:
        share = count / result.latency.count
        table.add_row(
            duration_words(low),
            _text(_bar(count / most, longest), "cyan"),
            share_words(share) if count else "",
        )
    yield table


def _bar(part: float, longest: int) -> str:
    """As long as ``part`` of 1 says; never nothing for something."""
    eighths = round(part * longest * 8)
    if part and not eighths:
        eighths = 1
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _errors(title: str, errors: Mapping[str, ErrorKind]) -> Table:
    table = _table(title, "", "for example")
    table.columns[0].style = "red"
    table.columns[2].justify, table.columns[2].no_wrap = "left", False
    table.columns[2].overflow = "fold"
    for kind, error in sorted(errors.items(), key=lambda item: -item[1].count):
        example = error.example
        if len(example) > _EXAMPLE:
            example = f"{example[:_EXAMPLE]}…"
        table.add_row(kind, f"{error.count:,}", _text(example))
    return table


def _comparison(comparison: Comparison, *, spreads: bool) -> Group:
    from rich.console import Group

    spread = ["spread"] if spreads else []
    table = _table("", "earlier", *spread, "now", *spread, "ratio", "")
    for row in comparison.rows:
        style = {"better": "green", "worse": "red"}.get(row.verdict, "")
        table.add_row(
            row.name,
            row.words(row.earlier),
            *([row.spread_words(row.earlier_spread)] if spreads else []),
            row.words(row.now),
            *([row.spread_words(row.now_spread)] if spreads else []),
            row.ratio_words,
            _text(row.verdict, style),
        )
    notes = [_text(f"The plans differ: {line}", "yellow") for line in comparison.differences]
    notes += [_text(note, "yellow") for note in comparison.notes]
    return Group(_text(f"compared with {comparison.title}", "dim"), table, *notes)


def _thresholds(thresholds: Sequence[Threshold], missed: Sequence[Missed]) -> Text:
    words = _text()
    for line in missed:
        words.append(f"missed  {line}\n", "red")
    kept = len(thresholds) - len(missed)
    if not missed:
        words.append(f"kept  {', '.join(threshold.text for threshold in thresholds)}", "green")
    elif kept:
        gone = {line.threshold.text for line in missed}
        names = [threshold.text for threshold in thresholds if threshold.text not in gone]
        words.append(f"kept    {', '.join(names)}", "green")
    words.rstrip()
    return words


def _advice(result: Result) -> Iterator[Text]:
    for sentence in advice(result):
        yield _text(f"! {sentence}", "yellow")
