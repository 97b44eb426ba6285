"""Documents made by hand, as the admin endpoint gives them."""

from __future__ import annotations

import itertools
from typing import Any

from threadwire.top.documents import Document, read_document

STEP = {"p50": 2e-6, "p99": 5e-5, "max": 0.001}


def client_value(number: int, **changes: Any) -> dict[str, Any]:
    """An idle one, but for the changes."""
    plain: dict[str, Any] = {
        "id": number,
        "peer": f"tcp://192.0.2.1:{number}",
        "state": "idle",
        "age": 50.0,
        "idle": 40.0,
        "messages_received": 0,
        "messages_sent": 0,
        "bytes_received": 0,
        "bytes_sent": 0,
        "rate": 0.0,
        "busy": None,
        "line": None,
        "tls": None,
    }
    return plain | changes


def interval_value(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "seconds": 1.0,
        "messages_per_second": 1234.5,
        "bytes_received_per_second": 2048.0,
        "bytes_sent_per_second": 4096.0,
        "accepted_per_second": 1.0,
        "closed_per_second": 2.0,
        "refused_per_second": 0.0,
        "handoffs_per_second": 0.5,
        "handler": STEP,
        "turn": STEP,
        "lock_wait": None,
    }
    return plain | changes


def document_value(*clients: dict[str, Any], left_out: int = 0, **changes: Any) -> dict[str, Any]:
    """Of a server that does well, with these clients, but for the changes."""
    states = {"idle": 0, "loop": 0, "own-thread": 0, "blocked": 0, "waiting": 0}
    states |= {
        state: len(list(group))
        for state, group in itertools.groupby(sorted(c["state"] for c in clients))
    }
    plain: dict[str, Any] = {
        "schema": 1,
        "time": 1_000_000.0,
        "process": {
            "pid": 4711,
            "version": "1.2.3",
            "python": "3.13.1",
            "poller": "c",
            "started_at": 996_400.0,
            "uptime": 3600.0,
            "cpu_seconds": 12.5,
            "cpu": 0.5,
            "resident_bytes": 32 << 20,
            "open_files": 10,
            "threads": 8,
        },
        "service": {
            "addresses": ["tcp://0.0.0.0:12345"],
            "handler": "reverse",
            "session": False,
            "framing": "lines",
        },
        "phase": "serving",
        "ready": True,
        "why": "",
        "totals": {
            "accepted": 10,
            "messages_received": 100,
            "messages_sent": 100,
            "bytes_received": 1000,
            "bytes_sent": 1000,
            "handoffs": 3,
            "closed": {"peer-closed": 4},
            "refused": {"busy": 0},
        },
        "now": {
            "connections": len(clients),
            "opening": 0,
            "own_threads": 2,
            "waiting": 0,
            "spare_threads": 1,
            "loops": 1,
        },
        "limits": [
            {"name": "max_clients", "used": 10, "limit": 1000},
            {"name": "accept_rate", "used": 0, "limit": None},
        ],
        "certificates": None,
        "interval": interval_value(),
        "handoffs": [{"at": 999_999.0, "connection": 7}],
        "clients": {
            "total": len(clients) + left_out,
            "states": states,
            "shown": list(clients),
            "left_out": left_out,
        },
    }
    return plain | changes


def document(*clients: dict[str, Any], left_out: int = 0, **changes: Any) -> Document:
    return read_document(document_value(*clients, left_out=left_out, **changes))
