"""Deadlines: for a whole message, for being idle, for taking replies; in all ways of being served.

Time stands still until a test turns its clock, so nothing here depends on how fast the machine
is, but for the last tests, which go by the system's clock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.engine import deadlines as deadlines_module
from threadwire.engine.deadlines import Deadlines
from threadwire.engine.timers import Timers
from threadwire.framing.delimited import LineCodec
from threadwire.limits import QUIET_SECONDS, WRITE_PROGRESS
from threadwire.testing import Clock

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from .ways import NEVER, both_twins, leave_the_loop, no_more_room, only_connection, server_side

WAYS = ["loop", "lent thread", "session"]
every_way = pytest.mark.parametrize("way", WAYS)

# Of a timeout: from one look to the next, and a little more; and how long a deadline may take to be
# noticed, by two looks.
LOOK = 1.01 / 16
LATE = 1.15


class Scene:
    """A server whose clock the test turns, with clients that are all served in one way."""

    def __init__(self, serving: Serving, way: str, **options: Any) -> None:
        self.clock = Clock()
        self.way = way
        self.blocked, self.go_on = threading.Event(), threading.Event()
        handler: object = self.session() if way == "session" else self.answer
        timeouts = options.get("message_timeout", 30.0), options.get("idle_timeout")
        self.look = LOOK * min((seconds for seconds in timeouts if seconds), default=0.0)
        options.setdefault("handoff_after", NEVER)
        self.server = serving(handler, clock=self.clock, **options)

    def answer(self, message: bytes) -> bytes:
        if message == b"block":
            self.blocked.set()
            wait_for(self.go_on)
        return message[::-1]

    def session(self) -> object:
        @threadwire.session
        def talk(connection: Connection) -> None:
            for message in connection:
                connection.send(self.answer(message))

        return talk

    @contextlib.contextmanager
    def client(self) -> Iterator[tuple[Peer, Connection]]:
        """One that is served in this way, and idle."""
        with Peer(self.server.address) as peer:
            connection = server_side(self.server, peer)
            if self.way == "lent thread":
                eventually(lambda: connection._quick)
                leave_the_loop(connection)
                peer.say(b"to a thread\n")
                peer.hear_line()
            self.settled(connection)
            yield peer, connection

    def settled(self, connection: Connection) -> None:
        """Wait until it waits for its peer."""
        eventually(lambda: connection._here if self.way == "loop" else connection._reading)

    def say(self, peer: Peer, connection: Connection, data: bytes) -> None:
        """Say what ends inside a message, and wait until that has been taken note of."""
        whole, _, begun = data.rpartition(b"\n")
        expected = len(begun) + (0 if whole else connection._codec.unread)
        peer.say(data)
        eventually(lambda: connection._codec.unread == expected)
        self.settled(connection)
        self.looked()

    def turn(self, seconds: float) -> None:
        """Let time pass, and what is due be done."""
        self.clock.turn(seconds)
        self.looked()

    def pass_by(self, seconds: float) -> None:
        """Let time pass so that what went before is seen to have ended before it."""
        self.turn(self.look)
        self.turn(seconds)

    def looked(self) -> None:
        """Every loop has seen the time, and has done what was due."""
        assert self.server.healthy(PATIENCE)
        assert self.server.healthy(PATIENCE)

    @property
    def deadlines(self) -> Deadlines:
        return self.server._engine._loops[0]._clients.deadlines

    @property
    def timers(self) -> Timers:
        return self.server._engine._loops[0]._timers


@pytest.fixture
def scene(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    """Start a scene; threads that are lent keep their clients."""
    monkeypatch.setattr("threadwire.engine.own_thread._QUICK_CALLS", 1 << 30)
    monkeypatch.setattr(
        "threadwire.engine.own_thread.QUIET_SECONDS", QUIET_SECONDS._replace(default=3600.0)
    )

    def start(way: str, **options: Any) -> Scene:
        return Scene(serving, way, **options)

    return start


# A whole message.


@both_twins
@every_way
def test_a_message_that_is_not_finished_in_time(
    scene: Callable[..., Scene], events: Events, way: str
) -> None:
    """Its client is closed, with a line; what was answered before has been delivered.

    With no ``expire``: the client stays. With ``abort`` for clients of the loop, too: the rest
    of the replies is lost.
    """
    made = scene(way, message_timeout=30)
    with made.client() as (peer, connection), made.client() as (other, _):
        peer.say(b"one\ntwo\n")
        made.say(peer, connection, b"thr")
        made.pass_by(30 * LATE)
        assert peer.hear_all() == b"eno\nowt\n"
        other.say(b"beside\n")
        assert other.hear_line() == b"ediseb\n"
    eventually(lambda: not made.server.connections)
    (closed,) = (f for f in events.named("closed") if f["connection"] == connection.id)
    assert closed["reason"] is CloseReason.MESSAGE_TIMEOUT
    (fault,) = events.named("peer-fault")
    assert fault["connection"] == connection.id
    assert (fault["error"], str(fault["detail"])) == (
        "TimeLimitError",
        "no end of the message within 30 s",
    )


@both_twins
@every_way
def test_a_drip_does_not_renew_it(scene: Callable[..., Scene], events: Events, way: str) -> None:
    """With the time counted from the last byte: such a client stays for ever."""
    made = scene(way, message_timeout=30)
    with made.client() as (peer, connection):
        for _ in range(8):
            assert not connection.closed
            made.say(peer, connection, b"x")
            made.turn(4)
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.MESSAGE_TIMEOUT


@pytest.mark.parametrize("idle", [None, 3600])
@every_way
def test_it_counts_from_the_first_byte_and_never_earlier(
    scene: Callable[..., Scene], way: str, idle: float | None
) -> None:
    """Who has just come, or has been there for long, may begin a message at any time.

    With ``watch.begun`` set when a client is first looked after, or when nothing was begun at a
    look: it is closed a second too early.
    """
    made = scene(way, message_timeout=30, idle_timeout=idle)
    with made.client() as (peer, connection):
        for quiet in (0, 100, 0):
            made.turn(quiet)
            made.turn(1)  # which is less than from one look to the next
            made.say(peer, connection, b"ha")
            made.turn(29.5)
            assert not connection.closed
            peer.say(b"lf\n")
            assert peer.hear_line() == b"flah\n"
            made.settled(connection)
        made.say(peer, connection, b"ha")
        made.pass_by(30 * LATE)
        assert connection.closed


@both_twins
@every_way
def test_a_client_whose_reads_always_end_inside_a_message(
    scene: Callable[..., Scene], way: str
) -> None:
    """It is not closed as long as messages are completed.

    With the count of messages not looked at, in ``note_begun`` or in ``_look_at``: it is.
    """
    made = scene(way, message_timeout=30)
    with made.client() as (peer, connection):
        made.say(peer, connection, b"m")
        for _ in range(8):
            made.turn(14)
            expected = connection.messages_received + 1
            made.say(peer, connection, b"essage\nm")
            assert peer.hear_line() == b"egassem\n"
            assert connection.messages_received == expected
            made.turn(14)
        made.pass_by(30 * LATE)
        assert peer.hear_all() == b""


@both_twins
@pytest.mark.parametrize("way", ["loop", "lent thread", "session"])
def test_a_handler_that_blocks_is_not_held_against_its_client(
    scene: Callable[..., Scene], way: str
) -> None:
    """Its next message is half there; nobody reads the rest before the handler returns.

    With no look at whether the peer is waited for: it is closed while its handler is under way.
    """
    made = scene(way, message_timeout=30, **({"handoff_after": 0.005} if way == "loop" else {}))
    with made.client() as (peer, connection):
        peer.say(b"block\nha")
        wait_for(made.blocked)
        if way == "loop":
            eventually(lambda: connection.owner)  # handed over
        for _ in range(10):
            made.turn(20)
        assert not connection.closed
        made.go_on.set()
        assert peer.hear_line() == b"kcolb\n"
        eventually(lambda: connection._reading)
        made.turn(29)
        assert not connection.closed
        peer.say(b"lf\n")
        assert peer.hear_line() == b"flah\n"
        peer.say(b"ha")
        eventually(lambda: connection.begun and connection._reading)
        made.pass_by(30 * LATE)
        assert peer.hear_all() == b""


@every_way
def test_after_a_message_is_completed_all_is_well(scene: Callable[..., Scene], way: str) -> None:
    made = scene(way, message_timeout=30)
    with made.client() as (peer, connection):
        for pause in (0, 25, 1000):
            made.say(peer, connection, b"ha")
            made.turn(25)
            peer.say(b"lf\n")
            assert peer.hear_line() == b"flah\n"
            made.settled(connection)
            made.turn(pause)
        assert not connection.closed


@every_way
def test_none_is_off(scene: Callable[..., Scene], way: str) -> None:
    """With neither timeout nothing is armed."""
    made = scene(way, message_timeout=None)
    with made.client() as (peer, connection):
        made.say(peer, connection, b"ha")
        made.turn(1e8)
        assert len(made.timers) == 0
        peer.say(b"lf\n")
        assert peer.hear_line() == b"flah\n"


@pytest.mark.parametrize("timeout", [None, 3600.0])
def test_a_session_that_receives_is_told(
    serving: Serving, events: Events, timeout: float | None
) -> None:
    """With the loop alone noting the reason: ``peer-closed``, as if the peer had gone."""
    told: list[CloseReason] = []

    @threadwire.session
    def ask(connection: Connection) -> None:
        try:
            connection.receive(timeout)
        except threadwire.ConnectionClosed as error:
            told.append(error.reason)
            with pytest.raises(threadwire.ConnectionClosed):
                connection.send(b"too late")
            raise

    clock = Clock()
    server = serving(ask, message_timeout=30, clock=clock)
    with Peer(server.address) as peer:
        peer.say(b"ha")
        connection = only_connection(server)
        eventually(lambda: connection.begun and connection._reading)
        eventually(lambda: server._engine._loops[0]._clients.deadlines.watched)
        clock.turn(30 * LATE)
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.MESSAGE_TIMEOUT
    assert told == [CloseReason.MESSAGE_TIMEOUT]
    assert not events.tracebacks()


def test_a_session_whose_peer_was_gone_before(serving: Serving, events: Events) -> None:
    """It has time to tidy up; nobody is waited for any more.

    With no look at ``_ended``: a fault is told of, and the reason is another one.
    """
    noticed, go_on = threading.Event(), threading.Event()

    @threadwire.session
    def tidy_up(connection: Connection) -> None:
        assert list(connection) == []
        noticed.set()
        wait_for(go_on)

    clock = Clock()
    server = serving(tidy_up, message_timeout=30, idle_timeout=60, clock=clock)
    peer = Peer(server.address)
    peer.say(b"ha")
    connection = only_connection(server)
    eventually(lambda: connection.begun)
    peer.reset()
    wait_for(noticed)
    for _ in range(4):
        clock.turn(40)
        assert server.healthy(PATIENCE)
    assert server.healthy(PATIENCE)
    go_on.set()
    assert events.closed_reason() is CloseReason.PEER_RESET
    assert not events.named("peer-fault")


@both_twins
def test_the_end_reaches_who_goes_on_sending(scene: Callable[..., Scene]) -> None:
    """On the loop it is an end of the stream, no reset.

    With ``abort`` in ``expire``, and no farewell: a reset.
    """
    made = scene("loop", message_timeout=30)
    with made.client() as (peer, connection):
        made.say(peer, connection, b"ha")
        made.pass_by(30 * LATE)
        for _ in range(20):
            peer.say(b"more and more" * 1000)
        assert peer.hear_all() == b""
        peer.finish()
        eventually(lambda: not made.server.connections)


class Unending(LineCodec):
    """Cannot be told of the end."""

    def end(self) -> None:
        raise ValueError("this test's")


class EndsBadly(threadwire.Lines):
    def codec(self, max_message: int = 0) -> threadwire.Codec:
        return Unending(max_message, self)


def test_a_framing_that_cannot_be_told_of_it(serving: Serving, events: Events) -> None:
    """Its client is closed; the others' deadlines are still kept.

    With the exception let out of the round: there is never another one.
    """
    clock = Clock()
    server = serving(lambda m: m, framing=EndsBadly(), message_timeout=30, clock=clock)
    for _ in range(2):
        with Peer(server.address) as peer, Peer(server.address) as also:
            for each in (peer, also):
                each.say(b"ha")
                connection = server_side(server, each)
                eventually(lambda: connection.begun)  # noqa: B023 - called at once
            assert server.healthy(PATIENCE)
            clock.turn(30 * LATE)
            assert peer.hear_all() == also.hear_all() == b""
        eventually(lambda: not server.connections)
    reasons = {fields["reason"] for fields in events.named("closed")}
    assert reasons == {CloseReason.HANDLER_FAILED}
    assert not events.named("engine-failed")


# Being idle.


@both_twins
@every_way
def test_an_idle_client_is_closed(scene: Callable[..., Scene], events: Events, way: str) -> None:
    """Nobody is at fault. With no ``idle_timeout`` in ``_look_at``: it stays."""
    made = scene(way, idle_timeout=60)
    with made.client() as (peer, connection):
        made.turn(20)
        made.pass_by(60 * LATE)
        assert peer.hear_all() == b""
        assert connection.close_reason in (None, CloseReason.IDLE_TIMEOUT)
    assert events.closed_reason() is CloseReason.IDLE_TIMEOUT
    assert not events.named("peer-fault")


@every_way
def test_being_idle_is_allowed_unless_it_is_said_otherwise(
    scene: Callable[..., Scene], way: str
) -> None:
    made = scene(way)
    with made.client() as (peer, connection):
        made.turn(1e6)
        made.turn(1e6)
        peer.say(b"still\n")
        assert peer.hear_line() == b"llits\n"
        assert not connection.closed


@both_twins
@every_way
def test_what_is_received_counts(scene: Callable[..., Scene], way: str) -> None:
    """Also the bytes of a message that takes long.

    With messages counted instead of bytes: it is closed in the middle of one.
    """
    made = scene(way, idle_timeout=60, message_timeout=None)
    with made.client() as (peer, connection):
        for _ in range(5):
            made.say(peer, connection, b"x")
            made.turn(50)
            assert not connection.closed
        peer.say(b"\n")
        assert peer.hear_line() == b"xxxxx\n"


@every_way
def test_what_another_thread_sends_counts(scene: Callable[..., Scene], way: str) -> None:
    """With received bytes counted alone: a client that is only pushed to is closed."""
    made = scene(way, idle_timeout=60)
    with made.client() as (peer, connection):
        for _ in range(5):
            connection.send(b"news")
            assert peer.hear_line() == b"news\n"
            made.turn(50)
            assert not connection.closed
        made.pass_by(60 * LATE)
        assert peer.hear_all() == b""


@every_way
def test_a_sender_that_takes_long_counts(scene: Callable[..., Scene], way: str) -> None:
    """Its message is delivered whole, and what follows is, too.

    With no look at the send lock: the client is closed once it has the message.
    """
    made = scene(way, idle_timeout=60)
    big = b"x" * 20_000_000
    with made.client() as (peer, connection):
        sender = threading.Thread(target=connection.send, args=(big,))
        sender.start()
        eventually(lambda: no_more_room(connection))
        made.settled(connection)
        for _ in range(10):
            made.turn(50)
        assert peer.hear(len(big) + 1) == big + b"\n"
        sender.join(PATIENCE)
        made.turn(50)
        connection.send(b"more")
        assert peer.hear_line() == b"more\n"


@both_twins
@every_way
def test_a_handler_under_way_counts(scene: Callable[..., Scene], way: str) -> None:
    """Afterwards there is the whole time again.

    With no look at whether the peer is waited for: it is closed while its handler is under way.
    """
    made = scene(way, idle_timeout=60, **({"handoff_after": 0.005} if way == "loop" else {}))
    with made.client() as (peer, connection):
        peer.say(b"block\n")
        wait_for(made.blocked)
        if way == "loop":
            eventually(lambda: connection.owner)
        for _ in range(5):
            made.turn(70)
        made.go_on.set()
        assert peer.hear_line() == b"kcolb\n"
        eventually(lambda: connection._reading)
        made.turn(59)
        assert not connection.closed
        made.pass_by(60 * LATE)
        assert peer.hear_all() == b""


@every_way
def test_never_before_the_time_is_over(scene: Callable[..., Scene], way: str) -> None:
    """With what goes on between two looks taken to have ended at the first of them."""
    made = scene(way, idle_timeout=60)
    with made.client() as (peer, connection):
        for _ in range(3):
            made.turn(3)  # less than from one look to the next
            peer.say(b"x\n")
            assert peer.hear_line() == b"x\n"
            made.settled(connection)
            made.turn(59.5)
            assert not connection.closed


def test_what_a_session_does_beside_receiving_counts(serving: Serving) -> None:
    """Nothing of it is seen but that it does not wait for its peer.

    With ``watch.active`` set to the time of such a look: it is closed a second too early.
    """
    begin, begun, go_on = (threading.Event() for _ in range(3))

    @threadwire.session
    def work(connection: Connection) -> None:
        while not begin.is_set():
            with contextlib.suppress(threadwire.TimeLimitError):
                connection.receive(timeout=0.02)
        begun.set()
        wait_for(go_on)
        assert list(connection) == []

    clock = Clock()
    server = serving(work, idle_timeout=60, clock=clock)

    def turn(seconds: float) -> None:
        clock.turn(seconds)
        for _ in range(2):
            assert server.healthy(PATIENCE)

    with Peer(server.address):
        connection = only_connection(server)
        eventually(lambda: server._engine._loops[0]._clients.deadlines.watched)
        turn(4)
        begin.set()
        wait_for(begun)
        turn(100)
        turn(1.8)  # less than from one look to the next
        go_on.set()
        eventually(lambda: connection._reading)
        turn(59)
        assert not connection.closed
        turn(10)
        assert connection.closed


@every_way
def test_a_message_begun_and_abandoned_is_idle_as_well(
    scene: Callable[..., Scene], events: Events, way: str
) -> None:
    """With begun messages left to the other timeout alone: it stays for ever."""
    made = scene(way, idle_timeout=60, message_timeout=None)
    with made.client() as (peer, connection):
        made.say(peer, connection, b"ha")
        made.turn(4)
        made.pass_by(60 * LATE)
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.IDLE_TIMEOUT


def test_a_session_that_asks_again_and_again(serving: Serving, events: Events) -> None:
    """Asking for a message is nothing that goes on.

    With a read that has a time limit not taken for waiting: it is never closed.
    """

    @threadwire.session
    def poll(connection: Connection) -> None:
        while True:
            with contextlib.suppress(threadwire.TimeLimitError):
                connection.send(connection.receive(timeout=0.02))

    clock = Clock()
    server = serving(poll, idle_timeout=60, clock=clock)
    with Peer(server.address) as peer:
        connection = only_connection(server)
        peer.say(b"x\n")
        assert peer.hear_line() == b"x\n"

        def gone() -> bool:
            clock.turn(4)
            return connection.closed

        eventually(gone)
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.IDLE_TIMEOUT
    assert not events.tracebacks()


# What is kept, and what it costs.


@every_way
def test_nothing_is_left_of_clients_that_have_gone(scene: Callable[..., Scene], way: str) -> None:
    """With ``_release`` not taking them out: they stay, with all that they hold."""
    made = scene(way, message_timeout=30, idle_timeout=60)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(made.client()) for _ in range(6)]
        for n, (peer, connection) in enumerate(clients):
            if n % 2:
                made.say(peer, connection, b"ha")
        assert len(made.deadlines) == 6
        clients[0][0].close()
        clients[1][0].reset()
        clients[2][1].close()
        eventually(lambda: len(made.deadlines) <= 4)
        made.pass_by(60 * LATE)
    eventually(lambda: not made.server.connections)
    assert len(made.deadlines) == 0
    made.turn(60)
    eventually(lambda: len(made.timers) == 0)
    made.looked()
    assert not made.deadlines._round


def test_nothing_is_armed_while_nothing_is_begun(scene: Callable[..., Scene]) -> None:
    """With every client watched: a round of looks a second, for nothing."""
    made = scene("loop", message_timeout=30)
    with made.client() as (peer, connection):
        for _ in range(3):
            peer.say(b"x\ny\n")
            assert peer.hear(4) == b"x\ny\n"
        made.looked()
        assert len(made.deadlines) == len(made.timers) == 0
        made.say(peer, connection, b"ha")
        assert len(made.deadlines) == len(made.timers) == 1
        peer.say(b"lf\n")
        assert peer.hear_line() == b"flah\n"
        made.turn(30)
        assert len(made.deadlines) == len(made.timers) == 0


def test_a_client_that_was_lent_a_thread_is_let_go_of(scene: Callable[..., Scene]) -> None:
    made = scene("loop", message_timeout=30, handoff_after=0.005)
    with made.client() as (peer, connection):
        peer.say(b"block\n")
        wait_for(made.blocked)
        eventually(lambda: connection.owner)
        made.looked()
        assert len(made.deadlines) == 1
        made.go_on.set()
        assert peer.hear_line() == b"kcolb\n"
        for _ in range(3):  # so that nothing is expected of it when the thread goes
            made.turn(30)
            assert not connection.closed
        connection._strikes = 0
        peer.say(b"x\n" * 3)
        peer.hear(6)


class Silent(Deadlines):
    """Counts the connections of each look."""

    looks: list[int]

    def _look(self) -> None:
        before = len(self._round)
        super()._look()
        self.looks.append(before - len(self._round))


def test_a_round_of_many_is_made_in_parts(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two of them the loop makes a turn, so nobody waits for all of them.

    With ``_AT_ONCE`` without a bound: one look at all 100.
    """
    monkeypatch.setattr(deadlines_module, "_AT_ONCE", 8)
    monkeypatch.setattr("threadwire.engine.clients.Deadlines", Silent)
    made = scene("loop", idle_timeout=60)
    deadlines = made.deadlines
    assert isinstance(deadlines, Silent)
    deadlines.looks = []
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(made.server.address)) for _ in range(100)]
        eventually(lambda: len(deadlines) == 100)
        made.clock.turn(60 * LATE)
        for peer in peers:
            assert peer.hear_all() == b""
    eventually(lambda: not made.server.connections)
    eventually(lambda: sum(deadlines.looks) >= 100)
    assert max(deadlines.looks) <= 8


