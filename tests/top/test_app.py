"""The live view, with textual's pilot at the keys and a real server to watch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import threadwire
from threadwire.admin import Admin

from ..support import PATIENCE, Peer

pytest.importorskip("textual")

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

from threadwire.top.app import TopApp
from threadwire.top.clients import ClientTable
from threadwire.top.endpoint import Endpoint, parse_admin_url
from threadwire.top.view import View

from .conftest import Watching
from .documents import client_value, document

Scene = Callable[["Stage"], Awaitable[None]]


def lines_of(app: App[None]) -> list[str]:
    """What is on the screen."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


class Stage:
    """An app that runs without a terminal, and whoever sits before it."""

    def __init__(self, app: TopApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def lines(self) -> list[str]:
        return lines_of(self.app)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def ids(self) -> list[int]:
        """The clients that are shown."""
        return [client.id for client in self.table.rows]

    @property
    def table(self) -> ClientTable:
        return self.app.screen_stack[0].query_one(ClientTable)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        for _ in range(int(PATIENCE / 0.02)):
            if condition():
                return
            await self.pilot.pause(0.02)
        raise AssertionError(f"it never came about: {what}\n{self.text}")

    async def next_document(self) -> None:
        taken_at = self.app.view.taken_at
        await self.until(lambda: self.app.view.taken_at > taken_at, "the next document")

    async def sees(self, *texts: str) -> None:
        for text in texts:
            await self.until(lambda text=text: text in self.text, text)  # type: ignore[misc]

    async def sees_no(self, text: str) -> None:
        await self.until(lambda: text not in self.text, f"no {text}")


def play(
    endpoint: Endpoint, scene: Scene, size: tuple[int, int] = (120, 34), view: View | None = None
) -> TopApp:
    """Run the app until the scene is over."""

    async def run() -> TopApp:
        app = TopApp(endpoint, view or View())
        try:
            app.feed.open()
            async with app.run_test(size=size, notifications=True) as pilot:
                await scene(Stage(app, pilot))
        finally:
            app.feed.close()
        return app

    return asyncio.run(run())


def test_what_one_sees_at_once(watching: Watching) -> None:
    watched = watching()
    watched.client()
    watched.blocked_client()

    async def scene(stage: Stage) -> None:
        await stage.sees("serving", watched.url, "1 idle", "1 blocked", "messages/s", "max_clients")
        (blocked,) = [line for line in stage.lines if " blocked  " in line and "2 127" in line]
        assert "in stand_still" in blocked
        assert stage.ids == [2, 1], "the worst comes first"
        assert "? Help" in stage.text

    play(watched.endpoint(), scene)


def test_clients_come_and_go(watching: Watching) -> None:
    watched = watching()

    async def scene(stage: Stage) -> None:
        await stage.sees("clients  0")
        peer = watched.client()
        await stage.until(lambda: stage.ids == [1])
        await stage.sees(f"127.0.0.1:{peer.socket.getsockname()[1]}")
        peer.close()
        await stage.until(lambda: stage.ids == [])
        await stage.sees("closed peer-closed 1")

    play(watched.endpoint(), scene)


def test_sorting_by_keys_and_by_mouse(watching: Watching) -> None:
    watched = watching()
    for _ in range(3):
        watched.client()
    watched.blocked_client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: stage.ids == [4, 3, 2, 1])
        assert "BUSY▼" in stage.text
        await stage.press("r")
        assert "BUSY▲" in stage.text
        assert stage.ids[-1] == 4
        await stage.press("greater_than_sign")
        assert "LINE▼" in stage.text
        await stage.press("less_than_sign", "less_than_sign", "less_than_sign")
        assert "PEER▲" in stage.text
        (titles,) = [n for n, line in enumerate(stage.lines) if "PEER▲" in line]
        at = stage.lines[titles].index(" ID") + 1
        await stage.pilot.click(offset=(at, titles))
        await stage.until(lambda: "ID▲" in stage.text)
        assert stage.ids == [1, 2, 3, 4]
        await stage.pilot.click(offset=(at, titles))
        await stage.until(lambda: stage.ids == [4, 3, 2, 1])

    play(watched.endpoint(), scene)


