"""What is promised of handlers that block, of crowds, of quiet clients, of large messages."""

from __future__ import annotations

import contextlib
import threading

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.limits import MAX_THREADS

from ..conftest import Serving
from ..support import PATIENCE, Peer, eventually, reverse, wait_for
from .ways import (
    SOON,
    become_own,
    both_twins,
    handoffs,
    leave_the_loop,
    serving_threads,
)


def test_five_hundred_clients_that_block_cost_a_few_hand_offs(serving: Serving) -> None:
    """With nobody suspected: a hand-off for each of them."""
    clients = 500
    go_on, blocked = threading.Event(), threading.Semaphore(0)

    def handler(message: bytes) -> bytes:
        blocked.release()
        wait_for(go_on)
        return message

    server = serving(handler)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(clients)]
        eventually(lambda: len(server.connections) == clients)
        for peer in peers:
            peer.say(b"x\n")
        for _ in peers:
            assert blocked.acquire(timeout=PATIENCE)
        go_on.set()
        for peer in peers:
            assert peer.hear_line() == b"x\n"
        # One; more only where starting so many threads takes longer than suspicion lasts.
        assert 1 <= handoffs(server) <= 10


def test_clients_that_become_slow_after_having_been_quick(serving: Serving) -> None:
    """Each costs a hand-off, once: from then on it has a thread before its handler is called.

    With a client that has been slow not suspected (``_strikes`` not asked for): a hand-off each
    time.
    """
    clients = 20
    go_on, blocked = threading.Event(), threading.Semaphore(0)

    def handler(message: bytes) -> bytes:
        if message == b"block":
            blocked.release()
            wait_for(go_on)
        return message

    server = serving(handler)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(clients)]
        for _ in range(3):
            for peer in peers:
                peer.say(b"quick\n")
                assert peer.hear_line() == b"quick\n"
        for peer in peers:
            peer.say(b"block\n")
        for _ in peers:
            assert blocked.acquire(timeout=PATIENCE)
        with Peer(server.address) as other:
            other.say(b"quick\n")
            assert other.hear_line() == b"quick\n"
        go_on.set()
        for peer in peers:
            assert peer.hear_line() == b"block\n"
        slow = [connection for connection in server.connections if connection._strikes]
        assert len(slow) == clients
        assert handoffs(server) == clients
        for peer in peers:  # still on their threads, or back without having proved quick
            peer.say(b"block\n")
            assert peer.hear_line() == b"block\n"
        assert handoffs(server) == clients


def test_after_a_hand_off_who_has_shown_nothing_gets_a_thread_at_once(serving: Serving) -> None:
    """Both those who came before and those who come after it; who was quick does not.

    With suspicion lasting no time: they are handled by the loop, and each costs a hand-off.
    """
    go_on = threading.Event()

    def handler(message: bytes, connection: Connection) -> bytes:
        if message == b"block":
            wait_for(go_on)
        return b"alone" if connection.owner == threading.get_ident() else b"loop"

    server = serving(handler, handoff_after=0.005)
    with (
        Peer(server.address) as silent,
        Peer(server.address) as quick,
        Peer(server.address) as peer,
    ):
        quick.say(b"x\n")
        assert quick.hear_line() == b"loop\n"
        eventually(lambda: len(server.connections) == 3)
        peer.say(b"block\n")
        eventually(lambda: any(connection.owner for connection in server.connections))
        eventually(lambda: server._engine._loops[0]._lender._wary_until)
        with Peer(server.address) as late:
            late.say(b"x\n")
            silent.say(b"x\n")
            quick.say(b"x\n")
            assert late.hear_line() == b"alone\n"
            assert silent.hear_line() == b"alone\n"
            assert quick.hear_line() == b"loop\n"
        go_on.set()
        assert peer.hear_line() == b"alone\n"
        assert handoffs(server) == 1


