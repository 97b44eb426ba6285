"""Snapshots: every count is right, and every client is where it is said to be."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import threadwire
from threadwire import CloseReason, Connection, Lines, Server
from threadwire.snapshot import ClientSnapshot, ClientState, ServerSnapshot

from .conftest import Serving
from .support import PATIENCE, Peer, eventually, reverse, wait_for

pytestmark = pytest.mark.usefixtures("twin_of_both")


@pytest.fixture(params=["c", "python"])
def twin_of_both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    from .engine.conftest import serve_in_python

    if request.param == "python":
        serve_in_python(monkeypatch)


def only_client(server: Server) -> ClientSnapshot:
    clients = server.snapshot(clients=True).clients
    assert clients is not None
    (client,) = clients
    return client


def is_in(server: Server, state: ClientState) -> bool:
    clients = server.snapshot(clients=True).clients or ()
    return [client.state for client in clients] == [state]


class Gate:
    """A handler that waits, for messages that ask it to."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.open = threading.Event()

    def __call__(self, message: bytes) -> bytes:
        if message == b"wait":
            self.inside.set()
            wait_for(self.open)
        return message


# Counts.


def test_everything_is_counted(serving: Serving) -> None:
    server = serving(reverse)
    with Peer(server.address) as one, Peer(server.address) as other:
        for peer, said in ((one, b"abc\n"), (other, b"d\nef\n"), (one, b"\n")):
            peer.say(said)
            assert peer.hear(len(said))
        eventually(lambda: server.snapshot().messages_sent == 4)
        now = server.snapshot()
        assert (now.accepted, now.connections) == (2, 2)
        assert (now.messages_received, now.messages_sent) == (4, 4)
        assert (now.bytes_received, now.bytes_sent) == (10, 10)
        assert now.handler_seconds.count == 4
        assert 0 < now.handler_seconds.total < PATIENCE
        assert (now.closed, now.refused) == ({}, {})
    eventually(lambda: server.snapshot().connections == 0)
    after = server.snapshot()
    assert after.closed == {CloseReason.PEER_CLOSED: 2}
    assert (after.messages_received, after.messages_sent) == (4, 4)
    assert (after.bytes_received, after.bytes_sent) == (10, 10)


def test_what_is_refused_is_not_accepted(serving: Serving) -> None:
    server = serving(reverse, deny=["127.0.0.0/8"])
    for _ in range(3):
        with Peer(server.address) as peer:
            assert peer.hear_all() == b""
    eventually(lambda: server.snapshot().refused == {CloseReason.DENIED: 3})
    assert server.snapshot().accepted == 0
    assert server.snapshot().closed == {}


@pytest.mark.parametrize("plain", [True, False])
def test_each_call_of_the_handler_is_timed_once(serving: Serving, plain: bool) -> None:
    def full(message: bytes, _connection: Connection) -> bytes:
        return message

    server = serving((lambda message: message) if plain else full)
    said = b"".join(b"%d\n" % n for n in range(1000))
    with Peer(server.address) as peer:
        peer.say(said)
        assert peer.hear(len(said)) == said
        peer.say(b"one more\n")
        assert peer.hear_line() == b"one more\n"
    eventually(lambda: server.snapshot().connections == 0)
    assert server.snapshot().handler_seconds.count == 1001


def test_a_slow_call_is_as_long_as_it_is_though_its_loop_was_taken(serving: Serving) -> None:
    def slow(message: bytes) -> bytes:
        time.sleep(0.06)
        return message

    server = serving(slow, handoff_after=0.002)
    with Peer(server.address) as peer:
        for _ in range(3):
            peer.say(b"x\n")
            assert peer.hear_line() == b"x\n"
    eventually(lambda: server.snapshot().connections == 0)
    found = server.snapshot()
    assert found.handler_seconds.count == 3
    assert found.handler_seconds.total >= 3 * 0.06
    assert found.handler_seconds.up_to([0.05]) == [0]
    assert found.handoffs >= 1
    assert [each.connection for each in found.recent_handoffs] == [1] * found.handoffs


def test_the_parts_of_a_generator_are_timed_together(serving: Serving) -> None:
    def parts(_message: bytes) -> Iterator[bytes]:
        for _ in range(3):
            time.sleep(0.02)
            yield b"part"

    server = serving(parts)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear(15) == b"part\n" * 3
    eventually(lambda: server.snapshot().connections == 0)
    found = server.snapshot().handler_seconds
    assert found.count == 2, "the call, and its parts"
    assert found.count - found.up_to([0.05])[0] == 1
    assert found.total >= 0.06


