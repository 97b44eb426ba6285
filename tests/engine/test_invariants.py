"""The engine's invariants and promises, each seen to be kept, and seen to break.

What a handler blocks on here is an event, or the hand-off itself: it waits until its thread is
its client's own. Every test says, under "With", what was taken out of the engine to see it fail,
and how it failed. That framings do no I/O and never rescan is in ``tests/test_layers.py``,
``tests/framing/test_memory.py`` and below; the baton alone in ``test_baton.py``.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import random
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.engine import loop as engine_loop
from threadwire.engine.baton import Baton
from threadwire.engine.clients import Clients
from threadwire.framing.delimited import LineCodec
from threadwire.limits import HIGH_WATER, MAX_THREADS, READ_SIZE
from threadwire.transport import poller, portable

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, reverse, wait_for

NEVER = 3600.0  # seconds for handoff_after: no call is ever as slow
SOON = 0.05  # slow enough that a busy machine alone is seldom mistaken for a handler that blocks

FORMS = ["message", "message and connection"]
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(params=["c", "python"])
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve by the one poller and by the other."""
    if request.param == "python":
        monkeypatch.setattr("threadwire.engine.loop.Poller", portable.Poller)
        monkeypatch.setattr("threadwire.engine.turns.call_each", portable.call_each)
    elif poller.TWIN != "c":
        pytest.skip("the C twin was not built")


both_twins = pytest.mark.usefixtures("twin")


def in_form(form: str, function: Callable[[bytes], Any]) -> Callable[..., Any]:
    if form == "message":
        return function
    return lambda message, connection: function(message)


def become_own(connection: Connection) -> None:
    """A handler: block until the calling thread has become its client's own."""
    eventually(lambda: connection.owner == threading.get_ident(), "the hand-off")


def only_connection(server: threadwire.Server) -> Connection:
    eventually(lambda: server.connections)
    (connection,) = server.connections
    return connection


def server_side(server: threadwire.Server, peer: Peer) -> Connection:
    """The server's end of a peer's connection."""
    port = peer.socket.getsockname()[1]
    eventually(lambda: any(c.peer.port == port for c in server.connections))
    (connection,) = (c for c in server.connections if c.peer.port == port)
    return connection


def leave_the_loop(connection: Connection) -> None:
    """Its next message is handled on a thread of its own, as a slow client's is."""
    with connection._state_lock:
        connection._quick = False
    connection._strikes = 1


def handoffs(server: threadwire.Server) -> int:
    """How many there were, of connections whose handlers have all returned."""
    return sum(connection._strikes for connection in server.connections)


def serving_threads() -> int:
    return sum(thread.name.startswith("threadwire-serving") for thread in threading.enumerate())


def unread_by(peer: Peer) -> int:
    """Bytes that the system holds for it."""
    size = fcntl.ioctl(peer.socket.fileno(), termios.FIONREAD, b"\0" * 4)
    return int(struct.unpack("i", size)[0])


# 1. One at a time, in order, whole, once.


@both_twins
@every_form
def test_replies_keep_their_order_on_the_way_to_a_thread_and_back(
    serving: Serving, form: str
) -> None:
    """Loop, hand-off in the middle of a chunk, own thread, loop again; two rounds of it.

    With the rest of the chunk not given to the stuck thread: the replies after "block" are
    missing.
    """
    handled: list[bytes] = []
    where: list[int | None] = []
    one_at_a_time = threading.Lock()
    server: threadwire.Server

    def function(message: bytes) -> bytes:
        (connection,) = server.connections
        assert one_at_a_time.acquire(blocking=False), "two at once"
        handled.append(message)
        if message.startswith(b"block"):
            become_own(connection)
        where.append(connection.owner)
        one_at_a_time.release()
        return b"re " + message

    server = serving(in_form(form, function), handoff_after=SOON)
    said: list[bytes] = []
    with Peer(server.address) as peer:
        connection = only_connection(server)
        for turn in range(2):
            chunk = [b"before %d %d" % (turn, n) for n in range(20)]
            chunk += [b"block %d" % turn]
            chunk += [b"after %d %d" % (turn, n) for n in range(20)]
            said += chunk
            peer.say(b"".join(message + b"\n" for message in chunk))
            for message in chunk:
                assert peer.hear_line() == b"re " + message + b"\n"
            for n in range(10_000):
                said.append(b"quick %d %d" % (turn, n))
                peer.say(said[-1] + b"\n")
                assert peer.hear_line() == b"re " + said[-1] + b"\n"
                if where[-1] is None:
                    break
            assert where[-1] is None, "it never came back to the loop"
            eventually(lambda: connection._here)
        peer.finish()
        assert peer.hear_all() == b""
    assert handled == said
    assert [place for message, place in zip(said, where, strict=True) if b"block" in message] != [
        None,
        None,
    ]


