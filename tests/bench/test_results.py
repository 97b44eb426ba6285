"""Results as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from rich.console import Console

import threadwire
from threadwire.bench.comparison import compare
from threadwire.bench.histogram import Histogram
from threadwire.bench.report import html_of
from threadwire.bench.results import SCHEMA, ErrorKind, Generator, Interval, Result
from threadwire.bench.summary import show


def some_result() -> Result:
    latency, service, connect, lost = Histogram(), Histogram(), Histogram(), Histogram()
    latency.record_many([0.001, 0.002, 0.5])
    service.record_many([0.001, 0.002, 0.003])
    connect.record(0.01)
    lost.record(0.5)
    return Result(
        started_at=1e9,
        seconds=2.0,
        plan={"url": "tcp://127.0.0.1:1", "loop": "open"},
        messages=3,
        messages_per_second=1.5,
        connects=0,
        connects_per_second=0.0,
        bytes_sent=30,
        bytes_received=33,
        latency=latency,
        service=service,
        connect=connect,
        lost=lost,
        connects_before=1,
        errors={"closed": ErrorKind(2, "it closed"), "timeout": ErrorKind(1, "silence")},
        errors_before={"reset": ErrorKind(1, "it was reset")},
        intervals=(Interval(0.0, 1.0, 3, 2, 0.001, 0.5, 0.5), Interval(1.0, 1.0, 0, 1, 0, 0, 0)),
        generator=Generator(2, 0.9, 0.09, 0.001, 0.002, True, "it was busy"),
        interrupted=True,
    )


def test_it_comes_back_from_json() -> None:
    result = some_result()
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_everything_is_in_the_json() -> None:
    told = some_result().to_json()
    assert set(told) == {"schema"} | {field.name for field in fields(Result)}
    assert told["schema"] == SCHEMA == 1
    assert told["latency"]["p50"] == pytest.approx(0.002, rel=0.01)
    assert told["errors"]["closed"] == {"count": 2, "example": "it closed"}


def test_what_follows_from_it() -> None:
    result = some_result()
    assert result.error_count == 3
    assert result.connected
    assert result.open_loop
    assert result.saturated
    assert result.intervals[0].messages_per_second == 3


@pytest.mark.parametrize("wrong", [None, [], {}, {"messages": 1}])
def test_what_is_no_result_is_refused(wrong: Any) -> None:
    with pytest.raises(threadwire.UsageError, match="not a result"):
        Result.from_json(wrong)


def test_another_schema_is_refused() -> None:
    with pytest.raises(threadwire.UsageError, match="schema 2; known is 1"):
        Result.from_json({**some_result().to_json(), "schema": 2})


@pytest.mark.parametrize("name", sorted({field.name for field in fields(Result)}))
def test_a_field_that_is_missing_or_strange_is_refused(name: str) -> None:
    told = some_result().to_json()
    del told[name]
    with pytest.raises(threadwire.UsageError, match="not a"):
        Result.from_json(told)
    told[name] = object()
    with pytest.raises(threadwire.UsageError, match="not a"):
        Result.from_json(told)


def places(told: Any, *way: Any) -> Iterator[tuple[Any, ...]]:
    """The way to each value within ``told``, and to each that has values in it."""
    if way:
        yield way
    if isinstance(told, dict | list):
        for key, value in told.items() if isinstance(told, dict) else enumerate(told):
            yield from places(value, *way, key)


# What nobody has to look at: it is computed anew.
COMPUTED = {"stdev", "p50", "p90", "p99", "p99.9", "p99.99"}
WRONG: list[Any] = [None, "x", -1, 10**400, float("nan"), float("inf"), [], {}, True, [[[]]]]


@pytest.mark.parametrize("way", list(places(some_result().to_json())), ids=str)
def test_whatever_is_damaged_is_refused_or_does_no_harm(way: tuple[Any, ...]) -> None:
    refused = 0
    for wrong in WRONG:
        told = json.loads(json.dumps(some_result().to_json()))
        place = told
        for key in way[:-1]:
            place = place[key]
        place[way[-1]] = wrong
        try:
            result = Result.from_json(told)
        except threadwire.UsageError:
            refused += 1
        else:
            comparison = compare(some_result(), dict.fromkeys("abc", result))
            show(Console(file=io.StringIO()), some_result(), comparison=comparison)
            html_of(some_result(), comparison=comparison)
    of_histogram = isinstance(getattr(some_result(), way[0], None), Histogram)
    assert refused >= 3 or (of_histogram and way[-1] in COMPUTED), way


def test_what_a_later_version_adds_is_left_out() -> None:
    told = some_result().to_json()
    told["more"] = told["generator"]["more"] = told["intervals"][0]["more"] = {"any": "thing"}
    assert Result.from_json(told) == some_result()


def test_a_seed_is_any_whole_number() -> None:
    told = some_result().to_json()
    for seed in (-1, 10**400):
        told["plan"] = {"seed": seed}
        assert Result.from_json(told).plan == {"seed": seed}
