"""A result as one HTML file with everything in it: figures, plots, the plan, what went wrong.

It needs nothing else, neither files nor network, follows the reader's choice of light or
dark, and can be printed.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files

from .._version import __version__
from .advice import advice, told_by_enough
from .amounts import NOTHING, duration_words, rate_words, share_words, traffic_words
from .comparison import Comparison
from .description import described, load_words, messages_words, time_words
from .measures import error_rate
from .plots import plots
from .results import ErrorKind, Result
from .summary import BEFORE, PERCENTILES
from .thresholds import Missed, Threshold

__all__ = ["html_of"]


def html_of(
    result: Result,
    *,
    comparison: Comparison | None = None,
    thresholds: Sequence[Threshold] = (),
    missed: Sequence[Missed] = (),
) -> str:
    """The report of ``result``: a whole HTML document."""
    url = str(result.plan.get("url"))
    body = "\n".join(
        [
            _header(result, url),
            _tiles(result),
            *_notices(result, thresholds, missed),
            f'<section class="charts">{"".join(plots(result, comparison))}</section>',
            *_comparison(comparison),
            '<section class="columns">',
            f"<div>{_percentiles(result)}</div>",
            f"<div>{_errors('Errors', result.errors)}",
            f"{_errors(BEFORE.capitalize(), result.errors_before)}{_plan(result)}</div>",
            "</section>",
            _footer(result),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>threadwire bench {escape(url)}</title>\n"
        f"<style>\n{_packaged('report.css')}</style>\n</head>\n<body>\n{body}\n"
        f"<script>\n{_packaged('report.js')}</script>\n</body>\n</html>\n"
    )


def _packaged(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _moment(result: Result) -> str:
    then = datetime.datetime.fromtimestamp(result.started_at, datetime.UTC)
    return f"{then:%Y-%m-%d %H:%M} UTC"


def _header(result: Result, url: str) -> str:
    plan = result.plan
    lines = (load_words(plan), messages_words(plan), time_words(plan, result.seconds))
    return (
        f'<header><p class="what">threadwire bench · {_moment(result)}</p>'
        f"<h1>{escape(url)}</h1>"
        f'<p class="plan">{"<br>".join(escape(line) for line in lines)}</p></header>'
    )


def _tiles(result: Result) -> str:
    durations = result.latency
    of = "corrected latency" if result.open_loop else "latency"
    tiles = [_tile("messages a second", rate_words(result.messages_per_second), _rate_note(result))]
    if result.plan.get("connect_each"):
        note = f"{result.connects:,} connections"
        tiles.append(_tile("connections a second", rate_words(result.connects_per_second), note))
    if durations.count:
        for name, percentage in (("median", 50.0), ("p99", 99.0), ("p99.9", 99.9)):
            words = duration_words(durations.percentile(percentage))
            tiles.append(_tile(name, words, of))
        tiles.append(_tile("longest", duration_words(durations.max), of))
    failed = result.error_count
    share = error_rate(result)
    note = f"{share_words(share)} of all" if failed else "none"
    tiles.append(_tile("errors", f"{failed:,}", note, "bad" if failed else ""))
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _rate_note(result: Result) -> str:
    asked = result.plan.get("rate")
    if asked is not None:
        return f"of {rate_words(asked)} due"
    return f"{result.messages:,} in {duration_words(result.seconds)}"


def _tile(name: str, figure: str, note: str, look: str = "") -> str:
    return (
        f'<div class="tile {look}"><dt>{escape(name)}</dt><dd>{escape(figure)}'
        f"<small>{escape(note)}</small></dd></div>"
    )


def _notices(
    result: Result, thresholds: Sequence[Threshold], missed: Sequence[Missed]
) -> Iterator[str]:
    if result.interrupted:
        yield _notice("warn", "Interrupted: this is what was measured until then.")
    if missed:
        names = "".join(f"<li>{escape(str(line))}</li>" for line in missed)
        yield f'<div class="notice bad">Thresholds missed:<ul>{names}</ul></div>'
    elif thresholds:
        kept = ", ".join(threshold.text for threshold in thresholds)
        yield _notice("good", f"All thresholds are kept: {kept}.")
    for sentence in advice(result):
        yield _notice("warn", sentence)


def _notice(look: str, text: str) -> str:
    return f'<p class="notice {look}">{escape(text)}</p>'


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The cells are HTML; all but the first are figures if they begin with a ``>``."""
    head = ""
    if any(heads):
        cells = "".join(f"<th{_class(text)}>{text.lstrip('>')}</th>" for text in heads)
        head = f"<thead><tr>{cells}</tr></thead>"
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{_class(cell)}>{cell.lstrip('>')}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f"<h2>{escape(title)}</h2>"
        f'<div class="table"><table>{head}<tbody>{body}</tbody></table></div>'
    )


