"""Calling handlers, and counting how long they take: both twins."""

from __future__ import annotations

import gc
import inspect
import math
import operator
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire.durations import BOUNDS, Histogram
from threadwire.transport import handling as portable
from threadwire.transport import poller as chosen

from .speedups import SPEEDUPS


class Tallying(Protocol):
    def add(self, seconds: float, /) -> None: ...
    def read(self) -> tuple[tuple[int, ...], int]: ...


class Twin(NamedTuple):
    tally: Callable[[], Any]
    place: Callable[[], Any]
    taken: type[Exception]
    call_each: Callable[..., tuple[Any] | None]
    timed: Callable[..., Any]

    def taken_up(self) -> Any:
        """A place with something in it."""
        place = self.place()
        place.enter("item")
        return place


TWINS = {
    name: Twin(module.Tally, module.Place, module.Taken, module.call_each, module.timed)
    for name, module in (("python", portable), ("c", SPEEDUPS))
    if module is not None
}

# The types agree: what was chosen for the library's own use, and its twin.
both: list[Callable[[], Tallying]] = [chosen.Tally, portable.Tally]


@pytest.fixture(params=["c", "python"], scope="module")
def twin(request: pytest.FixtureRequest) -> Twin:
    if request.param not in TWINS:
        pytest.skip("the C twin was not built")
    return TWINS[request.param]


def histogram(tally: Tallying) -> Histogram:
    return Histogram(*tally.read())


# Counting.


@pytest.mark.parametrize("bound", range(len(BOUNDS)))
def test_a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed(
    twin: Twin, bound: int
) -> None:
    for seconds, bucket in (
        (BOUNDS[bound], bound),
        (BOUNDS[bound] + 1e-9, bound + 1),
        (BOUNDS[bound] - 1e-9, bound),
    ):
        tally = twin.tally()
        tally.add(seconds)
        assert histogram(tally).counts[bucket] == 1
        assert histogram(tally).count == 1


@pytest.mark.parametrize("seconds", [0.0, -1.0, -math.inf, math.nan])
def test_what_is_no_duration_counts_as_none_at_all(twin: Twin, seconds: float) -> None:
    tally = twin.tally()
    tally.add(seconds)
    assert histogram(tally) == Histogram((1, *Histogram().counts[1:]))


def test_a_duration_without_end_is_longer_than_all(twin: Twin) -> None:
    tally = twin.tally()
    tally.add(math.inf)
    assert histogram(tally).counts[-1] == 1


@given(st.lists(st.floats(0, 1000)))
def test_the_twins_count_alike(durations: list[float]) -> None:
    found = []
    for twin in TWINS.values():
        tally = twin.tally()
        for seconds in durations:
            tally.add(seconds)
        found.append(histogram(tally))
    assert {each.counts for each in found} == {found[0].counts}
    assert found[0].total == pytest.approx(sum(durations), abs=1e-9 * len(durations))


def test_a_tally_needs_a_number(twin: Twin) -> None:
    with pytest.raises(TypeError):
        twin.tally().add("long")


def test_others_read_while_one_adds(twin: Twin) -> None:
    """Counts only ever grow, and at last they are all there."""
    tally, added = twin.tally(), 20_000
    adding = threading.Thread(target=lambda: [tally.add(0.001) for _ in range(added)])
    adding.start()
    before = 0
    while adding.is_alive():
        now = histogram(tally).count
        assert before <= now <= added
        before = now
    adding.join()
    assert histogram(tally).count == added
    assert histogram(tally).total == pytest.approx(added * 0.001)


# One call.