class Way(NamedTuple):
    """How messages come to their handler."""

    name: str
    first: bytes = b""  # said and handled before
    at_once: bool = False  # in one chunk, else one after the other
    middle: bool = False  # handed over by the second message of the chunk
    lent: bool = False  # on a thread from the first message on

    @property
    def alone(self) -> bool:
        return bool(self.first) or self.lent


WAYS = [
    Way("loop"),
    Way("loop, one chunk", at_once=True),
    Way("hand-off within a chunk", at_once=True, middle=True),
    Way("own thread", first=b"block"),
    Way("own thread, one chunk", first=b"block", at_once=True),
    Way("lent", lent=True),
    Way("lent, one chunk", lent=True, at_once=True),
]
every_way = pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])


def converse(
    serving: Serving, way: Way, form: str, words: list[bytes], replies: dict[bytes, Any]
) -> tuple[bytes, list[bytes]]:
    """Say ``words``, whose replies are made by ``replies``; what was heard, what was handled."""
    handled: list[bytes] = []
    server: threadwire.Server

    def function(message: bytes) -> Any:
        (connection,) = server.connections
        if message == b"block":
            become_own(connection)
            return None
        handled.append(message)
        if not way.middle:
            assert (connection.owner == threading.get_ident()) == way.alone
        return replies[message]()

    patience = 0.001 if way.first or way.middle else NEVER
    server = serving(in_form(form, function), handoff_after=patience)
    with Peer(server.address) as peer:
        connection = only_connection(server)
        if way.lent:
            eventually(lambda: connection._quick)
            leave_the_loop(connection)
        if way.first:
            peer.say(way.first + b"\n")
            eventually(lambda: connection.owner)
        if way.middle:
            words = [words[0], b"block", *words[1:]]
        if way.at_once:
            peer.say(b"".join(word + b"\n" for word in words))
        else:
            for n, word in enumerate(words):
                with contextlib.suppress(OSError):  # it may have ended by the one before
                    peer.say(word + b"\n")
                eventually(lambda n=n: len(handled) > n or connection.closed)  # type: ignore[misc]
        with contextlib.suppress(OSError):
            peer.finish()
        return peer.hear_all(), handled


@both_twins
@every_form
@every_way
def test_replies_of_every_kind_are_the_same_wherever_the_handler_is_called(
    serving: Serving, way: Way, form: str
) -> None:
    """With the rest of a chunk forgotten at a reply that is not bytes: all after "bytearray" is
    missing where it came in one chunk.
    """
    kinds: dict[bytes, tuple[Callable[[], Any], bytes]] = {
        b"bytes": (lambda: b"1", b"1\n"),
        b"bytearray": (lambda: bytearray(b"2"), b"2\n"),
        b"memoryview": (lambda: memoryview(b"3"), b"3\n"),
        b"none": (lambda: None, b""),
        b"list": (lambda: [b"4", bytearray(b"5"), memoryview(b"6")], b"4\n5\n6\n"),
        b"tuple of none": (lambda: (), b""),
        b"generator": (lambda: (part for part in (b"7", bytearray(b"8"))), b"7\n8\n"),
        b"empty": (lambda: b"", b"\n"),
        b"last": (lambda: b"10", b"10\n"),
    }
    words = list(kinds)
    heard, handled = converse(
        serving, way, form, words, {word: make for word, (make, _) in kinds.items()}
    )
    assert handled == words
    assert heard == b"".join(kinds[word][1] for word in words)


