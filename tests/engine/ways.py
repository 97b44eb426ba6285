"""What tests of the engine share: the forms of a handler, ways to and from an own thread."""

from __future__ import annotations

import fcntl
import struct
import termios
import threading
from collections.abc import Callable
from typing import Any

import pytest

import threadwire
from threadwire import Connection

from ..support import Peer, eventually

NEVER = 3600.0  # seconds for handoff_after: no call is ever as slow
SOON = 0.05  # slow enough that a busy machine alone is seldom mistaken for a handler that blocks

FORMS = ["message", "message and connection"]
every_form = pytest.mark.parametrize("form", FORMS)
both_twins = pytest.mark.usefixtures("twin")


def in_form(form: str, function: Callable[[bytes], Any]) -> Callable[..., Any]:
    if form == "message":
        return function
    return lambda message, connection: function(message)


def become_own(connection: Connection) -> None:
    """A handler: block until the calling thread has become its client's own."""
    eventually(lambda: connection.owner == threading.get_ident(), "the hand-off")


def only_connection(server: threadwire.Server) -> Connection:
    eventually(lambda: server.connections)
    (connection,) = server.connections
    return connection


def server_side(server: threadwire.Server, peer: Peer) -> Connection:
    """The server's end of a peer's connection."""
    port = peer.socket.getsockname()[1]
    eventually(lambda: any(c.peer.port == port for c in server.connections))
    (connection,) = (c for c in server.connections if c.peer.port == port)
    return connection


def leave_the_loop(connection: Connection) -> None:
    """Its next message is handled on a thread of its own, as a slow client's is."""
    with connection._state_lock:
        connection._quick = False
    connection._strikes = 1


def handoffs(server: threadwire.Server) -> int:
    """How many there were, of connections whose handlers have all returned."""
    return sum(connection._strikes for connection in server.connections)


def serving_threads() -> int:
    return sum(thread.name.startswith("threadwire-serving") for thread in threading.enumerate())


def unread_by(peer: Peer) -> int:
    """Bytes that the system holds for it."""
    size = fcntl.ioctl(peer.socket.fileno(), termios.FIONREAD, b"\0" * 4)
    return int(struct.unpack("i", size)[0])


def no_more_room(connection: Connection) -> bool:
    """Its peer's system takes nothing any more."""
    return not connection._stream.wait(0, writable=True)[1]