def test_the_cursor_stays_with_its_client(watching: Watching) -> None:
    watched = watching()
    for _ in range(60):
        watched.client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: len(stage.ids) == 60)
        assert stage.table.current is not None
        assert stage.table.current.id == 60
        watched.client()
        await stage.until(lambda: stage.table.current and stage.table.current.id == 61)
        await stage.press("down", "down")
        assert stage.table.current.id == 59
        await stage.press(*["less_than_sign"] * 3)
        assert stage.ids[0] == 1
        assert stage.table.current.id == 59
        assert any(line.startswith("  59 ") for line in stage.lines), "it is in sight"
        await stage.press("end")
        assert stage.table.current.id == 61
        assert stage.lines[-2].startswith("  61 ")
        await stage.press("pageup", "up")
        assert any(line.startswith(f"  {stage.table.current.id} ") for line in stage.lines)
        await stage.press("home")
        assert stage.table.current.id == 1
        watched.peers[0].close()
        await stage.until(lambda: stage.table.current and stage.table.current.id == 2)

    play(watched.endpoint(), scene)


def test_a_click_chooses_and_two_open(watching: Watching) -> None:
    watched = watching()
    for _ in range(3):
        watched.client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: len(stage.ids) == 3)
        await stage.next_document()  # so that everything has its place
        await stage.sees("   2 127.0.0.1")
        (y,) = [n for n, line in enumerate(stage.lines) if line.startswith("   2 127")]
        await stage.pilot.click(offset=(10, y), times=2)
        await stage.sees("client 2 ")
        await stage.press("escape")
        await stage.until(lambda: len(stage.app.screen_stack) == 1)
        await stage.pilot.click(offset=(10, y + 1))
        await stage.until(lambda: stage.table.current and stage.table.current.id == 1)
        await stage.pilot.click(offset=(10, y + 8))
        await stage.pilot.pause()
        assert stage.table.current is not None
        assert stage.table.current.id == 1, "there is nobody"

    play(watched.endpoint(), scene)


def test_words_to_look_for(watching: Watching) -> None:
    watched = watching()
    watched.client()
    watched.blocked_client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: len(stage.ids) == 2)
        await stage.press("slash", *"stand_st")
        await stage.until(lambda: stage.ids == [2])
        await stage.sees("filter: stand_st   1 of 2 clients")
        await stage.press("slash", "enter")
        assert stage.app.focused is stage.table
        await stage.sees("filter: stand_st/   0 of 2 clients")
        await stage.press("escape")
        await stage.until(lambda: stage.ids == [2, 1])
        assert "filter:" not in stage.text
        await stage.press("slash", "x", "escape")
        await stage.until(lambda: stage.ids == [2, 1])
        assert not stage.app.query_one(Input).display

    play(watched.endpoint(), scene)


def test_a_pause(watching: Watching) -> None:
    watched = watching()
    watched.client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: stage.ids == [1])
        await stage.press("p")
        await stage.sees("PAUSED")
        watched.client()
        await stage.next_document()
        await stage.next_document()
        assert stage.ids == [1]
        await stage.press("space")
        await stage.until(lambda: stage.ids == [2, 1])
        assert "PAUSED" not in stage.text

    play(watched.endpoint(), scene)


def test_a_client_with_its_stack_and_its_end(watching: Watching) -> None:
    watched = watching()
    peer = watched.client()
    watched.blocked_client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: len(stage.ids) == 2)
        await stage.press("enter")
        await stage.sees("client 2 ", "runs for", "self._go_on.wait(", "in handle")
        await stage.press("escape", "down", "enter")
        await stage.sees("client 1 ", "handler   does not run", "no thread is inside its handler")
        peer.close()
        await stage.sees("there is no client 1")
        await stage.press("q")
        await stage.sees_no("there is no client 1")

    play(watched.endpoint(), scene)


