"""What is shown while a run goes on."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from threadwire.bench.live import Lines, Screen, Silence, line_of, sparkline
from threadwire.bench.results import ErrorKind

from .samples import histogram, progress

ERRORS = {"closed": ErrorKind(3, "..."), "timeout": ErrorKind(1200, "...")}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "measuring, 4.0 s of 11 s; 1,000 messages/s; p50 1.5 ms; p99 1.99 ms"),
        (
            {"phase": "connecting", "connected": 3, "messages": 0, "elapsed": 0.0},
            "connecting, 0.0 s of 11 s; 3 of 64 clients connected",
        ),
        (
            {"errors": ERRORS},
            "measuring, 4.0 s of 11 s; 1,000 messages/s; p50 1.5 ms; p99 1.99 ms; "
            "1,203 errors (timeout 1,200, closed 3)",
        ),
        (
            {"planned": None, "done": 0.25, "elapsed": 90.0, "phase": "warmup"},
            "warming up, 1 m 30 s, 25% done; 1,000 messages/s; p50 1.5 ms; p99 1.99 ms",
        ),
    ],
)
def test_a_line_has_all_of_it(fields: dict[str, Any], line: str) -> None:
    assert line_of(progress(**fields)) == line


def test_lines_come_once_a_second_and_when_a_phase_begins() -> None:
    out, clock = io.StringIO(), Clock()
    with Lines(out, clock) as watch:
        for tenths in range(26):
            clock.now = 100.0 + tenths / 10
            watch(progress(phase="warmup" if tenths < 5 else "measuring"))
    told = [line.split(",")[0] for line in out.getvalue().splitlines()]
    assert told == ["threadwire: warming up", *["threadwire: measuring"] * 3]


def test_lines_of_a_long_run_are_fewer() -> None:
    out, clock = io.StringIO(), Clock()
    with Lines(out, clock) as watch:
        for second in range(100):
            clock.now = 100.0 + second
            watch(progress(planned=3600.0))
    assert len(out.getvalue().splitlines()) == 10


def test_silence() -> None:
    with Silence() as watch:
        watch(progress())


def drawn(*stages: dict[str, Any], width: int = 80) -> str:
    """What the last drawing has on the screen, without the terminal's codes."""
    out, clock = io.StringIO(), Clock()
    console = Console(
        file=out, width=width, force_terminal=True, color_system=None, legacy_windows=False
    )
    with Screen(console, "tcp://127.0.0.1:12345", clock) as watch:
        for fields in stages:
            clock.now += 1.0
            out.truncate(0)
            watch(progress(**fields))
        text = out.getvalue()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "").replace("\0", "")


def test_the_screen_has_all_of_it() -> None:
    lines = [line.rstrip() for line in drawn({"errors": ERRORS}).splitlines()]
    assert lines == [
        "tcp://127.0.0.1:12345  measuring",
        lines[1],
        "time     4.0 s of 11 s",
        "rate     1,000/s  █",
        "latency  p50 1.5 ms  p90 1.9 ms  p99 1.99 ms  p99.9 1.99 ms  max 2 ms",
        "errors   1,203  timeout 1,200, closed 3",
    ]
    assert set(lines[1]) == {"━", "╸"} or set(lines[1]) == {"━"}


def test_rates_of_the_past_are_sparks() -> None:
    text = drawn(*({"rate": rate} for rate in (0.0, 500.0, 1000.0)))
    assert "1,000/s  ▁▅█" in text
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""


def test_where_there_is_little_room_the_last_sparks_are_shown() -> None:
    text = drawn(*({"rate": rate} for rate in (*([0.0] * 50), 1000.0)), width=40)
    assert text.count("█") == 1
    assert 3 < text.count("▁") < 25


def test_clients_that_are_missing_are_told() -> None:
    assert "3 of 64 connected" in drawn({"connected": 3})
    assert "no reply yet" in drawn({"latency": histogram([]), "messages": 0})


@pytest.mark.parametrize("width", [20, 44, 80])
def test_nothing_is_wider_than_the_screen(width: int) -> None:
    stages = [{"rate": float(n), "errors": ERRORS} for n in range(200)]
    lines = drawn(*stages, width=width).splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= width


def test_the_screen_is_as_it_was_at_the_end() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with Screen(console, "tcp://x:1") as watch:
        watch(progress())
    assert out.getvalue().rstrip().endswith("\x1b[2K"), "the last thing is that lines are erased"
