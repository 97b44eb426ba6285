"""What a client may cost: steps for what it sends, memory for what it does not read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.engine import loop as engine_loop
from threadwire.engine.clients import Clients
from threadwire.framing.delimited import LineCodec
from threadwire.limits import HIGH_WATER, READ_SIZE

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, reverse
from .ways import (
    NEVER,
    SOON,
    become_own,
    both_twins,
    every_form,
    in_form,
    leave_the_loop,
    no_more_room,
    only_connection,
    server_side,
    unread_by,
)


class Counted(LineCodec):
    """Counts what it is asked."""

    def __init__(self, max_message: int, framing: threadwire.Lines, counts: dict[str, int]) -> None:
        super().__init__(max_message, framing)
        self.counts = counts

    def feed(self, data: bytes) -> None:
        self.counts["calls"] += 1
        self.counts["bytes"] += len(data)
        super().feed(data)

    def next_message(self) -> bytes | None:
        self.counts["calls"] += 1
        return super().next_message()

    def only_message(self, data: bytes) -> bytes | None:
        self.counts["calls"] += 1
        return super().only_message(data)


@both_twins
@pytest.mark.parametrize("alone", [False, True])
def test_a_large_message_in_small_pieces_costs_a_few_steps_a_piece(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """64 MiB, read a KiB at a time: every byte is fed once, in a few calls a piece.

    With what was read fed to the codec in pieces of 64 bytes: the calls are a multiple.
    """
    size, piece = (64 << 20) if not alone else (16 << 20), 1024
    counts = {"calls": 0, "bytes": 0}

    class Counting(threadwire.Lines):
        def codec(self, max_message: int = 0) -> threadwire.Codec:
            return Counted(max_message, self, counts)

    made = vars(engine_loop)["Poller"]  # the one that this test is about
    monkeypatch.setattr(engine_loop, "Poller", partial(made, piece))
    monkeypatch.setattr("threadwire.connection.READ_SIZE", READ_SIZE._replace(default=piece))
    monkeypatch.setattr("threadwire.incoming.READ_SIZE", READ_SIZE._replace(default=piece))

    def handler(message: bytes) -> bytes:
        if message == b"block":
            become_own(only_connection(server))
        return b"%d" % len(message)

    server: threadwire.Server = serving(
        handler, framing=Counting(), max_message=size, handoff_after=SOON if alone else NEVER
    )
    with Peer(server.address) as peer, Peer(server.address) as other:
        if alone:
            other.close()
            eventually(lambda: len(server.connections) == 1)
            peer.say(b"block\n")
            assert peer.hear_line() == b"5\n"
        counts.update(calls=0, bytes=0)
        part = b"x" * (size // 64)
        for n in range(64):
            peer.say(part)
            if not alone and n == 32:
                other.say(b"beside\n")
                assert other.hear_line() == b"6\n"
        peer.say(b"\n")
        assert peer.hear_line() == b"%d\n" % size
    assert size <= counts["bytes"] <= size + 10
    assert counts["calls"] <= 5 * (size // piece) + 50


def in_the_process(connection: Connection, peer: Peer, produced: int) -> int:
    """Of ``produced`` bytes, those that neither system holds."""
    return produced - connection._stream.unsent_bytes() - unread_by(peer)


@both_twins
@every_form
@pytest.mark.parametrize("way", ["loop", "own thread"])
def test_pipelined_requests_for_much_more_than_they_are(
    serving: Serving, way: str, form: str
) -> None:
    """What the client goes on sending stays with the system, the loop goes on serving others.

    With no limit on a run's replies: all are made before the first is written. With the loop
    reading on from who has replies waiting: tens of megabytes wait in the process.
    """
    size, count = 50_000, 200
    handled = 0
    server: threadwire.Server

    def function(message: bytes) -> bytes | None:
        nonlocal handled
        if message == b"block":
            become_own(server.connections[0])
            return None
        handled += 1
        return message * (size // len(message))

    server = serving(in_form(form, function), handoff_after=SOON)
    with Peer(server.address, receive_buffer=4096) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        connection = server.connections[0]
        if way == "own thread":
            peer.say(b"block\n")
            eventually(lambda: connection.owner)
        peer.say(b"".join(b"%05d\n" % n for n in range(count)))
        eventually(lambda: handled and no_more_room(connection))
        ceiling = HIGH_WATER.whole + 2 * (size + 1)
        assert in_the_process(connection, peer, handled * (size + 1)) <= ceiling
        peer.socket.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            for _ in range(10_000):
                peer.socket.sendall(b"0more\n" * 10_000)
        peer.socket.settimeout(PATIENCE)
        assert in_the_process(connection, peer, handled * (size + 1)) <= ceiling
        assert connection.bytes_received <= READ_SIZE.whole
        other.say(b"other\n")
        assert other.hear(size + 1) == b"other" * (size // 5) + b"\n"
        for n in range(count):
            assert peer.hear(size + 1) == b"%05d" % n * (size // 5) + b"\n"


@both_twins
def test_a_client_that_does_not_read_is_not_tried_again_and_again(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for.

    With who fell short looked at in the next turn instead of settled: a try a turn, without end.
    """
    tries = 0
    fell_short = Clients._fell_short

    def count(*arguments: Any) -> None:
        nonlocal tries
        tries += 1
        fell_short(*arguments)

    monkeypatch.setattr(Clients, "_fell_short", count)
    server = serving(lambda message: message * (5_000_000 if message == b"x" else 1))
    with Peer(server.address, receive_buffer=4096) as peer, Peer(server.address) as other:
        peer.say(b"x\n")
        eventually(lambda: server.connections and no_more_room(server.connections[0]))
        before = tries
        for _ in range(200):
            other.say(b"other\n")
            assert other.hear_line() == b"other\n"
        assert tries - before < 20


