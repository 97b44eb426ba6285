"""Incoming: how far a drain lets a connection read, and when its end has come."""

from __future__ import annotations

import socket
from typing import TypeAlias

import pytest

import threadwire
from threadwire import CloseReason, TruncatedMessage
from threadwire.incoming import Incoming, reason_of
from threadwire.limits import READ_SIZE
from threadwire.transport import Stream

Pair: TypeAlias = tuple[Stream, socket.socket]


@pytest.fixture
def incoming(pair: Pair) -> Incoming:
    return Incoming(pair[0], threadwire.Lines().codec(1 << 20))


def read(incoming: Incoming) -> int:
    """Read as much as is allowed, once; returns how much that was."""
    allowed = incoming.allowance()
    data = incoming._stream.read_nowait(allowed) if allowed else None
    incoming.feed(data or b"")
    return len(data or b"")


def all_decoded(incoming: Incoming) -> list[bytes]:
    found = []
    while not incoming.finished and (message := incoming.decoded()) is not None:
        found.append(message)
    return found


def test_without_a_drain_reads_are_as_large_as_they_may_be(incoming: Incoming, pair: Pair) -> None:
    pair[1].sendall(b"x\n")
    assert incoming.allowance() == READ_SIZE.whole
    assert not incoming.is_over()
    assert incoming._budget is None


def test_a_drain_that_finds_nothing_begun_is_the_end(incoming: Incoming) -> None:
    incoming._draining = True
    assert incoming.allowance() == 0
    assert incoming.is_over()
    assert incoming.end_reason is CloseReason.DRAINED
    assert not incoming.finished


def test_a_drain_lets_what_had_arrived_be_read_and_nothing_that_comes_later(
    incoming: Incoming, pair: Pair
) -> None:
    pair[1].sendall(b"one\ntwo\n")
    incoming._draining = True
    assert incoming.allowance() == 8
    pair[1].sendall(b"late\n")
    assert incoming.allowance() == 8
    assert read(incoming) == 8
    assert all_decoded(incoming) == [b"one", b"two"]
    assert incoming.allowance() == 0
    assert incoming.is_over()
    assert incoming.end_reason is CloseReason.DRAINED


def test_more_than_a_read_had_arrived_when_the_drain_came(incoming: Incoming, pair: Pair) -> None:
    size = READ_SIZE.whole + 1000
    pair[1].sendall(b"x" * (size - 1) + b"\n")
    incoming._draining = True
    assert read(incoming) == READ_SIZE.whole
    assert not incoming.is_over()
    assert incoming.allowance() == 1000
    assert read(incoming) == 1000
    assert all_decoded(incoming) == [b"x" * (size - 1)]
    assert incoming.is_over()


def test_what_is_read_beyond_the_budget_leaves_nothing_of_it(
    incoming: Incoming, pair: Pair
) -> None:
    """As by a thread that was in a read when the drain came."""
    pair[1].sendall(b"on")
    incoming._draining = True
    assert incoming.allowance() == 2
    incoming.feed(b"one\n")
    assert incoming._budget == 0
    assert all_decoded(incoming) == [b"one"]
    assert incoming.allowance() == 0


def test_the_message_that_a_drain_finds_begun_is_the_last(incoming: Incoming, pair: Pair) -> None:
    pair[1].sendall(b"whole\nbeg")
    incoming._draining = True
    assert read(incoming) == 9
    assert all_decoded(incoming) == [b"whole"]
    assert not incoming.is_over()
    assert incoming.allowance() == READ_SIZE.whole
    pair[1].sendall(b"un\nnever\n")
    assert read(incoming) == 9
    assert all_decoded(incoming) == [b"begun"]
    assert incoming.finished
    assert incoming.is_over()
    assert incoming.end_reason is CloseReason.DRAINED


def test_the_stream_ends_while_it_drains(incoming: Incoming, pair: Pair) -> None:
    pair[1].sendall(b"beg")
    incoming._draining = True
    assert read(incoming) == 3
    assert incoming.decoded() is None
    incoming.note_peer_end(CloseReason.PEER_CLOSED)
    assert incoming.is_over()
    assert incoming.end_reason is CloseReason.DRAINED
    with pytest.raises(TruncatedMessage) as caught:
        incoming.decoded()
    assert incoming.violation is caught.value
    assert reason_of(caught.value) is CloseReason.FRAMING_ERROR


def test_a_reset_is_no_drain(incoming: Incoming) -> None:
    incoming._draining = True
    incoming.note_peer_end(CloseReason.PEER_RESET, stop=True)
    assert incoming.end_reason is CloseReason.PEER_RESET


@pytest.mark.parametrize("stop", [False, True])
def test_what_has_been_read_is_handled_after_the_end_unless_it_is_to_stop(
    incoming: Incoming, stop: bool
) -> None:
    incoming.feed(b"one\ntwo\n")
    incoming.end_reading(CloseReason.PEER_CLOSED, stop=stop)
    assert incoming.is_over()
    assert incoming.finished is stop
    assert all_decoded(incoming) == ([] if stop else [b"one", b"two"])


def test_the_first_reason_to_read_no_more_stays(incoming: Incoming) -> None:
    incoming.end_reading(CloseReason.PEER_CLOSED)
    incoming.end_reading(CloseReason.PEER_RESET, stop=True)
    assert incoming.end_reason is CloseReason.PEER_CLOSED
    assert incoming.finished


@pytest.mark.parametrize("deaf", [False, True])
def test_an_end_that_we_have_made_ourselves_is_not_the_peers(
    incoming: Incoming, deaf: bool
) -> None:
    incoming._deaf = deaf
    incoming.note_peer_end(CloseReason.PEER_CLOSED)
    assert incoming._peer_gone is not deaf


def test_closing_is_the_end_of_all(incoming: Incoming) -> None:
    incoming.feed(b"x\n")
    incoming._closing = True
    assert incoming.finished
    assert incoming.is_over()
    assert incoming.end_reason is None


def test_a_message_too_large_is_the_peers_fault(pair: Pair) -> None:
    incoming = Incoming(pair[0], threadwire.Lines().codec(3))
    incoming.feed(b"four\n")
    with pytest.raises(threadwire.MessageTooLarge) as caught:
        incoming.decoded()
    assert incoming.violation is caught.value
    assert reason_of(caught.value) is CloseReason.MESSAGE_TOO_LARGE
    assert incoming.is_over()
    assert incoming.messages_received == 0