def _raising(error: BaseException) -> Callable[[], Any]:
    def make() -> Any:
        raise error

    return make


def _two_then(error: BaseException) -> Callable[[], Any]:
    def parts() -> Iterator[bytes]:
        yield b"one"
        yield b"two"
        raise error

    return parts


ENDS: dict[str, tuple[Callable[[], Any], bytes, CloseReason]] = {
    "close": (_raising(threadwire.Close()), b"", CloseReason.HANDLER_CLOSED),
    "close with a reply": (
        _raising(threadwire.Close(b"bye")),
        b"bye\n",
        CloseReason.HANDLER_CLOSED,
    ),
    "close with what is no reply": (
        _raising(threadwire.Close("bye")),  # type: ignore[arg-type]
        b"",
        CloseReason.HANDLER_FAILED,
    ),
    "close with what cannot be framed": (
        _raising(threadwire.Close(b"b\nye")),
        b"",
        CloseReason.HANDLER_FAILED,
    ),
    "close among several": (
        _two_then(threadwire.Close(b"3")),
        b"one\ntwo\n3\n",
        CloseReason.HANDLER_CLOSED,
    ),
    "raising": (_raising(ValueError("no")), b"", CloseReason.HANDLER_FAILED),
    "exiting": (_raising(SystemExit(3)), b"", CloseReason.HANDLER_FAILED),
    "raising among several": (
        _two_then(ValueError("no")),
        b"one\ntwo\n",
        CloseReason.HANDLER_FAILED,
    ),
    "what cannot be framed": (lambda: b"a\nb", b"", CloseReason.HANDLER_FAILED),
    "such among several": (lambda: [b"one", b"a\nb", b"two"], b"one\n", CloseReason.HANDLER_FAILED),
    "text": (lambda: "text", b"", CloseReason.HANDLER_FAILED),
    "a number": (lambda: 7, b"", CloseReason.HANDLER_FAILED),
    "text among several": (lambda: [b"one", "text", b"two"], b"one\n", CloseReason.HANDLER_FAILED),
}


@both_twins
@every_form
@every_way
@pytest.mark.parametrize("end", list(ENDS))
def test_whatever_ends_a_connection_ends_it_alike_wherever_the_handler_is_called(
    serving: Serving, events: Events, way: Way, form: str, end: str
) -> None:
    """The replies before it arrive, nothing after it is answered, and the reason is the same.

    With the reply of a ``Close`` not sent by the loop: "bye" is missing there.
    """
    make, rest, reason = ENDS[end]
    words = [b"before", b"end", b"after"]
    heard, handled = converse(
        serving, way, form, words, {b"before": lambda: b"1", b"end": make, b"after": lambda: b"2"}
    )
    assert heard == b"1\n" + rest
    assert handled[:2] == words[:2]
    assert events.closed_reason() is reason
    assert len(events.named("handler-failed")) == (reason is CloseReason.HANDLER_FAILED)


# 2. One owner at every instant.


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


# 3. No reply lost, doubled, reordered, interleaved.


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
        monkeypatch.setattr(
            "threadwire.engine.lending.MAX_THREADS", MAX_THREADS._replace(default=1)
        )
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


# 4. Framing does no I/O and never rescans.


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


# 5. Who does not read is not read from; what a connection takes has a ceiling.


def in_the_process(connection: Connection, peer: Peer, produced: int) -> int:
    """Of ``produced`` bytes, those that neither system holds."""
    return produced - connection._stream.unsent_bytes() - unread_by(peer)


def no_more_room(connection: Connection) -> bool:
    """Its peer's system takes nothing any more."""
    return not connection._stream.wait(0, writable=True)[1]


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


