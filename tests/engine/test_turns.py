"""Turns: framings of the user's that raise, wherever they are called; what is told of a message."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason
from threadwire.framing.delimited import LineCodec

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, wait_for


class Failing(LineCodec):
    """Raises what it is told to, in the method that it is told, from then on."""

    method = ""
    error: BaseException = ValueError()

    def _fail(self, method: str) -> None:
        if method == self.method:
            raise self.error

    def feed(self, data: bytes) -> None:
        self._fail("feed")
        super().feed(data)

    def end(self) -> None:
        self._fail("end")
        super().end()

    def next_message(self) -> bytes | None:
        self._fail("next_message")
        return super().next_message()

    def only_message(self, data: bytes) -> bytes | None:
        self._fail("only_message")
        return super().only_message(data)

    def messages(self, data: bytes) -> list[bytes]:
        self._fail("messages")
        return super().messages(data)

    def encode(self, message: bytes) -> bytes:
        self._fail("encode")
        return super().encode(message)

    def encode_all(self, messages: list[bytes]) -> bytes:
        self._fail("encode_all")
        return super().encode_all(messages)

    def settle(self) -> None:
        self._fail("settle")

    @property
    def patience(self) -> float | None:
        self._fail("patience")
        return 0.001 if self.method == "settle" and self.unread else None


class Odd(threadwire.Lines):
    """Lines, whose second connection's codec fails."""

    def __init__(self, method: str, error: BaseException) -> None:
        super().__init__()
        self.codecs: list[LineCodec] = []
        self.method, self.error = method, error

    __slots__ = ("codecs", "error", "method")

    def codec(self, max_message: int = 0) -> threadwire.Codec:
        class Codec(Failing):
            method = self.method if len(self.codecs) == 2 else ""  # the first is made to try it
            error = self.error

        self.codecs.append(Codec(1 << 20, self))
        return self.codecs[-1]


CALLS: dict[str, Callable[[Peer], None]] = {
    "feed": lambda peer: peer.say(b"x"),
    "next_message": lambda peer: peer.say(b"x"),
    "only_message": lambda peer: peer.say(b"x\n"),
    "messages": lambda peer: peer.say(b"x\ny\n"),
    "encode": lambda peer: peer.say(b"x\n"),
    "encode_all": lambda peer: peer.say(b"x\ny\n"),
    "settle": lambda peer: peer.say(b"x"),
    "patience": lambda peer: peer.say(b"x"),
    "end": lambda peer: peer.finish(),
}


TRIED = [
    pytest.param(
        method,
        error,
        id=f"{method}-{type(error).__name__}",
    )
    for method in CALLS
    for error in (ValueError("odd"), SystemExit(3))
]


@pytest.mark.parametrize("form", ["message", "message and connection"])
@pytest.mark.parametrize(("method", "error"), TRIED)
def test_a_framing_that_raises_ends_its_own_connection_alone(
    serving: Serving, events: Events, method: str, error: BaseException, form: str
) -> None:
    handler: Any = {
        "message": lambda message: message,
        "message and connection": lambda message, connection: message,
    }[form]
    server = serving(handler, framing=Odd(method, error))
    with Peer(server.address) as other:
        other.say(b"before\n")
        assert other.hear_line() == b"before\n"
        with Peer(server.address) as peer:
            CALLS[method](peer)
            if method == "encode_all":  # found out again, one by one
                if isinstance(error, Exception):
                    assert peer.hear(4) == b"x\ny\n"
            else:
                assert peer.hear_all() == b""
        eventually(lambda: len(server.connections) == 1)
        for _ in range(3):
            other.say(b"after\nand after\n")
            assert other.hear(16) == b"after\nand after\n"
    assert not events.named("engine-failed")


@pytest.mark.parametrize("method", ["feed", "next_message", "encode", "end"])
def test_a_framing_that_raises_on_an_own_thread(
    serving: Serving, events: Events, method: str
) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def handler(message: bytes) -> bytes | None:
        if message == b"block":
            handling.set()
            wait_for(go_on)
            return None
        return message

    framing = Odd("", ValueError("odd"))
    server = serving(handler, framing=framing)
    with Peer(server.address) as peer, Peer(server.address) as other:
        peer.say(b"block\n")
        wait_for(handling)
        eventually(lambda: any(connection.owner for connection in server.connections))
        (owned,) = (connection for connection in server.connections if connection.owner)
        type(owned._codec).method = method  # type: ignore[attr-defined]
        go_on.set()
        CALLS[method](peer)
        assert peer.hear_all() == b""
        eventually(lambda: len(server.connections) == 1)
        other.say(b"after\n")
        assert other.hear_line() == b"after\n"
    assert events.named("closed")[0]["reason"] is CloseReason.HANDLER_FAILED


def test_a_framing_that_raises_while_the_server_drains(serving: Serving, events: Events) -> None:
    server = serving(lambda message: message, framing=Odd("end", ValueError("odd")))
    with Peer(server.address) as one:
        eventually(lambda: len(server.connections) == 1)
        with Peer(server.address) as two, Peer(server.address) as three:
            for peer in (one, three):
                peer.say(b"x\n")
                assert peer.hear_line() == b"x\n"
            eventually(lambda: len(server.connections) == 3)
            closer = threading.Thread(target=server.close)
            closer.start()
            for peer in (one, two, three):
                assert peer.hear_all() == b""
                peer.close()
            closer.join(PATIENCE)
    assert server.close().cut == ()