def test_turns_are_timed(serving: Serving) -> None:
    server = serving(reverse)
    with Peer(server.address) as peer:
        for _ in range(20):
            peer.say(b"x\n")
            peer.hear_line()
    eventually(lambda: server.snapshot().connections == 0)
    found = server.snapshot()
    assert 20 <= found.turn_seconds.count <= found.turns
    assert found.turns - found.turn_seconds.count <= 1, "the last one may not be over"


def test_counts_only_grow_and_nothing_is_lost_while_clients_come_and_go(serving: Serving) -> None:
    """One looks all the time; others talk, block, leave. At last it adds up."""
    clients, messages = 12, 40

    def handler(message: bytes) -> bytes:
        if message.endswith(b"7"):
            time.sleep(0.003)
        return message

    server = serving(handler, handoff_after=0.001)

    def talk(number: int) -> None:
        for round_ in range(3):
            with Peer(server.address) as peer:
                for n in range(messages):
                    said = b"%d %d %d\n" % (number, round_, n)
                    peer.say(said)
                    assert peer.hear_line() == said

    def counts(snapshot: ServerSnapshot) -> list[float]:
        return [
            snapshot.accepted,
            snapshot.messages_received,
            snapshot.messages_sent,
            snapshot.bytes_received,
            snapshot.bytes_sent,
            snapshot.handoffs,
            snapshot.turns,
            snapshot.handler_seconds.count,
            snapshot.handler_seconds.total,
            snapshot.turn_seconds.count,
            sum(snapshot.closed.values()),
        ]

    with ThreadPoolExecutor(clients) as pool:
        talks = [pool.submit(talk, number) for number in range(clients)]
        before = counts(server.snapshot())
        while not all(each.done() for each in talks):
            snapshot = server.snapshot(clients=True)
            now = counts(snapshot)
            assert all(map(float.__le__, map(float, before), map(float, now)))
            assert snapshot.accepted - sum(snapshot.closed.values()) == (
                snapshot.connections + snapshot.opening
            )
            before = now
        for each in talks:
            each.result()
    eventually(lambda: server.snapshot().connections == 0)
    end, total = server.snapshot(), clients * 3 * messages
    assert (end.messages_received, end.messages_sent) == (total, total)
    assert end.handler_seconds.count == total
    assert end.bytes_received == end.bytes_sent
    assert end.closed == {CloseReason.PEER_CLOSED: clients * 3}


def test_messages_of_a_chunk_count_when_they_are_handled(serving: Serving) -> None:
    """Counted when they come, and taken back when the handler blocks: the count falls."""
    gate = Gate()
    server = serving(gate, handoff_after=0.002)
    try:
        with Peer(server.address) as peer:
            peer.say(b"a\nb\nwait\n" + b"c\n" * 50)
            wait_for(gate.inside)
            eventually(lambda: server.snapshot().handoffs == 1)
            assert server.snapshot().messages_received <= 3
            gate.open.set()
            assert peer.hear(9 + 100) == b"a\nb\nwait\n" + b"c\n" * 50
            eventually(lambda: server.snapshot().messages_received == 53)
    finally:
        gate.open.set()


def test_the_parts_of_a_chunks_reply_are_timed_once_if_the_loop_is_taken(serving: Serving) -> None:
    def handler(message: bytes) -> Iterator[bytes] | bytes:
        if message == b"parts":
            time.sleep(0.03)
            return iter([b"one", b"two"])
        return message

    server = serving(handler, handoff_after=0.002)
    with Peer(server.address) as peer:
        peer.say(b"a\nparts\nb\n")
        assert peer.hear(12) == b"a\none\ntwo\nb\n"
    eventually(lambda: server.snapshot().connections == 0)
    found = server.snapshot().handler_seconds
    assert found.count == 4, "three calls, and one reply's parts"


def test_what_is_sent_is_counted_once_though_others_send_as_well(serving: Serving) -> None:
    """By a flush that meets a sender: twice, when it is framed and when it is written."""
    server = serving(lambda message, connection: message)
    stop, sent = threading.Event(), [0, 0]
    with Peer(server.address) as peer:
        eventually(lambda: server.connections)
        connection = server.connections[0]

        def broadcast(number: int) -> None:
            while not stop.is_set():
                connection.send(b"news")
                sent[number] += 1

        heard = bytearray()

        def hear() -> None:
            while not heard.endswith(b"\nend\n"):
                heard.extend(peer.socket.recv(65536))

        threads = [threading.Thread(target=broadcast, args=(n,)) for n in range(2)]
        hearing = threading.Thread(target=hear)
        for thread in (*threads, hearing):
            thread.start()
        for _ in range(2000):
            peer.say(b"x\n")
        stop.set()
        for thread in threads:
            thread.join()
        eventually(lambda: connection.messages_sent == 2000 + sum(sent))
        peer.say(b"end\n")
        hearing.join()
        assert server.snapshot().bytes_sent == len(heard) == 2000 * 2 + sum(sent) * 5 + 4


