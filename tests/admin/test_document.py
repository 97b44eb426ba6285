"""The document: what of a snapshot it tells, and how."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason
from threadwire.admin.document import SHOWN, Changes, changes, document, history_point
from threadwire.admin.process import ProcessReader
from threadwire.snapshot import ClientSnapshot, ClientState, Handoff, LimitUse, ServerSnapshot

from .snapshots import FACTS, client, durations, snapshot


def between(now: ServerSnapshot, before: ServerSnapshot) -> Changes:
    return changes(now, before, FACTS, FACTS._replace(cpu_seconds=49.0))


def written(now: ServerSnapshot, before: ServerSnapshot | None = None) -> Any:
    """The document as a reader gets it."""
    since = None if before is None else between(now, before)
    return json.loads(json.dumps(document(now, FACTS, since), allow_nan=False))


def test_the_members_are_these() -> None:
    found = written(
        snapshot(
            accepted=1,
            messages_received=2,
            messages_sent=3,
            bytes_received=4,
            bytes_sent=5,
            handoffs=6,
            closed={CloseReason.CUT: 7},
            refused={CloseReason.BUSY: 8},
            connections=9,
            opening=10,
            own_threads=11,
            waiting=12,
            spare_threads=13,
            loops=14,
            limits=(LimitUse("max_clients", 9, 100), LimitUse("max_threads", 11, math.inf)),
            certificates="a.example",
            certificates_expire_at=2000.5,
            recent_handoffs=(Handoff(990.1234567, 3),),
        )
    )
    assert found == {
        "schema": 1,
        "time": 1000.0,
        "process": {
            "pid": 1,
            "version": "9",
            "python": "3",
            "poller": "c",
            "started_at": 800.0,
            "uptime": 200.0,
            "cpu_seconds": 50.0,
            "cpu": None,
            "resident_bytes": 4096,
            "open_files": 7,
            "threads": 3,
        },
        "service": {
            "addresses": ["tcp://127.0.0.1:12345"],
            "handler": "reverse",
            "session": False,
            "framing": "lines",
        },
        "phase": "serving",
        "ready": True,
        "why": "",
        "totals": {
            "accepted": 1,
            "messages_received": 2,
            "messages_sent": 3,
            "bytes_received": 4,
            "bytes_sent": 5,
            "handoffs": 6,
            "closed": {"cut": 7},
            "refused": {"busy": 8},
        },
        "now": {
            "connections": 9,
            "opening": 10,
            "own_threads": 11,
            "waiting": 12,
            "spare_threads": 13,
            "loops": 14,
        },
        "limits": [
            {"name": "max_clients", "used": 9, "limit": 100},
            {"name": "max_threads", "used": 11, "limit": None},
        ],
        "certificates": {"names": "a.example", "expires_at": 2000.5},
        "interval": None,
        "handoffs": [{"at": 990.123, "connection": 3}],
        "clients": {
            "total": 0,
            "states": {
                "idle": 0,
                "loop": 0,
                "own-thread": 0,
                "blocked": 0,
                "waiting": 0,
                "opening": 0,
                "closing": 0,
            },
            "active": 0,
            "shown": [],
            "left_out": 0,
        },
    }


@pytest.mark.parametrize("phase", ["new", "starting", "suspended", "draining", "closed"])
def test_what_does_not_serve_is_not_ready_and_says_why(phase: str) -> None:
    found = written(snapshot(phase=phase))
    assert (found["phase"], found["ready"], found["why"]) == (phase, False, phase)


def test_without_certificates_there_are_none() -> None:
    assert written(snapshot())["certificates"] is None


def test_the_interval_has_what_changed_a_second() -> None:
    before = snapshot(
        clock=10.0,
        accepted=10,
        messages_received=100,
        bytes_received=1000,
        bytes_sent=500,
        handoffs=1,
        closed={CloseReason.CUT: 1},
        handler_seconds=durations(1.0),
        lock_wait_seconds=durations(),
    )
    now = snapshot(
        clock=12.0,
        accepted=14,
        messages_received=300,
        bytes_received=3000,
        bytes_sent=600,
        handoffs=2,
        closed={CloseReason.CUT: 2, CloseReason.PEER_CLOSED: 1},
        refused={CloseReason.BUSY: 3},
        handler_seconds=durations(1.0, *[0.001] * 99, 0.5),
        lock_wait_seconds=durations(),
    )
    found = written(now, before)
    assert found["process"]["cpu"] == 0.5
    interval = found["interval"]
    handler = interval.pop("handler")
    assert interval == {
        "seconds": 2.0,
        "messages_per_second": 100.0,
        "bytes_received_per_second": 1000.0,
        "bytes_sent_per_second": 50.0,
        "accepted_per_second": 2.0,
        "closed_per_second": 1.0,
        "refused_per_second": 1.5,
        "handoffs_per_second": 0.5,
        "turn": {"p50": None, "p99": None, "max": None},
        "lock_wait": {"p50": None, "p99": None, "max": None},
    }
    assert 0.0008 < handler["p50"] <= 0.001
    assert 0.0008 < handler["p99"] <= 0.001
    assert handler["max"] == 0.5, "what came before is not counted"


def test_a_lock_that_is_not_measured_is_none() -> None:
    assert written(snapshot(clock=2), snapshot(clock=1))["interval"]["lock_wait"] is None


def test_a_client_is_told_of() -> None:
    before = snapshot(clock=1.0, clients=(client(7, messages_received=10),))
    now = snapshot(
        clock=3.0,
        clients=(
            client(
                7,
                state=ClientState.BLOCKED,
                age=12.3456,
                idle=1.5,
                messages_received=20,
                messages_sent=19,
                bytes_received=200,
                bytes_sent=190,
                busy=0.25,
                line="app.py:7 in slow",
                tls="TLSv1.3",
            ),
            client(8, messages_received=1),
        ),
    )
    shown = written(now, before)["clients"]["shown"]
    assert shown[0] == {
        "id": 7,
        "peer": "tcp://192.0.2.1:7",
        "state": "blocked",
        "age": 12.346,
        "idle": 1.5,
        "messages_received": 20,
        "messages_sent": 19,
        "bytes_received": 200,
        "bytes_sent": 190,
        "rate": 5.0,
        "busy": 0.25,
        "line": "app.py:7 in slow",
        "tls": "TLSv1.3",
    }
    assert (shown[1]["rate"], shown[1]["busy"]) == (0.5, None)
    assert (shown[1]["line"], shown[1]["tls"]) == (None, None)


def test_who_is_worth_showing() -> None:
    """The blocked, then own threads, then the busiest, then those who spoke last."""
    before = snapshot(clock=1.0, clients=tuple(client(number) for number in range(1, 1001)))

    def later(number: int) -> ClientSnapshot:
        if number in (5, 6):
            return client(number, state=ClientState.BLOCKED, busy=number / 10)
        if number == 7:
            return client(number, state=ClientState.OWN_THREAD)
        idle = 0.5 if number == 700 else 100.0 + number
        return client(number, idle=idle, messages_received=50 * (number == 9) + 9 * (number == 8))

    now = snapshot(clock=2.0, clients=tuple(map(later, range(1, 1001))))
    found = written(now, before)["clients"]
    assert [shown["id"] for shown in found["shown"]][:8] == [6, 5, 7, 9, 8, 700, 1, 2]
    assert len(found["shown"]) == SHOWN
    assert (found["total"], found["left_out"]) == (1000, 1000 - SHOWN)
    assert found["states"]["blocked"] == 2
    assert found["states"]["idle"] == 997
    assert found["active"] == 2


def test_what_a_path_holds_that_is_no_text_can_be_written() -> None:
    peer = threadwire.Address("unix", path="/run/\udcff<script>")
    shown = written(snapshot(clients=(client(1, peer=peer),)))["clients"]["shown"]
    assert shown[0]["peer"] == "unix:///run/\udcff<script>"


def test_a_point_of_the_history_is_the_interval_and_what_is_charted_beside_it() -> None:
    now = snapshot(clock=2.0, connections=5, own_threads=1)
    point = history_point(now, between(now, snapshot(clock=1.0)))
    assert set(point) == {
        *("time", "seconds", "messages_per_second", "bytes_received_per_second"),
        *("bytes_sent_per_second", "accepted_per_second", "closed_per_second"),
        *("refused_per_second", "handoffs_per_second", "handler", "turn", "lock_wait"),
        *("connections", "own_threads"),
    }
    assert (point["connections"], point["own_threads"]) == (5, 1)


def test_the_system_tells_of_this_process() -> None:
    import os
    import time

    reader = ProcessReader()
    try:
        facts = reader.facts()
    finally:
        reader.close()
    assert facts.pid == os.getpid()
    assert facts.version == threadwire.__version__
    assert 0 < facts.uptime < 86400
    assert facts.started_at == pytest.approx(time.time() - facts.uptime, abs=5)
    assert facts.cpu_seconds == pytest.approx(time.process_time(), abs=1)
    assert facts.resident_bytes > 1 << 20
    assert facts.open_files == pytest.approx(len(os.listdir("/proc/self/fd")), abs=3)
    assert facts.threads >= 1
