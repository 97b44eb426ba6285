"""The HTML report: complete, alone, and with nothing in it that a server could have smuggled."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from threadwire.bench.comparison import compare
from threadwire.bench.report import html_of
from threadwire.bench.results import ErrorKind, Generator, Interval, Result
from threadwire.bench.thresholds import missed, parse_threshold

from .samples import URL, histogram, intervals, result, stalled

VOID = {"meta", "br", "link", "img", "input"}


class Page(HTMLParser):
    """A page's elements and text; it insists on every element being closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]) and data.strip():
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " | ".join(self.texts)


def page(of: Result, **more: Any) -> Page:
    return Page(html_of(of, **more))


def test_it_needs_nothing_from_elsewhere() -> None:
    html = html_of(stalled())
    found = Page(html)
    names = {name for name, _ in found.attributes}
    assert not names & {"src", "href", "srcset", "data", "action", "poster"}
    assert "@import" not in html
    assert "url(" not in html
    assert not {"link", "img", "iframe", "object"} & set(found.tags)
    assert "http" not in html.replace("http-equiv", "")


def test_it_has_the_figures() -> None:
    text = page(result(messages=123_456, seconds=10.0)).text
    assert URL in text
    assert "2023-11-14 22:13 UTC" in text
    for figures in ("messages a second | 12,346", "median | 1.5 ms", "p99 | 1.99 ms", "errors | 0"):
        assert figures in text
    assert "p99.99 | 2 ms" in text
    assert "uncorrected" not in text.replace("uncorrected latency", "")


def test_an_open_loop_has_both_latencies_and_what_was_due() -> None:
    found = page(stalled())
    assert "| corrected | uncorrected |" in found.text
    assert "p99 | 799 ms | 1 ms" in found.text
    assert "of 50 due" in found.text
    assert "50 due" in found.texts
    assert "uncorrected latency from when it was really sent" in found.text
    assert "Latency over time, corrected" in found.text


def test_it_has_four_plots() -> None:
    found = page(stalled())
    assert found.tags.count("svg") == found.tags.count("figure") == 4
    titles = ["Rate over time", "Percentiles", "Distribution of latency"]
    assert all(title in found.texts for title in titles)


def test_a_run_without_a_reply_has_no_plot_of_latency() -> None:
    nothing = result(
        messages=0,
        latency=histogram([]),
        errors={"closed": 10},
        intervals=(Interval(0.0, 1.0, 0, 10, 0.0, 0.0, 0.0),),
    )
    found = page(nothing)
    assert found.tags.count("svg") == 1
    assert "Not one request got a right reply." in found.text
    assert page(result(messages=0, latency=histogram([]), intervals=())).tags.count("svg") == 0


def test_intervals_without_a_reply_interrupt_the_latency() -> None:
    whole = intervals([100, 100, 0, 100])
    gap = (*whole[:2], Interval(2.0, 1.0, 0, 5, 0.0, 0.0, 0.0), whole[3])
    html = html_of(result(intervals=gap, errors={"timeout": 5}))
    (line,) = re.findall(r'class="line p99" d="([^"]*)"', html)
    assert line.count("M") == 2
    (failed,) = re.findall(r'class="line failed" d="([^"]*)"', html)
    assert failed.count("M") == 1


def test_errors_are_told_and_stay_text() -> None:
    evil = "expected b'x', got b'<script>alert(1)</script>'"
    found = page(result(errors={"wrong-reply": ErrorKind(1234, evil), "closed": 2}))
    assert f"wrong-reply | 1,234 | {evil}" in found.text
    assert found.tags.count("script") == 1, "the report's own"


def test_errors_of_the_time_before_are_told_apart() -> None:
    early = {"connect-refused": ErrorKind(3, "connection refused")}
    found = page(result(errors_before=early))
    assert "Errors before measuring | kind | count" in found.text
    assert "connect-refused | 3 | connection refused" in found.text


def test_whatever_the_plan_says_stays_text() -> None:
    of = result()
    evil = {**of.plan, "url": "<img src=x>", "messages": "</style><script>"}
    found = page(Result(**{**vars(of), "plan": evil}))
    assert "img" not in found.tags
    assert "<img src=x>" in found.texts


def test_thresholds_and_advice() -> None:
    of = result(errors={"closed": 1}, generator=Generator(saturated=True), interrupted=True)
    thresholds = [parse_threshold(text) for text in ("p99>1s", "errors>0")]
    text = page(of, thresholds=thresholds, missed=missed(thresholds, of)).text
    assert "Thresholds missed: | errors>0: it is 1" in text
    assert "The load generator was itself the bottleneck" in text
    assert "Interrupted" in text
    assert "All thresholds are kept: p99>1s." in page(of, thresholds=thresholds[:1]).text


def test_a_comparison_has_a_table_and_curves() -> None:
    of, before = result(), result(messages=2000, plan={"clients": 32})
    before = dataclasses.replace(before, interrupted=True)
    names = ["before.json", "<b>", "c"]
    found = page(of, comparison=compare(of, dict.fromkeys(names, before)))
    assert "Compared with the median of 3: before.json, <b>, c" in found.text
    assert "shorter than was asked for: before.json, <b>, c." in found.text
    assert "messages/s | 200 | 200 | 100 | 100 | 0.50x | worse" in found.text
    assert "The plans differ: | clients: 32, now 64" in found.text
    assert found.texts.count("before.json") == 1, "in the legend"


def test_the_plan_is_in_it() -> None:
    text = page(result(plan={"rate": 2000.0, "pipeline": 3})).text
    for words in (
        "messages/s asked for | 2,000",
        "in flight per client | 3",
        "right reply | reverse",
    ):
        assert words in text


@pytest.mark.parametrize("latency", [[0.001], [0.001] * 5, [0.0, 1e-9, 50_000.0], [1e-6] * 100])
def test_odd_distributions_can_be_drawn(latency: list[float]) -> None:
    of = result(latency=histogram(latency), plan={"rate": 1.0}, service=histogram([0.001]))
    assert page(of).tags.count("svg") == 4
