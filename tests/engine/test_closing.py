"""Closing accounts for every thread and socket."""

from __future__ import annotations

import contextlib
import threading

import pytest

import threadwire
from threadwire import Connection
from threadwire.limits import MAX_THREADS

from ..conftest import Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from .ways import (
    no_more_room,
)


def test_closing_accounts_for_clients_in_every_state(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle, begun, stuck on the loop's and on lent threads, waiting for a thread, with a peer
    that does not read, with senders that are parked, lingering.

    With those who wait for a thread not ended by a cut, or with ``_end`` not taking back those
    that somebody had still to leave: their sockets stay open.
    """
    monkeypatch.setattr("threadwire.limits.MAX_THREADS", MAX_THREADS._replace(default=3))
    go_on, blocked = threading.Event(), threading.Semaphore(0)

    def handler(message: bytes) -> bytes:
        if message == b"block":
            blocked.release()
            wait_for(go_on)
        elif message == b"bye":
            raise threadwire.Close(b"bye")
        elif message == b"much":
            return b"x" * 20_000_000
        return message

    server = serving(handler)
    with contextlib.ExitStack() as stack:
        names = ["idle", "begun", "greedy", "news", "lingering", *["blocked"] * 6]
        peers = [stack.enter_context(Peer(server.address, 4096)) for _ in names]
        eventually(lambda: len(server.connections) == len(names))
        connections = server.connections
        ports = {connection.peer.port: connection for connection in connections}
        news = ports[peers[3].socket.getsockname()[1]]
        for name, peer in zip(names, peers, strict=True):
            said = {"begun": b"beg", "greedy": b"much\n", "lingering": b"bye\n", "idle": b""}
            if name != "blocked":
                peer.say(said.get(name, b"x\n"))
        assert peers[4].hear_line() == b"bye\n"
        for peer in peers[5:]:
            peer.say(b"block\n")
        for _ in range(3):
            assert blocked.acquire(timeout=PATIENCE)
        freed: list[BaseException] = []

        def send() -> None:
            try:
                while True:
                    news.send(b"y" * 1_000_000)
            except threadwire.ConnectionClosed as error:
                freed.append(error)

        senders = [threading.Thread(target=send) for _ in range(3)]
        for sender in senders:
            sender.start()
        eventually(lambda: news._send_lock.locked() and no_more_room(news))
        report = server.close(0)
        left = server.connections  # those whose handlers have still to return
        assert len(left) == len(report.threads_left)
        assert all(connection.owner is not None for connection in left)
        for connection in set(connections) - set(left):
            assert connection._released
            assert connection._stream.fileno() == -1
        for sender in senders:
            sender.join(PATIENCE)
        assert len(freed) == 3
        assert 3 <= len(left) <= 6
        assert len(server._engine.threads) == len(left)
        go_on.set()
        eventually(lambda: len(server._engine.threads) == 0)
        assert server.connections == ()


def test_closing_accounts_for_sessions(serving: Serving) -> None:
    """Those that receive are woken, those that send are freed, those that do neither are named.

    With a cut that does not shut the socket down: the receiving ones are named, too.
    """
    go_on, begun = threading.Event(), threading.Semaphore(0)

    @threadwire.session
    def session(connection: Connection) -> None:
        kind = connection.receive()
        begun.release()
        if kind == b"receive":
            connection.receive()
        elif kind == b"send":
            connection.send(b"x" * 50_000_000)
        else:
            wait_for(go_on)

    server = serving(session)
    with contextlib.ExitStack() as stack:
        for kind in (b"receive", b"send", b"stuck"):
            peer = stack.enter_context(Peer(server.address, receive_buffer=4096))
            peer.say(kind + b"\n")
            assert begun.acquire(timeout=PATIENCE)
        connections = server.connections
        report = server.close(0)
        assert len(report.cut) == 3
        assert len(report.threads_left) == 1
        assert [connection._released for connection in connections] == [True, True, False]
        go_on.set()
        eventually(lambda: connections[2]._released)
        eventually(lambda: len(server._engine.threads) == 0)
