"""Slow handlers: told of while they are slow, with where they stand, and when they have ended.

Looks come when a test turns the clock; how long a call takes is real time, so what is asserted
of it is only that it is at least so long.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire import Connection
from threadwire.engine import slow as slow_module
from threadwire.engine.slow import SlowCalls
from threadwire.engine.timers import Timers
from threadwire.framing.delimited import LineCodec
from threadwire.rules import Rules
from threadwire.testing import Clock
from threadwire.transport import Stream

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from .test_lending import refuse
from .ways import NEVER, SOON, leave_the_loop, server_side

SLOW = 0.05
WAYS = ["handed over", "lent thread", "session"]
every_way = pytest.mark.parametrize("way", WAYS)


class Scene:
    """A server whose looks a test brings about, and a handler that is busy while a test likes."""

    def __init__(
        self, serving: Serving, way: str, slow: float | None = SLOW, **options: Any
    ) -> None:
        self.clock = Clock()
        self.way = way
        self.busy, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        handler: object = self.session() if way == "session" else self.answer
        self.server = serving(
            handler,
            clock=self.clock,
            slow=slow,
            handoff_after=SOON if way == "handed over" else NEVER,
            **options,
        )

    def answer(self, message: bytes) -> bytes:
        if message == b"busy":
            self.stay()
        elif message == b"fail":
            self.stay()
            raise ValueError("this")
        return message

    def stay(self) -> None:
        self.busy.release()
        assert self.go_on.acquire(timeout=PATIENCE)  # where it stands

    def session(self) -> object:
        @threadwire.session
        def talk(connection: Connection) -> None:
            for message in connection:
                connection.send(self.answer(message))

        return talk

    @contextlib.contextmanager
    def client(self) -> Iterator[tuple[Peer, Connection]]:
        with Peer(self.server.address) as peer:
            connection = server_side(self.server, peer)
            if self.way == "lent thread":
                eventually(lambda: connection._quick)
                leave_the_loop(connection)
            yield peer, connection

    def begin(self, peer: Peer, connection: Connection, message: bytes = b"busy") -> None:
        """A call that has a thread of its own."""
        peer.say(message + b"\n")
        assert self.busy.acquire(timeout=PATIENCE)
        eventually(lambda: connection.owner and connection in self.slow_calls._watched)

    def end(self, peer: Peer, connection: Connection) -> None:
        self.go_on.release()
        peer.hear_line()
        eventually(lambda: not connection.busy_since or connection._reading)

    def look(self) -> None:
        """Have a look made, and wait until it has been."""
        self.clock.turn(3600)
        for _ in range(2):
            assert self.server.healthy(PATIENCE)

    def set(self, slow: float | None) -> None:
        """Change what is slow, and wait until the loop knows."""
        self.server.reconfigure(slow=slow)
        assert self.server.healthy(PATIENCE)

    def pass_by(self, connection: Connection, seconds: float) -> None:
        """Wait until its call has taken so long."""
        tick = threading.Event()
        while time.monotonic() < connection.busy_since + seconds:
            tick.wait(0.001)

    def looks(self) -> bool:
        """Whether a look is to come."""
        return self.slow_calls._next is not None

    @property
    def slow_calls(self) -> SlowCalls:
        return self.server._engine._loops[0]._slow_calls

    @property
    def timers(self) -> int:
        return len(self.server._engine._loops[0]._timers)


Begin = Callable[..., Scene]


@pytest.fixture
def scene(serving: Serving) -> Iterator[Begin]:
    made: list[Scene] = []

    def begin(way: str, slow: float | None = SLOW, **options: Any) -> Scene:
        made.append(Scene(serving, way, slow, **options))
        return made[-1]

    yield begin
    for each in made:
        each.go_on.release(1000)


_SOURCE = Path(__file__).read_text(encoding="utf-8").splitlines()
_LINE = next(n for n, line in enumerate(_SOURCE, 1) if line.endswith("# where it stands"))
STANDS = f"{__file__}:{_LINE} in stay"


@every_way
def test_a_slow_call_is_told_of_again_and_again_and_when_it_has_ended(
    scene: Begin, events: Events, way: str
) -> None:
    """At once, at twice and at four times ``slow``, however often one looks meanwhile."""
    made = scene(way)
    with made.client() as (peer, connection):
        made.begin(peer, connection)
        for n in range(3):
            made.pass_by(connection, SLOW * 2**n)
            for _ in range(3):
                made.look()
            assert events.named("slow")[-1]["seconds"] >= SLOW * 2**n
        assert not events.named("slow-ended")
        since = connection.busy_since
        made.end(peer, connection)
        took = time.monotonic() - since
        made.look()
        slow = events.named("slow")
        (ended,) = events.named("slow-ended")
        made.look()
    eventually(lambda: not made.server.connections)
    assert len(events.named("slow-ended")) == 1
    assert len(events.named("slow")) == len(slow)
    for n, facts in enumerate(slow):
        assert facts["seconds"] >= SLOW * 2**n
        assert (facts["connection"], facts["peer"]) == (connection.id, connection.peer)
        assert facts["doing"] == STANDS
    assert (ended["connection"], ended["peer"]) == (connection.id, connection.peer)
    assert slow[-1]["seconds"] <= ended["at_least"] <= took + 0.001


@every_way
def test_a_call_that_is_not_slow_is_not_told_of(scene: Begin, events: Events, way: str) -> None:
    made = scene(way, 3600.0)
    with made.client() as (peer, connection):
        made.begin(peer, connection)
        made.look()
        made.end(peer, connection)
        made.look()
    assert not events.named("slow")
    assert not events.named("slow-ended")


class Hesitant(threadwire.Lines):
    """Lines of which one, ``slow``, takes as long to decode as a test likes."""

    def __init__(self) -> None:
        super().__init__()
        self.decoding, self.go_on = threading.Event(), threading.Event()

    def codec(self, max_message: int = 1 << 20) -> threadwire.Codec:
        framing = self

        class Codec(LineCodec):
            def only_message(self, data: bytes) -> bytes | None:
                if data == b"slow\n":
                    framing.decoding.set()
                    wait_for(framing.go_on)
                return super().only_message(data)

        return Codec(max_message, self)


def test_a_session_that_waits_for_its_peer_is_not_slow(scene: Begin, events: Events) -> None:
    """Nor is one that has just received something, after a long wait, and has not returned it.

    With no look at the frames: the latter is.
    """
    framing = Hesitant()
    made = scene("session", framing=framing)
    with made.client() as (peer, connection):
        made.begin(peer, connection)
        made.end(peer, connection)
        made.pass_by(connection, 2 * SLOW)
        made.look()
        peer.say(b"slow\n")
        wait_for(framing.decoding)
        assert not connection._reading
        assert time.monotonic() - connection.busy_since > SLOW
        made.look()
        framing.go_on.set()
        assert peer.hear_line() == b"slow\n"
    assert not events.named("slow")


@every_way
def test_the_next_call_is_another_one(scene: Begin, events: Events, way: str) -> None:
    """Though nobody has looked in between."""
    made = scene(way)
    with made.client() as (peer, connection):
        for n in range(2):
            made.begin(peer, connection)
            made.pass_by(connection, SLOW)
            made.look()
            assert len(events.named("slow-ended")) == n
            made.end(peer, connection)
        made.look()
        assert len(events.named("slow-ended")) == 2
        assert len(events.named("slow")) >= 2


@every_way
def test_one_that_fails_ends_as_well(scene: Begin, events: Events, way: str) -> None:
    made = scene(way)
    with made.client() as (peer, connection):
        made.begin(peer, connection, b"fail")
        made.pass_by(connection, SLOW)
        made.look()
        made.go_on.release()
        assert peer.hear_all() == b""
    eventually(lambda: events.named("closed"))
    (ended,) = events.named("slow-ended")
    assert ended["at_least"] == events.named("slow")[-1]["seconds"]


@every_way
def test_who_is_watched(scene: Begin, way: str) -> None:
    """Those who have threads of their own, and nobody else; there is a timer for them alone."""
    made = scene(way)
    with made.client() as (peer, connection), made.client():
        watched = 2 if way == "session" else 0
        eventually(lambda: len(made.slow_calls) == watched)
        made.begin(peer, connection)
        eventually(lambda: len(made.slow_calls) == max(1, watched))
        made.look()
        assert made.looks()
        made.end(peer, connection)
    eventually(lambda: not made.server.connections)
    assert len(made.slow_calls) == 0
    made.look()
    assert not made.looks()
    assert made.timers == 0


def test_by_default_nobody_looks(scene: Begin, events: Events) -> None:
    made = scene("lent thread", None)
    with made.client() as (peer, connection):
        made.begin(peer, connection)
        assert not made.looks()
        made.look()
        made.end(peer, connection)
    assert not events.named("slow")


def test_it_can_be_turned_on_and_off_while_a_call_is_under_way(
    scene: Begin, events: Events
) -> None:
    made = scene("lent thread", None)
    with made.client() as (peer, connection):
        made.begin(peer, connection)
        made.pass_by(connection, SLOW)
        made.look()
        assert not events.named("slow")
        made.set(SLOW)
        made.look()
        assert len(events.named("slow")) == 1
        made.set(3600)
        made.pass_by(connection, 4 * SLOW)
        made.look()
        assert len(events.named("slow")) == 1
        made.set(None)
        assert not made.looks()
        made.set(SLOW)
        made.look()
        assert len(events.named("slow")) == 2
        made.end(peer, connection)


def test_a_client_for_whom_no_thread_can_be_had_is_not_watched(
    scene: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene("lent thread")
    with made.client() as (peer, _):
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            peer.say(b"x\n")
            assert peer.hear_all() == b""
    eventually(lambda: not made.server.connections)
    assert len(made.slow_calls) == 0


def test_many_are_looked_at_by_and_by_and_their_frames_asked_for_once(
    scene: Begin, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look is made in parts; a turn comes after each. Who leaves meanwhile is left out."""
    monkeypatch.setattr(slow_module, "_AT_ONCE", 2)
    asked: list[None] = []

    def frames() -> dict[int, Any]:
        asked.append(None)
        return current_frames()

    current_frames = sys._current_frames
    made = scene("session")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(made.client()) for _ in range(5)]
        for peer, connection in clients:
            made.begin(peer, connection)
        for _, connection in clients:
            made.pass_by(connection, SLOW)
        monkeypatch.setattr(sys, "_current_frames", frames)
        made.clock.turn(3600)
        eventually(lambda: len(events.named("slow")) >= 5)
        assert len(asked) == 3
        assert {facts["connection"] for facts in events.named("slow")} == {
            connection.id for _, connection in clients
        }
        for peer, connection in clients:
            made.end(peer, connection)


