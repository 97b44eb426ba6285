"""What one does with the live page, and how it fares with its connection, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from threadwire.admin import Admin

from ..conftest import Serving
from ..support import Peer, reverse
from .conftest import Administering
from .page_support import Browser, Page, Visitor, chromium, expect, fact, live, row, visiting


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    with visiting(browser) as started:
        yield started


def focused(page: Page) -> str:
    """The id of what has the focus."""
    found = page.evaluate("document.activeElement.id")
    assert isinstance(found, str)
    return found


# What one can do.


def test_draining_and_resuming(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    server = serving(reverse)
    page = live(visitor.open(administering(server).url))
    with Peer(server.address) as peer:
        expect(row(page, 1)).to_be_visible()
        page.get_by_role("button", name="Drain", exact=True).click()
        dialog = page.locator("#confirm")
        expect(dialog).to_contain_text("Drain the server?")
        expect(dialog).to_contain_text("each of its 1 client")
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_be_hidden()
        assert server.snapshot().phase == "serving"

        page.get_by_role("button", name="Drain", exact=True).click()
        dialog.get_by_role("button", name="Drain").click()
        expect(page.locator("#banner")).to_contain_text("The server is draining")
        assert peer.hear_all() == b""
        expect(row(page, 1)).to_have_count(0)
        expect(page.locator("#verdict-text")).to_contain_text("Draining.")
        expect(page.get_by_role("button", name="Drain", exact=True)).to_be_disabled()

    page.get_by_role("button", name="Resume").click()
    dialog.get_by_role("button", name="Resume").click()
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#verdict-text")).to_contain_text("All is well.")
    with Peer(server.address) as peer:
        expect(row(page, 2)).to_be_visible()

    page.keyboard.press("s")
    dialog.get_by_role("button", name="Suspend").click()
    expect(page.locator("#banner")).to_contain_text("The server is suspended")


def test_closing_a_client(serving: Serving, administering: Administering, visitor: Visitor) -> None:
    visitor.expect("404")
    server = serving(reverse)
    page = live(visitor.open(administering(server).url))
    with Peer(server.address) as peer, Peer(server.address) as other:
        row(page, 1).click()
        page.get_by_role("button", name="Close this client…").click()
        expect(page.locator("#confirm")).to_contain_text("Close client #1?")
        page.get_by_role("button", name="Close it").click()
        expect(page.locator("#toasts")).to_contain_text("Client #1 is being closed.")
        assert peer.hear_all() == b""
        expect(row(page, 1)).to_have_count(0)
        expect(page.locator("#detail")).to_be_hidden()
        other.say(b"hello\n")
        assert other.hear_line() == b"olleh\n"
        # One who leaves while one looks.
        row(page, 2).click()
        other.close()
        expect(page.locator("#detail-problem")).to_have_text("This client has left.")
        expect(page.get_by_role("button", name="Close this client…")).to_be_disabled()


def test_pausing(serving: Serving, administering: Administering, visitor: Visitor) -> None:
    server = serving(reverse)
    page = live(visitor.open(administering(server).url))
    page.keyboard.press("p")
    expect(page.locator("#link-state")).to_have_text("paused")
    expect(page.locator("#banner")).to_contain_text("Paused")
    with Peer(server.address) as peer, page.expect_response(re.compile("/clients/1")):
        peer.say(b"hello\n")
        assert peer.hear_line() == b"olleh\n"
        # By then documents have come that would have shown it.
        page.evaluate("fetch('clients/1'), new Promise((done) => setTimeout(done, 4500))")
        expect(fact(page, "totals", "messages received")).to_have_text("0")
        page.get_by_role("button", name="Go on").first.click()
        expect(fact(page, "totals", "messages received")).to_have_text("1")
        expect(row(page, 1)).to_be_visible()
        expect(page.locator("#banner")).to_be_hidden()
        # The charts have what came meanwhile.
        page.keyboard.press("c")
        seen = set()
        for _ in range(4):
            page.keyboard.press("ArrowLeft")
            seen.add(page.locator("#charts-reading").inner_text().partition(".")[0])
        assert len(seen) >= 3


def test_sorting_and_filtering(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    server = serving(reverse)
    page = live(visitor.open(administering(server).url))
    numbers = page.locator("#clients-body tr .column-id")
    with Peer(server.address), Peer(server.address) as talker, Peer(server.address):
        talker.say(b"hello\n")
        expect(numbers).to_have_count(3)
        head = page.get_by_role("columnheader", name="Messages", exact=True)
        head.get_by_role("button").press("Enter")
        expect(head).to_have_attribute("aria-sort", "descending")
        expect(numbers.first).to_have_text("#2")
        head.get_by_role("button").press("Enter")
        expect(head).to_have_attribute("aria-sort", "ascending")
        expect(numbers).to_have_text(["#1", "#3", "#2"])
        page.keyboard.press("/")
        assert focused(page) == "filter"
        page.keyboard.type(str(talker.socket.getsockname()[1]))
        expect(numbers).to_have_text(["#2"])
        page.keyboard.type("nobody")
        expect(page.locator("#clients-empty")).to_have_text(
            "No client that is shown fits the filter."
        )


def test_by_keyboard_alone(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    page = live(visitor.open(administering(serving(reverse)).url))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    order = []
    for _ in range(7):
        page.keyboard.press("Tab")
        order.append(focused(page))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"one does not see that {order[-1]} has the focus"
    assert order == ["pause", "suspend", "drain", "theme", "help", "lanes", "charts"]
    expect(page.locator("#charts-reading")).to_be_empty()
    expect(page.locator("output[data-line=open]")).to_have_text("0")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#charts-reading")).to_contain_text("Messages a second: received")
    page.keyboard.press("?")
    help_dialog = page.get_by_role("dialog", name="What this shows")
    expect(help_dialog).to_contain_text("pause and go on")
    page.keyboard.press("p")  # no key does anything behind a dialog
    help_dialog.get_by_label("Single keys do something").uncheck()
    page.keyboard.press("Escape")
    expect(help_dialog).to_be_hidden()
    expect(page.locator("#link-state")).to_have_text("live")
    page.keyboard.press("?")
    page.keyboard.press("p")
    expect(help_dialog).to_be_hidden()
    expect(page.locator("#link-state")).to_have_text("live")


def test_everything_one_can_press_has_a_name(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    page = live(visitor.open(administering(serving(reverse)).url))
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, input, a, canvas, [tabindex], dialog, meter")]
          .filter((element) => !element.hidden && element.id !== "banner-action"
            && element.id !== "confirm-yes" && element.id !== "clients-more")
          .filter((element) => !(element.textContent.trim() || element.getAttribute("aria-label")
            || element.getAttribute("aria-labelledby") || element.labels?.length))
          .map((element) => element.outerHTML)"""
    )
    assert nameless == []


