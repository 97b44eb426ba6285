"""The promise: a client whose handler blocks, or who says nothing, delays nobody else."""

from __future__ import annotations

import socket
import threading

import pytest

import threadwire

from .conftest import Serving
from .support import PATIENCE, Peer, eventually, wait_for

CLIENTS = 500


def test_five_hundred_clients_of_whom_most_are_stuck(serving: Serving) -> None:
    """A third is silent, a third blocks in its handler, a third is inside a message.

    While all of them stay so, other clients come, are answered correctly, and go.
    """
    release, blocked = threading.Event(), threading.Semaphore(0)

    def handler(message: bytes) -> bytes:
        if message.startswith(b"block"):
            blocked.release()
            wait_for(release)
        return message[::-1]

    server = serving(handler)
    peers = [Peer(server.address) for _ in range(CLIENTS)]
    silent, blocking, begun = peers[0::3], peers[1::3], peers[2::3]
    for n, peer in enumerate(blocking):
        peer.say(b"block %d\n" % n)
    for n, peer in enumerate(begun):
        peer.say(b"begun %d" % n)
    for _ in blocking:
        assert blocked.acquire(timeout=PATIENCE)
    eventually(lambda: len(server.connections) == CLIENTS)

    wrong: list[bytes] = []

    def quick(name: int) -> None:
        with Peer(server.address) as peer:
            for n in range(20):
                message = b"quick %d %d" % (name, n)
                peer.say(message + b"\n")
                if (reply := peer.hear_line()) != message[::-1] + b"\n":
                    wrong.append(reply)

    quicks = [threading.Thread(target=quick, args=(name,)) for name in range(20)]
    for thread in quicks:
        thread.start()
    for thread in quicks:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a quick client waits"
    assert wrong == []

    # Nobody was answered before time, and everybody is answered in the end.
    for peer in peers:
        peer.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.socket.recv(1)
        peer.socket.settimeout(PATIENCE)
    release.set()
    for n, peer in enumerate(blocking):
        assert peer.hear_line() == (b"block %d" % n)[::-1] + b"\n"
    for n, peer in enumerate(begun):
        peer.say(b" ended\n")
        assert peer.hear_line() == (b"begun %d ended" % n)[::-1] + b"\n"
    for n, peer in enumerate(silent):
        peer.say(b"%d\n" % n)
        assert peer.hear_line() == (b"%d" % n)[::-1] + b"\n"
    for peer in peers:
        peer.close()


def test_a_client_that_never_reads_blocks_only_itself(serving: Serving) -> None:
    server = serving(lambda message: message * 1_000_000)
    greedy = [Peer(server.address, receive_buffer=4096) for _ in range(20)]
    for peer in greedy:
        peer.say(b"x\n" * 10)
    eventually(lambda: sum(c.messages_received for c in server.connections) >= len(greedy))
    with Peer(server.address) as peer:
        peer.say(b"y\n")
        assert peer.hear(1_000_001) == b"y" * 1_000_000 + b"\n"
    for peer in greedy:
        peer.socket.shutdown(socket.SHUT_RDWR)
        peer.close()


def test_a_thousand_connections_come_and_go_and_leave_nothing(serving: Serving) -> None:
    server = serving(lambda message: message)
    for n in range(1000):
        with threadwire.connect(server.address) as client:
            assert client.request(b"%d" % n) == b"%d" % n
    eventually(lambda: not server.connections)
    # Threads are used again; how many overlap is the machine's affair, but never all.
    assert len(server._engine.threads) < 100
    assert server.close().threads_left == ()
    assert len(server._engine.threads) == 0