# Replies that are not taken.

FORMS = ["loop", "own thread", "another thread"]


def send_much(server: threadwire.Server, form: str, peer: Peer) -> Connection:
    """Have a client sent more than its peer takes, in one of the ways in which that is done."""
    connection = server_side(server, peer)
    if form == "another thread":

        def send() -> None:
            with contextlib.suppress(threadwire.ConnectionClosed):
                connection.send(BIG)

        threading.Thread(target=send).start()
    else:
        if form == "own thread":
            eventually(lambda: connection._quick)
            leave_the_loop(connection)
        peer.say(b"\n")
    eventually(lambda: no_more_room(connection))
    if form == "loop":
        eventually(lambda: connection._timer)
    return connection


BIG = b"x" * 8_000_000


@both_twins
def test_a_client_of_the_loop_that_does_not_take_its_replies(
    serving: Serving, events: Events
) -> None:
    """One that drips is like one that takes nothing; others go on.

    With every write that takes something renewing the time: it stays for ever.
    """
    clock = Clock()
    server = serving(
        lambda message: message or BIG, write_timeout=30, handoff_after=NEVER, clock=clock
    )
    with Peer(server.address, receive_buffer=4096) as peer, Peer(server.address) as other:
        connection = send_much(server, "loop", peer)
        for _ in range(3):
            peer.hear(3000)
            assert not connection.closed
            clock.turn(8)
            assert server.healthy(PATIENCE)

        def gone() -> bool:  # later, where the system has found more room by itself
            with contextlib.suppress(ConnectionResetError):
                peer.hear(3000)
            clock.turn(8)
            assert server.healthy(PATIENCE)
            return connection._released

        eventually(gone)
        other.say(b"beside\n")
        assert other.hear_line() == b"beside\n"
    eventually(lambda: not server.connections)
    (closed,) = (f for f in events.named("closed") if f["connection"] == connection.id)
    assert closed["reason"] is CloseReason.WRITE_TIMEOUT


