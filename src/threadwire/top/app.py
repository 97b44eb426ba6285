"""The live view in a terminal, by textual."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import ClassVar, NamedTuple

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Key, Resize
from textual.message import Message
from textual.widgets import Footer, Input, Static

from ..errors import ThreadwireError
from .clients import ClientTable
from .documents import Client, DocumentError, clean, read_client
from .endpoint import Endpoint, NotAdmin
from .feed import Feed
from .listing import list_clients
from .screens import ConfirmScreen, DetailScreen, HelpScreen
from .search import Search
from .summary import Piece, summary
from .view import Update, View

__all__ = ["TopApp"]

_INTERRUPTED = 130

_TONES = {
    "dim": "$foreground 60%",
    "strong": "bold",
    "good": "bold $text-success",
    "warn": "bold $text-warning",
    "bad": "bold $text-error",
    "curve": "$text-success",
    "idle": "$foreground 60%",
    "loop": "$text-success",
    "own-thread": "$text-primary",
    "blocked": "bold $text-error",
    "waiting": "bold $text-warning",
    "opening": "$text-secondary",
    "closing": "$foreground 60%",
}


class _Deed(NamedTuple):
    """Something that the server can be asked to do."""

    path: str
    question: str
    consequence: str
    verb: str
    done: str


_DRAIN = _Deed(
    "/drain",
    "Drain the server?",
    "It accepts nobody any more, finishes what was begun, and closes its clients. "
    "The process stays, and can resume.",
    "Drain",
    "the server drains",
)
_SUSPEND = _Deed(
    "/suspend",
    "Suspend accepting?",
    "New clients wait in the backlog; those that are there are served on.",
    "Suspend",
    "the server accepts nobody any more",
)
_RESUME = _Deed(
    "/resume",
    "Resume accepting?",
    "Those who wait in the backlog are served next.",
    "Resume",
    "the server accepts clients again",
)


def _close(client: Client) -> _Deed:
    return _Deed(
        f"/clients/{client.id}/close",
        f"Close client {client.id}?",
        f"{client.peer}, {client.state}",
        "Close",
        f"client {client.id} is closed",
    )


class TopApp(App[None]):
    """Shows what ``endpoint`` tells; ``feed`` is made, opened and closed by whoever runs this.

    Its return code is 0, or 130 after an interrupt, or 128 and the number of the signal that
    ended it.
    """

    TITLE = "threadwire top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary { height: auto; padding: 0 1; background: $background; text-wrap: nowrap; }
    #rest { height: 1; padding: 0 1; color: $text-muted; }
    #filter { height: 1; border: none; padding: 0 1; background: $boost; }
    .absent { display: none; }
    .stale { opacity: 60%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        # Taken before the keys after it are: those belong into the field.
        Binding("slash", "filter", "Filter", key_display="/", priority=True),
        Binding("less_than_sign", "next_sort(-1)", "Sort", key_display="<", show=False),
        Binding("greater_than_sign", "next_sort(1)", "Sort", key_display="< >"),
        Binding("r", "reverse", "Reverse", show=False),
        Binding("p,space", "pause", "Pause", key_display="p"),
        Binding("c", "close_client", "Close"),
        Binding("d", "drain", "Drain"),
        Binding("u", "suspend", "Suspend", show=False),
        Binding("t", "theme", "Theme", show=False),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False, priority=True),
    ]

    class Told(Message):
        """There is news from the endpoint."""

        def __init__(self, update: Update) -> None:
            super().__init__()
            self.update = update

    class Done(Message):
        """A worker has come to its end; what is to be done with the outcome."""

        def __init__(self, then: Callable[[], object]) -> None:
            super().__init__()
            self.then = then

    def __init__(self, endpoint: Endpoint, view: View) -> None:
        super().__init__()
        self._endpoint = endpoint
        self.view = view
        self.feed = Feed(endpoint, self._told)
        self._listing = False  # whether clients are being asked for; the app's thread alone
        self._list_failed = ""  # why there are none, if there are none

    def _told(self, update: Update) -> None:
        """On the feed's thread."""
        self.post_message(self.Told(update))

    def compose(self) -> ComposeResult:
        # Kept, since news may still come when they are off the screen again.
        self._summary = Static(id="summary", markup=False)
        self._table = ClientTable()
        self._rest = Static(id="rest", markup=False)
        self._field = Input(value=self.view.text, placeholder="words to look for", id="filter")
        self._field.display = False
        yield from (self._summary, self._table, self._rest, self._field, Footer())

    def on_mount(self) -> None:
        self._listen_to_signals()
        # Textual does not draw by itself when the process comes back from the background.
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        self._table.focus()
        self.feed.start()
        self.set_interval(1.0, self._tick)
        self._show()

    def on_unmount(self) -> None:
        self.feed.close()

    def _listen_to_signals(self) -> None:
        """So that the terminal is left as it was."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(RuntimeError, ValueError):  # not on the main thread
                loop.add_signal_handler(number, self.exit, None, 128 + number)

    # What is shown.

    def on_top_app_told(self, message: Told) -> None:
        self.view.take(message.update, time.monotonic())
        self._table.set_class(self.view.down is not None, "stale")
        self._show()
        self._list()

    def on_resize(self, _event: Resize) -> None:
        self._show_summary()

    def _tick(self) -> None:
        if self.view.down is not None:
            self._show_summary()

    def _show(self) -> None:
        rows = self.view.rows()
        self._table.show(rows, self.view.sort, self.view.falling)
        words = [f"filter: {clean(self.view.text)}"] if self.view.text else []
        if told := self.view.rest(len(rows), time.monotonic()):
            words.append(told)
        if self._list_failed and self.view.lacks:
            words.append(self._list_failed)
        self._rest.update(Content("   ".join(words)))
        self._rest.set_class(not words, "absent")
        self._show_summary()

    def _list(self) -> None:
        """Ask for the clients that the document has not, if it is time."""
        view = self.view
        if self._listing or view.paused or view.down is not None or not view.due(time.monotonic()):
            return
        self._listing = True
        self.run_worker(partial(self._look_for, view.search), thread=True, group="list")

    def _look_for(self, search: Search) -> None:
        """On a worker's thread."""
        clients, failed = None, ""
        try:
            clients = list_clients(self._endpoint, search).clients
        except ThreadwireError as error:
            failed = clean(error)
        self.post_message(self.Done(partial(self._found, search, clients, failed)))

    def _found(self, search: Search, clients: list[Client] | None, failed: str) -> None:
        self._listing, self._list_failed = False, failed
        if clients is not None:
            self.view.take_listed(search, clients, time.monotonic())
        self._show()
        if search != self.view.search:
            self._list()

    def _show_summary(self) -> None:
        width, height = self.size
        # A third of the screen at most; the rest is the clients'.
        lines = summary(
            self.view,
            self._endpoint.url,
            width=max(1, width - 2),
            height=max(2, (height - 3) // 3),
            now=time.monotonic(),
        )
        content = Content("\n").join([_content(line) for line in lines])
        self._summary.update(content)

    def on_top_app_done(self, message: Done) -> None:
        message.then()

    # What one does.

    def on_client_table_sort_wanted(self, message: ClientTable.SortWanted) -> None:
        self.view.sort_by(message.name)
        self._show()
        self._list()

    def action_next_sort(self, step: int) -> None:
        self.view.next_sort(step)
        self._show()
        self._list()

    def action_reverse(self) -> None:
        self.view.sort_by(self.view.sort.name)
        self._show()
        self._list()

    def action_pause(self) -> None:
        self.view.paused = not self.view.paused
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In the field, and above, a slash is one."""
        if action == "filter":
            return len(self.screen_stack) == 1 and not isinstance(self.focused, Input)
        return super().check_action(action, parameters)

    def action_filter(self) -> None:
        self._field.display = True
        self.screen.set_focus(self._field)  # at once: what is typed next belongs there

    def on_input_changed(self, event: Input.Changed) -> None:
        self.view.text = event.value
        self._show()
        self._list()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.input.display = False
        self._table.focus()

    def on_key(self, event: Key) -> None:
        if event.key == "escape" and len(self.screen_stack) == 1:
            self._field.value, self._field.display = "", False
            self._table.focus()

    def action_theme(self) -> None:
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_help(self) -> None:
        self.push_screen(HelpScreen())

    def action_interrupt(self) -> None:
        self.exit(return_code=_INTERRUPTED)

    def on_client_table_opened(self, message: ClientTable.Opened) -> None:
        client = message.client

        def look() -> tuple[Client, tuple[str, ...]]:
            try:
                return read_client(self._endpoint.get(f"/clients/{client.id}"))
            except DocumentError as error:
                raise NotAdmin(self._endpoint.url, error.problem) from error

        def then(close: bool | None) -> None:
            if close:
                self._confirm(_close(client))

        self.push_screen(DetailScreen(client, look), then)

    def action_close_client(self) -> None:
        if self._table.current is not None:
            self._confirm(_close(self._table.current))

    def action_drain(self) -> None:
        self._confirm(_DRAIN)

    def action_suspend(self) -> None:
        document = self.view.document
        serving = document is None or document.phase == "serving"
        self._confirm(_SUSPEND if serving else _RESUME)

    def _confirm(self, deed: _Deed) -> None:
        def then(yes: bool | None) -> None:
            if yes:
                self.run_worker(lambda: self._do(deed), thread=True, group="deeds")

        self.push_screen(ConfirmScreen(deed.question, deed.consequence, deed.verb), then)

    def _do(self, deed: _Deed) -> None:
        """On a worker's thread."""
        tell = partial(self.notify, deed.done, markup=False)
        try:
            self._endpoint.post(deed.path)
        except ThreadwireError as error:
            tell = partial(self.notify, clean(error), severity="error", markup=False, timeout=10)
        self.post_message(self.Done(tell))


def _content(line: list[Piece]) -> Content:
    return Content.assemble(*[(text, _TONES.get(tone, "")) for text, tone in line])
