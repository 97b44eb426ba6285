"""A plan in words."""

from __future__ import annotations

from typing import Any

import pytest

from threadwire.bench.description import (
    described,
    differences,
    load_words,
    messages_words,
    time_words,
)
from threadwire.bench.plan import Plan

from .samples import URL


def plan(**fields: Any) -> dict[str, Any]:
    return Plan(url=URL, **fields).summary()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "64 clients, 1 in flight each (closed loop)"),
        ({"clients": 2000}, "2,000 clients, 1 in flight each (closed loop)"),
        ({"clients": 1, "pipeline": 8}, "1 client, 8 in flight each (closed loop)"),
        ({"rate": 20_000}, "20,000 messages/s due, evenly, over 64 clients (open loop)"),
        (
            {"rate": 0.5, "arrivals": "poisson", "pipeline": 4},
            "0.5 messages/s due, at random (Poisson), over 64 clients (open loop), "
            "at most 4 in flight each",
        ),
        (
            {"connect_each": True, "processes": 2},
            "64 clients, 1 in flight each (closed loop), a connection for every message, "
            "from 2 processes",
        ),
    ],
)
def test_the_load(fields: dict[str, Any], words: str) -> None:
    assert load_words(plan(**fields)) == words


def test_messages_and_time() -> None:
    words = "random messages of 64 bytes; framing: lines; any reply is right"
    assert messages_words(plan()) == words
    assert time_words(plan(), 9.99) == "9.99 s measured after 1 s of warm-up"
    assert time_words(plan(), 0.0) == "nothing was measured"
    assert time_words(plan(warmup=0), 10.0) == "10 s measured"
    assert time_words(plan(ramp=5), 1.5) == "1.5 s measured after 5 s of ramp and 1 s of warm-up"


def test_everything_that_says_something_is_described() -> None:
    told = dict(described(plan(rate=1500.0, requests=20_000, duration=None, seed=123_456)))
    assert told["service"] == URL
    assert told["messages/s asked for"] == "1,500"
    assert told["requests at most"] == "20,000"
    assert told["seed"] == "123456"
    assert told["timeout"] == "10 s"
    assert "measured for" not in told
    assert "a connection for every message" not in told


def test_every_field_of_a_plan_is_described() -> None:
    full = plan(rate=1.0, requests=5, connect_each=True, ramp=1.0)
    assert len(described(full)) == len(full)


def test_differences_name_what_was_and_what_is() -> None:
    assert differences(plan(), plan()) == []
    assert differences(plan(clients=32, rate=5000.0), plan(connect_each=True)) == [
        "loop: closed, now open",
        "messages/s asked for: none, now 5,000",
        "arrivals: none, now constant",
        "clients: 64, now 32",
        "a connection for every message: yes, now none",
    ]


def test_a_plan_of_another_version_is_told_as_far_as_it_goes() -> None:
    assert load_words({"clients": 3}) == "3 clients, 1 in flight each (closed loop)"
    assert described({"url": URL, "what": "ever"}) == [("service", URL)]
