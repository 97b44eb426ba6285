"""What lies above the live view: a client's detail, a question, and the help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from ..errors import ThreadwireError
from . import amounts
from .documents import Client, clean

__all__ = ["ConfirmScreen", "DetailScreen", "HelpScreen"]

_DIM = "$foreground 60%"
_PERIOD = 1.0  # seconds between two looks at a client

Look = Callable[[], tuple[Client, tuple[str, ...]]]


class DetailScreen(ModalScreen[bool]):
    """A client, asked for once a second by ``look``; ends with whether to close the client."""

    DEFAULT_CSS = """
    DetailScreen { align: center middle; }
    DetailScreen > VerticalScroll {
        width: 90%; max-width: 110; height: 90%; max-height: 40;
        border: round $primary; background: $surface; padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave(False)", "Back"),
        Binding("c", "leave(True)", "Close this client"),
    ]

    class Told(Message):
        """What there is to say of the client now."""

        def __init__(self, content: Content) -> None:
            super().__init__()
            self.content = content

    def __init__(self, client: Client, look: Look) -> None:
        super().__init__()
        self._client = client
        self._look = look

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = f"client {self._client.id}"
            box.border_subtitle = "Esc back   c close this client"
            self._text = Static(_describe(self._client, ("…",)), markup=False)
            yield self._text

    def on_mount(self) -> None:
        self._ask()
        self.set_interval(_PERIOD, self._ask)

    def _ask(self) -> None:
        self.run_worker(self._answer, thread=True, exclusive=True, group="detail")

    def _answer(self) -> None:
        """On a worker's thread."""
        try:
            told = _describe(*self._look())
        except ThreadwireError as error:
            told = Content.styled(clean(error), "$text-error")
        self.post_message(self.Told(told))

    def on_detail_screen_told(self, message: Told) -> None:
        self._text.update(message.content)  # it may have been left meanwhile

    def action_leave(self, close: bool) -> None:
        self.dismiss(close)


def _describe(client: Client, stack: Sequence[str]) -> Content:
    handler = "does not run" if client.busy is None else f"runs for {amounts.duration(client.busy)}"
    lines = (
        ("peer", client.peer),
        ("state", client.state),
        ("handler", f"{handler}, at {client.line}" if client.line else handler),
        ("age", amounts.duration(client.age)),
        ("idle", amounts.duration(client.idle)),
        ("rate", f"{amounts.rate(client.rate)} messages/s"),
        ("messages", f"{client.messages_received} received, {client.messages_sent} sent"),
        ("bytes", f"{client.bytes_received} received, {client.bytes_sent} sent"),
        ("tls", client.tls or "none"),
    )
    parts: list[tuple[str, str]] = []
    for name, value in lines:
        parts += [(f"{name:<10}", _DIM), (f"{value}\n", "")]
    parts.append(("\nstack, the innermost call first\n", _DIM))
    parts.append(("\n".join(reversed(stack)) or "none: no thread is inside its handler", ""))
    return Content.assemble(*parts)


class ConfirmScreen(ModalScreen[bool]):
    """Asks whether to do something; ends with the answer."""

    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; }
    ConfirmScreen > Vertical {
        width: 70%; max-width: 64; min-width: 34; height: auto; max-height: 100%;
        border: round $warning; background: $surface; padding: 0 1;
    }
    ConfirmScreen Horizontal { height: auto; align-horizontal: right; }
    ConfirmScreen Button { margin-left: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, consequence: str, verb: str) -> None:
        super().__init__()
        self._question = question
        self._consequence = consequence
        self._verb = verb

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content.styled(self._question, "bold"), markup=False)
            yield Static(Content(self._consequence), markup=False)
            with Horizontal():
                yield Button("No (n)", id="no", compact=True)
                yield Button(f"{self._verb} (y)", id="yes", variant="warning", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


_HELP = (
    ("↑ ↓ PgUp PgDn Home End", "move; the cursor stays with its client, on Home with the first"),
    ("Enter, double click", "the client, with its handler's stack"),
    ("< >, click on a title", "sort by another column"),
    ("r", "sort the other way round"),
    ("/", "show only clients with these words; Esc shows all"),
    ("p, Space", "pause, and go on"),
    ("c", "close the client at the cursor"),
    ("d", "drain: accept nobody, finish what was begun, close"),
    ("u", "suspend accepting; resume, also after a drain"),
    ("t", "light or dark"),
    ("q, Ctrl-C", "leave; the server does not mind"),
)
_STATES = (
    ("idle", "the loop has it, and no handler runs", _DIM),
    ("loop", "the loop is inside its handler", "$text-success"),
    ("own-thread", "a thread of its own waits for it", "$text-primary"),
    (
        "blocked",
        "its own thread is inside the handler, for BUSY, at LINE",
        "$text-error",
    ),
    ("waiting", "for a thread of its own: max_threads serve others", "$text-warning"),
    ("opening", "its TLS handshake or PROXY header is under way", "$text-secondary"),
    ("closing", "it ends, and says what it still has to say", _DIM),
)


class HelpScreen(ModalScreen[None]):
    """The keys, and what the states mean."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll {
        width: 95%; max-width: 100; height: auto; max-height: 100%;
        border: round $primary; background: $surface; padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss(None)", "Back"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "help"
            box.border_subtitle = "Esc back"
            yield Static(self._text(), markup=False)

    def _text(self) -> Content:
        parts: list[tuple[str, str]] = []
        for key, text in _HELP:
            parts += [(f"{key:<24}", "bold"), (f"{text}\n", "")]
        parts.append(("\nstates\n", _DIM))
        for state, text, tone in _STATES:
            parts += [(f"{state:<12}", tone), (f"{text}\n", "")]
        return Content.assemble(*parts)
