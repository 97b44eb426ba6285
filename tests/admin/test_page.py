"""What the live page shows, in a real browser, of a real server."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest

import threadwire
from threadwire.snapshot import ClientState, ServerSnapshot

from ..conftest import Serving
from ..support import Peer, eventually, reverse
from .conftest import Administering
from .page_support import (
    Browser,
    Visitor,
    chromium,
    expect,
    fact,
    live,
    pixels_like,
    row,
    visiting,
    width_of,
)
from .snapshots import client, durations, snapshot
from .support import Blocking, blocked

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    with visiting(browser) as started:
        yield started


def test_one_sees_the_service_and_that_all_is_well(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    server = serving(reverse, max_clients=40)
    admin = administering(server)
    page = live(visitor.open(admin.url))
    expect(page.locator("#service")).to_contain_text(f"127.0.0.1:{server.address.port}")
    expect(page.locator("#service")).to_contain_text("handler reverse · framing lines")
    expect(page.locator("#verdict")).to_have_attribute("data-level", "well")
    expect(page.locator("#verdict-text")).to_contain_text("All is well. 0 clients")
    expect(page.locator("#lanes-empty")).to_be_visible()
    expect(page.locator(".limit", has_text="max_clients")).to_contain_text("0 of 40")
    expect(fact(page, "process", "threadwire")).to_have_text(threadwire.__version__)
    assert page.title().endswith("threadwire")
    assert all(url.startswith(admin.url) for url in visitor.asked), visitor.asked


def test_a_client_comes_talks_and_goes(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    server = serving(reverse)
    page = live(visitor.open(administering(server).url))
    with Peer(server.address) as peer:
        number = 1
        port = peer.socket.getsockname()[1]
        expect(row(page, number)).to_contain_text(f"127.0.0.1:{port}")
        expect(row(page, number)).to_contain_text("idle")
        expect(page.locator("#lanes-empty")).to_be_hidden()
        eventually(lambda: pixels_like(page, "--idle"), "its lane is drawn")
        peer.say(b"hello\n" * 300)
        assert len(peer.hear(300 * 6)) == 300 * 6
        expect(fact(page, "totals", "messages received")).to_have_text("300")
        expect(row(page, number).locator(".column-messages")).to_have_text("300")
        eventually(lambda: pixels_like(page, "--loop"), "what it said is drawn")
    expect(row(page, number)).to_have_count(0)
    expect(fact(page, "closed", "peer-closed")).to_have_text("1")
    expect(page.locator("#verdict-text")).to_contain_text("0 clients")


def test_who_blocks_is_shown_with_the_line(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    handler = Blocking()
    server = serving(handler)
    page = live(visitor.open(administering(server).url))
    with blocked(server, handler), Peer(server.address) as quick:
        quick.say(b"hello\n")
        assert quick.hear_line() == b"olleh\n"
        expect(row(page, 1)).to_contain_text("blocked")
        expect(row(page, 1)).to_contain_text(
            re.compile(r"threading\.py:\d+ in wait|support\.py:\d+")
        )
        expect(row(page, 1).locator(".column-busy")).to_have_text(re.compile(r"^\d+\.\d s$"))
        expect(page.locator("#clients-body tr").first).to_contain_text("#1")
        expect(page.locator("#verdict-text")).to_contain_text("1 client blocks, for")
        expect(page.locator("#verdict")).to_have_attribute("data-level", "well")
        expect(page.locator("#legend li", has_text="blocked")).to_contain_text("1")
        eventually(lambda: pixels_like(page, "--blocked") > 500, "its lane is drawn")
        assert "1 blocked" in page.title()
        # What its handler is doing, in full.
        row(page, 1).get_by_role("button").click()
        detail = page.locator("#detail")
        expect(detail.locator("pre")).to_contain_text("wait_for(self.go)")
        expect(fact(page, "detail-facts", "state")).to_have_text("blocked")
        page.keyboard.press("Escape")
        expect(detail).to_be_hidden()
        handler.go.set()
        expect(row(page, 1)).not_to_contain_text("blocked")
    expect(page.locator("#verdict-text")).to_contain_text("Nobody blocks.")


def test_a_limit_that_is_near_is_told_in_words(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    server = serving(reverse, max_clients=10)
    page = live(visitor.open(administering(server).url))
    peers = [Peer(server.address) for _ in range(9)]
    expect(page.locator(".limit", has_text="max_clients")).to_contain_text("9 of 10, 90 %: close!")
    meter = page.get_by_role("meter", name="max_clients", exact=True)
    expect(meter).to_have_attribute("aria-valuenow", "9")
    expect(page.locator("#verdict")).to_have_attribute("data-level", "warn")
    expect(page.locator("#verdict-text")).to_contain_text("max_clients is at 90 %.")
    for peer in peers:
        peer.close()
    expect(page.locator("#verdict")).to_have_attribute("data-level", "well")


def test_names_from_elsewhere_are_text(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    markup = "<img src=x onerror=\"document.title='taken'\">"
    inside, go = threading.Event(), threading.Event()
    names = {"inside": inside, "go": go}
    code = "def handler(message):\n    inside.set()\n    go.wait(20)\n    return message\n"
    exec(compile(code, markup, "exec"), names)
    handler = names["handler"]
    handler.__qualname__ = handler.__name__ = markup  # type: ignore[attr-defined]
    server = serving(handler)
    page = live(visitor.open(administering(server).url))
    with Peer(server.address) as peer:
        peer.say(b"hello\n")
        # The line is the innermost one; the stack has all of them.
        expect(row(page, 1)).to_contain_text("blocked")
        row(page, 1).get_by_role("button").click()
        expect(page.locator("#detail-stack")).to_contain_text(markup)
        expect(page.locator("#service")).to_contain_text(markup)
        assert page.locator("img").count() == 0
        assert "taken" not in page.title()
        go.set()
        assert peer.hear_line() == b"hello\n"


class Crowd:
    """Stands where a server does, and tells of as many clients as no test could connect."""

    connections = ()

    def __init__(self, total: int) -> None:
        self._total = total
        self._seconds = 0  # each look at it is a second later; the sampler alone looks

    def snapshot(self, *, clients: bool = False) -> ServerSnapshot:
        self._seconds += 1
        busy = [
            client(
                number,
                state=ClientState.BLOCKED if number <= 3 else ClientState.IDLE,
                busy=100.0 / number if number <= 3 else None,
                line=f"app.py:{number} in slow" if number <= 3 else "",
                messages_received=self._seconds * (number % 50),
            )
            for number in range(1, self._total + 1)
        ]
        return snapshot(
            taken_at=1000.0 + self._seconds,
            clock=10.0 + self._seconds,
            connections=self._total,
            messages_received=self._seconds * self._total * 25,
            handler_seconds=durations(*[1e-5] * self._seconds),
            clients=tuple(busy) if clients else None,
        )

    def suspend(self) -> None: ...

    def resume(self) -> None: ...

    def drain(self, timeout: float | None = None) -> int:
        return 0

    def healthy(self, timeout: float = 1.0) -> bool:
        return True


def test_ten_thousand_clients(administering: Administering, visitor: Visitor) -> None:
    page = live(visitor.open(administering(Crowd(10_000)).url))
    expect(page.locator("#lanes-note")).to_contain_text("Lanes for 200 of 10,000")
    expect(page.locator("#crowd")).to_be_visible()
    expect(page.locator("#crowd")).to_have_attribute("aria-label", re.compile(r"^10,000 clients"))
    expect(page.locator("#legend li", has_text="blocked")).to_contain_text("3")
    expect(page.locator("#clients-body tr")).to_have_count(25)
    expect(page.locator("#clients-body tr").first).to_contain_text("app.py:1 in slow")
    expect(page.locator("#clients-body tr").nth(3).locator(".column-rate")).to_have_text("49")
    page.get_by_role("button", name="Show all 200").click()
    expect(page.locator("#clients-body tr")).to_have_count(200)
    # An order that the documents do not have is the server's, of all of them.
    page.get_by_role("button", name="Client", exact=True).click()
    expect(page.locator("#clients-body tr").nth(10)).to_contain_text("#11")
    expect(page.locator("#clients-body tr").last).to_contain_text("#200")
    nodes = page.evaluate("document.querySelectorAll('*').length")
    assert nodes < 5000
    before = page.locator("#totals").inner_text()
    expect(page.locator("#totals")).not_to_have_text(before)
    assert page.evaluate("document.querySelectorAll('*').length") == nodes


# Where it is looked at.


def test_dark_and_light(serving: Serving, administering: Administering, visitor: Visitor) -> None:
    admin = administering(serving(reverse))
    page = live(visitor.open(admin.url, color_scheme="dark"))
    body = page.locator("body")
    expect(body).to_have_css("background-color", "rgb(11, 17, 25)")
    page.keyboard.press("t")
    expect(page.locator("#theme")).to_have_text("Theme: light")
    expect(body).to_have_css("background-color", "rgb(243, 245, 248)")
    page.reload()
    live(page)
    expect(page.locator("#theme")).to_have_text("Theme: light")
    expect(body).to_have_css("background-color", "rgb(243, 245, 248)")
    page.keyboard.press("t")
    page.emulate_media(color_scheme="light")
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    expect(body).to_have_css("background-color", "rgb(11, 17, 25)")


def test_on_a_phone(serving: Serving, administering: Administering, visitor: Visitor) -> None:
    handler = Blocking()
    server = serving(handler)
    page = live(visitor.open(administering(server).url, viewport=PHONE, has_touch=True))
    with blocked(server, handler), Peer(server.address):
        expect(row(page, 1)).to_contain_text("blocked")
        expect(row(page, 2)).to_be_visible()
        wide, window = width_of(page)
        assert wide <= window
        for name in ("Pause", "Suspend", "Drain", "Help and keys"):
            expect(page.get_by_role("button", name=name, exact=True)).to_be_in_viewport(ratio=1)
        page.get_by_role("button", name="Details of client 1").tap()
        expect(page.locator("#detail-stack")).to_contain_text("in wait_for")
        box = page.locator("#detail").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= window


def test_nothing_moves_by_itself_for_who_asks_for_that(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    admin = administering(serving(reverse))
    page = live(visitor.open(admin.url, reduced_motion="reduce"))
    assert page.evaluate("document.getAnimations().length") == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate("document.getAnimations().length") > 0
