"""Room for all: who leaves when there are too many, and how fast requests pass."""

from __future__ import annotations

import contextlib
import threading

import pytest

import threadwire
from threadwire import CloseReason
from threadwire.admin.pace import Pace
from threadwire.admin.seats import Seats

from ..conftest import Events, Serving
from ..support import Peer, eventually


class Sitting:
    """A session that sits down and waits until its peer leaves; ``busy`` ones wait for nothing."""

    def __init__(self, seats: int) -> None:
        self._seats = Seats(seats)
        self.sat: list[int] = []  # appended to by sessions, one after another

    def __call__(self, connection: threadwire.Connection) -> None:
        with self._seats.seat(connection):
            self._seats.note(connection, True)
            self.sat.append(connection.id)
            for message in connection:
                self._seats.note(connection, False)
                if message != b"busy":
                    self._seats.note(connection, True)
                connection.send(message)


def arrive(sitting: Sitting, server: threadwire.Server) -> Peer:
    """The next client, when it has sat down."""
    before = len(sitting.sat)
    peer = Peer(server.address)
    eventually(lambda: len(sitting.sat) > before)
    return peer


@pytest.fixture
def sitting() -> Sitting:
    return Sitting(seats=3)


def test_who_has_waited_longest_leaves_when_there_are_too_many(
    serving: Serving, sitting: Sitting, events: Events
) -> None:
    server = serving(threadwire.session(sitting.__call__))
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(arrive(sitting, server)) for _ in range(3)]
        peers[0].say(b"x\n")
        assert peers[0].hear_line() == b"x\n"  # so the second has waited longer
        peers.append(stack.enter_context(arrive(sitting, server)))
        assert peers[1].hear_all() == b""
        assert events.closed_reason() is CloseReason.BUSY
        for place in (0, 2, 3):
            peers[place].say(b"y\n")
            assert peers[place].hear_line() == b"y\n"


def test_nobody_leaves_whose_request_is_under_way(serving: Serving, sitting: Sitting) -> None:
    server = serving(threadwire.session(sitting.__call__))
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(arrive(sitting, server)) for _ in range(3)]
        for peer in peers:
            peer.say(b"busy\n")
            assert peer.hear_line() == b"busy\n"
        peers.append(stack.enter_context(arrive(sitting, server)))
        for peer in peers:
            peer.say(b"busy\n")
            assert peer.hear_line() == b"busy\n"


def test_when_all_are_busy_the_next_to_be_done_leaves_and_not_who_has_just_come(
    serving: Serving, sitting: Sitting
) -> None:
    server = serving(threadwire.session(sitting.__call__))
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(arrive(sitting, server)) for _ in range(3)]
        for peer in peers:
            peer.say(b"busy\n")
            assert peer.hear_line() == b"busy\n"
        peers.append(stack.enter_context(arrive(sitting, server)))
        peers[1].say(b"done\n")
        assert peers[1].hear_all() == b""
        for place in (0, 2, 3):
            peers[place].say(b"y\n")
            assert peers[place].hear_line() == b"y\n"


def test_a_seat_is_free_again_when_its_client_has_left(serving: Serving, sitting: Sitting) -> None:
    server = serving(threadwire.session(sitting.__call__))
    with arrive(sitting, server) as first:
        for _ in range(5):
            arrive(sitting, server).close()
            eventually(lambda: len(server.connections) == 1)
        first.say(b"x\n")
        assert first.hear_line() == b"x\n"


class Time:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_so_many_a_second() -> None:
    now = Time()
    pace = Pace(10, 5, now)
    assert [pace.delay() for _ in range(5)] == [0.0] * 5
    assert [pace.delay() for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    now.now += 0.4
    assert pace.delay() == pytest.approx(0.0)


def test_what_was_not_used_is_saved_up_to_the_burst_alone() -> None:
    now = Time()
    pace = Pace(10, 5, now)
    now.now += 1000
    assert [pace.delay() for _ in range(5)] == [0.0] * 5
    assert pace.delay() == pytest.approx(0.1)


def test_many_threads_get_a_turn_each() -> None:
    pace = Pace(10, 1, Time())
    delays: list[float] = []
    asking = [threading.Thread(target=lambda: delays.append(pace.delay())) for _ in range(20)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert sorted(delays) == pytest.approx([number / 10 for number in range(20)])
