"""What may be asked for."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

import threadwire
from threadwire.bench.expect import AnyReply, Echo, Matches
from threadwire.bench.messages import Fixed
from threadwire.bench.plan import Plan

URL = "tcp://127.0.0.1:12345"


def test_nothing_but_the_url_has_to_be_said() -> None:
    plan = Plan(url=URL)
    assert plan.seconds == 11
    assert plan.address.port == 12345


def test_it_can_be_sent_to_another_process() -> None:
    plan = Plan(url=URL, framing=threadwire.Netstring(), expect=Matches(b"x"), rate=5.0)
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_its_summary_is_for_json() -> None:
    summary = json.loads(json.dumps(Plan(url=URL, rate=100, messages=Fixed(b"x")).summary()))
    assert summary["loop"] == "open"
    assert summary["messages"] == "one message of 1 byte"
    assert Plan(url=URL).summary()["loop"] == "closed"
    assert Plan(url=URL).summary()["arrivals"] is None


def test_auto_stands_for_lines() -> None:
    assert Plan(url=URL, framing=threadwire.Auto()).framing == threadwire.Lines()


def test_without_a_duration_nobody_knows_how_long_it_takes() -> None:
    assert Plan(url=URL, duration=None, requests=5).seconds is None


@pytest.mark.parametrize(
    ("requests", "clients", "pipeline", "processes"),
    [(100, 8, 4, 2), (32, 8, 4, 2), (31, 7, 4, 2), (5, 1, 4, 1), (3, 1, 3, 1)],
)
def test_no_more_can_be_on_their_way_than_are_asked_for(
    requests: int, clients: int, pipeline: int, processes: int
) -> None:
    plan = Plan(url=URL, requests=requests, clients=8, pipeline=4, processes=2)
    assert (plan.clients, plan.pipeline, plan.processes) == (clients, pipeline, processes)


def test_a_rate_is_for_so_many_processes() -> None:
    Plan(url=URL, rate=2e6, processes=2)
    with pytest.raises(threadwire.UsageError, match="1,000,000 messages a second for each"):
        Plan(url=URL, rate=2e6)


def test_raw_replies_that_are_known_may_be_pipelined() -> None:
    Plan(url=URL, framing=threadwire.Raw(), pipeline=2, expect=Echo())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"url": "127.0.0.1:1"}, "no scheme"),
        ({"url": "fd://3"}, "descriptor"),
        ({"url": "tcp://127.0.0.1:0"}, "port 0"),
        ({"clients": 0}, "clients must be"),
        ({"clients": True}, "clients must be"),
        ({"clients": 1.5}, "clients must be"),
        ({"pipeline": 0}, "pipeline must be"),
        ({"pipeline": 100_000}, "pipeline must be"),
        ({"processes": 0}, "processes must be"),
        ({"processes": 65}, "processes must be at most clients"),
        ({"requests": 0}, "requests must be"),
        ({"rate": 0}, "rate must be"),
        ({"rate": float("nan")}, "rate must be"),
        ({"rate": "20k"}, "rate must be"),
        ({"duration": 0}, "duration must be"),
        ({"duration": None}, "duration or requests"),
        ({"warmup": -1}, "warmup must be"),
        ({"ramp": float("inf")}, "ramp must be"),
        ({"timeout": 0}, "timeout must be"),
        ({"max_message": 0}, "max_message must be"),
        ({"arrivals": "weekly"}, "arrivals must be"),
        ({"framing": "lines"}, "framing must be a Framing"),
        ({"messages": b"x"}, "messages must be"),
        ({"expect": "any"}, "expect must be"),
        ({"connect_each": 1}, "connect_each must be"),
        ({"connect_each": True, "pipeline": 2}, "pipeline is for"),
        ({"seed": None}, "seed must be"),
        ({"tls_ca": "ca.pem"}, "for tls://"),
        ({"tls_verify": False}, "for tls://"),
        ({"url": "tls://127.0.0.1:1", "tls_key": "key.pem"}, "needs tls_cert"),
        ({"framing": threadwire.Raw(), "pipeline": 2, "expect": AnyReply()}, "pipeline must be 1"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(threadwire.UsageError, match=problem):
        Plan(**{"url": URL, **arguments})
