"""The baton: every interleaving of a model, and two real threads that fight for it.

The model (``model_of_baton.py``) drives the real Baton through a leader's turns, hand-offs, the
stuck thread's return with the client's further messages, the posting back and the next leaders.
Every order of their atomic steps is tried. In each, exactly one leads, or is to be started;
each connection has one owner, the one that acts for it; it is registered at most once, and not
while a thread owns it once the successor has begun; nothing is handled or written twice, out
of order, or lost; and at the end all connections are the loop's again.

That the search sees what it looks for is shown by breaking the protocol: each of the classes
below changes one step, and each is found. The list at their end says by which check; the error
has the first order of steps that showed it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Iterator

import pytest

from threadwire.engine.baton import Baton

from ..support import PATIENCE
from .model_of_baton import Actor, Condition, Violation, World, explore

Traffic = dict[str, list[tuple[int, ...]]]

# Each: what the peers send, the hand-offs, the chunks that a stuck thread reads by itself.
SCENES: list[tuple[Traffic, int, int]] = [
    ({"a": [(1, 2), (3,)], "b": [(1,)]}, 2, 0),
    ({"a": [(1, 2), (3,)], "b": [(1,)]}, 2, 1),
    ({"a": [(1,), (2,), (3,)]}, 3, 0),
    ({"a": [(1,), (2,)], "b": [(1,), (2,)]}, 3, 0),
]


@pytest.mark.parametrize(("traffic", "handoffs", "alone"), SCENES)
def test_every_interleaving_keeps_every_promise(
    traffic: Traffic, handoffs: int, alone: int
) -> None:
    assert explore(lambda: World(traffic, handoffs, alone)) > 500


def test_every_hand_off_that_may_happen_does() -> None:
    """Else the search would have proved little."""
    most = 0

    class Counting(World):
        def check_end(self) -> None:
            nonlocal most
            most = max(most, len(self.batons) - 1)
            super().check_end()

    explore(lambda: Counting({"a": [(1, 2), (3,)], "b": [(1,)]}, 3))
    assert most == 3


class SharedPlace(Baton[str]):
    """A baton whose place is ``first``'s."""

    def __init__(self, first: Baton[str]) -> None:
        super().__init__()
        self.enter, self.leave = first.enter, first.leave
        self.first = first

    def busy_with(self) -> str | None:
        return self.first.busy_with()

    def take(self) -> str | None:
        return self.first.take()


class OnePlaceForAllBatons(World):
    """The stuck thread takes its successor's client out of the place: both lead."""

    def new_baton(self) -> Baton[str]:
        if not self.batons:
            return super().new_baton()
        self.batons.append(SharedPlace(self.batons[0]))
        return self.batons[-1]


class NoWaitForTheNote(World):
    """It serves the client and gives it back, and is noted as its owner after that."""

    def lost(self, baton: Baton[str]) -> Actor:
        yield None


class RegistersItself(World):
    """It is registered twice, or by somebody who does not lead."""

    def give_back(self, me: str, connection: str) -> Actor:
        yield None
        self.disown(me, connection)
        yield None
        self.here[connection] = True
        self.register(me, connection)


class PartsAfterPostedCalls(World):
    """It parts with a client that it has just taken in."""

    def begin(self, me: str, departed: str | None) -> Actor:
        self.make_posted_calls(me)
        yield None
        yield from super().begin(me, departed)


class LeavesWithoutClaim(World):
    """Looks whether the baton is there, then leaves: it is taken in between, and both lead."""

    def leave(self, baton: Baton[str]) -> Generator[Condition | None, None, bool]:
        if baton.busy_with() is None:
            return False
        yield None
        baton.take()
        return True


class TakesWithoutClaim(World):
    """Looks for whom the leader is busy, then takes the baton, though the leader has gone on."""

    def take(self, baton: Baton[str]) -> Generator[Condition | None, None, str | None]:
        connection = baton.busy_with()
        yield None
        baton.take()
        return connection


class NeverParts(World):
    """The client stays registered, and its thread and the loop both read."""

    def begin(self, me: str, departed: str | None) -> Actor:
        yield from ()


class PostsBeforeDisowning(World):
    """It is the loop's, and still noted as the thread's."""

    def give_back(self, me: str, connection: str) -> Actor:
        yield None
        self.posted.append(connection)
        yield None
        self.disown(me, connection)


class ForgetsWhatIsPending(World):
    """Replies that the turn had ready come after the one that took long."""

    def flush_alone(self, me: str, connection: str) -> Actor:
        yield None


class KeepsTheTurnToItself(World):
    """What the turn has read for others is lost with the leader."""

    def begin(self, me: str, departed: str | None) -> Actor:
        yield from super().begin(me, departed)
        self.received = []


SABOTAGE = [  # and by what it is found
    (OnePlaceForAllBatons, "leads"),
    (NoWaitForTheNote, "noted as"),
    (RegistersItself, "registers .* twice|acts for the loop"),
    (PartsAfterPostedCalls, "twice|not registered|does not know"),
    (LeavesWithoutClaim, "leads"),
    (TakesWithoutClaim, "leads|acts for|at the end"),
    (NeverParts, "and registered|is thread-"),
    (PostsBeforeDisowning, "is taken in, "),
    (ForgetsWhatIsPending, "written, by"),
    (KeepsTheTurnToItself, "handled .* of"),
]


@pytest.mark.parametrize(
    ("broken", "found_by"), SABOTAGE, ids=[broken.__name__ for broken, _ in SABOTAGE]
)
def test_a_broken_protocol_is_found(broken: type[World], found_by: str) -> None:
    with pytest.raises(Violation, match=found_by):
        explore(lambda: broken({"a": [(1, 2), (3,)], "b": [(1,)]}, 2))


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_of_two_real_threads_exactly_one_gets_it() -> None:
    rounds = 50_000
    baton: Baton[int] = Baton()
    taken: list[int] = []  # the taker's alone, up to the end
    done = threading.Event()

    def taker() -> None:
        while not done.is_set():
            for _ in range(100):
                if (number := baton.take()) is not None:
                    taken.append(number)

    thread = threading.Thread(target=taker)
    thread.start()
    left, lost = [], []
    try:
        for number in range(rounds):
            baton.enter(number)
            try:
                left.append(baton.leave())
            except IndexError:
                lost.append(number)
    finally:
        done.set()
        thread.join(PATIENCE)
    assert taken == lost
    assert sorted(left + taken) == list(range(rounds))
    assert left
    assert baton.busy_with() is None


@pytest.mark.usefixtures("frequent_switches")
def test_who_has_lost_it_goes_on_when_the_owners_are_noted() -> None:
    """Real batons, a new one for each hand-off, and a watchdog that is never patient."""
    rounds = 5_000
    current: list[Baton[int]] = [Baton()]  # the taker's to replace
    noted: set[int] = set()
    done = threading.Event()

    def taker() -> None:
        while not done.is_set():
            baton = current[0]
            if (number := baton.take()) is not None:
                noted.add(number)
                current[0] = Baton()
                baton.note_taken()

    thread = threading.Thread(target=taker)
    thread.start()
    handed_over = 0
    try:
        for number in range(rounds):
            baton = current[0]
            baton.enter(number)
            if number % 8 == 0:  # a handler that is stuck until the baton is taken
                while baton.busy_with() is not None:
                    pass
            try:
                assert baton.leave() == number
                assert number not in noted
            except IndexError:
                baton.lost()
                assert number in noted
                assert current[0] is not baton
                handed_over += 1
    finally:
        done.set()
        thread.join(PATIENCE)
    assert handed_over >= rounds // 8
    assert len(noted) == handed_over
