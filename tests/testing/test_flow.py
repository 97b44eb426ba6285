"""One stream through its faults, without sockets: bytes, order, bounds, and time as an argument."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire.testing import Chaos, Delay, Fault, Glue, Reset, Split, Stall, Step, Truncate
from threadwire.testing.faults import plan
from threadwire.testing.flow import End, Flow

ROOM = 64 << 10


class Outcome(NamedTuple):
    pieces: list[bytes]
    steps: list[Step]
    end: End | None
    seconds: float

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


def drive(
    faults: list[Fault],
    data: bytes,
    *,
    seed: int = 1,
    chunks: list[int] | None = None,
    pauses: list[float] | None = None,
    takes: list[int] | None = None,
) -> Outcome:
    """Send ``data`` through, in ``chunks``, with ``pauses`` between them, into a receiver that
    ``takes`` so much at a time. Each list goes round and round."""
    flow = Flow(plan(faults, seed, 1, "up"))
    sizes, waits = itertools.cycle(chunks or [len(data) or 1]), itertools.cycle(pauses or [0.0])
    limits = itertools.cycle(takes or [1 << 30])
    now, left, pieces = 0.0, data, list[bytes]()
    most_held = max([ROOM, *(fault.size for fault in faults if isinstance(fault, Glue))])
    while flow.end is None:
        if left and flow.room > 0:
            size = min(next(sizes), flow.room)
            flow.feed(left[:size])
            left = left[size:]
        elif not left and not flow.source_ended:
            flow.finish()
        assert len(flow._held) <= most_held
        due = now + next(waits)
        while True:
            while piece := flow.piece(now):
                count = min(next(limits), len(piece))
                pieces.append(piece[:count])
                flow.sent(count, now)
            wake = flow.wake_at(now)
            if wake is None or (wake > due and not flow.source_ended and flow.room > 0):
                now = max(now, due)
                break
            assert wake > now, "it would never come to an end"
            now = wake
    steps = list(itertools.islice(plan(faults, seed, 1, "up"), flow.taken))
    return Outcome(pieces, steps, flow.end, now)


harmless = st.lists(
    st.one_of(
        st.builds(Split, st.integers(1, 50)),
        st.builds(Glue, st.integers(2, 300), st.floats(0, 0.1)),
        st.builds(Delay, st.floats(0, 1), st.integers(1, 200)),
        st.builds(Stall, st.integers(0, 300), st.floats(0, 1)),
        st.builds(Chaos),
    ),
    max_size=4,
)
some_bytes = st.binary(max_size=2000)
sizes = st.lists(st.integers(1, 200), min_size=1, max_size=5)
pauses = st.lists(st.floats(0, 0.2), min_size=1, max_size=5)


@given(harmless, some_bytes, st.integers(0, 1000), sizes, pauses, sizes)
def test_harmless_faults_change_no_byte(
    faults: list[Fault],
    data: bytes,
    seed: int,
    chunks: list[int],
    waits: list[float],
    takes: list[int],
) -> None:
    outcome = drive(faults, data, seed=seed, chunks=chunks, pauses=waits, takes=takes)
    assert outcome.data == data
    assert outcome.end is End.FINISHED


@given(harmless, some_bytes, st.integers(0, 1000), sizes, pauses, sizes)
def test_the_steps_are_the_same_however_the_bytes_come(
    faults: list[Fault],
    data: bytes,
    seed: int,
    chunks: list[int],
    waits: list[float],
    takes: list[int],
) -> None:
    at_once = drive(faults, data, seed=seed)
    in_pieces = drive(faults, data, seed=seed, chunks=chunks, pauses=waits, takes=takes)
    assert at_once.steps == in_pieces.steps


@given(harmless, some_bytes, st.integers(0, 2500), st.booleans(), sizes, sizes)
def test_what_ends_a_stream_does_so_at_its_byte(
    faults: list[Fault],
    data: bytes,
    place: int,
    reset: bool,
    chunks: list[int],
    takes: list[int],
) -> None:
    ending = Reset(place) if reset else Truncate(place)
    outcome = drive([*faults, ending], data, chunks=chunks, takes=takes)
    assert outcome.data == data[:place]
    if place > len(data):
        assert outcome.end is End.FINISHED
    else:
        assert outcome.end is (End.RESET if reset else End.TRUNCATED)
        assert outcome.steps[-1].offset == place


def test_split_pieces_are_sent_one_by_one() -> None:
    outcome = drive([Split(3)], bytes(100))
    ends = list(itertools.accumulate(map(len, outcome.pieces)))
    assert ends[:-1] == [step.offset for step in outcome.steps]
    assert max(map(len, outcome.pieces)) == 3


def test_without_faults_bytes_go_as_they_come() -> None:
    assert drive([], b"abcdef", chunks=[2]).pieces == [b"ab", b"cd", b"ef"]


def test_glued_bytes_go_together() -> None:
    assert drive([Glue(4, 1.0)], b"abcdefghij", chunks=[1]).pieces == [b"abcd", b"efgh", b"ij"]


def test_glued_bytes_wait_no_longer_than_they_have_to() -> None:
    outcome = drive([Glue(4, 1.0)], b"abcdef", chunks=[1], pauses=[0.4])
    # a 0.0, b 0.4, c 0.8; they go at 1.0. d comes at 1.2, and the four are complete.
    assert outcome.pieces == [b"abc", b"d", b"ef"]


def test_more_is_held_only_to_glue_it() -> None:
    assert Flow(iter(())).room == ROOM
    flow = Flow(plan([Glue(1 << 20)], 1, 1, "up"))
    total = 0
    while total < 1 << 20:
        assert flow.room > 0
        data = bytes(min(flow.room, 50_000))
        flow.feed(data)
        total += len(data)
        assert len(flow.piece(0.0)) in (0, 1 << 20)
    assert flow.room == 0


def test_delays_hold_back_what_is_behind_them() -> None:
    outcome = drive([Delay(1.0, every=10)], bytes(100))
    assert outcome.seconds == pytest.approx(sum(step.seconds for step in outcome.steps))
    assert len(outcome.pieces) == len(outcome.steps)


def test_a_stall_holds_back_bytes_and_the_end_until_it_is_released() -> None:
    flow = Flow(plan([Stall(3)], 1, 1, "up"))
    flow.feed(b"abc")
    assert flow.piece(0.0) == b"abc"
    stalled = [flow.stalled]
    flow.sent(3, 0.0)
    stalled.append(flow.stalled)
    assert stalled == [False, True], "as soon as the stream has come so far"
    flow.feed(b"def")
    flow.finish()
    assert flow.piece(1e9) == b""
    assert flow.end is None
    assert flow.wake_at(1e9) is None
    flow.release()
    assert flow.piece(1e9) == b"def"
    assert not flow.stalled
    flow.sent(3, 1e9)
    assert flow.piece(1e9) == b""
    assert flow.end is End.FINISHED


def test_a_stall_of_some_seconds_ends_by_itself() -> None:
    flow = Flow(plan([Stall(0, 2.0)], 1, 1, "up"))
    flow.feed(b"abc")
    assert flow.piece(10.0) == b""
    assert flow.wake_at(10.0) == 12.0
    assert flow.piece(11.9) == b""
    assert flow.piece(12.0) == b"abc"


def test_a_release_before_its_stall_does_nothing() -> None:
    flow = Flow(plan([Stall(1)], 1, 1, "up"))
    flow.release()
    flow.feed(b"ab")
    assert flow.piece(0.0) == b"a"
    flow.sent(1, 0.0)
    assert flow.piece(math.nextafter(math.inf, 0)) == b""


def test_a_truncated_stream_drops_what_still_comes() -> None:
    flow = Flow(plan([Truncate(2)], 1, 1, "up"))
    flow.feed(b"abc")
    flow.sent(len(flow.piece(0.0)), 0.0)
    assert flow.end is End.TRUNCATED
    for _ in range(10):
        assert flow.room == ROOM
        flow.feed(bytes(ROOM))
    assert flow.piece(0.0) == b""
    assert flow._held == b""


def test_a_reset_sender_is_passed_on_behind_its_bytes() -> None:
    flow = Flow(plan([Delay(1.0)], 1, 1, "up"))
    flow.feed(b"abc")
    flow.finish(reset=True)
    assert flow.piece(0.0) == b""
    assert flow.end is None
    assert flow.piece(1.0) == b"abc"
    flow.sent(3, 1.0)
    flow.piece(1.0)
    assert flow.end is End.RESET


def test_what_has_no_receiver_is_dropped() -> None:
    flow = Flow(iter(()))
    flow.feed(b"abc")
    flow.give_up(End.LOST)
    assert (flow.end, flow.piece(0.0), flow.wake_at(0.0)) == (End.LOST, b"", None)