def test_a_client_that_has_gone_quiet_keeps_no_thread(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes back to the loop, and the thread ends; who has been slow gets one at once again.

    With a quiet client kept by its thread (``read_more`` waiting for ever): it never comes back.
    """
    from threadwire.limits import QUIET_SECONDS

    monkeypatch.setattr(
        "threadwire.engine.own_thread.QUIET_SECONDS", QUIET_SECONDS._replace(default=0.02)
    )
    before = serving_threads()
    where: dict[Connection, bool] = {}

    def handler(message: bytes, connection: Connection) -> bytes:
        where[connection] = connection.owner == threading.get_ident()
        if message == b"block":
            become_own(connection)
        return message

    server = serving(handler)
    server._engine.threads._idle_seconds = 0.01
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(10)]
        for peer in peers:
            peer.say(b"block\n")
        for peer in peers:
            assert peer.hear_line() == b"block\n"
        eventually(lambda: all(c._here and c.owner is None for c in server.connections))
        eventually(lambda: serving_threads() == before + 1, "one leads, the others have ended")
        costs = handoffs(server)
        for peer in peers:
            peer.say(b"again\n")
            assert peer.hear_line() == b"again\n"
        assert [where[connection] for connection in server.connections] == [
            connection._strikes > 0 for connection in server.connections
        ]
        assert handoffs(server) == costs


@both_twins
def test_no_more_than_max_threads_are_lent(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further clients wait their turn, and are served then; quick ones are unaffected; one that
    is cut while it waits is closed at once.

    With no limit asked for in ``lend``: all block at once. With nobody served when a thread is
    given back (``serve_waiting``): the others wait for ever.
    """
    most = 3
    monkeypatch.setattr("threadwire.limits.MAX_THREADS", MAX_THREADS._replace(default=most))
    blocked, go_on = threading.Semaphore(0), threading.Semaphore(0)
    lock, inside, crowd = threading.Lock(), 0, 0

    def handler(message: bytes) -> bytes:
        nonlocal inside, crowd
        if message.startswith(b"block"):
            with lock:
                inside += 1
                crowd = max(crowd, inside)
            blocked.release()
            assert go_on.acquire(timeout=PATIENCE)
            with lock:
                inside -= 1
        return message

    server = serving(handler, handoff_after=SOON)
    with contextlib.ExitStack() as stack:
        quick = stack.enter_context(Peer(server.address))
        quick.say(b"quick\n")
        assert quick.hear_line() == b"quick\n"
        peers = [stack.enter_context(Peer(server.address)) for _ in range(12)]
        eventually(lambda: len(server.connections) == 13)
        slow = server.connections[1:]
        eventually(lambda: all(connection._quick for connection in slow))
        for connection in slow:
            leave_the_loop(connection)
        for n, peer in enumerate(peers):
            peer.say(b"block %d\nthen\n" % n)
        for _ in range(most):
            assert blocked.acquire(timeout=PATIENCE)
        waiting = server._engine._loops[0]._lender._waiting
        eventually(lambda: len(waiting) == len(peers) - most)
        assert serving_threads() >= most
        quick.say(b"quick\n")
        assert quick.hear_line() == b"quick\n"

        cut = next(reversed(waiting))
        cut.abort(CloseReason.CUT)
        eventually(lambda: cut._released)
        (gone,) = [peer for peer in peers if peer.socket.getsockname()[1] == cut.peer.port]
        assert gone.hear_all() == b""

        for _ in range(len(peers) - 1 - most):
            go_on.release()
            assert blocked.acquire(timeout=PATIENCE), "the next waits for ever"
        go_on.release(most)
        for n, peer in enumerate(peers):
            if peer is not gone:
                assert peer.hear_line() + peer.hear_line() == b"block %d\nthen\n" % n
        assert crowd == most
        quick.say(b"quick\n")
        assert quick.hear_line() == b"quick\n"


def test_a_session_keeps_its_thread_for_life(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However quick it is, however long it is quiet.

    With ``limit_reads`` set for sessions as for lent threads: the first ends when it is quiet.
    """
    from threadwire.limits import QUIET_SECONDS

    monkeypatch.setattr(
        "threadwire.engine.own_thread.QUIET_SECONDS", QUIET_SECONDS._replace(default=0.01)
    )
    idents: set[int] = set()

    @threadwire.session
    def session(connection: Connection) -> None:
        for message in connection:
            idents.add(threading.get_ident())
            assert connection.owner == threading.get_ident()
            connection.send(message)

    server = serving(session)
    with Peer(server.address) as peer:
        for n in range(100):
            peer.say(b"%d\n" % n)
            assert peer.hear_line() == b"%d\n" % n
        threading.Event().wait(0.05)  # quiet, on purpose
        peer.say(b"still\n")
        assert peer.hear_line() == b"still\n"
        assert not server.connections[0]._here
    assert len(idents) == 1


@both_twins
def test_large_messages_and_replies_pass_beside_quick_clients(serving: Serving) -> None:
    """With a reply that does not fit at once written by waiting for room: quick ones wait too."""
    size = 64 << 20
    framing = threadwire.LengthPrefixed(4)
    server = serving(reverse, framing=framing, max_message=size)
    quick_replies = 0
    done = threading.Event()

    def converse_quickly() -> None:
        nonlocal quick_replies
        with threadwire.connect(server.address, framing=framing, timeout=PATIENCE) as client:
            while not done.is_set():
                assert client.request(b"quick") == b"kciuq"
                quick_replies += 1

    with threadwire.connect(
        server.address, framing=framing, max_message=size, timeout=PATIENCE
    ) as client:
        client.send(bytes(range(256)) * (size // 256))
        # Until this is read its reply waits: the others are answered all the while.
        quick = threading.Thread(target=converse_quickly)
        quick.start()
        eventually(lambda: quick_replies > 100)
        assert client.receive() == bytes(reversed(range(256))) * (size // 256)
        done.set()
        quick.join(PATIENCE)
