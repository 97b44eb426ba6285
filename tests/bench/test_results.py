"""Results as JSON."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

import threadwire
from threadwire.bench.histogram import Histogram
from threadwire.bench.results import SCHEMA, ErrorKind, Generator, Interval, Result


def some_result() -> Result:
    latency, service, connect = Histogram(), Histogram(), Histogram()
    latency.record_many([0.001, 0.002, 0.5])
    service.record_many([0.001, 0.002, 0.003])
    connect.record(0.01)
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
    if name != "interrupted":  # anything is true or false
        told[name] = object()
        with pytest.raises(threadwire.UsageError, match="not a"):
            Result.from_json(told)