# When the connection ends.


def test_it_finds_back_to_an_endpoint_that_was_restarted(
    serving: Serving, visitor: Visitor
) -> None:
    visitor.expect("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET|ERR_ABORTED")
    server = serving(reverse)
    with Peer(server.address):
        with Admin(server, "127.0.0.1:0") as admin:
            port = admin.address.port
            page = live(visitor.open(admin.url))
            expect(row(page, 1)).to_be_visible()
        expect(page.locator("#banner")).to_contain_text("No connection to the server")
        expect(page.locator("#banner")).to_contain_text("Next attempt in")
        expect(page.locator("body")).to_have_class(re.compile("stale"))
        expect(page.locator("#banner")).to_contain_text("old")
        expect(page.locator("#link-state")).to_have_text("no connection")
        with page.expect_request("**/events"):
            page.get_by_role("button", name="Try now").click()
        with Admin(server, f"127.0.0.1:{port}"):
            live(page)
            expect(page.locator("body")).not_to_have_class(re.compile("stale"))
            expect(page.locator("#banner")).to_be_hidden()
            page.close()


def test_it_finds_back_by_itself(serving: Serving, visitor: Visitor) -> None:
    visitor.expect("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET|ERR_ABORTED")
    server = serving(reverse)
    with Admin(server, "127.0.0.1:0") as admin:
        port = admin.address.port
        page = live(visitor.open(admin.url))
    expect(page.locator("#banner")).to_contain_text("No connection to the server")
    with Admin(server, f"127.0.0.1:{port}"):
        live(page)
        page.close()


def test_what_the_server_refuses_is_told(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    visitor.expect("503")
    admin = administering(serving(reverse))
    page = live(visitor.open(admin.url))
    page.route(
        "**/events",
        lambda route: route.fulfill(status=503, json={"error": "32 streams are open"}),
    )
    page.reload()
    expect(page.locator("#banner")).to_contain_text(
        "No connection to the server: 32 streams are open."
    )


def test_a_page_that_nobody_sees_gives_its_stream_back(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    page = live(visitor.open(administering(serving(reverse)).url, hour=0))
    see = """(state) => {
      Object.defineProperty(document, "visibilityState", {get: () => state, configurable: true});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(see, "hidden")
    page.clock.fast_forward(29_000)
    assert page.locator("#link-state").inner_text() != "resting"
    page.clock.fast_forward(2000)
    expect(page.locator("#link-state")).to_have_text("resting")
    page.evaluate(see, "visible")
    live(page)


def test_the_token_is_asked_for_once(
    serving: Serving, administering: Administering, visitor: Visitor
) -> None:
    visitor.expect("401")
    page = visitor.open(administering(serving(reverse), token="open-sesame").url)
    dialog = page.get_by_role("dialog", name="This server asks for a token")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Token").fill("guessed")
    page.keyboard.press("Enter")
    expect(page.locator("#token-problem")).to_have_text("That token was not accepted.")
    dialog.get_by_label("Token").fill("open-sesame")
    page.keyboard.press("Enter")
    live(page)
    expect(dialog).to_be_hidden()
    page.reload()
    live(page)
    expect(dialog).to_be_hidden()
    page.keyboard.press("s")
    page.locator("#confirm-yes").click()
    expect(page.locator("#banner")).to_contain_text("The server is suspended")
