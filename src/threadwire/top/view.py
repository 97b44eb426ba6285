"""What one watches: the newest document, and which clients of it in which order; no I/O."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..errors import ThreadwireError
from . import amounts
from .columns import COLUMNS, DEFAULT_SORT, column_named
from .documents import Client, Document
from .search import Search

__all__ = ["Down", "Update", "View"]

# Seconds, and so points of the curve: wider than any terminal.
_HISTORY = 600


# Of those that are looked for, so many are shown if there is no limit: nobody reads further.
_MOST_ROWS = 500
# Seconds between two looks at every client there is: some work for a server that has thousands.
_PAGES_PERIOD = 5.0
_NEW = 1.5  # seconds that need no mention


class _Listed(NamedTuple):
    """What was found."""

    search: Search
    clients: list[Client]
    at: float


class Down(NamedTuple):
    """The endpoint cannot be followed for now."""

    error: ThreadwireError
    retry_in: float  # seconds


Update = Document | Down


class View:
    """The state of a live view, or what a plain one shows once; one thread alone.

    sort
        The name of the column to sort by.
    falling
        Whether the largest comes first [as the column has it].
    text
        Only clients that have each of its words somewhere are shown, whatever the case.
    limit
        The most clients to show [all].
    """

    def __init__(
        self,
        *,
        sort: str = DEFAULT_SORT,
        falling: bool | None = None,
        text: str = "",
        limit: int | None = None,
    ) -> None:
        self.sort = column_named(sort)
        self.falling = self.sort.falling if falling is None else falling
        self.text = text
        self.limit = limit
        self.document: Document | None = None
        self.taken_at = 0.0  # when the newest document came, by the caller's clock
        self.rates: deque[float] = deque(maxlen=_HISTORY)  # messages a second
        self.down: Down | None = None  # since the endpoint was lost
        self.down_at = 0.0
        self._held: Document | None = None  # the newest one while it is paused
        self._paused = False
        self._listed: _Listed | None = None

    def take(self, update: Update, now: float) -> None:
        """There is news, at ``now`` of the monotonic clock."""
        if isinstance(update, Down):
            self.down, self.down_at = update, now
            return
        self.down = None
        self.taken_at = now
        if update.history:
            self.rates.clear()
            self.rates.extend(update.history)
        if update.rates is not None:
            self.rates.append(update.rates.messages)
        if self._paused:
            self._held = update
        else:
            self.document = update

    @property
    def paused(self) -> bool:
        """Whether the document stays the same while others come."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._paused = paused
        if self._held is not None:
            self.document, self._held = self._held, None

    def sort_by(self, name: str) -> None:
        """By this column; a second time, the other way round."""
        column = column_named(name)
        self.falling = not self.falling if column is self.sort else column.falling
        self.sort = column

    def next_sort(self, step: int) -> None:
        """By the column ``step`` places further."""
        self.sort_by(COLUMNS[(COLUMNS.index(self.sort) + step) % len(COLUMNS)].name)

    @property
    def search(self) -> Search:
        """Which clients are to be shown."""
        words = tuple(self.text.lower().split())
        limit = _MOST_ROWS if self.limit is None else self.limit
        return Search(self.sort, self.falling, words, limit)

    @property
    def lacks(self) -> bool:
        """Whether the document has too few clients to tell which of them are to be shown."""
        if self.document is None or not self.document.left_out or self.limit == 0:
            return False
        search = self.search
        worst_first = search.sort.name == DEFAULT_SORT and search.falling
        # More than a document ever has are asked for by a limit alone.
        more = self.limit is not None and self.limit > len(self.document.clients)
        return bool(search.words) or not worst_first or more

    def due(self, now: float) -> bool:
        """Whether it is time to ask for more clients."""
        listed_at = self.listed_at()
        period = _PAGES_PERIOD if self.search.pages else 0.0
        return self.lacks and (listed_at is None or now - listed_at >= period)

    def take_listed(self, search: Search, clients: list[Client], now: float) -> None:
        """These were found for ``search``."""
        self._listed = _Listed(search, clients, now)

    def listed_at(self) -> float | None:
        """When the clients were found that are shown in place of the document's, if they are."""
        listed = self._listed
        usable = listed is not None and listed.search == self.search and self.lacks
        return listed.at if listed is not None and usable else None

    def rows(self) -> list[Client]:
        """The clients to show, in their order."""
        if self.document is None or self.limit == 0:
            return []
        if self._listed is not None and self.listed_at() is not None:
            return self._listed.clients
        return self.search.choose(self.document.clients)

    def rest(self, shown: int, now: float) -> str:
        """What is to be said of those that are not shown; may be empty."""
        if self.document is None:
            return ""
        words = f"{shown} of {self.document.total} clients"
        listed_at = self.listed_at()
        if listed_at is not None:
            age = now - listed_at
            return words if age < _NEW else f"{words}, as of {amounts.duration(age)} ago"
        if self.lacks:
            return f"{words}, out of the {len(self.document.clients)} worst and busiest"
        return "" if shown == self.document.total else words
