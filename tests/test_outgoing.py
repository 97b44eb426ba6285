"""Outgoing: the order of what waits, what cannot be framed, and the counts."""

from __future__ import annotations

import socket
from typing import Any, TypeAlias

import pytest

import threadwire
from threadwire import UnencodableMessage, UsageError
from threadwire.framing.delimited import LineCodec
from threadwire.outgoing import Outgoing, require_frame
from threadwire.transport import Stream

Pair: TypeAlias = tuple[Stream, socket.socket]


@pytest.fixture
def outgoing(pair: Pair) -> Outgoing:
    return Outgoing(pair[0], threadwire.Lines().codec(1 << 20))


def counts(outgoing: Outgoing) -> tuple[int, int]:
    return outgoing.messages_sent, outgoing.bytes_sent


def test_nothing_is_pending(outgoing: Outgoing) -> None:
    assert outgoing.take_pending() == b""
    assert outgoing.take_pending(b"news\n") == b"news\n"
    assert counts(outgoing) == (0, 0)  # data is its sender's to count


def test_frames_come_before_replies_and_both_before_data(outgoing: Outgoing) -> None:
    outgoing.pending().append(b"frame\n")
    outgoing.replies().extend([b"one", b"two"])
    assert outgoing.take_pending(b"news\n") == b"frame\none\ntwo\nnews\n"
    assert counts(outgoing) == (2, 14)
    assert not outgoing._pending
    assert not outgoing._raw
    assert outgoing.take_pending() == b""
    assert outgoing.take_unframed() is None


def test_what_is_taken_alone_is_not_copied(outgoing: Outgoing) -> None:
    frame = b"frame\n"
    outgoing.pending().append(frame)
    assert outgoing.take_pending() is frame


def test_what_is_put_back_comes_first_and_is_counted_once(outgoing: Outgoing) -> None:
    outgoing.replies().extend([b"one", b"two"])
    taken = outgoing.take_pending()
    assert counts(outgoing) == (2, 8)
    outgoing.pending().append(b"frame\n")
    outgoing.replies().append(b"three")
    outgoing.put_back(memoryview(taken)[3:])
    again = outgoing.take_pending()
    assert again == b"\ntwo\nframe\nthree\n"
    assert counts(outgoing) == (3, 20)
    outgoing.put_back(memoryview(again)[11:])
    rest = outgoing.take_pending()
    assert bytes(rest) == b"three\n"
    assert counts(outgoing) == (3, 20)


@pytest.mark.parametrize("before", [0, 1, 2])
def test_one_in_the_middle_cannot_be_framed(outgoing: Outgoing, before: int) -> None:
    """Those before it are sent and counted; it, and what comes behind it, are nothing."""
    fine = [b"%d" % n for n in range(before)]
    outgoing.pending().append(b"frame\n")
    outgoing.replies().extend([*fine, b"n\no", b"never"])
    frames = b"frame\n" + b"".join(reply + b"\n" for reply in fine)
    assert outgoing.take_pending() == frames
    assert counts(outgoing) == (before, len(frames))
    outgoing.replies().append(b"nor this")
    assert outgoing.take_pending(b"news\n") == b"news\n"
    assert counts(outgoing) == (before, len(frames))
    assert isinstance(outgoing.take_unframed(), UnencodableMessage)
    assert outgoing._raw is None
    assert outgoing.take_unframed() is None
    outgoing.replies().append(b"later")  # as the reply of a Close
    assert outgoing.take_pending() == b"later\n"


def test_what_the_owner_appends_meanwhile_stays(pair: Pair) -> None:
    class Slow(LineCodec):
        def encode_all(self, messages: list[bytes]) -> bytes:
            made.replies().append(b"meanwhile")
            return super().encode_all(messages)

    made = Outgoing(pair[0], Slow(1 << 20, threadwire.Lines()))
    made.replies().append(b"x")
    assert made.take_pending() == b"x\n"
    assert counts(made) == (1, 2)
    assert made._raw == [b"meanwhile"]
    assert made.take_pending() == b"meanwhile\n"
    assert counts(made) == (2, 12)


def test_a_codec_that_fails_for_many_is_asked_for_each(pair: Pair) -> None:
    class Odd(LineCodec):
        def encode_all(self, messages: list[bytes]) -> Any:
            return "text"

        def encode(self, message: bytes) -> Any:
            return "text" if message == b"text" else super().encode(message)

    outgoing = Outgoing(pair[0], Odd(1 << 20, threadwire.Lines()))
    outgoing.replies().extend([b"one", b"text", b"two"])
    assert outgoing.take_pending() == b"one\n"
    assert counts(outgoing) == (1, 4)
    error = outgoing.take_unframed()
    assert isinstance(error, UsageError)
    assert "must return bytes, not str" in str(error)


def test_what_could_not_be_framed_is_not_tried_again(pair: Pair) -> None:
    """Even if it could be by now: its owner is told that it could not."""
    wrong = [True]

    class Fickle(LineCodec):
        def encode_all(self, messages: list[bytes]) -> bytes:
            return b"".join(map(self.encode, messages))

        def encode(self, message: bytes) -> bytes:
            if wrong:
                raise ValueError("not now")
            return super().encode(message)

    outgoing = Outgoing(pair[0], Fickle(1 << 20, threadwire.Lines()))
    outgoing.replies().append(b"x")
    assert outgoing.take_pending() == b""
    wrong.clear()
    assert outgoing.take_pending() == b""
    assert isinstance(outgoing.take_unframed(), ValueError)
    assert outgoing.take_pending() == b""
    assert counts(outgoing) == (0, 0)


def test_the_short_ways_counts_are_added(outgoing: Outgoing) -> None:
    outgoing._answered, outgoing._framed = 3, 30
    outgoing.replies().append(b"x")
    outgoing.take_pending()
    assert counts(outgoing) == (4, 32)


@pytest.mark.parametrize("frame", [bytearray(b"x"), memoryview(b"x"), "x", None])
def test_only_bytes_are_a_frame(frame: object) -> None:
    require_frame(b"")
    with pytest.raises(UsageError, match="must return bytes"):
        require_frame(frame)
