"""Taking a snapshot of a server; any thread, without holding anybody up.

Counters are read as they are: each is changed by one thread or under one lock, and only ever
grows. What is said of a client is a hint, of the instant in which it was looked at.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

from .connection import Connection
from .engine import Engine
from .reports import where
from .snapshot import ClientSnapshot, ClientState, LimitUse, ServerSnapshot
from .transport.poller import TWIN

if TYPE_CHECKING:
    from .certificates import Certificates
    from .handler import Handler
    from .options import Options
    from .reception import Reception
    from .transport import Listener

__all__ = ["observe"]

_TCP_INFO = getattr(socket, "TCP_INFO", None)
# Of a listening socket Linux tells, as tcpi_unacked and tcpi_sacked: how many wait to be
# accepted, and how many may.
_QUEUE = struct.Struct("24xII")


def observe(
    reception: Reception,
    options: Options,
    handler: Handler,
    listeners: tuple[Listener, ...],
    certificates: Certificates | None,
    *,
    phase: str,
    started_at: float | None,
    clients: bool,
) -> ServerSnapshot:
    """The snapshot; with ``clients``, of each of them, too."""
    figures, engine = reception.figures(), reception.engine.figures()
    opening = sum(map(_is_opening, figures.connections))
    own_threads = engine.own_threads
    if handler.is_session:
        own_threads = sum(connection._own for connection in figures.connections)
    limits = [
        LimitUse("max_clients", len(figures.connections), reception.most_clients),
        LimitUse("max_threads", own_threads, reception.rules.max_threads),
        LimitUse("max_handshakes", engine.handshakes, reception.rules.max_handshakes),
    ]
    queue = _queue(listeners)
    if queue is not None:
        limits.append(LimitUse("backlog", *queue))
    return ServerSnapshot(
        taken_at=time.time(),
        clock=time.monotonic(),
        phase=phase,
        started_at=started_at,
        addresses=tuple(listener.address for listener in listeners),
        handler=handler.name,
        session=handler.is_session,
        framing=str(options.framing),
        poller=TWIN,
        accepted=figures.accepted,
        refused=reception.admission.refused,
        closed=figures.closed,
        **figures.traffic._asdict(),
        handoffs=engine.handoffs,
        turns=engine.turns,
        handler_seconds=engine.handler_seconds,
        turn_seconds=engine.turn_seconds,
        lock_wait_seconds=engine.lock_wait_seconds,
        loops=engine.loops,
        opening=opening,
        connections=len(figures.connections) - opening,
        own_threads=own_threads,
        waiting=engine.waiting,
        spare_threads=engine.spare_threads,
        limits=tuple(limits),
        certificates=", ".join(certificates.names) if certificates is not None else "",
        certificates_expire_at=certificates.expires_at if certificates is not None else None,
        recent_handoffs=engine.recent_handoffs,
        clients=_clients(reception.engine, figures.connections) if clients else None,
    )


def _is_opening(connection: Connection) -> bool:
    return connection._opening is not None and not _is_closing(connection)


def _is_closing(connection: Connection) -> bool:
    return connection._closing or connection._farewell is not None


def _queue(listeners: tuple[Listener, ...]) -> tuple[int, float] | None:
    """How many clients wait in the listen backlogs, and for how many there is room."""
    waiting = room = 0
    for listener in listeners:
        if _TCP_INFO is None or listener.address.scheme == "unix":
            continue
        try:
            info = listener.socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _QUEUE.size)
            queued, most = _QUEUE.unpack(info)
        except (OSError, struct.error):  # closed meanwhile, or a system that tells less
            continue
        waiting += queued
        room += most
    return (waiting, room) if room else None


def _clients(engine: Engine, connections: list[Connection]) -> tuple[ClientSnapshot, ...]:
    frames = sys._current_frames()
    in_handlers = set(engine.in_handlers())
    now, today = time.monotonic(), time.time()
    found = []
    for connection in connections:
        state, busy, line = _state(connection, engine, in_handlers, frames, now)
        since = connection._opened_clock
        age = now - since
        tls = connection.tls
        found.append(
            ClientSnapshot(
                connection.id,
                connection.peer,
                connection.local,
                state,
                today - age,
                age,
                max(0.0, now - (connection.active_at or since)),
                connection.messages_received,
                connection.messages_sent,
                connection.bytes_received,
                connection.bytes_sent,
                busy,
                line,
                tls.version if tls is not None else "",
            )
        )
    return tuple(found)


def _state(  # noqa: PLR0911 - one for each state
    connection: Connection,
    engine: Engine,
    in_handlers: set[Connection],
    frames: dict[int, FrameType],
    now: float,
) -> tuple[ClientState, float | None, str]:
    """What goes on with it; for how long its handler has been busy, and where that stands."""
    if connection._own:
        since, owner = connection.busy_since, connection.owner
        if not since or connection._reading:
            return ClientState.OWN_THREAD, None, ""
        frame = frames.get(owner or 0)
        return ClientState.BLOCKED, max(0.0, now - since), where(frame) if frame else ""
    if connection in in_handlers:
        return ClientState.LOOP, 0.0, ""
    if _is_closing(connection):
        return ClientState.CLOSING, None, ""
    if connection._opening is not None:
        return ClientState.OPENING, None, ""
    if not connection._here and engine.waits_for_thread(connection):
        return ClientState.WAITING, None, ""
    return ClientState.IDLE, None, ""