# 6. Nothing a peer does, and no way of leaving, ends anything but its own connection.


def _leave_by_closing(peer: Peer) -> None:
    peer.close()


def _leave_by_a_reset(peer: Peer) -> None:
    peer.reset()


def _leave_by_halves(peer: Peer) -> None:
    peer.finish()
    peer.socket.shutdown(socket.SHUT_RD)
    peer.close()


def _leave_by_an_end_and_a_reset(peer: Peer) -> None:
    peer.finish()
    peer.reset()


def _leave_with_a_last_word(peer: Peer) -> None:
    peer.say(b"\n\n\nlast words\n" * 100)
    peer.reset()


LEAVING: dict[str, Callable[[Peer], None]] = {
    "closing": _leave_by_closing,
    "reset": _leave_by_a_reset,
    "both halves": _leave_by_halves,
    "end and reset": _leave_by_an_end_and_a_reset,
    "last words and reset": _leave_with_a_last_word,
}
MOMENTS = ["at once", "idle", "begun", "garbage", "unread replies", "own thread", "much unread"]


@both_twins
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("leave", list(LEAVING))
def test_no_way_of_leaving_touches_anybody_else(
    serving: Serving, events: Events, moment: str, leave: str
) -> None:
    """With a failed write not told from one that wrote little (``_fell_short``): those who left
    with much unread never go.
    """
    go_on, blocked = threading.Event(), threading.Semaphore(0)

    def handler(message: bytes) -> bytes:
        if message == b"block":
            blocked.release()
            wait_for(go_on)
        if message == b"much":
            return b"x" * 5_000_000
        return message

    server = serving(handler, handoff_after=0.005)
    with Peer(server.address) as witness:
        leavers = [Peer(server.address) for _ in range(5)]
        for peer in leavers:
            if moment == "begun":
                peer.say(b"whole\nbeg")
                assert peer.hear_line() == b"whole\n"
            elif moment == "garbage":
                peer.say(random.Random(7).randbytes(5000) + b"\n\xff\0")
            elif moment == "unread replies":
                peer.say(b"request\n" * 5000)
            elif moment == "own thread":
                peer.say(b"block\nbehind it\n")
                assert blocked.acquire(timeout=PATIENCE)
            elif moment == "much unread":
                peer.say(b"much\n" * 3)
            elif moment == "idle":
                peer.say(b"x\n")
                assert peer.hear_line() == b"x\n"
        witness.say(b"before\n")
        assert witness.hear_line() == b"before\n"
        for peer in leavers:
            with contextlib.suppress(OSError):  # it may have been reset meanwhile
                LEAVING[leave](peer)
            peer.close()
        go_on.set()
        eventually(lambda: len(server.connections) == 1)
        witness.say(b"after\n")
        assert witness.hear_line() == b"after\n"
        with Peer(server.address) as late:
            late.say(b"late\n")
            assert late.hear_line() == b"late\n"
    assert not events.named("engine-failed")
    assert not events.named("handler-failed")
    assert not events.named("accept-failed")
    assert not events.tracebacks()
    reasons = {fields["reason"] for fields in events.named("closed")}
    assert reasons <= {
        CloseReason.PEER_CLOSED,
        CloseReason.PEER_RESET,
        CloseReason.FRAMING_ERROR,  # the stream ended within a message
    }


# 7. Closing accounts for every thread and socket.


def test_closing_accounts_for_clients_in_every_state(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle, begun, stuck on the loop's and on lent threads, waiting for a thread, with a peer
    that does not read, with senders that are parked, lingering.

    With those who wait for a thread not ended by a cut, or with ``_end`` not taking back those
    that somebody had still to leave: their sockets stay open.
    """
    monkeypatch.setattr("threadwire.engine.lending.MAX_THREADS", MAX_THREADS._replace(default=3))
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


# The promises.


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
    monkeypatch.setattr("threadwire.engine.lending.MAX_THREADS", MAX_THREADS._replace(default=most))
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
