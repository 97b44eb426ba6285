"""One at a time, in order, whole, once: wherever a handler is called."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import threadwire
from threadwire import CloseReason

from ..conftest import Events, Serving
from ..support import Peer, eventually
from .ways import (
    NEVER,
    SOON,
    become_own,
    both_twins,
    every_form,
    in_form,
    leave_the_loop,
    only_connection,
)


@both_twins
@every_form
def test_replies_keep_their_order_on_the_way_to_a_thread_and_back(
    serving: Serving, form: str
) -> None:
    """Loop, hand-off in the middle of a chunk, own thread, loop again; two rounds of it.

    With the rest of the chunk not given to the stuck thread: the replies after "block" are
    missing.
    """
    handled: list[bytes] = []
    where: list[int | None] = []
    one_at_a_time = threading.Lock()
    server: threadwire.Server

    def function(message: bytes) -> bytes:
        (connection,) = server.connections
        assert one_at_a_time.acquire(blocking=False), "two at once"
        handled.append(message)
        if message.startswith(b"block"):
            become_own(connection)
        where.append(connection.owner)
        one_at_a_time.release()
        return b"re " + message

    server = serving(in_form(form, function), handoff_after=SOON)
    said: list[bytes] = []
    with Peer(server.address) as peer:
        connection = only_connection(server)
        for turn in range(2):
            chunk = [b"before %d %d" % (turn, n) for n in range(20)]
            chunk += [b"block %d" % turn]
            chunk += [b"after %d %d" % (turn, n) for n in range(20)]
            said += chunk
            peer.say(b"".join(message + b"\n" for message in chunk))
            for message in chunk:
                assert peer.hear_line() == b"re " + message + b"\n"
            for n in range(10_000):
                said.append(b"quick %d %d" % (turn, n))
                peer.say(said[-1] + b"\n")
                assert peer.hear_line() == b"re " + said[-1] + b"\n"
                if where[-1] is None:
                    break
            assert where[-1] is None, "it never came back to the loop"
            eventually(lambda: connection._here)
        peer.finish()
        assert peer.hear_all() == b""
    assert handled == said
    assert [place for message, place in zip(said, where, strict=True) if b"block" in message] != [
        None,
        None,
    ]


class Way(NamedTuple):
    """How messages come to their handler."""

    name: str
    first: bytes = b""  # said and handled before
    at_once: bool = False  # in one chunk, else one after the other
    middle: bool = False  # handed over by the second message of the chunk
    lent: bool = False  # on a thread from the first message on

    @property
    def alone(self) -> bool:
        return bool(self.first) or self.lent


WAYS = [
    Way("loop"),
    Way("loop, one chunk", at_once=True),
    Way("hand-off within a chunk", at_once=True, middle=True),
    Way("own thread", first=b"block"),
    Way("own thread, one chunk", first=b"block", at_once=True),
    Way("lent", lent=True),
    Way("lent, one chunk", lent=True, at_once=True),
]
every_way = pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])


def converse(
    serving: Serving, way: Way, form: str, words: list[bytes], replies: dict[bytes, Any]
) -> tuple[bytes, list[bytes]]:
    """Say ``words``, whose replies are made by ``replies``; what was heard, what was handled."""
    handled: list[bytes] = []
    server: threadwire.Server

    def function(message: bytes) -> Any:
        (connection,) = server.connections
        if message == b"block":
            become_own(connection)
            return None
        handled.append(message)
        if not way.middle:
            assert (connection.owner == threading.get_ident()) == way.alone
        return replies[message]()

    patience = 0.001 if way.first or way.middle else NEVER
    server = serving(in_form(form, function), handoff_after=patience)
    with Peer(server.address) as peer:
        connection = only_connection(server)
        if way.lent:
            eventually(lambda: connection._quick)
            leave_the_loop(connection)
        if way.first:
            peer.say(way.first + b"\n")
            eventually(lambda: connection.owner)
        if way.middle:
            words = [words[0], b"block", *words[1:]]
        if way.at_once:
            peer.say(b"".join(word + b"\n" for word in words))
        else:
            for n, word in enumerate(words):
                with contextlib.suppress(OSError):  # it may have ended by the one before
                    peer.say(word + b"\n")
                eventually(lambda n=n: len(handled) > n or connection.closed)  # type: ignore[misc]
        with contextlib.suppress(OSError):
            peer.finish()
        return peer.hear_all(), handled


@both_twins
@every_form
@every_way
def test_replies_of_every_kind_are_the_same_wherever_the_handler_is_called(
    serving: Serving, way: Way, form: str
) -> None:
    """With the rest of a chunk forgotten at a reply that is not bytes: all after "bytearray" is
    missing where it came in one chunk.
    """
    kinds: dict[bytes, tuple[Callable[[], Any], bytes]] = {
        b"bytes": (lambda: b"1", b"1\n"),
        b"bytearray": (lambda: bytearray(b"2"), b"2\n"),
        b"memoryview": (lambda: memoryview(b"3"), b"3\n"),
        b"none": (lambda: None, b""),
        b"list": (lambda: [b"4", bytearray(b"5"), memoryview(b"6")], b"4\n5\n6\n"),
        b"tuple of none": (lambda: (), b""),
        b"generator": (lambda: (part for part in (b"7", bytearray(b"8"))), b"7\n8\n"),
        b"empty": (lambda: b"", b"\n"),
        b"last": (lambda: b"10", b"10\n"),
    }
    words = list(kinds)
    heard, handled = converse(
        serving, way, form, words, {word: make for word, (make, _) in kinds.items()}
    )
    assert handled == words
    assert heard == b"".join(kinds[word][1] for word in words)


def _raising(error: BaseException) -> Callable[[], Any]:
    def make() -> Any:
        raise error

    return make


def _two_then(error: BaseException) -> Callable[[], Any]:
    def parts() -> Iterator[bytes]:
        yield b"one"
        yield b"two"
        raise error

    return parts


ENDS: dict[str, tuple[Callable[[], Any], bytes, CloseReason]] = {
    "close": (_raising(threadwire.Close()), b"", CloseReason.HANDLER_CLOSED),
    "close with a reply": (
        _raising(threadwire.Close(b"bye")),
        b"bye\n",
        CloseReason.HANDLER_CLOSED,
    ),
    "close with what is no reply": (
        _raising(threadwire.Close("bye")),  # type: ignore[arg-type]
        b"",
        CloseReason.HANDLER_FAILED,
    ),
    "close with what cannot be framed": (
        _raising(threadwire.Close(b"b\nye")),
        b"",
        CloseReason.HANDLER_FAILED,
    ),
    "close among several": (
        _two_then(threadwire.Close(b"3")),
        b"one\ntwo\n3\n",
        CloseReason.HANDLER_CLOSED,
    ),
    "raising": (_raising(ValueError("no")), b"", CloseReason.HANDLER_FAILED),
    "exiting": (_raising(SystemExit(3)), b"", CloseReason.HANDLER_FAILED),
    "raising among several": (
        _two_then(ValueError("no")),
        b"one\ntwo\n",
        CloseReason.HANDLER_FAILED,
    ),
    "what cannot be framed": (lambda: b"a\nb", b"", CloseReason.HANDLER_FAILED),
    "such among several": (lambda: [b"one", b"a\nb", b"two"], b"one\n", CloseReason.HANDLER_FAILED),
    "text": (lambda: "text", b"", CloseReason.HANDLER_FAILED),
    "a number": (lambda: 7, b"", CloseReason.HANDLER_FAILED),
    "text among several": (lambda: [b"one", "text", b"two"], b"one\n", CloseReason.HANDLER_FAILED),
}


@both_twins
@every_form
@every_way
@pytest.mark.parametrize("end", list(ENDS))
def test_whatever_ends_a_connection_ends_it_alike_wherever_the_handler_is_called(
    serving: Serving, events: Events, way: Way, form: str, end: str
) -> None:
    """The replies before it arrive, nothing after it is answered, and the reason is the same.

    With the reply of a ``Close`` not sent by the loop: "bye" is missing there.
    """
    make, rest, reason = ENDS[end]
    words = [b"before", b"end", b"after"]
    heard, handled = converse(
        serving, way, form, words, {b"before": lambda: b"1", b"end": make, b"after": lambda: b"2"}
    )
    assert heard == b"1\n" + rest
    assert handled[:2] == words[:2]
    assert events.closed_reason() is reason
    assert len(events.named("handler-failed")) == (reason is CloseReason.HANDLER_FAILED)