def test_a_timed_call_is_the_call(twin: Twin) -> None:
    tally = twin.tally()
    assert twin.timed(tally, lambda *args: args, 1, "two", None) == (1, "two", None)
    assert twin.timed(tally, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        twin.timed(tally, lambda: 1 // 0)
    assert histogram(tally).count == 3


def test_a_timed_call_takes_as_long_as_it_takes(twin: Twin) -> None:
    tally = twin.tally()
    begun = time.monotonic()
    twin.timed(tally, time.sleep, 0.01)
    elapsed = time.monotonic() - begun
    assert 0.01 <= histogram(tally).total <= elapsed + 1e-6


def test_what_is_no_tally_is_refused() -> None:
    if SPEEDUPS is not None:
        for no_tally in (None, portable.Tally(), object):
            with pytest.raises(TypeError, match="Tally"):
                SPEEDUPS.timed(no_tally, len, b"")
            with pytest.raises(TypeError, match="Tally"):
                SPEEDUPS.call_each(len, iter([b""]), [], SPEEDUPS.Place(), 1, no_tally)
            with pytest.raises(TypeError, match="Tally"):
                SPEEDUPS.Place().call(no_tally, "item", len, b"")


# The place.


def test_a_place_holds_one_thing(twin: Twin) -> None:
    place, item, other = twin.place(), object(), object()
    assert place.held() is None
    with pytest.raises(IndexError):
        place.leave()
    place.enter(item)
    assert place.held() is item
    with pytest.raises(RuntimeError, match="something in the place"):
        place.enter(other)
    assert place.leave() is item
    assert place.held() is None


def test_a_place_owns_what_it_holds(twin: Twin) -> None:
    class Item:
        pass

    place, item = twin.place(), Item()
    gone = weakref.ref(item)
    place.enter(item)
    del item
    gc.collect()
    assert place.held() is gone()
    assert isinstance(place.leave(), Item)
    gc.collect()
    assert gone() is None
    for within in (False, True):  # with the place, and with a circle that it is in
        place, item = twin.place(), Item()
        gone = weakref.ref(item)
        place.enter(item)
        if within:
            item.place = place  # type: ignore[attr-defined]
        del item, place
        gc.collect()
        assert gone() is None


def test_a_call_with_its_item_in_the_place(twin: Twin) -> None:
    place, tally, item = twin.place(), twin.tally(), object()
    found = place.call(tally, item, lambda *args: (place.held(), *args), 1, "two")
    assert found == (item, 1, "two")
    assert place.held() is None
    assert place.call(tally, item, lambda: None) is None
    assert histogram(tally).count == 2
    with pytest.raises(TypeError):
        place.call(tally, item)


def test_a_call_that_raises_leaves_the_item_where_it_is(twin: Twin) -> None:
    """With it taken out: nobody knows then whether somebody else has taken it."""
    place, tally, item = twin.place(), twin.tally(), object()
    with pytest.raises(ZeroDivisionError):
        place.call(tally, item, lambda: 1 // 0)
    assert place.leave() is item
    assert histogram(tally).count == 1


@pytest.mark.parametrize("result", [b"reply", None, (1, 2), (), ValueError("x")])
def test_a_call_whose_item_was_taken_gives_its_result_with_the_news(
    twin: Twin, result: object
) -> None:
    place, tally, taken = twin.place(), twin.tally(), list[object]()

    def function() -> object:
        taken.append(place.leave())
        return result

    with pytest.raises(twin.taken) as caught:
        place.call(tally, "item", function)
    assert caught.value.args == (result,)
    assert caught.value.args[0] is result
    assert taken == ["item"]
    assert histogram(tally).count == 1


def test_a_call_that_raises_after_its_item_was_taken_raises_that(twin: Twin) -> None:
    place = twin.place()

    def function() -> object:
        place.leave()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        place.call(twin.tally(), "item", function)
    assert place.held() is None


def test_a_place_that_is_taken_up_calls_nothing(twin: Twin) -> None:
    place, called = twin.taken_up(), list[int]()
    with pytest.raises(RuntimeError):
        place.call(twin.tally(), "other", called.append, 1)
    assert not called
    assert place.leave() == "item"


def test_of_two_threads_one_gets_what_is_in_the_place(twin: Twin) -> None:
    """Each call either ends with its item, or the other thread has it: never both, nor neither."""
    place, tally, taken, lost = twin.place(), twin.tally(), list[int](), list[int]()
    over = threading.Event()

    def negative(number: int) -> int:
        while number % 8 == 0 and place.held() is not None:
            pass  # until it is taken
        return -number

    def take() -> None:
        while not over.is_set():
            if place.held() is not None:
                try:
                    taken.append(place.leave())
                except IndexError:
                    continue

    taking = threading.Thread(target=take)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    taking.start()
    try:
        for number in range(20_000):
            try:
                assert place.call(tally, number, negative, number) == -number
            except twin.taken as error:
                lost.append(-error.args[0])
    finally:
        over.set()
        taking.join()
        sys.setswitchinterval(before)
    assert lost == taken
    assert 20_000 // 8 <= len(lost) < 20_000
    assert histogram(tally).count == 20_000


# Many calls.


def test_each_call_is_counted_once_however_they_are_timed(twin: Twin) -> None:
    tally, calls = twin.tally(), 0
    for count in (0, 1, 2, 7, 8, 9, 15, 16, 17, 1000):
        twin.call_each(bytes, iter([b""] * count), [], twin.taken_up(), 1 << 30, tally)
        calls += count
        assert histogram(tally).count == calls


def test_a_long_call_among_brief_ones_is_found(twin: Twin) -> None:
    """Brief calls are timed together; one that is not brief still is one of its own."""
    tally = twin.tally()
    longest = 0.02
    for place in range(12):
        messages = [b""] * 40
        messages[20 + place] = b"long"
        twin.call_each(
            lambda message: time.sleep(longest) if message else None,
            iter(messages),
            [],
            twin.taken_up(),
            1,
            tally,
        )
    found = histogram(tally)
    assert found.count == 12 * 40
    long = found.count - found.up_to([0.016])[0]
    assert long == 12
    assert found.total >= 12 * longest


@pytest.mark.parametrize("every", [2, 3, 5, 7, 8])
def test_long_calls_among_brief_ones_are_each_found(twin: Twin, every: int) -> None:
    """By groups that begin after a single brief one: most of them are taken for one long one."""
    tally = twin.tally()
    messages = [b"long" if n % every == 0 else b"" for n in range(20 * every)]

    def function(message: bytes) -> None:
        if message:
            time.sleep(0.0005)

    twin.call_each(function, iter(messages), [], twin.taken_up(), 1, tally)
    found = histogram(tally)
    assert found.count == len(messages)
    assert found.count - found.up_to([0.0004])[0] == 20


def test_slow_calls_are_timed_one_by_one(twin: Twin) -> None:
    tally = twin.tally()
    twin.call_each(lambda _: time.sleep(0.001), iter([b""] * 20), [], twin.taken_up(), 1, tally)
    found = histogram(tally)
    assert found.count - found.up_to([0.0008])[0] == 20


def test_a_call_that_raises_is_counted(twin: Twin) -> None:
    tally = twin.tally()

    def function(message: bytes) -> bytes:
        if message == b"9":
            raise ZeroDivisionError
        return message

    with pytest.raises(ZeroDivisionError):
        messages = iter(str(n).encode() for n in range(20))
        twin.call_each(function, messages, [], twin.taken_up(), 1 << 30, tally)
    assert histogram(tally).count == 10


def test_calling_for_each_message(twin: Twin) -> None:
    replies = [b"before"]
    messages = iter([b"a", b"none", b"b", b""])
    called: list[bytes] = []

    def function(message: bytes) -> bytes | None:
        called.append(message)
        return None if message == b"none" else message * 2

    assert twin.call_each(function, messages, replies, twin.taken_up(), 100, twin.tally()) is None
    assert called == [b"a", b"none", b"b", b""]
    assert replies == [b"before", b"aa", b"bb", b""]
    assert twin.call_each(function, messages, replies, twin.taken_up(), 100, twin.tally()) is None
    assert len(called) == 4


def test_calling_stops_at_what_is_neither_bytes_nor_nothing(twin: Twin) -> None:
    class Bytes(bytes):
        pass

    for odd in ([b"x"], bytearray(b"x"), "text", 0, False, Bytes(b"x"), ()):
        replies: list[bytes] = []
        messages = iter([b"1", b"odd", b"2"])
        found = twin.call_each(
            lambda message, odd=odd: odd if message == b"odd" else message,
            messages,
            replies,
            twin.taken_up(),
            100,
            twin.tally(),
        )
        assert found is not None
        assert found[0] is odd
        assert (replies, list(messages)) == ([b"1"], [b"2"])


def test_calling_stops_when_the_replies_have_more_than_the_room(twin: Twin) -> None:
    for room, handled in ((0, 1), (9, 1), (10, 2), (19, 2), (20, 3), (1000, 5)):
        replies: list[bytes] = []
        messages = iter([b"x"] * 5)
        assert (
            twin.call_each(lambda m: m * 10, messages, replies, twin.taken_up(), room, twin.tally())
            is None
        )
        assert len(replies) == handled
        assert operator.length_hint(messages) == 5 - handled


def test_nothing_is_called_without_room_or_with_nothing_in_the_place(twin: Twin) -> None:
    for place, room in ((twin.place(), 100), (twin.taken_up(), -1)):
        messages, replies = iter([b"1", b"2"]), list[bytes]()
        assert twin.call_each(bytes, messages, replies, place, room, twin.tally()) is None
        assert (replies, list(messages)) == ([], [b"1", b"2"])


def test_how_many_calls_are_timed_together() -> None:
    """As many as would be brief together, by the last ones."""
    tally = portable.Tally()
    groups = []
    for calls, each in [(1, 2e-6)] * 20 + [(8, 2e-6), (8, 1e-6), (16, 1e-6), (1, 2e-6), (16, 2e-6)]:
        assert calls <= tally.group
        tally.add_group(calls, calls * each)
        groups.append(tally.group)
    assert groups == [1] * 7 + [8] * 13 + [8, 16, 16, 16, 1]
    tally.add_group(1, 0.001)
    assert tally.group == 1


def test_calling_stops_when_the_place_is_empty(twin: Twin) -> None:
    """What was returned then is a reply all the same: the next caller goes on behind it."""
    place, replies = twin.taken_up(), list[bytes]()

    def function(message: bytes) -> bytes:
        if message == b"2":
            place.leave()
        return message

    messages = iter([b"1", b"2", b"3"])
    assert twin.call_each(function, messages, replies, place, 100, twin.tally()) is None
    assert replies == [b"1", b"2"]
    assert list(messages) == [b"3"]


def test_what_is_raised_while_calling_is_raised(twin: Twin) -> None:
    class OwnError(Exception):
        pass

    def function(message: bytes) -> bytes:
        if message == b"2":
            raise OwnError
        return message

    def failing() -> Iterator[bytes]:
        yield b"1"
        raise OwnError

    replies: list[bytes] = []
    messages = iter([b"1", b"2", b"3"])
    for source in (messages, failing()):
        with pytest.raises(OwnError):
            twin.call_each(function, source, replies, twin.taken_up(), 100, twin.tally())
    assert replies == [b"1", b"1"]
    assert list(messages) == [b"3"]


@pytest.mark.parametrize(
    "name",
    ["call_each", "timed", "Place.call", "Place.enter", "Place.held", "Place.leave", "Tally.add"],
)
def test_the_signatures_of_both_are_the_same(name: str) -> None:
    if SPEEDUPS is not None:
        in_c = inspect.signature(operator.attrgetter(name)(SPEEDUPS))
        in_python = inspect.signature(operator.attrgetter(name)(portable))
        assert list(in_c.parameters) == list(in_python.parameters)