@both_twins
@every_form
@pytest.mark.parametrize("part", [1, 50_000])
def test_an_answer_without_end(serving: Serving, form: str, part: int) -> None:
    """With a limit of 16 MiB on the parts that the loop collects: as much waits in the process."""
    made = 0
    server: threadwire.Server

    def endless() -> Iterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"x" * part

    def function(message: bytes) -> Any:
        return endless() if message == b"all" else message

    server = serving(in_form(form, function), handoff_after=NEVER)
    with Peer(server.address, receive_buffer=4096) as peer, Peer(server.address) as other:
        peer.say(b"all\n")
        eventually(lambda: made > 5)
        other.say(b"beside\n")
        assert other.hear_line() == b"beside\n"
        (connection,) = (c for c in server.connections if c.messages_sent != 1)
        eventually(lambda: no_more_room(connection))
        ceiling = (HIGH_WATER.whole + part) * 2  # the framing of a byte is another
        assert in_the_process(connection, peer, made * (part + 1)) <= ceiling
        peer.reset()
        eventually(lambda: len(server.connections) == 1)


@pytest.mark.parametrize("way", ["loop", "own thread"])
@pytest.mark.parametrize("end", ["reset", "cut"])
def test_an_answer_that_nobody_takes_any_more_is_closed(
    serving: Serving, way: str, end: str
) -> None:
    """What its generator has to do at last is done before the connection is gone."""
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 50_000
        finally:
            closed.set()

    server = serving(lambda message: endless() if message == b"all" else message)
    with Peer(server.address, receive_buffer=4096) as peer, Peer(server.address) as other:
        connection = server_side(server, peer)
        if way == "own thread":
            eventually(lambda: connection._quick)
            leave_the_loop(connection)
        peer.say(b"all\n")
        eventually(lambda: connection.messages_sent and no_more_room(connection))
        if end == "reset":
            peer.reset()
        else:
            connection.abort(CloseReason.CUT)
        eventually(lambda: connection._released)
        other.say(b"beside\n")
        assert other.hear_line() == b"beside\n"
        assert closed.is_set()


def test_a_broadcast_to_a_client_that_does_not_read(serving: Serving, events: Events) -> None:
    """Senders wait, each with its one message; the client's requests stay with the system.

    With the loop going on to read from a client to whom somebody else is sending: megabytes of
    its requests are read.
    """
    server = serving(lambda message: message, write_timeout=PATIENCE)
    with Peer(server.address, receive_buffer=4096) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        connection = server.connections[0]
        refused: list[CloseReason] = []

        def send() -> None:
            try:
                while True:
                    connection.send(b"x" * 1_000_000)
            except threadwire.ConnectionClosed as error:
                refused.append(error.reason)

        senders = [threading.Thread(target=send) for _ in range(4)]
        for sender in senders:
            sender.start()
        eventually(lambda: connection._send_lock.locked() and no_more_room(connection))
        peer.socket.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            for _ in range(10_000):
                peer.socket.sendall(b"more\n" * 10_000)
        assert connection.bytes_received <= 2 * READ_SIZE.whole
        waiting = sum(map(len, connection._pending or ())) + sum(map(len, connection._raw or ()))
        assert waiting <= HIGH_WATER.whole + READ_SIZE.whole
        other.say(b"beside\n")
        assert other.hear_line() == b"beside\n"
        connection.abort(CloseReason.CUT)
        for sender in senders:
            sender.join(PATIENCE)
        assert refused == [CloseReason.CUT] * 4


def test_senders_to_a_client_that_reads_nothing_are_freed_after_write_timeout(
    serving: Serving, events: Events
) -> None:
    """With ``_write`` giving no time limit to the stream: they wait for ever."""
    server = serving(reverse, write_timeout=0.1)
    with Peer(server.address, receive_buffer=4096):
        connection = only_connection(server)
        with pytest.raises(threadwire.ConnectionClosed, match="write-timeout"):
            connection.send(b"x" * 50_000_000)
    assert events.closed_reason() is CloseReason.WRITE_TIMEOUT
