"""Who sends what is due, in an open loop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from threadwire.bench.client import Asked, Client, State
from threadwire.bench.plan import Plan
from threadwire.bench.records import Records
from threadwire.bench.requests import Request
from threadwire.bench.rota import Rota

REQUEST = Request(b"x\n", None, b"x")


class Rig:
    """A rota of clients that are up, and what it has had sent: clients' numbers and times."""

    def __init__(self, clients: int, pipeline: int = 1, due: Iterable[float] = ()) -> None:
        plan = Plan(
            url="tcp://127.0.0.1:1", rate=1.0, clients=clients, pipeline=pipeline, timeout=5.0
        )
        self.records = Records()
        self.clients = [Client(number) for number in range(clients)]
        self.asked: list[tuple[int, float]] = []
        self.exhausted = 0
        self.rota = Rota(plan, self.clients, self.records, self._ask, self._note_exhausted)
        for client in self.clients:
            client.state = State.UP
            client.begun = True
            self.rota.free(client, 0.0)
        self.rota.follow(iter(due))

    def _ask(self, client: Client, due: float) -> None:
        client.flight.append(Asked(REQUEST, due))
        self.asked.append((client.number, due))

    def _note_exhausted(self) -> None:
        self.exhausted += 1

    def answer(self, number: int, now: float) -> None:
        self.clients[number].flight.popleft()
        self.rota.free(self.clients[number], now)

    def is_crowded(self) -> bool:
        return self.rota.crowded

    def errors(self) -> dict[str, int]:
        errors = self.records.take("measuring", 0, 1.0, 0).errors
        return {kind: error.count for kind, error in errors.items()}


def test_who_has_had_nothing_to_do_for_longest_is_next() -> None:
    rig = Rig(3, due=[1, 2, 3, 4, 5])
    rig.rota.send_due(2.0)
    assert rig.asked == [(0, 1), (1, 2)]
    rig.answer(1, 2.1)
    rig.answer(0, 2.2)
    rig.rota.send_due(5.0)
    assert [number for number, _ in rig.asked] == [0, 1, 2, 1, 0]


def test_where_all_are_busy_it_waits_for_the_first_that_is_free() -> None:
    rig = Rig(1, due=[1, 2, 3])
    rig.rota.send_due(2.5)
    assert rig.is_crowded()
    assert rig.asked == [(0, 1)]
    rig.answer(0, 2.6)
    assert not rig.is_crowded()
    rig.rota.send_due(2.6)
    assert rig.asked == [(0, 1), (0, 2)]


def test_with_pipelines_the_next_with_room_is_asked() -> None:
    rig = Rig(2, pipeline=2, due=[1, 1, 1, 1, 1])
    rig.rota.send_due(1.0)
    assert sorted(number for number, _ in rig.asked) == [0, 0, 1, 1]
    assert rig.is_crowded()


def test_a_client_that_is_down_is_passed_over() -> None:
    rig = Rig(2, due=[1, 1])
    rig.clients[0].state = State.DOWN
    rig.rota.send_due(1.0)
    assert rig.asked == [(1, 1)]


def test_it_is_late_itself_only_while_somebody_was_free() -> None:
    rig = Rig(1, due=[1.0, 1.5])
    rig.rota.send_due(1.25)
    assert list(rig.records.behind) == [0.25]
    rig.rota.send_due(2.0)  # nobody is free
    rig.answer(0, 3.0)
    rig.rota.send_due(3.125)
    assert list(rig.records.behind) == [0.25, 0.125]


def test_what_came_due_in_its_own_pause_is_late_by_it_whoever_is_free() -> None:
    rig = Rig(1, due=[1.0, 1.25, 1.5, 2.5])
    rig.rota.send_due(2.0)  # it had been free, and asked at 1.0
    for _ in range(2):
        rig.answer(0, 2.0)
        rig.rota.send_due(2.0)
    rig.answer(0, 2.0)
    rig.rota.send_due(2.5)
    assert list(rig.records.behind) == [1.0, 0.75, 0.5, 0.0]


def test_what_is_not_sent_is_lost_with_its_age() -> None:
    rig = Rig(1, due=[1, 2, 3, 4])
    rig.rota.send_due(8.0)
    assert list(rig.records.lost) == [7, 6]
    rig.rota.give_up(8.5, as_errors=False)
    assert list(rig.records.lost) == [7, 6, 4.5]
    assert rig.errors() == {"unsent": 2}


def test_what_has_waited_too_long_is_given_up() -> None:
    rig = Rig(1, due=[1, 2, 3, 4])
    rig.rota.send_due(8.0)
    assert rig.asked == [(0, 3)]
    assert rig.errors() == {"unsent": 2}


def test_at_the_end_what_is_due_is_given_up() -> None:
    rig = Rig(1, due=itertools.count(1))
    rig.rota.send_due(2.0)
    rig.rota.give_up(4.5)
    assert rig.rota.next_due == math.inf
    assert rig.errors() == {"unsent": 3}
    rig.rota.give_up(100.0)
    assert rig.errors() == {}


def test_a_number_of_them_is_enough() -> None:
    rig = Rig(5, due=range(100))
    rig.rota.limit(3)
    rig.rota.send_due(4.0)
    assert [due for _, due in rig.asked] == [0, 1, 2]
    assert (rig.rota.next_due, rig.exhausted) == (math.inf, 1)
    rig.rota.follow(iter([1.0]))
    rig.rota.limit(0)
    assert (rig.rota.next_due, rig.exhausted) == (math.inf, 2)
