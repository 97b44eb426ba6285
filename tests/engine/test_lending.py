"""Lending: no thread to be had, clients that wait for one, senders in the way."""

from __future__ import annotations

import contextlib
import threading

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.limits import MAX_THREADS

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, wait_for


def leave_the_loop(connection: Connection) -> None:
    """Its next message is handled on a thread of its own, as a slow client's is."""
    eventually(lambda: connection._quick)
    with connection._state_lock:
        connection._quick = False
    connection._strikes = 1


def refuse(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_client_for_whom_no_thread_can_be_had_is_closed_and_the_rest_go_on(
    serving: Serving, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serving(lambda message: message)
    with Peer(server.address) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        first = server.connections[0]
        leave_the_loop(first)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            peer.say(b"x\ny\n")
            assert peer.hear_all() == b""
        other.say(b"x\n")
        assert other.hear_line() == b"x\n"
        eventually(lambda: events.named("closed"))
    assert events.named("closed")[0]["reason"] is CloseReason.NO_CAPACITY
    assert server._engine._loops[0]._lender._lent == 0
    assert not events.named("engine-failed")


def test_one_who_waited_for_a_thread_that_then_cannot_be_had(
    serving: Serving, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed when its turn comes, and the next is served."""
    monkeypatch.setattr("threadwire.limits.MAX_THREADS", MAX_THREADS._replace(default=1))
    handling, go_on = threading.Event(), threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            handling.set()
            wait_for(go_on)
        return message

    server = serving(handler)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(3)]
        eventually(lambda: len(server.connections) == 3)
        waiting = server._engine._loops[0]._lender._waiting
        for n, (peer, connection) in enumerate(zip(peers, server.connections, strict=True)):
            leave_the_loop(connection)
            peer.say(b"block\n" if n == 0 else b"%d\n" % n)
            eventually(lambda n=n: handling.is_set() and len(waiting) == n)  # type: ignore[misc]
        threads = server._engine.threads
        run, refused = threads.run, list[object]()

        def run_or_refuse(job: object) -> None:
            if not refused:
                refused.append(job)
                raise RuntimeError("can't start new thread")
            run(job)  # type: ignore[arg-type]

        monkeypatch.setattr(threads, "run", run_or_refuse)
        go_on.set()
        assert peers[0].hear_line() == b"block\n"
        assert peers[1].hear_all() == b""
        assert peers[2].hear_line() == b"2\n"
    eventually(lambda: not server.connections)
    reasons = [fields["reason"] for fields in events.named("closed")]
    assert reasons.count(CloseReason.NO_CAPACITY) == 1


def test_a_client_that_is_closed_while_it_waits_for_a_thread(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By close(): nothing more of it is handled once it has a thread."""
    monkeypatch.setattr("threadwire.limits.MAX_THREADS", MAX_THREADS._replace(default=1))
    handling, go_on = threading.Event(), threading.Event()
    handled: list[bytes] = []

    def handler(message: bytes) -> bytes:
        handled.append(message)
        if message == b"block":
            handling.set()
            wait_for(go_on)
        return message

    server = serving(handler)
    with Peer(server.address) as one, Peer(server.address) as two:
        eventually(lambda: len(server.connections) == 2)
        first, second = server.connections
        leave_the_loop(first)
        leave_the_loop(second)
        one.say(b"block\n")
        wait_for(handling)
        two.say(b"never\n")
        eventually(lambda: server._engine._loops[0]._lender._waiting)
        second.close()
        go_on.set()
        assert two.hear_all() == b""
        assert one.hear_line() == b"block\n"
    assert b"never" not in handled


@pytest.mark.parametrize("how", ["drain", "close"])
@pytest.mark.parametrize("waits", [False, True])
def test_what_was_begun_before_a_drain_is_answered_on_a_thread_as_well(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, how: str, waits: bool
) -> None:
    """With a look at ``finished`` once it is decoded, as the last one is: it is dropped."""
    monkeypatch.setattr("threadwire.limits.MAX_THREADS", MAX_THREADS._replace(default=1))
    handling, go_on = threading.Event(), threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            handling.set()
            wait_for(go_on)
        return message[::-1]

    server = serving(handler)
    with Peer(server.address) as one, Peer(server.address) as two:
        eventually(lambda: len(server.connections) == 2)
        first, second = server.connections
        if waits:
            leave_the_loop(first)
            one.say(b"block\n")
            wait_for(handling)
        leave_the_loop(second)
        two.say(b"par")
        eventually(lambda: second._codec.unread == 3)
        ending = threading.Thread(target=getattr(server, how), args=(PATIENCE,))
        ending.start()
        eventually(lambda: second._draining)
        two.say(b"tial\n")
        if waits:
            eventually(lambda: server._engine._loops[0]._lender._waiting)
            go_on.set()
            assert one.hear_line() == b"kcolb\n"
        assert two.hear_line() == b"laitrap\n"
        assert two.hear_all() == b""
        ending.join(PATIENCE)


def test_a_sender_is_there_while_a_client_is_handed_over(serving: Serving) -> None:
    """The successor leaves what is pending to it; nothing is lost."""
    server: threadwire.Server
    go_on = threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            server.connections[0]._send_lock.acquire()  # as a sender has it
            eventually(lambda: server.connections[0].owner == threading.get_ident())
            wait_for(go_on)
            server.connections[0]._send_lock.release()
        return message

    server = serving(handler)
    with Peer(server.address) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        peer.say(b"before\nblock\nafter\n")
        eventually(lambda: server.connections[0].owner)
        other.say(b"other\n")
        assert other.hear_line() == b"other\n"
        go_on.set()
        assert peer.hear(19) == b"before\nblock\nafter\n"


def test_the_peer_of_a_client_that_is_handed_over_is_gone(serving: Serving, events: Events) -> None:
    server: threadwire.Server
    peers: list[Peer] = []

    def handler(message: bytes) -> bytes:
        if message == b"block":
            peers[0].reset()
            eventually(lambda: server.connections[0].owner == threading.get_ident())
        return message * 100_000

    server = serving(handler)
    peers.append(Peer(server.address))
    peers[0].say(b"before\nblock\nafter\n")
    assert events.closed_reason() is CloseReason.PEER_RESET
    assert not events.tracebacks()
