"""Plots: scales, shapes, and labels that say where things are."""

from __future__ import annotations

import itertools
import json
import re
from html import unescape
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire.bench.charts import (
    Axis,
    Bars,
    Curve,
    linear_axis,
    log_axis,
    nines_axis,
    plot,
    span_axis,
)

POSITIVE = st.floats(1e-7, 1e9)


def words(value: float) -> str:
    return f"{value:g}"


def labels(axis: Axis) -> list[str]:
    return [label for _, label in axis.ticks]


def parsed(html: str) -> ElementTree.Element:
    """Every element is closed, every attribute quoted: it reads as XML, too."""
    return ElementTree.fromstring(html)


def paths(html: str, look: str) -> list[str]:
    found = [element for element in parsed(html).iter("path") if look in element.attrib["class"]]
    return [element.attrib["d"] for element in found]


def readout(html: str) -> dict[str, Any]:
    (found,) = re.findall(r'data-readout="([^"]*)"', html)
    told: dict[str, Any] = json.loads(unescape(found))
    return told


X = linear_axis("x", 0, 10, words)
Y = linear_axis("y", 0, 100, words)


@given(POSITIVE)
def test_a_linear_axis_goes_from_zero_to_above(high: float) -> None:
    axis = linear_axis("", 0.0, high, words)
    assert axis.place(0.0) == 0.0
    assert 0.4 < axis.place(high) <= 1.0 + 1e-6
    assert 2 <= len(axis.ticks) <= 7
    assert [axis.place(value) for value, _ in axis.ticks][-1] == pytest.approx(1.0)


def test_ticks_are_round() -> None:
    assert labels(linear_axis("", 0, 148_210, words)) == ["0", "50000", "100000", "150000"]
    assert labels(linear_axis("", 0, 0, words)) == ["0", "0.2"]
    assert labels(span_axis("", 0, 10, words)) == ["0", "2", "4", "6", "8", "10"]
    assert labels(span_axis("", 0, 0.75, words)) == ["0", "0.2", "0.4", "0.6"]


def test_a_span_ends_where_it_ends() -> None:
    axis = span_axis("", 0.0, 7.3, words)
    assert (axis.place(0.0), axis.place(7.3)) == (0.0, 1.0)


@given(POSITIVE, POSITIVE)
def test_a_log_axis_has_what_it_has_to_show(one: float, other: float) -> None:
    low, high = sorted((one, other))
    axis = log_axis("", low, high, words)
    assert -1e-6 <= axis.place(low) <= axis.place(high) <= 1.0 + 1e-6
    assert len(axis.ticks) >= 2
    places = [axis.place(value) for value, _ in axis.ticks]
    assert places == sorted(places)
    assert all(-1e-6 <= place <= 1 + 1e-6 for place in places)
    if len(places) > 8:
        return
    assert all(b - a > 0.05 for a, b in itertools.pairwise(places)), "labels have room"


def test_ticks_of_a_log_axis_are_powers_and_where_there_is_room_what_is_between() -> None:
    assert labels(log_axis("", 0.0011, 0.09, words)) == [
        *("0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1"),
    ]
    assert labels(log_axis("", 0.0001, 15, words)) == [
        *("0.0001", "0.001", "0.01", "0.1", "1", "10"),
    ]
    assert log_axis("", 0.001, 1, words).place(0.0) == 0.0, "what is too small is at the bottom"


def test_every_nine_has_the_same_room() -> None:
    axis = nines_axis("", 99.99)
    assert labels(axis) == ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
    places = [axis.place(value) for value in (0.0, 90.0, 99.0, 99.9, 99.99)]
    assert places == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert axis.place(100.0) == 1.0
    assert labels(nines_axis("", 40.0)) == ["50 %", "90 %"]


def test_a_curve_is_where_its_points_are() -> None:
    html = plot("p", X, Y, [Curve("c", "p50", [(0, 0), (5, 50), (10, 100)])])
    assert paths(html, "line p50") == ["M0.0 1000.0L500.0 500.0L1000.0 0.0"]


def test_a_curve_stops_where_there_is_nothing() -> None:
    points = [(0, 0.0), (5, 50.0), (6, None), (8, 80.0)]
    html = plot("p", X, Y, [Curve("c", "p50", points, filled=True)])
    assert paths(html, "line") == ["M0.0 1000.0L500.0 500.0M800.0 200.0L800.0 200.0"]
    (area,) = paths(html, "area")
    assert area.count("Z") == 2


def test_bars_stand_on_the_axis() -> None:
    bars = [(0.0, 1.0, 50.0), (1.0, 2.0, 100.0), (5.0, 6.0, 10.0)]
    html = plot("p", X, Y, [Bars("b", "corrected", bars)])
    assert paths(html, "bars") == [
        "M0.0 1000V500.0H100.0V1000ZM100.0 1000V0.0H200.0V1000ZM500.0 1000V900.0H600.0V1000Z"
    ]
    outlined = plot("p", X, Y, [Bars("b", "corrected", bars, outlined=True)])
    assert paths(outlined, "line") == [
        "M0.0 1000V500.0H100.0V0.0H200.0V1000M500.0 1000V900.0H600.0V1000"
    ]
    assert paths(plot("p", X, Y, [Bars("b", "corrected", [], outlined=True)]), "line") == [""]


def test_the_readout_has_all_values_at_a_place() -> None:
    html = plot(
        "p",
        X,
        Y,
        [
            Curve("c", "p50", [(0, 1.0), (5, None)]),
            Curve("d", "p99", [(0, 2.0), (5, 3.0)]),
            Bars("b", "rate", [(4.0, 6.0, 7.0)]),
        ],
    )
    assert readout(html) == {
        "names": [["c", "p50"], ["d", "p99"], ["b", "rate"]],
        "places": [0.0, 0.5],
        "at": ["0", "4 to 6"],
        "values": [["1", "2", None], [None, "3", "7"]],
    }


def test_nothing_that_is_told_becomes_html() -> None:
    evil = "<b>\"'&"
    x = Axis(title=evil, place=float, ticks=((0.0, evil),), words=lambda value: evil)
    html = plot(evil, x, Y, [Curve(evil, "p50", [(0, 1.0)])], note=evil, mark=(5.0, evil))
    assert "<b>" not in html
    elements = list(parsed(html).iter())
    texts = [text for element in elements for text in (element.text, element.tail) if text]
    assert texts.count(evil) == 6
    assert readout(html)["names"] == [[evil, "p50"]]


def test_a_mark_is_a_line_across() -> None:
    html = plot("p", X, Y, [Curve("c", "p50", [])], mark=(25.0, "25 due"))
    assert paths(html, "mark") == ["M0 750.0H1000"]
    assert "25 due" in html
