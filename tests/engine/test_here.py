"""For whom the calling thread calls a handler: in every way of being served, and never wrongly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import threadwire
from threadwire import Connection, current_connection
from threadwire.engine.baton import Baton
from threadwire.transport.poller import Place

from ..conftest import Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from .ways import (
    FORMS,
    NEVER,
    SOON,
    become_own,
    both_twins,
    in_form,
    leave_the_loop,
    server_side,
)


def here() -> bytes:
    connection = current_connection()
    return b"nobody" if connection is None else b"%d" % connection.id


def test_outside_of_handlers_there_is_none() -> None:
    assert current_connection() is None


@both_twins
@pytest.mark.parametrize("form", FORMS)
def test_on_the_loop(serving: Serving, form: str) -> None:
    """One message a read, several, a generator's parts, and what it does when it is closed."""
    closed: list[bytes] = []

    def handler(message: bytes) -> Any:
        if message == b"parts":
            return parts()
        return here()

    def parts() -> Iterator[bytes]:
        try:
            yield here()
            yield here()
            raise threadwire.Close
        finally:
            closed.append(here())

    server = serving(in_form(form, handler), handoff_after=NEVER)
    with Peer(server.address) as one, Peer(server.address) as two:
        mine = b"%d\n" % server_side(server, one).id
        for _ in range(3):
            one.say(b"x\n")
            assert one.hear_line() == mine
            two.say(b"x\n")
            assert two.hear_line() == b"%d\n" % server_side(server, two).id
        one.say(b"x\ny\nz\n")
        assert one.hear(len(mine) * 3) == mine * 3
        one.say(b"parts\n")
        assert one.hear_all() == mine * 2
        assert closed == [mine.strip()]


@both_twins
def test_on_a_thread_that_the_loop_was_taken_from(serving: Serving) -> None:
    """Before, from then on, and while it serves its client alone; the successor has its own.

    With ``_lost`` not noted in ``take``: nobody, after the hand-off.
    """
    server: threadwire.Server
    handed_over, go_on = threading.Event(), threading.Event()
    seen: list[bytes] = []

    def handler(message: bytes, connection: Connection) -> bytes:
        if message == b"block":
            seen.append(here())
            become_own(connection)
            seen.append(here())
            handed_over.set()
            wait_for(go_on)
            seen.append(here())
        return here()

    server = serving(handler)
    with Peer(server.address) as peer, Peer(server.address) as other:
        me, they = server_side(server, peer).id, server_side(server, other).id
        peer.say(b"block\n")
        wait_for(handed_over)
        for _ in range(3):
            other.say(b"x\n")
            assert other.hear_line() == b"%d\n" % they
        go_on.set()
        assert peer.hear_line() == b"%d\n" % me
        peer.say(b"x\ny\n")
        assert peer.hear_line() == peer.hear_line() == b"%d\n" % me
    assert seen == [b"%d" % me] * 3


def test_on_a_lent_thread_and_when_it_is_given_back(serving: Serving) -> None:
    """The thread serves somebody else next, and does not take that one for the first."""
    server = serving(lambda message: here(), handoff_after=NEVER)
    with Peer(server.address) as one, Peer(server.address) as two:
        for peer in (one, two, one, two):
            connection = server_side(server, peer)
            eventually(lambda connection=connection: connection._here)  # type: ignore[misc]
            leave_the_loop(connection)
            peer.say(b"x\n")
            assert peer.hear_line() == b"%d\n" % connection.id


def test_in_a_session(serving: Serving) -> None:
    @threadwire.session
    def session(connection: Connection) -> None:
        for _ in connection:
            connection.send(here())

    server = serving(session)
    with Peer(server.address) as one, Peer(server.address) as two:
        for peer in (one, two, one):
            peer.say(b"x\n")
            assert peer.hear_line() == b"%d\n" % server_side(server, peer).id


