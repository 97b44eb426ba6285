"""No reply is lost, doubled, reordered or interleaved."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time

import pytest

import threadwire
from threadwire.limits import MAX_THREADS

from ..conftest import Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from .ways import (
    NEVER,
    both_twins,
    every_form,
    in_form,
    leave_the_loop,
    only_connection,
)


@both_twins
@every_form
def test_a_hand_off_in_the_middle_of_a_turn_keeps_what_the_turn_had_for_others(
    serving: Serving, form: str
) -> None:
    """Twenty clients in one turn, in whose middle one blocks: all others are answered meanwhile.

    With a successor that begins with nothing to write: replies of those before it are missing.
    With one that begins with nothing read: those after it.
    """
    all_said, go_on = threading.Event(), threading.Event()

    def function(message: bytes) -> bytes:
        if message == b"gate":
            wait_for(all_said)  # so that what the others say is read at once
        elif message == b"block":
            wait_for(go_on)
        return message

    server = serving(in_form(form, function), handoff_after=0.3)
    with contextlib.ExitStack() as stack:
        gate, *peers = (stack.enter_context(Peer(server.address)) for _ in range(21))
        for peer in (gate, *peers):
            peer.say(b"hello\n")
            assert peer.hear_line() == b"hello\n"
        gate.say(b"gate\n")
        for n, peer in enumerate(peers):
            peer.say(b"block\n" if n == 10 else b"%d\nand %d\n" % (n, n) if n % 2 else b"%d\n" % n)
        all_said.set()
        assert gate.hear_line() == b"gate\n"
        for n, peer in enumerate(peers):
            if n != 10:
                assert peer.hear_line() == b"%d\n" % n
                if n % 2:
                    assert peer.hear_line() == b"and %d\n" % n
        go_on.set()
        assert peers[10].hear_line() == b"block\n"


@both_twins
@every_form
def test_replies_and_broadcasts_to_clients_that_come_and_go_between_loop_and_threads(
    serving: Serving, form: str
) -> None:
    """Another thread sends to everybody all the while, in messages that do not fit at once.

    With a sender that leaves without calling the loop's attention to what waits: clients wait for
    ever.
    """
    size = 200_000
    server: threadwire.Server
    filler = b"." * size

    def function(message: bytes) -> bytes:
        if b"slow" in message:
            time.sleep(0.003)  # a handler that blocks, on purpose
        return b"reply " + message + filler

    server = serving(in_form(form, function), handoff_after=0.0005)
    stop = threading.Event()
    sent_news = itertools.count()

    def broadcast() -> None:
        while not stop.is_set():
            news = b"news %d " % next(sent_news) + filler
            for connection in server.connections:
                with contextlib.suppress(threadwire.ConnectionClosed):
                    connection.send(news)
            stop.wait(0.005)  # else the clients hear of nothing else

    wrong: list[object] = []

    def say_all(peer: Peer, messages: list[bytes]) -> None:
        for n in range(0, len(messages), 6):
            peer.say(b"".join(message + b"\n" for message in messages[n : n + 6]))

    def client(number: int) -> None:
        codec = threadwire.Lines().codec(1 << 20)
        wanted = [b"%d %d%s" % (number, n, b" slow" if n % 9 == 4 else b"") for n in range(40)]
        news = replies = -1
        with Peer(server.address, receive_buffer=16384) as peer:
            writer = threading.Thread(target=say_all, args=(peer, wanted))
            writer.start()
            while replies + 1 < len(wanted):
                if not (data := peer.socket.recv(65536)):
                    wrong.append((number, "the end"))
                    break
                for line in codec.messages(data):
                    if line.startswith(b"news "):
                        now = int(line[5 : line.index(b" ", 5)])
                        if now <= news or not line.endswith(filler) or len(line) > size + 20:
                            wrong.append((number, line[:40], len(line)))
                        news = now
                    else:
                        replies += 1
                        if line != b"reply " + wanted[replies] + filler:
                            wrong.append((number, wanted[replies], line[:40], len(line)))
            writer.join(PATIENCE)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(5)]
    sender = threading.Thread(target=broadcast)
    for thread in [*clients, sender]:
        thread.start()
    for thread in clients:
        thread.join(PATIENCE)
    stuck = [thread.name for thread in clients if thread.is_alive()]
    stop.set()
    server.close(0)  # a sender that waits in vain is freed
    sender.join(PATIENCE)
    assert (wrong, stuck) == ([], [])


@both_twins
def test_what_another_thread_sends_comes_behind_a_reply_that_is_half_written(
    serving: Serving,
) -> None:
    """With its message written before what is pending (``take_pending``): in its middle."""
    size = 10_000_000
    server = serving(lambda message: message * size)
    with Peer(server.address, receive_buffer=4096) as peer:
        peer.say(b"x\n")
        connection = only_connection(server)
        eventually(lambda: connection._pending)
        sender = threading.Thread(target=connection.send, args=(b"news",))
        sender.start()
        eventually(connection._send_lock.locked)
        assert peer.hear(size + 1) == b"x" * size + b"\n"
        assert peer.hear_line() == b"news\n"
        sender.join(PATIENCE)


@both_twins
@pytest.mark.parametrize("state", ["held up", "handed over", "lent", "waiting for a thread"])
def test_a_drain_loses_no_reply_to_what_had_arrived(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """With an own thread that stops as soon as the server drains: all replies but the first are
    missing where one serves.
    """
    if state == "waiting for a thread":
        monkeypatch.setattr("threadwire.limits.MAX_THREADS", MAX_THREADS._replace(default=1))
    go_on, handling = threading.Event(), threading.Semaphore(0)

    def handler(message: bytes) -> bytes:
        if message == b"0":
            handling.release()
            wait_for(go_on)
        return message

    server = serving(handler, handoff_after=NEVER if state == "held up" else 0.001)
    messages = b"".join(b"%d\n" % n for n in range(500))
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(3)]
        eventually(lambda: len(server.connections) == 3)
        eventually(lambda: all(connection._quick for connection in server.connections))
        if state in ("lent", "waiting for a thread"):
            for connection in server.connections:
                leave_the_loop(connection)
        for peer in peers:
            peer.say(messages[:2])
        at_once = 1 if state in ("held up", "waiting for a thread") else 3
        for _ in range(at_once):
            assert handling.acquire(timeout=PATIENCE)
        for peer in peers:
            peer.say(messages[2:])
        reports: list[threadwire.CloseReport] = []
        closer = threading.Thread(target=lambda: reports.append(server.close(PATIENCE)))
        closer.start()
        if state == "held up":
            eventually(lambda: "closing" in repr(server))  # the loop itself has to close
        else:
            eventually(lambda: all(connection.draining for connection in server.connections))
        go_on.set()
        for peer in peers:
            assert peer.hear_all() == messages
            peer.close()  # else it is waited for
        closer.join(PATIENCE)
        assert reports == [threadwire.CloseReport(3, (), ())]
