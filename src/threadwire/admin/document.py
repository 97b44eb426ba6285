"""A server's snapshot as the JSON document that the page, ``threadwire top`` and scripts read.

The document has a number, ``schema``. Members may be added to it; whoever takes one away or
gives it another meaning raises the number.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..durations import Histogram
from ..snapshot import ClientSnapshot, ClientState, ServerSnapshot
from .process import ProcessFacts

__all__ = [
    "SCHEMA",
    "SHOWN",
    "Changes",
    "changes",
    "client_entry",
    "client_states",
    "document",
    "history_point",
]

SCHEMA = 1
SHOWN = 200  # clients in a document; the others are counted

_COUNTERS = ("accepted", "messages_received", "messages_sent", "bytes_received", "bytes_sent")


class Changes(NamedTuple):
    """What went on between two snapshots."""

    interval: dict[str, Any]  # the document's member of this name
    rates: dict[int, float]  # messages received a second, by connection; without those of 0
    cpu: float  # cores' worth of processor time


def changes(
    now: ServerSnapshot, before: ServerSnapshot, facts: ProcessFacts, facts_before: ProcessFacts
) -> Changes:
    """What has changed since ``before``; of clients too, if both snapshots have them."""
    seconds = max(now.clock - before.clock, 1e-6)

    def rate(after: float, earlier: float) -> float:
        return round((after - earlier) / seconds, 3)

    interval = {
        "seconds": round(seconds, 6),
        "messages_per_second": rate(now.messages_received, before.messages_received),
        "bytes_received_per_second": rate(now.bytes_received, before.bytes_received),
        "bytes_sent_per_second": rate(now.bytes_sent, before.bytes_sent),
        "accepted_per_second": rate(now.accepted, before.accepted),
        "closed_per_second": rate(sum(now.closed.values()), sum(before.closed.values())),
        "refused_per_second": rate(sum(now.refused.values()), sum(before.refused.values())),
        "handoffs_per_second": rate(now.handoffs, before.handoffs),
        "handler": _quantiles(now.handler_seconds.since(before.handler_seconds)),
        "turn": _quantiles(now.turn_seconds.since(before.turn_seconds)),
        "lock_wait": (
            None
            if now.lock_wait_seconds is None or before.lock_wait_seconds is None
            else _quantiles(now.lock_wait_seconds.since(before.lock_wait_seconds))
        ),
    }
    earlier = {client.id: client.messages_received for client in before.clients or ()}
    rates = {
        client.id: rate(client.messages_received, earlier.get(client.id, 0))
        for client in now.clients or ()
        if client.messages_received != earlier.get(client.id, 0)
    }
    cpu = rate(facts.cpu_seconds, facts_before.cpu_seconds)
    return Changes(interval, rates, cpu)


def document(now: ServerSnapshot, facts: ProcessFacts, since: Changes | None) -> dict[str, Any]:
    """All of it; ``since`` is what has changed since the sample before, if there was one."""
    ready = now.phase == "serving"
    return {
        "schema": SCHEMA,
        "time": round(now.taken_at, 3),
        "process": {
            "pid": facts.pid,
            "version": facts.version,
            "python": facts.python,
            "poller": now.poller,
            "started_at": round(facts.started_at, 3),
            "uptime": round(facts.uptime, 3),
            "cpu_seconds": facts.cpu_seconds,
            "cpu": since and since.cpu,
            "resident_bytes": facts.resident_bytes,
            "open_files": facts.open_files,
            "threads": facts.threads,
        },
        "service": {
            "addresses": [str(address) for address in now.addresses],
            "handler": now.handler,
            "session": now.session,
            "framing": now.framing,
        },
        "phase": now.phase,
        "ready": ready,
        "why": "" if ready else now.phase,
        "totals": {
            **{name: getattr(now, name) for name in _COUNTERS},
            "handoffs": now.handoffs,
            "closed": {reason.value: count for reason, count in now.closed.items()},
            "refused": {reason.value: count for reason, count in now.refused.items()},
        },
        "now": {
            "connections": now.connections,
            "opening": now.opening,
            "own_threads": now.own_threads,
            "waiting": now.waiting,
            "spare_threads": now.spare_threads,
            "loops": now.loops,
        },
        "limits": [
            {"name": name, "used": used, "limit": None if limit == math.inf else limit}
            for name, used, limit in now.limits
        ],
        "certificates": (
            None
            if now.certificates_expire_at is None
            else {"names": now.certificates, "expires_at": now.certificates_expire_at}
        ),
        "interval": since and since.interval,
        "handoffs": [
            {"at": round(at, 3), "connection": connection} for at, connection in now.recent_handoffs
        ],
        "clients": _clients(now.clients or (), since.rates if since else {}),
    }


def history_point(now: ServerSnapshot, since: Changes) -> dict[str, Any]:
    """What charts remember of a sample."""
    return {
        "time": round(now.taken_at, 3),
        **since.interval,
        "connections": now.connections,
        "own_threads": now.own_threads,
    }


def client_states(clients: Iterable[ClientSnapshot]) -> dict[str, int]:
    """How many clients are in each state, also in those where none is."""
    counts = Counter(client.state for client in clients)
    return {
        state.value: counts[state]
        for state in (
            ClientState.IDLE,
            ClientState.LOOP,
            ClientState.OWN_THREAD,
            ClientState.BLOCKED,
            ClientState.WAITING,
            ClientState.OPENING,
            ClientState.CLOSING,
        )
    }


def client_entry(client: ClientSnapshot, rate: float) -> dict[str, Any]:
    """One client; ``rate`` is the messages that it has sent a second of late."""
    return {
        "id": client.id,
        "peer": str(client.peer),
        "state": client.state.value,
        "age": round(client.age, 3),
        "idle": round(client.idle, 3),
        "messages_received": client.messages_received,
        "messages_sent": client.messages_sent,
        "bytes_received": client.bytes_received,
        "bytes_sent": client.bytes_sent,
        "rate": rate,
        "busy": None if client.busy is None else round(client.busy, 6),
        "line": client.line or None,
        "tls": client.tls or None,
    }


def _clients(clients: tuple[ClientSnapshot, ...], rates: dict[int, float]) -> dict[str, Any]:
    shown = _worth_showing(clients, rates)
    return {
        "total": len(clients),
        "states": client_states(clients),
        "active": sum(c.state is ClientState.IDLE and c.id in rates for c in clients),
        "shown": [client_entry(client, rates.get(client.id, 0.0)) for client in shown],
        "left_out": len(clients) - len(shown),
    }


def _worth_showing(
    clients: tuple[ClientSnapshot, ...], rates: dict[int, float]
) -> list[ClientSnapshot]:
    """The blocked ones, the longest first; then others that have, or want, threads of their own;
    then the busiest; then those who spoke last, or have just come.
    """

    def rank(client: ClientSnapshot) -> tuple[float, bool, float, float]:
        blocked = client.state is ClientState.BLOCKED
        special = client.state in (ClientState.OWN_THREAD, ClientState.WAITING)
        busy = (client.busy or 0.0) if blocked else -1.0
        return busy, special, rates.get(client.id, 0.0), -client.idle

    return heapq.nlargest(SHOWN, clients, rank)


def _quantiles(durations: Histogram) -> dict[str, float | None]:
    return {
        "p50": _rounded(durations.percentile(50)),
        "p99": _rounded(durations.percentile(99)),
        "max": _rounded(durations.longest),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 9)
