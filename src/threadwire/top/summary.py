"""The lines above the table: how the server is, in as many lines and cells as there are; no I/O.

A line is made of pieces, the most important first; those for which there is no room are left out.
Every piece has a tone, which is a colour on a screen; what a colour says, a word says as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from . import amounts
from .columns import fit, width_of
from .documents import Document, Durations, LimitUse, clean
from .view import View

__all__ = ["Piece", "Row", "curve", "summary"]

_GAP = "  "
_BARS = "▁▂▃▄▅▆▇█"
# States, the one that matters most first.
_TOLD = ("blocked", "waiting", "own-thread", "loop", "idle", "opening", "closing")

# Shares of a limit from which on it is worth a look, and a worry.
_NEAR, _FULL = 0.75, 0.95
_CERTIFICATE_DAYS = 14  # that a certificate has left when it is time to see to it


class Piece(NamedTuple):
    """Some text and its tone: a state's name, or one of dim, strong, good, warn, bad."""

    text: str
    tone: str = ""


class Row(NamedTuple):
    """A line; where there are fewer, those with the lowest ``keep`` go first."""

    keep: int
    label: str
    groups: Sequence[Sequence[Piece]]  # a group stands as a whole or not at all
    cut: bool = False  # but the last one may be cut


def summary(
    view: View, url: str, *, width: int | None, height: int, now: float
) -> list[list[Piece]]:
    """At most ``height`` lines of at most ``width`` cells, at ``now`` of the monotonic clock."""
    rows = list(_rows(view, url, width, now))
    for row in sorted(rows, key=lambda row: row.keep)[: max(0, len(rows) - height)]:
        rows.remove(row)
    return [_line(row, width) for row in rows]


def _rows(view: View, url: str, width: int | None, now: float) -> Iterator[Row]:
    document = view.document
    yield from _notices(view, now)
    if document is None:
        yield Row(10, "", [[Piece(url, "strong")], [Piece("waiting for its first word", "dim")]])
        return
    yield _title(document, url)
    yield _service(document)
    yield _traffic(document)
    if width is not None:
        yield _curve(view, width)
    yield _latency(document)
    yield _clients(document)
    yield _threads(document)
    yield Row(5, "limits", [_limit(limit) for limit in _nearest(document.limits)])
    yield _ends(document)


def _notices(view: View, now: float) -> Iterator[Row]:
    groups = []
    if view.down is not None:
        left = max(0.0, view.down_at + view.down.retry_in - now)
        again = f"again in {math.ceil(left)} s" if left else "trying again"
        groups.append([Piece(f"LOST, {again}", "bad")])
    if view.paused:
        groups.append([Piece("PAUSED", "warn")])
    if view.down is not None:
        if view.document is not None:
            groups.append([Piece(f"this is {amounts.duration(now - view.taken_at)} old", "bad")])
        groups.append([Piece(clean(getattr(view.down.error, "problem", view.down.error)), "dim")])
    if groups:
        yield Row(11, "", groups, cut=view.down is not None)


def _title(document: Document, url: str) -> Row:
    good = document.ready
    phase = document.phase if good else document.phase.upper()
    groups = [[Piece(phase, "good" if good else "warn")], [Piece(url, "strong")]]
    if not good and document.why and document.why != document.phase:
        groups.append([Piece(document.why, "warn")])
    groups.append(_pair("up", amounts.duration(document.uptime)))
    if document.cpu is not None:
        groups.append(_pair("cpu", f"{document.cpu * 100:.0f} %"))
    groups.append(_pair("memory", amounts.size(document.resident_bytes)))
    groups.append(_pair("threads", str(document.threads)))
    groups.append(_pair("pid", str(document.pid)))
    groups.append([Piece(f"threadwire {document.version}, Python {document.python}", "dim")])
    return Row(10, "", groups)


def _service(document: Document) -> Row:
    groups = [[Piece(address)] for address in document.addresses[:4]]
    groups.append(_pair("handler", document.handler + (" (session)" if document.session else "")))
    groups.append(_pair("framing", document.framing))
    if document.certificates_expire_at is not None:
        left = document.certificates_expire_at - document.time
        days = math.floor(left / 86400)
        word, tone = f"{days} days left", "warn" if days < _CERTIFICATE_DAYS else ""
        if left <= 0:
            word, tone = "expired", "bad"
        groups.append([Piece("certificate ", "dim"), Piece(word, tone)])
    groups.append(_pair("loops", str(document.loops)))
    groups.append(_pair("poller", document.poller))
    return Row(2, "service", groups)


def _traffic(document: Document) -> Row:
    rates = document.rates
    if rates is None:
        return Row(8, "traffic", [[Piece("not yet measured", "dim")]])
    refused = "bad" if rates.refused else ""
    return Row(
        8,
        "traffic",
        [
            [Piece(amounts.rate(rates.messages), "strong"), Piece(" messages/s", "dim")],
            _pair("in", f"{amounts.size(rates.bytes_received)}/s"),
            _pair("out", f"{amounts.size(rates.bytes_sent)}/s"),
            _pair("accepted", f"{amounts.rate(rates.accepted)}/s"),
            _pair("closed", f"{amounts.rate(rates.closed)}/s"),
            [Piece("refused ", "dim"), Piece(f"{amounts.rate(rates.refused)}/s", refused)],
        ],
    )


