"""The live page's modules by themselves, in a real browser: figures, stream, memory, colours."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from threadwire import admin

from .page_support import Browser, Page, Route, chromium, visiting

FILES = resources.files(admin).joinpath("page")
SITE = "http://page.test"
TYPES = {"css": "text/css", "js": "text/javascript"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """An empty one that has the page's modules and colours; there is no server."""
    with visiting(browser) as visitor:
        page = visitor.open("about:blank")
        page.route(f"{SITE}/**", _from_the_package)
        page.goto(f"{SITE}/")
        yield page


def _from_the_package(route: Route) -> None:
    name = route.request.url.rpartition("/")[2]
    if not name:
        link = '<link rel="stylesheet" href="page.css">'
        route.fulfill(content_type="text/html", body=f"<!doctype html>{link}<body></body>")
    elif name == "favicon.ico":
        route.fulfill(status=204)
    else:
        text = FILES.joinpath(name).read_text(encoding="utf-8")
        route.fulfill(content_type=TYPES[name.rpartition(".")[2]], body=text)


def evaluate(page: Page, module: str, code: str, argument: object = None) -> Any:
    """What ``code`` returns, with the module's exports and ``argument`` at hand."""
    return page.evaluate(
        f"async (argument) => {{ const its = await import('{SITE}/{module}'); {code} }}", argument
    )


# Figures.


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("count", 1234567, "1,234,567"),
        ("rate", 0, "0"),
        ("rate", 0.01, "<0.1"),
        ("rate", 0.25, "0.3"),
        ("rate", 3, "3"),
        ("rate", 9.96, "10"),
        ("rate", 9999.4, "9,999"),
        ("rate", 9999.6, "10 k"),
        ("rate", 34_120, "34.1 k"),
        ("rate", 999_400, "999 k"),
        ("rate", 999_600, "1 M"),
        ("rate", 1_234_000, "1.23 M"),
        ("rate", 2.5e9, "2.50 G"),
        ("bytes", 0, "0 B"),
        ("bytes", 1023, "1023 B"),
        ("bytes", 1023.7, "1 KiB"),
        ("bytes", 1024, "1 KiB"),
        ("bytes", 1536, "1.50 KiB"),
        ("bytes", 64 * 2**20, "64 MiB"),
        ("bytes", 5 * 2**50, "5120 TiB"),
        ("seconds", None, "\N{EN DASH}"),
        ("seconds", 0, "0 s"),
        ("seconds", 5e-7, "500 ns"),
        ("seconds", 8.1e-6, "8.10 µs"),
        ("seconds", 118e-6, "118 µs"),
        ("seconds", 0.9996e-3, "1 ms"),
        ("seconds", 0.004, "4 ms"),
        ("seconds", 0.9996, "1.0 s"),
        ("seconds", 12.44, "12.4 s"),
        ("seconds", 59.96, "1 min 0 s"),
        ("seconds", 123, "2 min 3 s"),
        ("seconds", 11_520, "3 h 12 min"),
        ("seconds", 442_800, "5 d 3 h"),
        ("brief", 59.7, "1 min"),
        ("brief", 12.4, "12 s"),
        ("brief", 86_399, "23 h"),
        ("brief", 86_400, "1 d"),
        ("percent", 0, "0 %"),
        ("percent", 0.025, "2.5 %"),
        ("percent", 0.62, "62 %"),
        ("peer", "tcp://[::1]:80", "[::1]:80"),
        ("peer", "unix:///run/a", "unix:///run/a"),
    ],
)
def test_figures_in_units_that_fit(page: Page, unit: str, value: object, text: str) -> None:
    assert (
        evaluate(page, "units.js", "return its[argument[0]](argument[1]);", [unit, value]) == text
    )


# The stream.

# No line ends, and no U+FEFF, which a decoder takes away at the beginning.
line = st.text(
    st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]), max_size=12
)
data_lines = st.lists(line, min_size=1, max_size=3)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_events_come_out_as_they_went_in_however_they_are_cut(
    page: Page, data: st.DataObject
) -> None:
    events = data.draw(st.lists(st.tuples(line, data_lines), max_size=4))
    end = st.sampled_from(["\n", "\r\n", "\r"])
    text = ""
    for name, lines in events:
        fields = [
            f"event: {name}",
            ": a comment",
            "id: 7",
            *(f"data: {each}" for each in lines),
            "",
        ]
        ending = data.draw(end)
        text += "".join(field + ending for field in fields)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    code = """
      const parser = new its.EventParser();
      return argument.flatMap((piece) => parser.push(piece));
    """
    found = evaluate(page, "stream.js", code, pieces)
    wanted = [{"event": name or "message", "data": "\n".join(lines)} for name, lines in events]
    assert found == wanted


def test_an_event_without_an_end_is_not_kept_for_ever(page: Page) -> None:
    code = """
      const parser = new its.EventParser();
      const piece = "x".repeat(1 << 20);
      for (let pieces = 0; pieces < 64; pieces += 1) {
        try { parser.push(piece); } catch (error) { return [pieces, error.message]; }
      }
      return null;
    """
    assert evaluate(page, "stream.js", code) == [16, "an event of the stream is too large"]


# Memory, and the order of the lanes.

DOCUMENT = """
  const made = (time, clients, more = {}) => ({
    time,
    process: { pid: 1, started_at: 5 },
    totals: { closed: { "peer-closed": time } },
    interval: { seconds: 1, messages_per_second: time },
    now: { connections: clients.length, own_threads: 0 },
    handoffs: [{ at: time, connection: clients[0]?.id ?? 0 }],
    clients: { total: clients.length, left_out: 0, shown: clients },
    ...more,
  });
  const client = (id, more = {}) => ({ id, state: "idle", rate: 0, age: 1, busy: null, ...more });
  const store = new its.Store();
"""


