"""One owner at every instant."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import threadwire
from threadwire import Connection
from threadwire.engine.baton import Baton

from ..conftest import Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from .ways import (
    both_twins,
    every_form,
    handoffs,
)


class Owners:
    """Looks, as the first thing in a handler, who owns the connection: the loop or this thread."""

    def __init__(self, server: Callable[[], threadwire.Server]) -> None:
        self._server = server
        self._inside: dict[Connection, threading.Lock] = {}
        self.faults: list[str] = []

    def look(self, connection: Connection) -> Callable[[], None]:
        """Returns what is to be called last."""
        lock = self._inside.setdefault(connection, threading.Lock())
        if not lock.acquire(blocking=False):
            self.faults.append(f"{connection}: two handlers at once")
        me = threading.get_ident()
        for _ in range(1000):  # it may be handed over in this moment
            mine = connection.owner == me
            leading = self._server()._engine.served_here() is connection
            if mine != leading:
                break
        else:
            self.faults.append(f"{connection}: {mine=} {leading=}")
        if leading and not connection._here and connection.owner != me:
            self.faults.append(f"{connection}: led, but not the loop's")
        return lock.release


@both_twins
@every_form
def test_hand_offs_in_the_very_moment_in_which_handlers_return(serving: Serving, form: str) -> None:
    """Calls that take about as long as the watchdog's patience, from many clients at once.

    With ``leave`` not telling that the baton is gone: two lead, and clients wait for ever. With a
    successor that does not let go of the client that its predecessor is stuck with: handlers are
    called by threads that neither lead nor own.
    """
    server: threadwire.Server
    owners = Owners(lambda: server)
    chance = random.Random(1)

    def handler(message: bytes, connection: Connection) -> bytes:
        done = owners.look(connection)
        if message.startswith(b"s"):
            time.sleep(chance.uniform(0.0003, 0.0015))  # what is tried, not what is waited for
        done()
        return message

    def function(message: bytes) -> bytes:
        number = int(message[1:].partition(b" ")[0])
        return handler(message, by_number[number])

    server = serving(handler if form != "message" else function, handoff_after=0.0005)
    by_number: dict[int, Connection] = {}
    wrong: list[object] = []

    def client(number: int, peer: Peer) -> None:
        messages = [b"%s%d %d" % (b"s" if n % 7 == 0 else b"q", number, n) for n in range(60)]
        for begin in range(0, len(messages), 5):
            chunk = b"".join(message + b"\n" for message in messages[begin : begin + 5])
            peer.say(chunk)
            if (heard := peer.hear(len(chunk))) != chunk:
                wrong.append((number, chunk, heard))

    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(6)]
        eventually(lambda: len(server.connections) == len(peers))
        ports = {connection.peer.port: connection for connection in server.connections}
        for number, peer in enumerate(peers):
            by_number[number] = ports[peer.socket.getsockname()[1]]
        clients = [
            threading.Thread(target=client, args=(number, peer))
            for number, peer in enumerate(peers)
        ]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a client waits for its replies"
        assert wrong == []
        assert owners.faults == []
        assert handoffs(server) > 0


def test_while_a_thread_owns_a_client_the_loop_does_not_read_from_it(serving: Serving) -> None:
    """With ``part_with`` not letting go of the client: the loop reads and answers "second"
    while "first" is still being handled.
    """
    go_on = threading.Event()
    handled: list[bytes] = []

    def handler(message: bytes) -> bytes:
        handled.append(message)
        if message == b"first":
            wait_for(go_on)
        return message

    server = serving(handler)
    with Peer(server.address) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        peer.say(b"first\n")
        eventually(lambda: any(connection.owner for connection in server.connections))
        peer.say(b"second\n")
        for _ in range(3):  # so the loop has turned since
            other.say(b"other\n")
            assert other.hear_line() == b"other\n"
        assert b"second" not in handled
        go_on.set()
        assert peer.hear_line() + peer.hear_line() == b"first\nsecond\n"


def test_who_has_lost_the_baton_waits_until_its_new_owners_are_noted(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog is held up between taking and noting, while the handler returns.

    With ``lost`` not waiting: "second" is handled before its thread is noted as its owner.
    """
    server: threadwire.Server
    taken, may_note = threading.Event(), threading.Event()
    handled: list[tuple[bytes, bool]] = []
    take = Baton.take

    def take_and_wait(baton: Baton[Any]) -> Any:
        connection = take(baton)
        if connection is not None and not taken.is_set():
            taken.set()
            wait_for(may_note)
        return connection

    monkeypatch.setattr(Baton, "take", take_and_wait)

    def handler(message: bytes, connection: Connection) -> bytes:
        handled.append((message, connection.owner == threading.get_ident()))
        if message == b"first":
            wait_for(taken)
        return message

    server = serving(handler)
    with Peer(server.address) as peer:
        peer.say(b"first\nsecond\n")
        wait_for(taken)
        # Time for what must not happen: the thread is to do nothing at all meanwhile.
        threading.Event().wait(0.1)
        meanwhile = list(handled)
        may_note.set()
        assert meanwhile == [(b"first", False)]
        assert peer.hear_line() + peer.hear_line() == b"first\nsecond\n"
        assert handled[1:] == [(b"second", True)]
