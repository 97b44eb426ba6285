"""Farewells: how long, and for how many bytes, an ended connection is still there."""

from __future__ import annotations

import contextlib
import threading

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.limits import LINGER_BYTES

from ..conftest import Events, Serving
from ..support import Peer, eventually, wait_for


def say_bye(_message: bytes) -> bytes:
    raise threadwire.Close(b"bye")


def test_a_peer_that_never_stops_sending_is_owed_so_many_bytes(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "threadwire.engine.farewell.LINGER_BYTES", LINGER_BYTES._replace(default=100_000)
    )
    server = serving(say_bye)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear_all() == b"bye\n"
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as it happens
            for _ in range(10_000):
                peer.say(b"on and on" * 1000)
        eventually(lambda: not server.connections)


def test_a_peer_that_stays_silent_is_waited_for_a_moment(serving: Serving) -> None:
    server = serving(say_bye)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear_all() == b"bye\n"
        eventually(lambda: not server.connections)


@pytest.mark.parametrize("end", ["finish", "reset", "cut"])
def test_it_is_over_when_the_peer_ends_or_it_is_cut(
    serving: Serving, events: Events, end: str
) -> None:
    server = serving(say_bye)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear_all() == b"bye\n"
        (connection,) = server.connections
        if end == "cut":
            connection.abort(CloseReason.CUT)
        else:
            getattr(peer, end)()
        eventually(lambda: not server.connections)
    assert events.closed_reason() is CloseReason.HANDLER_CLOSED


@pytest.mark.parametrize("end", ["read", "write_timeout", "reset", "flood"])
def test_one_whose_reading_side_was_shut_to_wake_its_thread(
    serving: Serving, events: Events, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """It stays until the peer's system has all, or takes nothing any more, or sends too much."""
    monkeypatch.setattr(
        "threadwire.engine.farewell.LINGER_BYTES", LINGER_BYTES._replace(default=100_000)
    )
    said = threading.Event()
    size = 1_000_000

    @threadwire.session
    def session(connection: Connection) -> None:
        connection.receive()
        connection.send(b"x" * size)
        said.set()
        for _ in connection:
            pass

    server = serving(session, write_timeout=0.5 if end == "write_timeout" else 30.0)
    with Peer(server.address, receive_buffer=4096) as peer:
        peer.say(b"go\n")
        wait_for(said)
        (connection,) = server.connections
        eventually(lambda: connection._idle)
        connection.close()
        eventually(lambda: connection._farewell)
        if end == "read":
            assert peer.hear_all() == b"x" * size + b"\n"
        elif end == "reset":
            peer.reset()
        elif end == "flood":
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    peer.say(b"on and on" * 1000)
        eventually(lambda: not server.connections)
    assert events.closed_reason() is CloseReason.HANDLER_CLOSED