def test_what_is_kept_after_hours_is_what_is_kept_after_minutes(page: Page) -> None:
    code = (
        DOCUMENT
        + """
      const sizes = () => {
        const samples = store.order.map((lane) => lane.samples.length);
        const { series, lanes, order, marks, endings } = store;
        return [series.length, lanes.size, order.length, marks.length, endings.length,
          Math.max(...samples)];
      };
      let after_minutes;
      for (let time = 1; time <= 20_000; time += 1) {
        // One stays, the others are replaced all the time.
        const others = Array.from({ length: 199 }, (_, place) => client(time * 200 + place));
        store.apply(made(time, [client(1), ...others]), time * 1000);
        if (time === 600) after_minutes = sizes();
      }
      return [after_minutes, sizes()];
    """
    )
    after_minutes, after_hours = evaluate(page, "store.js", code)
    assert after_hours == after_minutes
    assert after_hours == [300, 240, 240, 512, 61, 76]


def test_another_process_begins_anew(page: Page) -> None:
    code = (
        DOCUMENT
        + """
      store.apply(made(100, [client(1)]), 0);
      store.apply(made(101, [client(1)]), 1000);
      const before = [store.series.length, store.lanes.size];
      store.apply(made(102, [client(2)], { process: { pid: 1, started_at: 90 } }), 2000);
      return [before, [store.series.length, store.lanes.size]];
    """
    )
    assert evaluate(page, "store.js", code) == [[2, 1], [1, 1]]


def test_a_history_fills_what_was_missed(page: Page) -> None:
    code = (
        DOCUMENT
        + """
      store.apply(made(100, []), 0);
      store.apply(made(105, [], { history: [103, 104].map((time) => ({ time })) }), 5000);
      return store.series.map((point) => point.time);
    """
    )
    assert evaluate(page, "store.js", code) == [100, 103, 104, 105]


def test_those_that_block_are_on_top_and_the_others_stay_where_they_are(page: Page) -> None:
    code = (
        DOCUMENT
        + """
      const orders = [];
      const look = (time, ...clients) => {
        store.apply(made(time, clients), time * 1000);
        orders.push(store.order.map((lane) => lane.id));
      };
      const blocked = (busy) => ({ state: "blocked", busy });
      look(100, client(1), client(2), client(3), client(4));
      look(101, client(1, { rate: 9 }), client(2), client(3, blocked(0.2)), client(4));
      look(102, client(1), client(2), client(3, blocked(1.2)), client(4, blocked(30)));
      look(103, client(1), client(2), client(3), client(4, blocked(31)));
      look(109, client(1), client(2), client(3), client(4, blocked(37)));
      look(110, client(2), client(3), client(4, blocked(38)));
      look(117, client(2), client(3), client(4, blocked(45)));
      return orders;
    """
    )
    assert evaluate(page, "store.js", code) == [
        [1, 2, 3, 4],
        [3, 1, 2, 4],  # the loop was handed on
        [4, 3, 1, 2],
        [4, 3, 1, 2],  # it sinks after a while only
        [4, 1, 2, 3],
        [4, 1, 2, 3],  # who has left is seen to have left
        [4, 2, 3],
    ]


def test_time_stands_still_at_what_is_known(page: Page) -> None:
    code = (
        DOCUMENT
        + """
      store.apply(made(100, []), 50_000);
      return [store.edge(50_000), store.edge(50_500), store.edge(99_000), store.age(99_000)];
    """
    )
    edges = evaluate(page, "store.js", code)
    assert edges == pytest.approx([98.85, 99.35, 100, 49])


# Colours (WCAG 2.2, success criteria 1.4.3 and 1.4.11).

TEXTS = [
    *[("--ink", back) for back in ("--bg", "--panel", "--raised", "--line")],
    *[("--ink", back) for back in ("--well-back", "--warn-back", "--bad-back")],
    *[("--muted", back) for back in ("--bg", "--panel", "--raised")],
    *[(name, "--panel") for name in ("--accent", "--bad", "--warn", "--well", "--blocked")],
    *[(name, "--bg") for name in ("--well", "--bad")],
    *[("--panel", name) for name in ("--ink", "--bad", "--accent", "--well", "--warn", "--muted")],
]
STATES = ["idle", "loop", "own-thread", "blocked", "waiting", "opening", "closing"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_and_drawn_stands_out(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    marks = [(f"--{state}", "--panel") for state in STATES] + [("--handoff", "--panel")]
    wanted = [(*pair, 4.5) for pair in TEXTS] + [(*pair, 3.0) for pair in marks]
    found = page.evaluate(
        """(pairs) => {
          const probe = document.body.appendChild(document.createElement("i"));
          const luminance = (name) => {
            probe.style.color = `var(${name})`;
            const parts = getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3);
            const [red, green, blue] = parts.map((part) => {
              const value = part / 255;
              return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
          };
          const ratios = pairs.map(([front, back]) => {
            const [dark, light] = [luminance(front), luminance(back)].sort((a, b) => a - b);
            return (light + 0.05) / (dark + 0.05);
          });
          probe.remove();
          return ratios;
        }""",
        [list(pair[:2]) for pair in wanted],
    )
    too_faint = [
        (front, back, round(ratio, 2))
        for (front, back, least), ratio in zip(wanted, found, strict=True)
        if ratio < least
    ]
    assert not too_faint