@both_twins
def test_a_client_of_the_loop_that_takes_a_piece_in_time(serving: Serving) -> None:
    """However much more there is, and though the system tells of no room for so little.

    With no look at what the system still holds: it is closed at the first deadline.
    """
    clock = Clock()
    server = serving(lambda message: BIG, write_timeout=30, handoff_after=NEVER, clock=clock)
    with Peer(server.address, receive_buffer=4096) as peer:
        connection = send_much(server, "loop", peer)
        unsent = connection._stream.unsent_bytes
        for _ in range(10):
            most = 0  # or more again, when there has been room meanwhile
            while (now := unsent()) > most - WRITE_PROGRESS.whole:
                most = max(most, now)
                peer.hear(1024)
            clock.turn(31)
            for _ in range(2):
                assert server.healthy(PATIENCE)
            assert not connection.closed
        clock.turn(31)
        clock.turn(31)
        eventually(lambda: connection.closed)


@pytest.mark.parametrize("form", FORMS)
def test_by_the_systems_clock_replies_that_are_not_taken(
    serving: Serving, events: Events, form: str
) -> None:
    """With no limit given to the stream, or no timer: they wait for ever."""
    server = serving(lambda message: BIG, write_timeout=0.2, handoff_after=NEVER)
    with Peer(server.address, receive_buffer=4096) as peer:
        connection = send_much(server, form, peer)
        eventually(lambda: connection.closed)
    assert events.closed_reason() is CloseReason.WRITE_TIMEOUT


