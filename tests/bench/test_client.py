"""Whether what comes is the right answer, however it is cut."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import threadwire
from threadwire.bench.client import Asked, Broken, Checker, Client
from threadwire.bench.expect import AnyReply, Echo, Expectation, Reverse
from threadwire.bench.messages import Sizes
from threadwire.bench.requests import Request, make_requests

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

quickly = settings(deadline=None)


class Conversation:
    """A client that has asked, and what its checker makes of what comes."""

    def __init__(
        self, framing: threadwire.Framing, expect: Expectation, requests: list[Request]
    ) -> None:
        self.right: list[Asked] = []
        self.wrong: list[str] = []
        self.client = Client(0)
        self.checker = Checker(
            framing, 1 << 20, expect, lambda asked, now: self.right.append(asked), self.wrong.append
        )
        for number, request in enumerate(requests):
            self.client.flight.append(Asked(request, float(number)))

    def hear(self, data: bytes, size: int = 1 << 20) -> None:
        for at in range(0, len(data), size):
            self.checker.take(self.client, data[at : at + size], NOW)

    @property
    def answered(self) -> list[int]:
        return [int(asked.due) for asked in self.right]


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


def test_what_is_told_of_an_end() -> None:
    requests = requests_of(LINES, Echo(), 1)
    conversation = Conversation(LINES, Echo(), requests)
    client, checker = conversation.client, conversation.checker
    assert "before it had replied" in checker.ended(client)
    assert checker.silence(client, 2) == "no reply within 2 s"
    conversation.hear(requests[0].frame[:1])
    assert "1 bytes into a reply" in checker.ended(client)
    assert checker.silence(client, 2).startswith("1 bytes of a reply")
    conversation.hear(requests[0].frame[1:])
    assert checker.ended(client) == "the service closed the connection"
