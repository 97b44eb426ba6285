"""What a handler's outcome means: single replies, generators' own ends, whose fault it was."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason, Connection, ConnectionClosed, UsageError
from threadwire.engine.outcomes import Resumed, as_bytes, as_parts, closing, each_part, explain
from threadwire.handler import Handler
from threadwire.rules import Rules
from threadwire.transport import Stream

from ..conftest import Events
from ..support import reverse


class Parts:
    """An iterator that notes what is done with it; it is no generator."""

    def __init__(self, *parts: object) -> None:
        self.left = list(parts)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self.left:
            raise StopIteration
        return self.left.pop(0)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_is_one_reply(kind: Any) -> None:
    assert list(as_parts(kind(b"x"))) == [b"x"]
    assert list(each_part(kind(b""))) == [b""]
    assert as_bytes(kind(b"x")) == b"x"
    assert type(as_bytes(kind(b"x"))) is bytes


def test_what_are_several() -> None:
    assert list(each_part([b"1", bytearray(b"2"), memoryview(b"3")])) == [b"1", b"2", b"3"]
    assert list(each_part(())) == []
    assert all(type(part) is bytes for part in each_part([bytearray(b"1")]))
    parts = Parts(b"1")
    assert as_parts(parts) is parts


@pytest.mark.parametrize("reply", ["text", 7, object(), 0.5])
def test_what_is_none(reply: object) -> None:
    with pytest.raises(UsageError, match=f"not {type(reply).__name__}"):
        as_parts(reply)
    with pytest.raises(UsageError, match=f"not {type(reply).__name__}"):
        as_bytes(reply)
    parts = each_part(reply)  # what is wrong with it is said when it is asked
    with pytest.raises(UsageError):
        next(parts)


def test_text_gets_a_hint() -> None:
    with pytest.raises(UsageError, match=r"text\.encode\(\)"):
        as_parts("text")
    with pytest.raises(UsageError, match=r"text\.encode\(\)"):
        as_bytes("text")


def test_nothing_of_the_users_runs_before_the_first_part_is_asked_for() -> None:
    class Untouched:
        def __iter__(self) -> Iterator[bytes]:
            raise ValueError("touched")

    parts = each_part(Untouched())
    with pytest.raises(ValueError, match="touched"):
        next(parts)
    each_part(Untouched()).close()  # type: ignore[attr-defined]


def test_each_part_closes_what_it_iterates_however_it_ends() -> None:
    used_up, left, wrong = Parts(b"1"), Parts(b"1", b"2"), Parts(b"1", "text", b"2")
    assert list(each_part(used_up)) == [b"1"]
    parts = each_part(left)
    assert next(parts) == b"1"
    parts.close()  # type: ignore[attr-defined]
    with pytest.raises(UsageError):
        list(each_part(wrong))
    assert (used_up.closed, left.closed, wrong.closed) == (1, 1, 1)
    assert (left.left, wrong.left) == ([b"2"], [b"2"])


def test_resuming_puts_the_part_that_was_taken_out_first() -> None:
    assert list(Resumed(b"1", Parts(b"2", b"3"))) == [b"1", b"2", b"3"]
    assert list(Resumed(b"", Parts(b"2"))) == [b"", b"2"]
    assert list(Resumed(None, Parts(b"2"))) == [b"2"]
    assert list(Resumed(None, Parts())) == []


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_what_is_resumed_closes_what_it_resumes(taken: int) -> None:
    left = Parts(b"2", b"3")
    parts = each_part(Resumed(b"1", left))
    for _ in range(taken):
        next(parts)
    before = left.closed
    parts.close()  # type: ignore[attr-defined]
    assert (before, left.closed > 0) == (0, True)


def test_closing_runs_a_generators_own_end() -> None:
    ended = []

    def generate() -> Iterator[bytes]:
        try:
            yield b"1"
            yield b"2"
        finally:
            ended.append(True)

    with pytest.raises(KeyError), closing(generate()) as parts:
        next(parts)
        raise KeyError
    assert ended == [True]
    with closing(None):
        pass
    with closing(iter((b"1",))) as plain:  # has no end of its own
        assert next(plain) == b"1"


class Home:
    def attend(self, connection: Connection, /) -> None:
        pass


@pytest.fixture
def connection(pair: tuple[Stream, socket.socket]) -> Connection:
    codec = threadwire.Lines().codec(3)
    return Connection(1, pair[0], codec, Home(), session=False, rules=Rules())


def test_an_end_that_the_handler_wants_is_nobodys_fault(
    connection: Connection, events: Events
) -> None:
    reason = explain(connection, Handler(reverse), threadwire.Close(b"bye"))
    assert reason is CloseReason.HANDLER_CLOSED
    assert not events.named("handler-failed")


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_handler_raises_is_its_fault(
    connection: Connection, events: Events, error: BaseException
) -> None:
    assert explain(connection, Handler(reverse), error) is CloseReason.HANDLER_FAILED
    (fields,) = events.named("handler-failed")
    assert fields["handler"] == "reverse"
    assert fields["error"] == type(error).__name__
    assert len(events.tracebacks()) == 1


def test_a_violation_is_the_peers_fault(connection: Connection, events: Events) -> None:
    connection.feed(b"four\n")
    with pytest.raises(threadwire.MessageTooLarge) as caught:
        connection.decoded()
    reason = explain(connection, Handler(reverse), caught.value)
    assert reason is CloseReason.MESSAGE_TOO_LARGE
    assert events.named("peer-fault")[0]["error"] == "MessageTooLarge"
    assert not events.named("handler-failed")


def test_a_violation_of_another_connection_is_the_handlers_fault(
    connection: Connection, events: Events
) -> None:
    """As where it talks to a server itself, and does not catch what that does."""
    error = threadwire.MessageTooLarge(3, 4, 0)
    assert explain(connection, Handler(reverse), error) is CloseReason.HANDLER_FAILED
    assert not events.named("peer-fault")
    assert len(events.named("handler-failed")) == 1


@pytest.mark.parametrize("known", [None, CloseReason.PEER_CLOSED])
def test_that_nobody_is_left_to_talk_to_is_an_ordinary_end(
    connection: Connection, events: Events, known: CloseReason | None
) -> None:
    if known is not None:
        connection.end_reading(known)
    error = ConnectionClosed(CloseReason.CUT)
    error.connection = connection
    assert explain(connection, Handler(reverse), error) is (known or CloseReason.PEER_RESET)
    assert not events.named("handler-failed")


def test_that_another_connection_has_ended_is_the_handlers_fault(
    connection: Connection, events: Events
) -> None:
    error = ConnectionClosed(CloseReason.CUT)
    assert explain(connection, Handler(reverse), error) is CloseReason.HANDLER_FAILED
    assert len(events.named("handler-failed")) == 1
