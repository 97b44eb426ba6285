"""The summary as a reader has it: every figure is there, and fits."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from threadwire.bench.comparison import compare
from threadwire.bench.results import ErrorKind, Generator, Result
from threadwire.bench.summary import show
from threadwire.bench.thresholds import missed, parse_threshold

from .samples import URL, histogram, result, stalled


def shown(of: Result, width: int = 100, **more: Any) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, highlight=False), of, **more)
    return out.getvalue()


def line(text: str, start: str) -> list[str]:
    """The cells of the line that begins with ``start``, without it."""
    (found,) = re.findall(rf"(?m)^{re.escape(start)} +(.*?) *$", text)
    return re.split(r"\s{2,}", found)


def test_what_was_asked_for_and_what_came() -> None:
    lines = shown(result(messages=123_456, seconds=10.0)).splitlines()
    assert [text.rstrip() for text in lines[:4]] == [
        URL,
        "64 clients, 1 in flight each (closed loop)",
        "random messages of 64 bytes; framing: lines; right reply: reverse",
        "10 s measured after 1 s of warm-up",
    ]
    assert lines[5].rstrip() == "12,346 messages/s   123,456 messages, 0 errors"
    assert lines[6].rstrip() == "784 KiB/s sent, 784 KiB/s received"


def test_a_closed_loop_has_one_column() -> None:
    text = shown(result())
    assert line(text, "p50") == ["1.5 ms"]
    assert line(text, "p99") == ["1.99 ms"]
    assert line(text, "max") == ["2 ms"]
    assert line(text, "mean") == ["1.5 ms"]
    assert "corrected" not in text


def test_an_open_loop_has_both() -> None:
    text = shown(stalled())
    assert re.search(r"corrected\s+uncorrected", text)
    assert line(text, "p99") == ["799 ms", "1 ms"]
    assert line(text, "p99.9") == ["979 ms", "1 ms"]
    assert line(text, "max") == ["1 s", "1 s"]


def test_the_distribution_adds_up_and_its_longest_bar_is_the_most() -> None:
    text = shown(result())
    rows = re.findall(r"(?m)^ *(\S+ (?:µs|ms|s)) +([█▏▎▍▌▋▊▉]+) +([\d.]+) %", text)
    assert sum(float(share) for _, _, share in rows) == pytest.approx(100, abs=0.5)
    most = max(rows, key=lambda row: float(row[2]))
    assert most[1] == "█" * 40
    assert all(bar for _, bar, _ in rows)


@pytest.mark.parametrize("width", [20, 44, 80, 200])
def test_it_fits(width: int) -> None:
    of = stalled()
    text = shown(of, width, comparison=compare(of, {"a-rather-long-name.json": result()}))
    assert max(map(len, text.splitlines())) <= width


def test_bars_keep_their_proportions_on_a_narrow_terminal() -> None:
    text = shown(result(latency=histogram([0.001] * 500 + [0.003] * 250)), 44)
    bars = sorted(map(len, re.findall("█[█▏▎▍▌▋▊▉]*", text)))
    assert bars == [6, 12]


def test_errors_are_told_by_kind_with_an_example() -> None:
    kinds: dict[str, int | ErrorKind] = {
        "closed": 3,
        "wrong-reply": ErrorKind(1200, "expected b'ab', got b'[red]'"),
        "framing": ErrorKind(1, "x" * 1000),
    }
    text = shown(result(errors=kinds))
    assert "1,204 errors" in text
    assert line(text, "wrong-reply") == ["1,200", "expected b'ab', got b'[red]'"]
    assert line(text, "closed") == ["3", "an example of closed"]
    assert text.index("\nwrong-reply") < text.index("\nclosed"), "the most frequent comes first"
    assert text.count("x") < 400


def test_errors_of_the_time_before_are_told_apart() -> None:
    early = {"connect-refused": ErrorKind(3, "connection refused")}
    text = shown(result(errors_before=early))
    assert "0 errors" in text
    assert re.search(r"errors before measuring .*\nconnect-refused +3 +connection refused", text)


def test_connections_are_told_where_they_are_the_load() -> None:
    each = result(plan={"connect_each": True}, connects=1000, connects_per_second=100.0)
    text = shown(each)
    assert "100 connections/s   1,000 connections" in text
    assert re.search(r"connecting[^\n]*\n[^\n]*p50 +100 µs", text)
    assert "connections/s" not in shown(result())


def test_thresholds_are_told_kept_or_missed() -> None:
    of = result(errors={"closed": 1})
    thresholds = [parse_threshold(text) for text in ("p99>1s", "errors>0", "rate<1k")]
    text = shown(of, thresholds=thresholds, missed=missed(thresholds, of))
    assert re.findall(r"(?m)^missed +(.*?) *$", text) == [
        "errors>0: it is 1",
        "rate<1k: it is 100/s",
    ]
    assert re.findall(r"(?m)^kept +(.*?) *$", text) == ["p99>1s"]
    kept = shown(of, thresholds=thresholds[:1])
    assert re.findall(r"(?m)^kept +(.*?) *$", kept) == ["p99>1s"]


def test_a_comparison_has_spreads_where_there_is_room() -> None:
    of = result()
    comparison = compare(of, {"before.json": result(messages=2000)})
    wide, narrow = (shown(of, width, comparison=comparison) for width in (100, 60))
    assert "compared with before.json" in wide
    assert line(wide, "messages/s") == ["200", "100", "100", "100", "0.50x"]
    assert line(narrow, "messages/s") == ["200", "100", "0.50x"]
    assert "give three or more earlier results for a verdict" in " ".join(wide.split())
    three = compare(of, dict.fromkeys("abc", result(messages=2000)))
    assert line(shown(of, comparison=three), "messages/s")[-1] == "worse"


def test_plans_that_differ_are_told() -> None:
    of = result()
    comparison = compare(of, {"x": result(plan={"clients": 3})})
    assert "The plans differ: clients: 3, now 64" in shown(of, comparison=comparison)


def test_advice_and_interruption() -> None:
    generator = Generator(cpu=1.0, saturated=True, why="it used 99 % of a core")
    text = shown(result(generator=generator, interrupted=True))
    assert text.startswith(f"{URL}  interrupted")
    assert "! The load generator was itself the bottleneck: it used 99 % of a core." in text


def test_nothing_at_all_is_told_as_well() -> None:
    text = shown(result(messages=0, seconds=0.0, latency=histogram([]), intervals=()))
    assert "0 messages/s   0 messages, 0 errors" in text
    assert "latency" not in text