def test_closing_a_client_is_asked_twice(watching: Watching) -> None:
    watched = watching()
    first, second = watched.client(), watched.client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: stage.ids == [2, 1])
        await stage.press("c")
        await stage.sees("Close client 2?")
        await stage.press("n")
        await stage.sees_no("Close client 2?")
        await stage.press("c")
        await stage.sees("Close client 2?")
        await stage.until(lambda: stage.app.focused and stage.app.focused.id == "no")
        await stage.press("enter")
        await stage.sees_no("Close client 2?")
        await stage.next_document()
        assert stage.ids == [2, 1]
        await stage.press("c")
        await stage.sees("Close client 2?")
        await stage.press("right")
        await stage.until(lambda: stage.app.focused and stage.app.focused.id == "yes")
        await stage.press("enter")
        await stage.until(lambda: stage.ids == [1])
        await stage.sees("client 2 is closed")
        assert second.hear_all() == b""
        await stage.press("enter")
        await stage.sees("client 1 ", "stack")
        await stage.press("c")
        await stage.sees("Close client 1?")
        await stage.press("y")
        await stage.until(lambda: stage.ids == [])
        assert first.hear_all() == b""
        await stage.press("c", "enter")
        assert len(stage.app.screen_stack) == 1, "there is none to close"

    play(watched.endpoint(), scene)


def test_what_cannot_be_done_is_told(watching: Watching) -> None:
    watched = watching()
    peer = watched.client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: stage.ids == [1])
        await stage.press("p", "c")
        await stage.sees("Close client 1?")
        peer.close()
        await stage.until(lambda: not watched.server.connections)
        await stage.press("y")
        await stage.sees("refuses (404)")

    play(watched.endpoint(), scene)


def test_suspend_drain_and_resume(watching: Watching) -> None:
    watched = watching()
    peer = watched.client()
    watched.blocked_client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: len(stage.ids) == 2)
        await stage.press("u")
        await stage.sees("Suspend accepting?")
        await stage.press("y")
        await stage.sees("SUSPENDED")
        await stage.press("u")
        await stage.sees("Resume accepting?")
        await stage.press("y")
        await stage.sees("serving")
        await stage.press("d")
        await stage.sees("Drain the server?")
        await stage.press("escape")
        assert watched.server.snapshot().phase == "serving"
        await stage.press("d")
        await stage.sees("Drain the server?")
        await stage.press("y")
        await stage.sees("DRAINING")
        await stage.until(lambda: stage.ids == [2])
        assert peer.hear_all() == b""

    play(watched.endpoint(), scene)


def test_a_lost_endpoint_is_told_and_connected_to_again(watching: Watching) -> None:
    watched = watching()
    watched.client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: stage.ids == [1])
        await asyncio.to_thread(watched.stop_admin)
        await stage.sees("LOST, ", " old")
        assert stage.ids == [1]
        assert stage.table.has_class("stale")
        await stage.press("d")
        await stage.sees("Drain the server?")
        await stage.press("y")
        await stage.sees("cannot connect to")
        watched.start_admin()
        await stage.sees_no("LOST")
        assert not stage.table.has_class("stale")

    play(watched.endpoint(), scene)


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (250, 70), (20, 5)], ids=str)
def test_small_and_large_terminals(watching: Watching, size: tuple[int, int]) -> None:
    watched = watching()
    watched.client()
    watched.blocked_client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: len(stage.ids) == 2)
        await stage.until(lambda: "serving" in stage.text)
        assert len(stage.lines) == size[1]
        assert "STATE" in stage.text
        if size > (20, 5):
            await stage.sees("   2 127.0.0.1", " blocked")
        for keys in ("question_mark", "enter", "c", "d"):
            await stage.press(keys)
            assert len(stage.app.screen_stack) == 2
            await stage.press("escape")
        await stage.pilot.resize_terminal(100, 30)
        await stage.sees("in stand_still")

    play(watched.endpoint(), scene, size)