def test_threads_that_end_take_nothing_with_them(serving: Serving) -> None:
    server = serving(reverse)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        peer.hear_line()
    server.close()
    assert server.snapshot().handler_seconds.count == 1


# Clients.


def test_a_client_is_as_old_and_as_idle_as_it_is(serving: Serving) -> None:
    begun = time.monotonic()
    server = serving(reverse)
    with Peer(server.address) as peer:
        eventually(lambda: is_in(server, ClientState.IDLE))
        eventually(lambda: only_client(server).idle > 0.03)
        peer.say(b"x\n")
        peer.hear_line()
        client = only_client(server)
        assert client.idle < client.age <= time.monotonic() - begun
        assert client.age > 0.03
        assert abs(client.opened_at + client.age - time.time()) < 1
        assert (client.messages_received, client.bytes_sent) == (1, 2)
        assert client.peer == server.connections[0].peer
        assert client.local == server.address
        assert (client.busy, client.line, client.tls) == (None, "", "")


def test_messages_that_come_together_end_the_idling_too(serving: Serving) -> None:
    server = serving(reverse)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        peer.hear_line()
        eventually(lambda: only_client(server).idle > 0.03)
        peer.say(b"x\ny\n")
        peer.hear(4)
        client = only_client(server)
        assert client.idle < client.age - 0.03


def test_a_blocked_client_is_shown_with_the_line_at_which_it_stands(serving: Serving) -> None:
    gate = Gate()
    server = serving(gate)
    try:
        with Peer(server.address) as peer:
            peer.say(b"wait\n")
            wait_for(gate.inside)
            eventually(lambda: is_in(server, ClientState.BLOCKED))
            eventually(lambda: (only_client(server).busy or 0) > 0.03)
            assert "support.py" in only_client(server).line  # wait_for, called by the gate
            assert server.snapshot().own_threads == 1
            gate.open.set()
            assert peer.hear_line() == b"wait\n"
            eventually(lambda: only_client(server).busy is None)
    finally:
        gate.open.set()


def test_a_client_whose_handler_holds_the_loop(serving: Serving) -> None:
    gate = Gate()
    server = serving(gate, handoff_after=60)
    try:
        with Peer(server.address) as peer:
            peer.say(b"wait\n")
            wait_for(gate.inside)
            eventually(lambda: is_in(server, ClientState.LOOP))
    finally:
        gate.open.set()


def test_clients_that_wait_for_a_thread(serving: Serving) -> None:
    """The first is handed off; the next two are suspects, and only one thread may be lent."""
    gate = Gate()
    server = serving(gate, max_threads=1, handoff_after=0.002)
    try:
        with (
            Peer(server.address) as one,
            Peer(server.address) as two,
            Peer(server.address) as three,
        ):
            one.say(b"wait\n")
            wait_for(gate.inside)
            eventually(lambda: server.snapshot().handoffs == 1)
            for peer in (two, three):
                peer.say(b"x\n")
            eventually(lambda: server.snapshot().waiting == 2)
            states = [client.state for client in server.snapshot(clients=True).clients or ()]
            assert sorted(states) == sorted([ClientState.BLOCKED, *[ClientState.WAITING] * 2])
            gate.open.set()
            for peer in (two, three):
                assert peer.hear_line() == b"x\n"
            assert server.snapshot().waiting == 0
    finally:
        gate.open.set()


def test_a_peer_that_does_not_read_does_not_block_the_handler(serving: Serving) -> None:
    def handler(_message: bytes) -> bytes:
        time.sleep(0.02)
        return b"x" * 20_000_000

    server = serving(handler, handoff_after=0.002)
    with Peer(server.address, receive_buffer=4096) as peer:
        peer.say(b"x\n")
        eventually(lambda: server.snapshot().bytes_sent > 0)
        eventually(lambda: is_in(server, ClientState.OWN_THREAD))
        assert only_client(server).busy is None


