"""Faults: where their steps stand, and that a seed decides it."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import threadwire
from threadwire.testing import (
    Chaos,
    Delay,
    Fault,
    Glue,
    Reset,
    Split,
    Stall,
    Step,
    StepKind,
    Truncate,
)
from threadwire.testing.faults import Direction, plan

ALL: tuple[Fault, ...] = (
    Split(5),
    Glue(100),
    Delay(0.1, 20),
    Stall(range(500), 0.5),
    Reset(range(1000)),
    Truncate(range(1000)),
    Chaos(0.5),
)


def first(
    faults: tuple[Fault, ...],
    seed: int = 1,
    connection: int = 1,
    direction: Direction = "up",
    count: int = 300,
) -> list[Step]:
    return list(itertools.islice(plan(faults, seed, connection, direction), count))


@given(st.integers(), st.integers(min_value=1, max_value=10**6), st.sampled_from(["up", "down"]))
def test_a_plan_depends_on_seed_connection_and_direction_alone(
    seed: int, connection: int, direction: Direction
) -> None:
    assert first(ALL, seed, connection, direction) == first(ALL, seed, connection, direction)


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: type(fault).__name__)
def test_another_seed_connection_or_direction_is_another_plan(fault: Fault) -> None:
    plans = [
        first((fault,), seed, connection, direction)
        for seed in (1, 2)
        for connection in (1, 2)
        for direction in ("up", "down")
    ]
    if type(fault) is Glue:  # which draws nothing
        assert all(steps == plans[0] for steps in plans)
    else:
        assert len({tuple(steps) for steps in plans}) > 4


def test_a_plan_is_the_same_in_every_process() -> None:
    script = (
        "import itertools; from threadwire.testing import *; "
        "from threadwire.testing.faults import plan; "
        "print(*map(str, itertools.islice(plan([Chaos(0.5)], 7, 3, 'up'), 50)), sep='\\n')"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    here = [str(step) for step in first((Chaos(0.5),), 7, 3, count=50)]
    assert printed == [here, here]


@pytest.mark.parametrize("seed", range(20))
def test_offsets_never_fall_and_what_is_done_once_comes_first(seed: int) -> None:
    steps = first(ALL, seed)
    places = [(step.offset, not step.kind.once) for step in steps]
    assert places == sorted(places)


def test_a_fault_does_not_move_when_another_is_limited_to_other_streams() -> None:
    alone = first((Split(5), Split(7, connections=[2]), Delay(0.1)), connection=1)
    beside = first((Split(5), Split(7, direction="down"), Delay(0.1)), connection=1)
    assert alone == beside


def test_split_pieces_have_every_size_up_to_the_most() -> None:
    offsets = [0, *(step.offset for step in first((Split(4),)))]
    assert {b - a for a, b in itertools.pairwise(offsets)} == {1, 2, 3, 4}


def test_glue_leaves_no_gap() -> None:
    assert first((Glue(10, 0.5),), count=3) == [
        Step(0, StepKind.GLUE, 0.5, 10),
        Step(10, StepKind.GLUE, 0.5, 10),
        Step(20, StepKind.GLUE, 0.5, 10),
    ]


def test_delays_begin_at_the_first_byte_and_stay_in_their_bounds() -> None:
    steps = first((Delay(0.2, every=10),), count=500)
    assert steps[0].offset == 0
    gaps = [b.offset - a.offset for a, b in itertools.pairwise(steps)]
    assert set(gaps) == set(range(1, 20))
    assert 8 < sum(gaps) / len(gaps) < 12
    assert all(0 <= step.seconds < 0.2 for step in steps)
    assert max(step.seconds for step in steps) > 0.15


@pytest.mark.parametrize(
    ("make", "kind"),
    [(Stall, StepKind.STALL), (Truncate, StepKind.TRUNCATE), (Reset, StepKind.RESET)],
)
def test_what_is_done_once(make: Callable[[int | range], Fault], kind: StepKind) -> None:
    (step,) = first((make(100),))
    assert (step.offset, step.kind) == (100, kind)
    drawn = {first((make(range(10, 13)),), seed)[0].offset for seed in range(50)}
    assert drawn == {10, 11, 12}


def test_a_stall_without_seconds_is_for_ever() -> None:
    assert first((Stall(1),))[0].seconds == math.inf
    assert first((Stall(1, 2.5),))[0].seconds == 2.5


def test_faults_are_limited_to_connections_and_a_direction() -> None:
    faults = (Reset(5, connections=[2, 3], direction="down"),)
    having = {
        (connection, direction)
        for connection in range(1, 6)
        for direction in ("up", "down")
        if first(faults, 1, connection, direction)
    }
    assert having == {(2, "down"), (3, "down")}


def test_chaos_loses_as_many_streams_as_it_says() -> None:
    def loses(seed: int, fault: Fault) -> bool:
        steps = itertools.takewhile(
            lambda step: step.offset < 1 << 16, plan([fault], seed, 1, "up")
        )
        return any(step.kind in (StepKind.RESET, StepKind.TRUNCATE) for step in steps)

    assert not any(loses(seed, Chaos()) for seed in range(30))
    assert all(loses(seed, Chaos(1.0)) for seed in range(30))
    assert 20 < sum(loses(seed, Chaos(0.5)) for seed in range(80)) < 60


def test_chaos_has_all_kinds_of_faults() -> None:
    kinds = {step.kind for seed in range(50) for step in first((Chaos(0.5),), seed)}
    assert kinds == set(StepKind)


def wrong(make: Callable[..., Fault], *arguments: object, **options: object) -> Fault:
    """Called with what a type checker would not let pass."""
    return make(*arguments, **options)


def test_steps_and_faults_as_text() -> None:
    assert str(Step(3, StepKind.SPLIT)) == "split@3"
    assert str(Step(3, StepKind.GLUE, 0.5, 10)) == "glue@3+10"
    assert str(Step(3, StepKind.DELAY, 0.25)) == "delay@3(0.250000s)"
    assert str(Step(3, StepKind.STALL, math.inf)) == "stall@3(until released)"
    assert repr(Split(3)) == "Split(most=3)"
    fault = Reset(range(5), connections=[3, 1], direction="up")
    assert repr(fault) == "Reset(after_bytes=range(0, 5), connections=[1, 3], direction='up')"
    assert eval(repr(fault)) == fault
    for other in ALL:
        assert eval(repr(other)) == other


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Split(0), "most"),
        (lambda: wrong(Split, 1.5), "most"),
        (lambda: Split(True), "most"),
        (lambda: Glue(1), "size"),
        (lambda: Glue(2 << 20), "size"),
        (lambda: Glue(10, -1), "seconds"),
        (lambda: Delay(math.inf), "most"),
        (lambda: Delay(0.1, 0), "every"),
        (lambda: Stall(-1), "after_bytes"),
        (lambda: Stall(range(0)), "after_bytes"),
        (lambda: Stall(range(-1, 5)), "after_bytes"),
        (lambda: wrong(Stall, 1, "long"), "seconds"),
        (lambda: wrong(Truncate, "1"), "after_bytes"),
        (lambda: wrong(Reset, None), "after_bytes"),
        (lambda: Chaos(1.5), "loss"),
        (lambda: wrong(Split, 3, direction="left"), "direction"),
        (lambda: Split(3, connections=[0]), "connections"),
        (lambda: wrong(Split, 3, connections=["1"]), "connections"),
    ],
)
def test_wrong_arguments_fail_at_once_and_are_named(make: Callable[[], object], named: str) -> None:
    with pytest.raises(threadwire.UsageError, match=named):
        make()