def _curve(view: View, width: int) -> Row:
    rates = list(view.rates)
    widest = max((len(_at_most([rate])) for rate in rates), default=len(_at_most(())))
    cells = min(width - _LABEL - len(_GAP) - widest, 120)
    if cells < 8:
        return Row(4, "curve", [[Piece(_at_most(rates), "dim")]])
    shown = rates[-cells:]  # what the words are about, too: else a bar's height means nothing
    return Row(4, "curve", [[Piece(curve(shown, cells), "curve")], [Piece(_at_most(shown), "dim")]])


def _at_most(rates: Sequence[float]) -> str:
    return f"at most {amounts.rate(max(rates, default=0.0))}/s"


def curve(values: Sequence[float], cells: int) -> str:
    """The last ``cells`` values as bars, from nothing to the highest of them."""
    shown = list(values)[-cells:]
    highest = max(shown, default=0.0)
    return "".join(_bar(value / highest if highest > 0 else 0.0) for value in shown).rjust(cells)


def _bar(share: float) -> str:
    """Of what is more than nothing, one sees something."""
    return _BARS[max(0, math.ceil((len(_BARS) - 1) * share))]


def _latency(document: Document) -> Row:
    rates = document.rates
    if rates is None:
        return Row(7, "latency", [[Piece("not yet measured", "dim")]])
    groups = [_durations("handler", rates.handler), _durations("turn", rates.turn)]
    if rates.lock_wait is not None:
        groups.append(_durations("lock", rates.lock_wait))
    return Row(7, "latency", groups)


def _durations(name: str, durations: Durations) -> list[Piece]:
    p50, p99, longest = map(amounts.duration, durations)
    return [
        Piece(f"{name} p50 ", "dim"),
        Piece(f"{p50} "),
        Piece("p99 ", "dim"),
        Piece(f"{p99} "),
        Piece("max ", "dim"),
        Piece(longest),
    ]


def _clients(document: Document) -> Row:
    groups = [[Piece(str(document.total), "strong")]]
    # Where there is no room for all, the last ones are left out.
    for state in sorted(document.states, key=_state_rank):
        number = document.states[state]
        if number or state in ("idle", "loop", "own-thread", "blocked"):
            tone = state if number else "dim"
            groups.append([Piece(f"{number} {state}", tone)])
    return Row(9, "clients", groups)


def _state_rank(state: str) -> int:
    return _TOLD.index(state) if state in _TOLD else len(_TOLD)


def _threads(document: Document) -> Row:
    handoffs = str(document.handoffs)
    if document.rates is not None:
        handoffs += f" ({amounts.rate(document.rates.handoffs)}/s)"
    return Row(
        6,
        "threads",
        [
            _pair("own", str(document.own_threads)),
            _pair("spare", str(document.spare_threads)),
            _pair("hand-offs", handoffs),
            [
                Piece("waiting for one ", "dim"),
                Piece(str(document.waiting), "waiting" if document.waiting else ""),
            ],
            _pair("opening", str(document.opening)),
        ],
    )


def _nearest(limits: Iterable[LimitUse]) -> list[LimitUse]:
    """Those that there are, the nearest first."""
    return sorted((limit for limit in limits if limit.limit is not None), key=lambda n: -_share(n))


def _share(limit: LimitUse) -> float:
    return limit.used / limit.limit if limit.limit else 0.0


def _limit(limit: LimitUse) -> list[Piece]:
    share = _share(limit)
    word, tone = (
        ("full", "bad") if share >= _FULL else ("near", "warn") if share >= _NEAR else ("", "")
    )
    text = f"{amounts.count(limit.used)}/{amounts.count(limit.limit or 0)}"
    return [
        Piece(f"{limit.name} ", "dim"),
        Piece(f"{text} {share * 100:.0f} % {word}".rstrip(), tone),
    ]


def _ends(document: Document) -> Row:
    groups = [_pair("accepted", amounts.count(document.accepted))]
    kinds = (("refused", document.refused, "warn"), ("closed", document.closed, ""))
    for word, counts, tone in kinds:
        for reason, number in sorted(counts.items(), key=lambda item: -item[1]):
            if number:
                text = amounts.count(number)
                groups.append([Piece(f"{word} {reason} ", "dim"), Piece(text, tone)])
    return Row(3, "totals", groups)


def _pair(name: str, value: str) -> list[Piece]:
    return [Piece(f"{name} ", "dim"), Piece(value)]


_LABEL = 9
_WORTH = 10  # cells of something cut that one can make sense of


def _line(row: Row, width: int | None) -> list[Piece]:
    pieces: list[Piece] = []
    taken = 0
    if row.label:
        pieces.append(Piece(row.label.ljust(_LABEL), "dim"))
        taken = _LABEL
    first = True
    for group in row.groups:
        gap = "" if first else _GAP
        cells = len(gap) + sum(width_of(piece.text) for piece in group)
        if width is not None and taken + cells > width and not first:
            room = width - taken - len(gap)
            if row.cut and group is row.groups[-1] and room >= _WORTH:
                pieces += [Piece(gap), Piece(fit(group[0].text, room), group[0].tone)]
            continue
        if gap:
            pieces.append(Piece(gap))
        pieces.extend(group)
        taken += cells
        first = False
    return pieces