def test_a_session_is_blocked_while_it_does_not_wait_for_its_peer(serving: Serving) -> None:
    gate = Gate()

    @threadwire.session
    def talk(connection: Connection) -> None:
        for message in connection:
            connection.send(gate(message))

    server = serving(talk)
    try:
        with Peer(server.address) as peer:
            peer.say(b"x\n")
            assert peer.hear_line() == b"x\n"
            eventually(lambda: is_in(server, ClientState.OWN_THREAD))
            assert server.snapshot().own_threads == 1
            used = {limit.name: limit.used for limit in server.snapshot().limits}
            assert used["max_threads"] == 1
            peer.say(b"wait\n")
            wait_for(gate.inside)
            eventually(lambda: is_in(server, ClientState.BLOCKED))
            assert only_client(server).line
            gate.open.set()
            assert peer.hear_line() == b"wait\n"
            eventually(lambda: is_in(server, ClientState.OWN_THREAD))
    finally:
        gate.open.set()


def test_a_client_that_has_still_to_say_where_it_comes_from(serving: Serving) -> None:
    server = serving(reverse, proxy_protocol="required", proxy_trust=["127.0.0.1"])
    with Peer(server.address) as peer:
        eventually(lambda: is_in(server, ClientState.OPENING))
        assert (server.snapshot().opening, server.snapshot().connections) == (1, 0)
        peer.say(b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\nabc\n")
        assert peer.hear_line() == b"cba\n"
        assert only_client(server).state is ClientState.IDLE
        assert str(only_client(server).peer) == "tcp://192.0.2.1:1234"
        assert (server.snapshot().opening, server.snapshot().connections) == (0, 1)


def test_who_says_nonsense_before_the_first_message_is_not_opening_any_more(
    serving: Serving,
) -> None:
    server = serving(reverse, proxy_protocol="required", proxy_trust=["127.0.0.1"])
    with Peer(server.address) as peer:
        peer.say(b"nonsense, and no header at all\r\n")
        eventually(lambda: is_in(server, ClientState.CLOSING))
        assert server.snapshot().opening == 0


def test_a_client_that_is_being_closed(serving: Serving) -> None:
    server = serving(lambda message: b"x" * 5_000_000)
    with Peer(server.address, receive_buffer=4096) as peer:
        peer.say(b"\n")
        eventually(lambda: server.snapshot().bytes_sent > 0)
        server.connections[0].close()
        eventually(lambda: is_in(server, ClientState.CLOSING))


# The server.


def test_what_the_server_is(serving: Serving) -> None:
    server = serving(reverse, framing=Lines(), max_clients=7)
    now = server.snapshot()
    assert (now.handler, now.session, now.framing) == ("reverse", False, "lines")
    assert now.addresses == server.addresses
    assert now.poller in ("c", "python")
    assert now.started_at is not None
    assert 0 <= now.taken_at - now.started_at < PATIENCE
    assert now.loops == 1
    assert now.clients is None
    assert server.snapshot(clients=True).clients == ()


def test_how_near_the_limits_are(serving: Serving) -> None:
    server = serving(reverse, max_clients=2, max_threads=5, backlog=20)

    def used(name: str) -> tuple[float, float]:
        found = {each.name: (each.used, each.limit) for each in server.snapshot().limits}
        return found[name]

    assert used("max_clients") == (0, 2)
    assert used("max_threads") == (0, 5)
    assert used("backlog") == (0, 20)
    with Peer(server.address), Peer(server.address), Peer(server.address):
        eventually(lambda: used("max_clients") == (2, 2))
        eventually(lambda: used("backlog") == (1, 20))
        server.reconfigure(max_clients=3)
        eventually(lambda: used("max_clients") == (3, 3))


def test_phases() -> None:
    gate = Gate()
    server = Server(gate, "tcp://127.0.0.1:0")
    assert server.snapshot(clients=True).phase == "new"
    server.start()
    try:
        assert server.snapshot().phase == "serving"
        server.suspend()
        assert server.snapshot().phase == "suspended"
        server.resume()
        assert server.snapshot().phase == "serving"
        server.drain(0)
        assert server.snapshot().phase == "draining"
        server.resume()
        assert server.snapshot().phase == "serving"
        with Peer(server.address) as peer:
            peer.say(b"wait\n")
            wait_for(gate.inside)
            closing = threading.Thread(target=functools.partial(server.close, PATIENCE))
            closing.start()
            eventually(lambda: server.snapshot().phase == "draining")
            gate.open.set()
            closing.join()
    finally:
        gate.open.set()
        server.close(0)
    assert server.snapshot(clients=True).phase == "closed"


def test_a_snapshot_does_not_change(serving: Serving) -> None:
    server = serving(reverse)
    before = server.snapshot(clients=True)
    kept = repr(before)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        peer.hear_line()
        assert repr(before) == kept
        with pytest.raises(AttributeError):
            before.accepted = 5  # type: ignore[misc]