def test_a_look_that_fails_is_told_of_and_made_anew(
    scene: Begin, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next one not arranged for whatever is raised: nobody looks any more."""

    def fail() -> dict[int, Any]:
        raise MemoryError

    made = scene("session")
    with made.client() as (peer, connection):
        made.begin(peer, connection)
        made.pass_by(connection, SLOW)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "_current_frames", fail)
            made.look()
        assert len(events.named("engine-failed")) == 1
        assert not events.named("slow")
        made.look()
        assert len(events.named("slow")) == 1
        made.end(peer, connection)


def test_a_look_comes_four_times_within_slow_and_not_too_often(scene: Begin) -> None:
    for slow, seconds in ((4.0, 1.0), (0.02, 0.01)):
        made = scene("lent thread", slow)
        with made.client() as (peer, connection):
            now = made.clock.now()
            made.begin(peer, connection)
            timer = made.slow_calls._next
            assert timer is not None
            assert timer.when - now == pytest.approx(seconds)
            made.end(peer, connection)


class Nobody:
    """A home that no connection calls upon."""

    def attend(self, connection: Connection) -> None:
        raise AssertionError(connection)


def made_by_hand(stream: Stream, rules: Rules, number: int = 1) -> Connection:
    """A session's, which is its thread's from the beginning."""
    codec = threadwire.Lines().codec(100)
    return Connection(number, stream, codec, Nobody(), session=True, rules=rules)


def test_a_session_that_has_ended_before_it_could_be_watched_is_not(
    pair: tuple[Stream, socket.socket],
) -> None:
    """Its thread was quicker than the leader. With ``_own`` not asked: it is watched for ever."""
    rules = Rules(slow=SLOW)
    calls = SlowCalls(rules, Timers())
    connection = made_by_hand(pair[0], rules)
    calls.watch_own(connection)
    assert len(calls) == 1
    calls.leave(connection)
    connection.disown()
    calls.watch_own(connection)
    assert len(calls) == 0


def test_who_leaves_between_two_parts_of_a_look_is_left_out(
    pair: tuple[Stream, socket.socket], events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_module, "_AT_ONCE", 1)
    clock = Clock()
    rules, timers = Rules(slow=SLOW, clock=clock), Timers(clock)
    calls = SlowCalls(rules, timers)
    connections = [made_by_hand(pair[0], rules, number) for number in range(3)]
    for connection in connections:
        calls.watch(connection)
    clock.turn(SLOW)
    (look,) = timers.due()
    look()
    for connection in connections:
        calls.leave(connection)
    for _ in range(2):
        (look,) = timers.due()
        look()
    assert len(timers) == 0
    assert not events.named("slow")