@pytest.mark.parametrize("form", FORMS)
def test_by_the_systems_clock_a_peer_that_takes_little_at_a_time(
    serving: Serving, events: Events, form: str
) -> None:
    """A byte now and then renews nothing.

    With a peer that takes anything given the whole time again: it stays until it has all.
    """
    server = serving(lambda message: BIG, write_timeout=0.3, handoff_after=NEVER)
    with Peer(server.address, receive_buffer=4096) as peer:
        connection = send_much(server, form, peer)
        dripped = 0

        def closed() -> bool:
            nonlocal dripped
            dripped += len(peer.hear(16))
            return connection.closed

        eventually(closed)
        assert dripped < WRITE_PROGRESS.whole
    assert events.closed_reason() is CloseReason.WRITE_TIMEOUT


@pytest.mark.parametrize("form", FORMS)
def test_by_the_systems_clock_a_peer_that_takes_a_piece_in_time(
    serving: Serving, form: str
) -> None:
    """It reads several times as much as it has to, and less than the system waits for.

    With no look at what the system still holds: it is closed at the first deadline.
    """
    server = serving(lambda message: BIG, write_timeout=0.5, handoff_after=NEVER)
    pause = threading.Event()
    with Peer(server.address, receive_buffer=4096) as peer:
        connection = send_much(server, form, peer)
        for _ in range(24):
            peer.hear(WRITE_PROGRESS.whole + 4096)
            pause.wait(0.05)
        assert not connection.closed


# By the system's clock.


@every_way
def test_by_the_systems_clock_a_drip(
    scene: Callable[..., Scene], serving: Serving, events: Events, way: str
) -> None:
    made = scene(way, message_timeout=0.3)
    made.server.close(0)  # its clock stands still
    handler = made.session() if way == "session" else made.answer
    made.server = serving(handler, message_timeout=0.3, handoff_after=NEVER)
    with made.client() as (peer, connection):
        with contextlib.suppress(OSError):  # when it has gone

            def dripped() -> bool:
                peer.say(b"x")
                return connection.closed

            eventually(dripped)
    eventually(lambda: not made.server.connections)
    assert events.named("closed")[-1]["reason"] is CloseReason.MESSAGE_TIMEOUT


@every_way
def test_by_the_systems_clock_an_idle_client(
    scene: Callable[..., Scene], serving: Serving, events: Events, way: str
) -> None:
    made = scene(way)
    made.server.close(0)
    handler = made.session() if way == "session" else made.answer
    made.server = serving(handler, idle_timeout=0.2, handoff_after=NEVER)
    with Peer(made.server.address) as peer:
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.IDLE_TIMEOUT