def test_a_thread_that_a_handler_starts_is_inside_none(serving: Serving) -> None:
    def handler(message: bytes) -> bytes:
        found: list[bytes] = []
        thread = threading.Thread(target=lambda: found.append(here()))
        thread.start()
        thread.join(PATIENCE)
        return found[0]

    with Peer(serving(handler).address) as peer:
        peer.say(b"x\n")
        assert peer.hear_line() == b"nobody\n"


def test_what_comes_after_a_handler_is_for_nobody(serving: Serving) -> None:
    """Threads that have served somebody, and do something else now."""
    server = serving(lambda message: here(), handoff_after=NEVER)
    found: list[bytes] = []
    with Peer(server.address) as peer:
        connection = server_side(server, peer)
        eventually(lambda: connection._quick)
        leave_the_loop(connection)
        peer.say(b"x\n")
        assert peer.hear_line() != b"nobody\n"
    eventually(lambda: server._engine.threads.idle)
    done = threading.Event()

    def look() -> None:
        found.append(here())
        done.set()

    server._engine.threads.run(look)  # on the thread that has served it
    wait_for(done)
    (loop,) = server._engine._loops
    loop.call(look)
    assert found == [b"nobody"] * 2


def test_a_thread_that_has_lost_the_loop_is_for_nobody_when_it_is_spare_again(
    serving: Serving,
) -> None:
    """With the baton not forgotten: for the client with whom it has lost the loop."""

    def handler(message: bytes, connection: Connection) -> bytes:
        if message == b"block":
            become_own(connection)
        return here()

    server = serving(handler, handoff_after=SOON)
    threads = server._engine.threads
    with Peer(server.address) as peer:
        connection = server_side(server, peer)
        peer.say(b"block\n")
        peer.hear_line()
        while not connection._here:  # until it has been quick often enough
            peer.say(b"x\n")
            peer.hear_line()
        eventually(lambda: threads.idle)
        spare = threads.idle
        together = threading.Barrier(spare + 1)
        found: list[bytes] = []

        def look() -> None:
            together.wait(PATIENCE)
            found.append(here())
            together.wait(PATIENCE)

        for _ in range(spare):
            threads.run(look)
        together.wait(PATIENCE)
        together.wait(PATIENCE)
    assert found == [b"nobody"] * spare


class Slow:
    """A baton's place from which taking takes a while."""

    def __init__(self, item: int) -> None:
        self.place = Place()
        self.place.enter(item)
        self.held = self.place.held
        self.taken, self.go_on = threading.Event(), threading.Event()

    def leave(self) -> Any:
        item = self.place.leave()
        self.taken.set()
        wait_for(self.go_on)
        return item


def test_there_is_no_instant_in_which_a_handlers_thread_knows_not_for_whom_it_is() -> None:
    """Between the two steps of taking its baton it waits for the second.

    With the lock not taken in ``take`` or in ``held_for``: it is for nobody.
    """
    baton: Baton[int] = Baton()
    place: Any = Slow(7)
    baton.place = place
    taker = threading.Thread(target=baton.take)
    taker.start()
    wait_for(place.taken)
    found: list[int | None] = []
    asking = threading.Event()

    def ask() -> None:
        asking.set()
        found.append(baton.held_for())

    holder = threading.Thread(target=ask)
    holder.start()
    wait_for(asking)
    holder.join(0.05)  # time to be wrong in; it makes the test no less right
    place.go_on.set()
    for thread in (taker, holder):
        thread.join(PATIENCE)
    assert found == [7]


def test_a_baton_is_for_what_it_is_held_for_and_then_for_what_was_taken_with_it() -> None:
    baton: Baton[int] = Baton()
    assert baton.held_for() is None
    for number in (1, 2):
        baton.enter(number)
        assert baton.held_for() == number
        assert baton.leave() == number
        assert baton.held_for() is None
    assert baton.take() is None
    assert baton.held_for() is None
    baton.enter(3)
    assert baton.take() == 3
    assert baton.held_for() == 3
    assert baton.take() is None
    assert baton.held_for() == 3
