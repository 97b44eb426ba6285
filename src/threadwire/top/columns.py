"""The table of clients: what each column is called, shows, is sorted by, and may take of a line.

Both tables have it from here, the live one and the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from wcwidth import wcwidth

from ..errors import UsageError
from . import amounts
from .documents import Client

__all__ = [
    "COLUMNS",
    "DEFAULT_SORT",
    "Cell",
    "Column",
    "column_named",
    "fit",
    "layout",
    "sort_clients",
    "width_of",
]


class Column(NamedTuple):
    """One column."""

    name: str  # as it is sorted by
    text: Callable[[Client], str]
    key: Callable[[Client], Any]
    least: int  # terminal cells
    most: int  # terminal cells; what is longer is cut
    left: bool = False  # how it is set; numbers stand on the right
    falling: bool = True  # which way it is sorted if nothing is said
    keep: int = 0  # where there is no room for all columns, those with the lowest go first
    ending: bool = False  # what is cut is the beginning
    known: bool = False  # whether the endpoint sorts by it, in the way that this says

    @property
    def title(self) -> str:
        return self.name.upper()


def _peer(client: Client) -> str:
    return client.peer.removeprefix("tcp://")


def _busy_key(client: Client) -> float:
    return -1.0 if client.busy is None else client.busy


# In the order of the trouble they are in.
_STATE_ORDER = ("blocked", "waiting", "own-thread", "loop", "opening", "closing", "idle")


def _state_key(client: Client) -> int:
    try:
        return -_STATE_ORDER.index(client.state)
    except ValueError:
        return 1


COLUMNS = (
    Column("id", lambda c: str(c.id), lambda c: c.id, 4, 12, falling=False, keep=8, known=True),
    Column("peer", _peer, _peer, 9, 45, left=True, falling=False, keep=7),
    Column("state", lambda c: c.state, _state_key, 10, 10, left=True, keep=9),
    Column("busy", lambda c: amounts.duration(c.busy), _busy_key, 7, 7, keep=10, known=True),
    Column("line", lambda c: c.line, lambda c: c.line, 12, 200, left=True, keep=5, ending=True),
    Column("rate", lambda c: amounts.rate(c.rate), lambda c: c.rate, 7, 7, keep=6, known=True),
    Column(
        "messages",
        lambda c: amounts.count(c.messages_received),
        lambda c: c.messages_received,
        8,
        8,
        keep=1,
    ),
    Column(
        "bytes",
        lambda c: amounts.size(c.bytes_received + c.bytes_sent),
        lambda c: c.bytes_received + c.bytes_sent,
        7,
        7,
        keep=4,
        known=True,
    ),
    Column("idle", lambda c: amounts.duration(c.idle), lambda c: c.idle, 7, 7, keep=3, known=True),
    Column("age", lambda c: amounts.duration(c.age), lambda c: c.age, 7, 7, keep=2, known=True),
)
_BY_NAME = {column.name: column for column in COLUMNS}

DEFAULT_SORT = "busy"


def column_named(name: str) -> Column:
    """Raises :class:`~threadwire.UsageError`."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise UsageError(f"sort must be one of {', '.join(_BY_NAME)}, not {name!r}") from None


def sort_clients(clients: Iterable[Client], column: Column, falling: bool) -> list[Client]:
    """``clients`` by ``column``; those that are equal there by what they do, then newest first."""
    ordered = sorted(clients, key=lambda c: (_busy_key(c), c.rate, c.id), reverse=True)
    if column.name != DEFAULT_SORT or not falling:
        ordered.sort(key=column.key, reverse=falling)
    return ordered


class Cell(NamedTuple):
    """A column's place in a line."""

    column: Column
    width: int

    def text(self, client: Client) -> str:
        """What stands there, exactly as wide."""
        text = self.column.text(client)
        return fit(text, self.width, left=self.column.left, ending=self.column.ending)

    def title(self, mark: str = "") -> str:
        """The title, exactly as wide, with a mark after it."""
        return fit(self.column.title + mark, self.width, left=self.column.left)


def layout(
    clients: Sequence[Client], width: int | None, sorted_by: Column | None = None
) -> list[Cell]:
    """The columns that a line of ``width`` has room for, each as wide as ``clients`` want it.

    With no ``width``, all of them. The column that is sorted by is always there.
    """
    wanted = {
        column.name: max(
            [column.least, len(column.title) + (not column.left)]
            + [min(column.most, width_of(column.text(client))) for client in clients]
        )
        for column in COLUMNS
    }
    chosen = list(COLUMNS)
    if width is None:
        return [Cell(column, wanted[column.name]) for column in chosen]
    for column in sorted(COLUMNS, key=lambda c: c.keep):
        if len(chosen) > 1 and _least(chosen, wanted) > width and column is not sorted_by:
            chosen.remove(column)
    return _spread(chosen, wanted, width)


# The texts give way first: of what is cut, one still reads some. But before they have less than
# this, a column goes.
_YIELDING = {"line": 20, "peer": 15}


def _least(chosen: Sequence[Column], wanted: dict[str, int]) -> int:
    cells = (min(wanted[c.name], _YIELDING.get(c.name, wanted[c.name])) for c in chosen)
    return sum(cells) + len(chosen) - 1


def _spread(chosen: Sequence[Column], wanted: dict[str, int], width: int) -> list[Cell]:
    """Cut the texts to what is left for them."""
    widths = {column.name: wanted[column.name] for column in chosen}
    over = sum(widths.values()) + len(chosen) - 1 - width
    for name in _YIELDING:
        if name in widths and over > 0:
            less = min(over, widths[name] - _BY_NAME[name].least)
            widths[name] -= less
            over -= less
    if over < 0 and "line" in widths:
        widths["line"] -= over
    return [Cell(column, widths[column.name]) for column in chosen]


def width_of(text: str) -> int:
    """The terminal cells that ``text`` takes, character by character.

    How terminals join the characters of some scripts they do not agree upon.
    """
    return len(text) if text.isascii() else sum(max(0, wcwidth(c)) for c in text)


def fit(text: str, width: int, *, left: bool = True, ending: bool = False) -> str:
    """``text`` in exactly ``width`` cells: cut with an ellipsis, or filled.

    ``left``: on which side it stands if it is filled. ``ending``: if it is cut, its end stays.
    """
    if text.isascii() and len(text) <= width:
        return text.ljust(width) if left else text.rjust(width)
    if width_of(text) > width:
        text = f"…{_some(text[::-1], width - 1)[::-1]}" if ending else f"{_some(text, width - 1)}…"
    space = " " * (width - width_of(text))
    return text + space if left else space + text


def _some(text: str, width: int) -> str:
    """The beginning, as much as ``width`` cells hold."""
    taken = 0
    for index, character in enumerate(text):
        taken += max(0, wcwidth(character))
        if taken > width:
            return text[:index]
    return text