def test_help_and_colours(watching: Watching) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("question_mark")
        await stage.sees("sort by another column", "its own thread is inside the handler")
        await stage.press("escape", "t")
        assert stage.app.theme == "textual-light"
        await stage.press("t")
        await stage.until(lambda: stage.app.theme == "textual-dark")
        assert not stage.app.no_color

    play(watching().endpoint(), scene)


def test_no_color(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    watched = watching()
    watched.blocked_client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: stage.ids == [1])
        await stage.sees("blocked")
        assert stage.app.no_color

    play(watched.endpoint(), scene)


def test_no_name_can_command_the_terminal() -> None:
    """A function and its file may be called anything."""
    go_on = threading.Event()
    names: dict[str, Any] = {"wait": go_on.wait}
    nasty = "\x1b[2J[bold red]x[/]\n\u202e"
    shown = r"\x1b[2J[bold red]x[/]\n\u202e"
    exec(compile("def handle(message):\n    wait(30)", nasty, "exec"), names)
    names["handle"].__qualname__ = nasty
    with (
        threadwire.Server(names["handle"], "tcp://127.0.0.1:0") as server,
        Admin(server, "127.0.0.1:0") as admin,
        Peer(server.address) as peer,
    ):
        peer.say(b"\n")

        async def scene(stage: Stage) -> None:
            await stage.sees(f"handler {shown}", f"{shown}:2 in handle")
            assert all(line.isprintable() for line in stage.lines)
            await stage.press("enter")
            await stage.sees(f"at {shown}:2 in handle", "innermost")
            assert all(line.isprintable() for line in stage.lines)
            await stage.press("escape", "slash", *"[bold", "enter")
            await stage.sees("filter: [bold   ")
            assert stage.ids == [1]

        play(Endpoint(parse_admin_url(admin.url)), scene, (220, 40))
        go_on.set()


def test_many_clients_of_whom_the_document_has_some(watching: Watching) -> None:
    watched = watching()
    for _ in range(210):
        watched.client()

    async def scene(stage: Stage) -> None:
        await stage.sees("200 of 210 clients")
        await stage.press(*["less_than_sign"] * 3)
        assert stage.app.view.sort.name == "id"
        await stage.until(lambda: stage.ids == list(range(1, 211)))
        await stage.sees_no("worst and busiest")
        peer = watched.peers[0].socket.getsockname()[1]
        await stage.press("slash", *f":{peer}", "enter")
        await stage.until(lambda: stage.ids == [1])

    play(watched.endpoint(), scene)


def test_ten_thousand_clients_are_no_different(watching: Watching) -> None:
    watched = watching()
    many = [client_value(n) for n in range(1, 10_001)]
    shown = document(*many[:200], left_out=9_800)

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: stage.app.view.document)
        stage.app.feed.close()
        for _ in range(20):
            stage.app.post_message(stage.app.Told(shown))
        await stage.until(lambda: len(stage.ids) == 200)
        stage.app.post_message(stage.app.Told(document(*many)))
        await stage.until(lambda: len(stage.ids) == 500)
        await stage.sees("500 of 10000 clients")
        await stage.press("end")
        assert stage.table.current is not None
        assert any(line.split()[:1] == [str(stage.table.current.id)] for line in stage.lines)

    play(watched.endpoint(), scene)


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", 130)])
def test_the_end(watching: Watching, key: str, code: int) -> None:
    async def scene(stage: Stage) -> None:
        await stage.until(lambda: stage.app.view.document)
        if code:
            await stage.press("question_mark")
        await stage.pilot.press(key)

    assert (play(watching().endpoint(), scene).return_code or 0) == code


def test_a_client_that_speaks_is_counted(watching: Watching) -> None:
    watched = watching()
    peer: Peer = watched.client()

    async def scene(stage: Stage) -> None:
        await stage.until(lambda: stage.ids == [1])
        peer.say(b"abc\n" * 50)
        await stage.until(lambda: stage.table.rows[0].messages_received == 50)
        await stage.until(lambda: max(stage.app.view.rates, default=0) > 1)

    play(watched.endpoint(), scene)
