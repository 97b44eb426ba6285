"""Whether what comes is the right answer, however it is cut."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import threadwire
from threadwire.bench.client import Asked, Broken, Checker, Client
from threadwire.bench.expect import AnyReply, Echo, Expectation, Reverse
from threadwire.bench.messages import Sizes
from threadwire.bench.requests import Burst, Request, make_requests

LINES, RAW = threadwire.Lines(), threadwire.Raw()
FRAMINGS = [
    LINES,
    threadwire.Lines(b"\r\n"),
    threadwire.Delimited(b";;"),
    threadwire.Netstring(),
    threadwire.LengthPrefixed(2),
    RAW,
]
NOW = 100.0
TOGETHER = [(5,), (2, 3), (1, 3, 1), (1, 1, 1, 1, 1)]  # of five requests

quickly = settings(deadline=None)


class Conversation:
    """A client that has asked, and what its checker makes of what comes.

    ``together`` says how many of the requests were sent at a time: the first of them at 0, the
    next ones at 1, and so on. ``unsent``: the last of them have not been sent yet. ``bursts``:
    replies to what was sent together are checked together.
    """

    def __init__(
        self,
        framing: threadwire.Framing,
        expect: Expectation,
        requests: list[Request],
        together: Sequence[int] = (),
        *,
        bursts: bool = False,
        unsent: bool = False,
    ) -> None:
        self.right: list[tuple[int, float]] = []  # which request, and the seconds it took
        self.wrong: list[str] = []
        self.in_bursts = 0  # of those that were right
        self.client = Client(0)
        self.now = NOW
        self._requests = requests
        self._checker = Checker(
            framing, 1 << 20, expect, self._answered, self._counted, self.wrong.append
        )
        times = [float(n) for n in range(len(together) or 1)]
        if unsent:
            times[-1] = math.inf
        left = iter(requests)
        for sent, count in zip(times, together or [len(requests)], strict=True):
            some = list(itertools.islice(left, count))
            if bursts:
                burst = Burst(some)
                burst.sent = sent
                self.client.bursts.append(burst)
                self.client.burst_count += count
            else:
                for asked in map(Asked, some):
                    asked.sent = sent
                    self.client.flight.append(asked)

    def _answered(self, asked: Asked, now: float) -> None:
        number = next(n for n, other in enumerate(self._requests) if other is asked.request)
        self.right.append((number, now - asked.sent))

    def _counted(self, seconds: float, count: int) -> None:
        assert count > 0
        self.in_bursts += count
        first = len(self.right)  # for none before it can have been wrong
        self.right += [(number, seconds) for number in range(first, first + count)]

    def hear(self, data: bytes, size: int = 1 << 20) -> None:
        """``data`` comes in reads of ``size`` bytes, a second apart."""
        for at in range(0, len(data), size):
            self._checker.take(self.client, data[at : at + size], self.now)
            self.now += 1

    @property
    def answered(self) -> list[int]:
        return [number for number, _ in self.right]

    @property
    def told(self) -> tuple[str, str]:
        """What would be told of it if the service ended it now, or said nothing more."""
        return self._checker.ended(self.client), self._checker.silence(self.client, 2)


@functools.cache
def requests_of(
    framing: threadwire.Framing, expect: Expectation, count: int = 5, high: int = 40
) -> list[Request]:
    return make_requests(Sizes(1, high, seed=count), framing, expect)[:count]


@quickly
@given(st.sampled_from(FRAMINGS), st.sampled_from([Echo(), Reverse()]), st.integers(1, 200))
def test_right_replies_are_right_however_they_are_cut(
    framing: threadwire.Framing, expect: Expectation, size: int
) -> None:
    requests = requests_of(framing, expect)
    conversation = Conversation(framing, expect, requests)
    conversation.hear(b"".join(request.reply or b"" for request in requests), size)
    assert conversation.answered == [0, 1, 2, 3, 4]
    assert not conversation.wrong
    assert conversation.client.codec is None, "nothing had to be decoded"


@quickly
@given(
    st.sampled_from(FRAMINGS),
    st.sampled_from([Echo(), Reverse()]),
    st.sampled_from(TOGETHER),
    st.integers(1, 200),
)
def test_right_replies_to_bursts_are_checked_together(
    framing: threadwire.Framing, expect: Expectation, together: Sequence[int], size: int
) -> None:
    requests = requests_of(framing, expect)
    conversation = Conversation(framing, expect, requests, together, bursts=True)
    conversation.hear(b"".join(request.reply or b"" for request in requests), size)
    assert conversation.answered == [0, 1, 2, 3, 4]
    assert conversation.in_bursts == 5
    assert conversation.client.codec is None


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from(FRAMINGS),
    st.sampled_from(TOGETHER),
    st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=3)), max_size=2),
    st.integers(0, 300),
    st.integers(1, 200),
    st.booleans(),
)
def test_bursts_are_taken_as_their_requests_would_be(
    framing: threadwire.Framing,
    together: Sequence[int],
    damages: list[tuple[int, bytes]],
    cut: int,
    size: int,
    unsent: bool,
) -> None:
    """Whatever comes, what is counted, how long it took and what is told is the same."""
    requests = requests_of(framing, Echo())
    data = bytearray(b"".join(request.frame for request in requests) * 2)
    for at, damage in damages:
        data[at : at + len(damage)] = damage
    outcomes = []
    for bursts in (False, True):
        conversation = Conversation(
            framing, Echo(), requests, together, bursts=bursts, unsent=unsent
        )
        broken = None
        try:
            conversation.hear(bytes(data[:cut]), size)
        except Broken as caught:
            broken = (caught.kind, caught.example)
        client = conversation.client
        left = (client.unanswered, client.waits_since, client.codec is None)
        outcomes.append((conversation.right, conversation.wrong, broken, left, conversation.told))
    assert outcomes[0] == outcomes[1]


@quickly
@given(st.sampled_from(FRAMINGS[:5]), st.integers(1, 200))
def test_any_replies_are_counted_however_they_are_cut(
    framing: threadwire.Framing, size: int
) -> None:
    requests = requests_of(framing, AnyReply())
    conversation = Conversation(framing, AnyReply(), requests)
    conversation.hear(b"".join(request.frame for request in requests), size)
    assert conversation.answered == [0, 1, 2, 3, 4]


@quickly
@given(st.sampled_from(FRAMINGS[:5]), st.integers(0, 4), st.integers(1, 200))
def test_a_wrong_reply_is_found_and_the_others_stay_right(
    framing: threadwire.Framing, which: int, size: int
) -> None:
    requests = requests_of(framing, Echo())
    conversation = Conversation(framing, Echo(), requests)
    frames = [request.frame for request in requests]
    frames[which] = framing.codec().encode(b"wrong" + requests[which].message)
    conversation.hear(b"".join(frames), size)
    assert conversation.answered == [n for n in range(5) if n != which]
    (problem,) = conversation.wrong
    assert "expected" in problem


@quickly
@given(st.integers(0, 4), st.integers(0, 39), st.integers(1, 200))
def test_one_wrong_byte_ends_a_raw_connection(which: int, at: int, size: int) -> None:
    requests = requests_of(RAW, Echo())
    conversation = Conversation(RAW, Echo(), requests)
    frames = [bytearray(request.frame) for request in requests]
    at %= len(frames[which])
    frames[which][at] ^= 1
    with pytest.raises(Broken) as caught:
        conversation.hear(b"".join(frames), size)
    assert caught.value.kind == "wrong-reply"
    assert conversation.answered == list(range(which))


@quickly
@given(
    st.sampled_from(
        [(f, e) for f in FRAMINGS for e in (Echo(), AnyReply()) if f != RAW or e == Echo()]
    ),
    st.integers(1, 200),
)
def test_more_than_was_asked_for_is_too_much(
    how: tuple[threadwire.Framing, Expectation], size: int
) -> None:
    framing, expect = how
    requests = requests_of(framing, expect, high=5)
    conversation = Conversation(framing, expect, requests)
    data = b"".join(request.frame for request in requests)
    with pytest.raises(Broken) as caught:
        conversation.hear(data * 7, size)
    assert caught.value.kind == "too-much"
    assert len(conversation.answered) == 5


def test_a_line_may_end_in_another_way() -> None:
    requests = requests_of(LINES, Reverse(), 3)
    conversation = Conversation(LINES, Reverse(), requests)
    for request in requests:
        conversation.hear(request.message[::-1] + b"\r\n")
    assert conversation.answered == [0, 1, 2]


def test_a_raw_reply_that_is_not_known_is_what_one_read_brings() -> None:
    requests = requests_of(RAW, AnyReply(), 1)
    conversation = Conversation(RAW, AnyReply(), requests)
    conversation.hear(b"whatever")
    assert conversation.answered == [0]


@pytest.mark.parametrize("expect", [Echo(), AnyReply()])
def test_bytes_that_break_the_framing_end_the_connection(expect: Expectation) -> None:
    framing = threadwire.Netstring()
    conversation = Conversation(framing, expect, requests_of(framing, expect))
    with pytest.raises(Broken) as caught:
        conversation.hear(b"nonsense")
    assert caught.value.kind == "framing"
    assert "netstring" in caught.value.example


def test_a_reply_without_end_ends_the_connection() -> None:
    conversation = Conversation(LINES, AnyReply(), requests_of(LINES, AnyReply()))
    with pytest.raises(Broken) as caught:
        conversation.hear(b"x" * (2 << 20), 65536)
    assert caught.value.kind == "framing"
    assert "max_message" in caught.value.example


@pytest.mark.parametrize("expect", [Echo(), AnyReply()], ids=str)
def test_nothing_is_a_reply_to_what_was_not_sent_yet(expect: Expectation) -> None:
    request = requests_of(LINES, expect)[0]
    conversation = Conversation(LINES, expect, [request])
    conversation.client.flight[0].sent = math.inf
    with pytest.raises(Broken) as broken:
        conversation.hear(request.frame)
    assert broken.value.kind == "too-much"
    assert not conversation.right


@pytest.mark.parametrize("expect", [Echo(), AnyReply()], ids=str)
def test_nor_is_what_comes_right_behind_a_reply(expect: Expectation) -> None:
    sent, unsent = requests_of(LINES, expect)[:2]
    conversation = Conversation(LINES, expect, [sent, unsent])
    conversation.client.flight[1].sent = math.inf
    with pytest.raises(Broken) as broken:
        conversation.hear(sent.frame + unsent.frame)
    assert broken.value.kind == "too-much"
    assert conversation.answered == [0]


def test_what_is_told_of_an_end() -> None:
    requests = requests_of(LINES, Echo(), 1)
    conversation = Conversation(LINES, Echo(), requests)
    assert "before it had replied" in conversation.told[0]
    assert conversation.told[1] == "no reply within 2 s"
    conversation.hear(requests[0].frame[:1])
    assert "1 bytes into a reply" in conversation.told[0]
    assert conversation.told[1].startswith("1 bytes of a reply")
    conversation.hear(requests[0].frame[1:])
    assert conversation.told[0] == "the service closed the connection"
