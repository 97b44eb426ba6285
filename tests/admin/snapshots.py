"""Snapshots made by hand, for what is computed from them."""

from __future__ import annotations

from typing import Any

import threadwire
from threadwire.admin.process import ProcessFacts
from threadwire.durations import BOUNDS, Histogram
from threadwire.snapshot import ClientSnapshot, ClientState, ServerSnapshot

HERE = threadwire.Address("tcp", "127.0.0.1", 12345)
FACTS = ProcessFacts(
    pid=1,
    version="9",
    python="3",
    started_at=800.0,
    uptime=200.0,
    cpu_seconds=50.0,
    resident_bytes=4096,
    open_files=7,
    threads=3,
)


def durations(*seconds: float) -> Histogram:
    counts = [0] * (len(BOUNDS) + 1)
    for each in seconds:
        counts[sum(bound < each for bound in BOUNDS)] += 1
    return Histogram(tuple(counts), round(sum(seconds) * 1e9))


def snapshot(**changes: object) -> ServerSnapshot:
    """Of a server on which nothing has happened, but for the changes."""
    given: dict[str, Any] = {
        "taken_at": 1000.0,
        "clock": 10.0,
        "phase": "serving",
        "started_at": 900.0,
        "addresses": (HERE,),
        "handler": "reverse",
        "session": False,
        "framing": "lines",
        "poller": "c",
    }
    return ServerSnapshot(**(given | changes))


def client(number: int, **changes: Any) -> ClientSnapshot:
    """An idle one that has sent nothing, but for the changes."""
    plain = ClientSnapshot(
        id=number,
        peer=threadwire.Address("tcp", "192.0.2.1", number),
        local=HERE,
        state=ClientState.IDLE,
        opened_at=950.0,
        age=50.0,
        idle=40.0,
        messages_received=0,
        messages_sent=0,
        bytes_received=0,
        bytes_sent=0,
    )
    return plain._replace(**changes)
