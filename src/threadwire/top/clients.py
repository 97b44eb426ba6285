"""The live table of clients: draws only the lines that are in sight, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .columns import Cell, Column, layout
from .documents import STATES, Client

__all__ = ["ClientTable"]


class ClientTable(ScrollView, can_focus=True):
    """Clients in the order they are given, a line each below the columns' titles.

    The cursor stays with its client, wherever that goes in the order; on the first line it stays
    there, until it is moved.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "clients--title",
        "clients--sorted",
        "clients--cursor",
        *(f"clients--{state}" for state in STATES),
    }
    DEFAULT_CSS = """
    ClientTable {
        background: $surface;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .clients--title { background: $panel; color: $text-muted; text-style: bold; }
        & > .clients--sorted { background: $panel; color: $text; text-style: bold underline; }
        & > .clients--cursor { background: $primary; color: $text; text-style: bold; }
        & > .clients--idle { color: $text-muted; }
        & > .clients--loop { color: $text-success; }
        & > .clients--own-thread { color: $text-primary; }
        & > .clients--blocked { color: $text-error; text-style: bold; }
        & > .clients--waiting { color: $text-warning; text-style: bold; }
        & > .clients--opening { color: $text-secondary; }
        & > .clients--closing { color: $text-muted; text-style: italic; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "first", "First", show=False),
        Binding("end", "last", "Last", show=False),
        Binding("enter", "open", "Detail"),
    ]

    class Opened(Message):
        """Somebody wants to see more of a client."""

        def __init__(self, client: Client) -> None:
            super().__init__()
            self.client = client

    class SortWanted(Message):
        """A column's title was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self) -> None:
        super().__init__()
        self._rows: Sequence[Client] = ()
        self._cells: list[Cell] = []
        self._sort: Column | None = None
        self._falling = True
        self._line = 0  # the cursor's
        self._followed: int | None = None  # the client that the cursor stays with

    @property
    def current(self) -> Client | None:
        """The client at the cursor."""
        return self._rows[self._line] if self._line < len(self._rows) else None

    @property
    def rows(self) -> Sequence[Client]:
        return self._rows

    def show(self, rows: Sequence[Client], sort: Column, falling: bool) -> None:
        """From now on, show these."""
        self._rows, self._sort, self._falling = rows, sort, falling
        if self._followed is None:
            self._line = 0
        else:
            self._line = self._line_of(self._followed)
        self._lay_out()
        if self._followed is not None:
            self._keep_in_sight()
        self.refresh()

    def _line_of(self, client: int) -> int:
        for line, row in enumerate(self._rows):
            if row.id == client:
                return line
        return max(0, min(self._line, len(self._rows) - 1))  # it has gone; the next one's turn

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        self.virtual_size = Size(width, len(self._rows) + 1)
        width = self.scrollable_content_region.width  # the bar may be there now, or not any more
        self._cells = layout(self._rows, width, self._sort) if width else []

    def on_resize(self, _event: Resize) -> None:
        self._lay_out()
        self._keep_in_sight()
        self.refresh()

    def _keep_in_sight(self) -> None:
        height = max(1, self.scrollable_content_region.height - 1)
        top = self.scroll_offset.y
        if self._line < top:
            self.scroll_to(y=self._line, animate=False, force=True)
        elif self._line >= top + height:
            self.scroll_to(y=self._line - height + 1, animate=False, force=True)

    def _move_to(self, line: int) -> None:
        self._line = max(0, min(line, len(self._rows) - 1))
        self._followed = self._rows[self._line].id if self._rows else None
        self._keep_in_sight()
        self.refresh()

    def action_move(self, step: int) -> None:
        self._move_to(self._line + step)

    def action_page(self, step: int) -> None:
        self._move_to(self._line + step * max(1, self.scrollable_content_region.height - 2))

    def action_first(self) -> None:
        self._move_to(0)
        self._followed = None

    def action_last(self) -> None:
        self._move_to(len(self._rows) - 1)

    def action_open(self) -> None:
        if self.current is not None:
            self.post_message(self.Opened(self.current))

    def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            at = 0
            for cell in self._cells:
                at += cell.width + 1
                if offset.x < at:
                    self.post_message(self.SortWanted(cell.column.name))
                    return
            return
        line = self.scroll_offset.y + offset.y - 1
        if line < len(self._rows):
            self._move_to(line)
            if event.chain == 2:
                self.action_open()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        plain = self.rich_style
        if y == 0:
            return self._titles().adjust_cell_length(width, self._style("title"))
        line = self.scroll_offset.y + y - 1
        if line >= len(self._rows):
            return Strip.blank(width, plain)
        client = self._rows[line]
        style = plain
        quiet = client.state == "idle" and not client.rate
        tone = self._style(client.state) if client.state in STATES else plain
        if line == self._line and self.has_focus:
            style = tone = self._style("cursor")
        segments = []
        for cell in self._cells:
            told = quiet or cell.column.name in ("state", "busy", "line")
            segments.append(Segment(cell.text(client), tone if told else style))
            segments.append(Segment(" ", style))
        return Strip(segments).adjust_cell_length(width, style)

    def _titles(self) -> Strip:
        segments = []
        for cell in self._cells:
            title, style = cell.title(), self._style("title")
            if cell.column is self._sort:
                title, style = cell.title("▼" if self._falling else "▲"), self._style("sorted")
            segments.append(Segment(title, style))
            segments.append(Segment(" ", self._style("title")))
        return Strip(segments)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"clients--{name}")
