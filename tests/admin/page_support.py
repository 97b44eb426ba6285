"""A real browser to look at the live page with; its tests are skipped where there is none."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from ..support import PATIENCE

pytest.importorskip("playwright.sync_api", reason="the live page's tests need playwright")

from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Route,
    expect,
    sync_playwright,
)

__all__ = [
    "Browser",
    "Page",
    "Route",
    "Visitor",
    "chromium",
    "expect",
    "fact",
    "live",
    "pixels_like",
    "row",
    "visiting",
    "width_of",
]

EXECUTABLE = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

expect.set_options(timeout=PATIENCE * 1000)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium; skips the test if there is none."""
    if EXECUTABLE is None:
        pytest.skip("the live page's tests need Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=EXECUTABLE,
            args=["--no-sandbox", "--disable-background-networking"],
        )
        yield browser
        browser.close()


class Visitor:
    """Opens pages, and notes whatever goes wrong in them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._expected: list[str] = []
        self.asked: set[str] = set()  # the URLs of all requests
        self.problems: list[str] = []

    def open(self, url: str, *, hour: float | None = None, **options: Any) -> Page:
        """A page in a browser without a past; with ``hour``, one whose clock the test has."""
        context = self._browser.new_context(**options)
        context.set_default_timeout(PATIENCE * 1000)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("request", lambda request: self.asked.add(request.url))
        if hour is not None:
            page.clock.install()
        page.goto(url)
        return page

    def expect(self, pattern: str) -> None:
        """That the browser complains of this is what the test is about."""
        self._expected.append(pattern)

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(
            re.search(pattern, text) for pattern in self._expected
        ):
            self.problems.append(text)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@contextlib.contextmanager
def visiting(browser: Browser) -> Iterator[Visitor]:
    """At the end nothing has gone wrong in its pages, but what was expected."""
    visitor = Visitor(browser)
    try:
        yield visitor
    finally:
        visitor.close()
    assert not visitor.problems


def live(page: Page) -> Page:
    """The page, once it shows what the server says."""
    expect(page.locator("#link-state")).to_have_text("live")
    expect(page.locator("#verdict-text")).not_to_have_text("Waiting for the first figures.")
    return page


def row(page: Page, number: int) -> Locator:
    """The row of the client with this id."""
    return page.locator("#clients-body tr").filter(
        has=page.get_by_role("button", name=f"Details of client {number}", exact=True)
    )


def fact(page: Page, panel: str, name: str) -> Locator:
    """What a panel says of ``name``."""
    name_cell = page.locator("dt", has_text=re.compile(f"^{re.escape(name)}$"))
    return page.locator(f"#{panel} > div").filter(has=name_cell).locator("dd").first


def pixels_like(page: Page, colour: str) -> int:
    """How many of the lanes' pixels have the colour that the style sheet calls ``colour``."""
    counted = page.evaluate(
        """(name) => {
          const probe = document.body.appendChild(document.createElement("i"));
          probe.style.color = `var(${name})`;
          const wanted = getComputedStyle(probe).color.match(/[0-9]+/g).map(Number);
          probe.remove();
          const canvas = document.getElementById("lanes-canvas");
          if (!canvas.width || !canvas.height) return 0;
          const copy = new OffscreenCanvas(canvas.width, canvas.height);
          const on = copy.getContext("2d", { willReadFrequently: true });
          on.drawImage(canvas, 0, 0);
          const { data } = on.getImageData(0, 0, canvas.width, canvas.height);
          let found = 0;
          for (let at = 0; at < data.length; at += 4) {
            const near = wanted.every((value, place) => Math.abs(data[at + place] - value) < 3);
            if (near) found += 1;
          }
          return found;
        }""",
        colour,
    )
    assert isinstance(counted, int)
    return counted


def width_of(page: Page) -> tuple[int, int]:
    """How wide the page is, and how wide the window."""
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return wide[0], wide[1]