def _class(cell: str) -> str:
    return ' class="n"' if cell.startswith(">") else ""


def _percentiles(result: Result) -> str:
    if not result.latency.count:
        return ""
    columns = {"latency": result.latency}
    if result.open_loop:
        columns = {"corrected": result.latency, "uncorrected": result.service}
    if result.plan.get("connect_each") and result.connect.count:
        columns["connecting"] = result.connect
    rows = []
    for percentage in (10.0, *PERCENTILES):
        cells = [
            f">{_faint(duration_words(one.percentile(percentage)), one.count, percentage)}"
            for one in columns.values()
        ]
        rows.append([f"p{percentage:g}", *cells])
    for name in ("min", "mean", "stdev", "max"):
        cells = [f">{duration_words(getattr(one, name))}" for one in columns.values()]
        rows.append([name, *cells])
    rows.append(["counted", *(f">{one.count:,}" for one in columns.values())])
    return _table("Latency", ["", *(f">{name}" for name in columns)], rows)


def _faint(words: str, count: int, percentage: float) -> str:
    return words if told_by_enough(count, percentage) else f"<small>{words}</small>"


def _errors(title: str, errors: Mapping[str, ErrorKind]) -> str:
    if not errors:
        return ""
    rows = [
        [escape(kind), f">{error.count:,}", f"<code>{escape(error.example)}</code>"]
        for kind, error in sorted(errors.items(), key=lambda item: -item[1].count)
    ]
    return _table(title, ["kind", ">count", "for example"], rows)


def _plan(result: Result) -> str:
    rows = [[escape(name), escape(words)] for name, words in described(result.plan)]
    generator = result.generator
    used = f"{generator.cpu:.0%} of a core, {generator.waited:.0%} of the time none was free"
    rows.append(["generator's processor", used])
    if result.open_loop:
        late, latest = duration_words(generator.behind), duration_words(generator.behind_max)
        rows.append(["generator's delay", f"{late} at p99, {latest} at most"])
    if result.seconds:
        sent, received = (
            traffic_words(size / result.seconds)
            for size in (result.bytes_sent, result.bytes_received)
        )
        rows.append(["traffic", f"{sent} sent, {received} received"])
    return _table("Plan", [], rows)


def _comparison(comparison: Comparison | None) -> Iterator[str]:
    if comparison is None:
        return
    rows = []
    for row in comparison.rows:
        verdict = f'<span class="{row.verdict}">{row.verdict or NOTHING}</span>'
        rows.append(
            [
                escape(row.name),
                f">{escape(row.words(row.earlier))}",
                f"><small>{escape(row.spread_words(row.earlier_spread))}</small>",
                f">{escape(row.words(row.now))}",
                f"><small>{escape(row.spread_words(row.now_spread))}</small>",
                f">{escape(row.ratio_words)}",
                verdict,
            ]
        )
    heads = ["", ">earlier", ">spread", ">now", ">spread", ">ratio", ""]
    yield _table(f"Compared with {comparison.title}", heads, rows)
    if comparison.differences:
        lines = "".join(f"<li>{escape(line)}</li>" for line in comparison.differences)
        yield f'<div class="notice warn">The plans differ:<ul>{lines}</ul></div>'
    yield from (_notice("warn", note) for note in comparison.notes)


def _footer(result: Result) -> str:
    sentences = []
    if result.open_loop:
        sentences.append(
            "Corrected latency counts from when a message was due, whether or not the service "
            "let it be sent then; uncorrected latency from when it was really sent."
        )
    else:
        sentences.append(
            "In a closed loop every client waits for its reply before it sends again: while the "
            "service stalls, nothing is sent and little is counted. A run with --rate counts "
            "what a stall does to users."
        )
    sentences.append(f"threadwire {__version__}")
    return f"<footer>{''.join(f'<p>{escape(line)}</p>' for line in sentences)}</footer>"
