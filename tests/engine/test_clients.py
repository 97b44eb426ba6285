"""Clients, without a loop: senders in the way, writes that fall short, waits that are refused."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.engine.clients import Clients
from threadwire.engine.timers import Timers
from threadwire.handler import Handler
from threadwire.limits import OFF, WRITE_PROGRESS
from threadwire.rules import Rules
from threadwire.transport import Stream, portable
from threadwire.transport.poller import READ, WRITE, Poller

from ..conftest import Events
from ..support import reverse


class Bench:
    """Clients of one connection, and what a loop has beside them; the loop is the test."""

    def __init__(self, stream: Stream, poller: Any, write_timeout: float = OFF) -> None:
        self.poller = poller
        self.timers = Timers()
        self.released: list[Connection] = []
        rules = Rules(write_timeout=write_timeout)
        self.clients = Clients(Handler(reverse), poller, self.timers, rules, self.released.append)
        self.connection = Connection(
            1,
            stream,
            threadwire.Lines().codec(1 << 20),
            self,
            session=False,
            rules=rules,
        )
        self.attended: list[Connection] = []

    def attend(self, connection: Connection, /) -> None:
        self.attended.append(connection)

    def look(self) -> None:
        """As the loop, at those who want attention."""
        attended, self.attended = self.attended, []
        for connection in attended:
            self.clients.look_at(connection)

    def reply(self, frame: bytes) -> None:
        """As a turn, the short way."""
        self.clients.replies.append((self.connection._fd, frame))
        self.clients.repliers.append(self.connection)


class Readiness:
    """An epoll that has no more room when it is told so."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)

    def register(self, fd: int, eventmask: int, /) -> None:
        if self.full:
            raise OSError(28, "no space left on device")
        self._epoll.register(fd, eventmask)


@pytest.fixture
def bench(pair: tuple[Stream, socket.socket]) -> Iterator[Bench]:
    poller = Poller()
    with contextlib.closing(poller):
        made = Bench(pair[0], poller, 3600.0)
        made.clients.take_in(made.connection)
        yield made


@pytest.fixture
def peer(pair: tuple[Stream, socket.socket]) -> socket.socket:
    return pair[1]


def test_a_sender_that_has_left_before_it_could_be_asked_to_tell(
    bench: Bench, peer: socket.socket
) -> None:
    """With no second look: the replies wait for a call that never comes."""
    clients, connection = bench.clients, bench.connection
    connection.replies().append(b"x")
    clients._step_aside(connection)
    assert not connection._parked
    assert connection._interest == READ
    clients.flush()
    assert peer.recv(10) == b"x\n"
    assert not bench.attended


def test_a_sender_that_is_still_there_is_waited_for(bench: Bench, peer: socket.socket) -> None:
    """Nothing is read, and no time runs; when it leaves it calls for attention."""
    clients, connection = bench.clients, bench.connection
    clients._fell_short(connection, b"", 0)  # so that time runs
    with connection._send_lock:
        bench.reply(b"reply\n")
        clients.flush()
        state = connection._parked, connection._interest
        assert state == (True, 0)
        assert connection._timer is None
        assert len(bench.timers) == 0
        clients.settle(connection)
        assert connection._interest == 0
    connection.send(b"news")
    assert bench.attended == [connection]
    bench.look()
    assert not connection._parked
    clients.flush()
    assert connection._interest == READ
    assert peer.recv(100) == b"reply\nnews\n"


def test_a_write_that_fails_ends_the_connection(
    bench: Bench, peer: socket.socket, events: Events
) -> None:
    """With a failed write taken for one that wrote nothing: it waits for room for ever."""
    connection = bench.connection
    peer.close()
    bench.reply(b"reply\n")
    bench.clients.flush()
    assert connection.end_reason is CloseReason.PEER_RESET
    assert not connection._pending
    assert bench.released == [connection]
    assert connection._stream.fileno() == -1
    assert not connection._send_lock.locked()
    assert not bench.clients.here
    assert events.closed_reason() is CloseReason.PEER_RESET


def test_what_does_not_fit_waits_for_room_and_is_not_tried_before(
    bench: Bench, peer: socket.socket
) -> None:
    connection = bench.connection
    reply = b"x" * 1_000_000 + b"\n"
    bench.reply(reply)
    bench.clients.flush()
    assert connection._interest == WRITE
    assert len(bench.timers) == 1
    timer, heard = connection._timer, b""
    while len(heard) < len(reply):
        heard += peer.recv(1 << 20)
        _, notices = bench.poller.wait(0.0)
        bench.clients.dirty += [key for key, _ in notices]
        bench.clients.flush()
    assert heard == reply
    assert connection._timer is not timer
    assert connection._interest == READ


def test_the_time_runs_on_while_nothing_is_taken(bench: Bench) -> None:
    """With a timer that every try sets anew it is never due, nor for a peer that drips."""
    clients, connection = bench.clients, bench.connection
    data = bytes(2 * WRITE_PROGRESS.whole)
    clients._fell_short(connection, data, 0)
    timer = connection._timer
    assert timer is not None
    clients._fell_short(connection, connection.take_pending(), 0)
    assert connection._timer is timer
    clients._fell_short(connection, connection.take_pending(), WRITE_PROGRESS.whole - 1)
    assert connection._timer is timer
    clients._fell_short(connection, connection.take_pending(), 1)
    assert connection._timer is not None
    assert connection._timer is not timer
    assert len(bench.timers) == 1
    assert len(connection.take_pending()) == WRITE_PROGRESS.whole
    call = connection._timer.call
    assert call is not None
    call()
    bench.look()
    assert connection.close_reason is CloseReason.WRITE_TIMEOUT
    assert bench.released == [connection]


def test_a_client_that_cannot_be_waited_for_is_closed(
    pair: tuple[Stream, socket.socket], events: Events
) -> None:
    readiness = Readiness()
    poller = portable.Poller(readiness=lambda: cast("Any", readiness))
    with contextlib.closing(poller):
        bench = Bench(pair[0], poller)
        connection = bench.connection
        readiness.full = True
        bench.clients.take_in(connection)
        assert connection._interest == 0
        assert bench.attended == [connection]
        assert not bench.released
        bench.look()
        assert bench.released == [connection]
        assert pair[1].recv(1) == b""
    assert events.closed_reason() is CloseReason.NO_CAPACITY
    assert events.named("no-capacity")[0]["detail"].errno == 28