def test_codecs_that_give_what_is_no_frame(serving: Serving, events: Events) -> None:
    class Text(threadwire.Lines):
        def codec(self, max_message: int = 0) -> threadwire.Codec:
            class Codec(LineCodec):
                def encode(self, message: bytes) -> Any:
                    return "text" if message == b"text" else super().encode(message)

                def encode_all(self, messages: list[bytes]) -> bytes:
                    return b"".join(map(self.encode, messages))

            return Codec(1 << 20, self)

    server = serving(lambda message: message, framing=Text())
    for said, heard in ((b"text\n", b""), (b"a\ntext\nb\n", b"a\n")):
        with Peer(server.address) as peer:
            peer.say(said)
            assert peer.hear_all() == heard
    eventually(lambda: len(events.named("closed")) == 2)
    assert {fields["reason"] for fields in events.named("closed")} == {CloseReason.HANDLER_FAILED}
    assert all("bytes, not str" in str(f["detail"]) for f in events.named("handler-failed"))


@pytest.mark.parametrize("at_once", [True, False])
def test_each_message_is_told_where_that_is_wanted(
    serving: Serving, caplog: pytest.LogCaptureFixture, at_once: bool
) -> None:
    caplog.set_level(logging.DEBUG, logger="threadwire")
    events = Events(caplog)
    replies: dict[bytes, Any] = {b"one": b"1", b"none": None, b"two": [b"1", b"22"]}
    server = serving(lambda message: replies[message])
    with Peer(server.address) as peer:
        for n, word in enumerate(replies):
            peer.say(word + b"\n")
            if not at_once:
                eventually(lambda n=n: len(events.named("message")) == n + 1)  # type: ignore[misc]
        eventually(lambda: len(events.named("message")) == 3)
    told = [(f["message_size"], f["bytes_sent"]) for f in events.named("message")]
    assert told == [(3, 2), (4, 0), (3, 5)]


def test_a_message_is_told_on_an_own_thread_too(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="threadwire")
    events = Events(caplog)
    server: threadwire.Server

    def handler(message: bytes) -> bytes:
        eventually(lambda: server.connections[0].owner)
        return message

    server = serving(handler)
    with Peer(server.address) as peer:
        peer.say(b"one\nthree\n")
        assert peer.hear(10) == b"one\nthree\n"
        eventually(lambda: events.named("message"))
    told = [(f["message_size"], f["bytes_sent"]) for f in events.named("message")]
    assert told[-1] == (5, 6)


def test_a_handler_that_closes_its_connection_in_the_middle_of_a_chunk(serving: Serving) -> None:
    handled: list[bytes] = []

    def handler(message: bytes, connection: threadwire.Connection) -> Any:
        handled.append(message)
        if message == b"last":
            connection.close()
        return [message, message] if message == b"last" else message

    with Peer(serving(handler).address) as peer:
        peer.say(b"first\nlast\nnever\n")
        heard = peer.hear_all()
    assert heard.startswith(b"first\n")
    assert handled == [b"first", b"last"]


def test_what_comes_for_a_client_that_has_been_lent_in_the_same_turn(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec that has waited long enough, and the bytes that come in that very moment."""
    server = serving(lambda message: message, framing=threadwire.Auto(patience=0.001))
    for n in range(200):
        with Peer(server.address) as peer:
            peer.say(b"half")
            if n % 2:
                eventually(lambda: server.connections and server.connections[-1].bytes_received)
            peer.say(b" and half\n")
            peer.finish()
            assert peer.hear_all().replace(b"\n", b"") == b"half and half"
        eventually(lambda: not server.connections)


def test_a_sender_in_the_way_of_the_flush(serving: Serving) -> None:
    """Replies wait for it, whole, and are written when it has left."""
    server = serving(lambda message: message)
    with Peer(server.address) as peer:
        peer.say(b"first\n")
        assert peer.hear_line() == b"first\n"
        (connection,) = server.connections
        with contextlib.ExitStack() as sending:
            sending.enter_context(connection._send_lock)
            peer.say(b"second\n")
            eventually(lambda: connection._parked)
            assert connection._interest == 0
        connection.send(b"news")
        assert peer.hear_line() + peer.hear_line() == b"second\nnews\n"
        peer.say(b"third\nfourth\n")
        assert peer.hear(13) == b"third\nfourth\n"


def test_what_closing_an_answer_raises_is_told_though_it_took_long(
    serving: Serving, events: Events
) -> None:
    """The baton is taken while a generator's ``finally`` runs: its error is still the handler's."""
    handed_over = threading.Event()

    def endless(_message: bytes, connection: threadwire.Connection) -> Any:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            eventually(lambda: connection.owner is not None)
            handed_over.set()
            raise ValueError("closing failed")

    server = serving(endless)
    with Peer(server.address, receive_buffer=4096) as peer:
        peer.say(b"go\n")
        eventually(lambda: server.connections and server.connections[0]._rest is not None)
        peer.reset()
        wait_for(handed_over)
    eventually(lambda: not server.connections)
    assert [fields["error"] for fields in events.named("handler-failed")] == ["ValueError"]
