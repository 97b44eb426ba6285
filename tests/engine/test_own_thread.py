"""Serving on an own thread: replies of every kind, handlers that raise or close."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason, Connection

from ..conftest import Events, Serving
from ..support import Peer, eventually, reverse, wait_for


def test_replies_of_every_kind(serving: Serving) -> None:
    def handler(message: bytes) -> Any:
        replies: dict[bytes, Any] = {
            b"bytes": b"1",
            b"bytearray": bytearray(b"2"),
            b"memoryview": memoryview(b"3"),
            b"none": None,
            b"list": [b"4", b"5"],
            b"empty list": [],
            b"generator": (part for part in (b"6", bytearray(b"7"))),
            b"empty": b"",
        }
        return replies[message]

    server = serving(handler)
    with Peer(server.address) as peer:
        for word in (b"bytes", b"bytearray", b"memoryview", b"none", b"list", b"empty list"):
            peer.say(word + b"\n")
        peer.say(b"generator\nempty\n")
        peer.finish()
        assert peer.hear_all() == b"1\n2\n3\n4\n5\n6\n7\n\n"


def test_an_iterable_is_sent_as_it_comes_and_is_closed(serving: Serving) -> None:
    go_on, closed = threading.Event(), threading.Event()

    def handler(_message: bytes) -> Iterator[bytes]:
        try:
            yield b"first"
            wait_for(go_on)
            yield b"second"
            raise threadwire.Close(b"last")
        finally:
            closed.set()

    with Peer(serving(handler).address) as peer:
        peer.say(b"\n")
        assert peer.hear_line() == b"first\n"
        go_on.set()
        assert peer.hear_all() == b"second\nlast\n"
    wait_for(closed)


def test_a_handler_may_take_the_connection_and_keep_state(serving: Serving) -> None:
    def count(_message: bytes, connection: Connection) -> bytes:
        connection.state["n"] = connection.state.get("n", 0) + 1
        return b"%d %d" % (connection.id, connection.state["n"])

    server = serving(count)
    with Peer(server.address) as one, Peer(server.address) as two:
        for peer in (one, one, two):
            peer.say(b"\n")
        assert one.hear_line() + one.hear_line() == b"1 1\n1 2\n"
        assert two.hear_line() == b"2 1\n"


@pytest.mark.parametrize(
    ("reply", "said"),
    [("text", "encode"), (7, "int"), ([b"ok", "text"], "str"), (object(), "object")],
)
def test_what_cannot_be_sent_ends_that_connection_with_a_traceback(
    serving: Serving, events: Events, reply: object, said: str
) -> None:
    server = serving(lambda _message: reply)
    with Peer(server.address) as peer, Peer(server.address) as other:
        peer.say(b"\n")
        peer.hear_all()
        assert events.closed_reason() is CloseReason.HANDLER_FAILED
        (failure,) = events.named("handler-failed")
        assert said in str(failure["detail"])
        other.say(b"\n")


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt()])
def test_a_handler_that_raises_ends_its_own_connection_alone(
    serving: Serving, events: Events, error: BaseException
) -> None:
    def handler(message: bytes) -> bytes:
        if message == b"raise":
            raise error
        return message

    server = serving(handler)
    with Peer(server.address) as peer, Peer(server.address) as other:
        peer.say(b"before\nraise\nafter\n")
        assert peer.hear_all() == b"before\n"
        (failure,) = events.named("handler-failed")
        assert failure["connection"] == 1
        assert failure["peer"].port == peer.socket.getsockname()[1]
        assert failure["error"] == type(error).__name__
        assert len(events.tracebacks()) == 1
        other.say(b"still here\n")
        assert other.hear_line() == b"still here\n"


@pytest.mark.parametrize(
    ("close", "rest"), [(threadwire.Close(b"bye"), b"bye\n"), (threadwire.Close(), b"")]
)
def test_close_answers_and_closes(
    serving: Serving, events: Events, close: threadwire.Close, rest: bytes
) -> None:
    def handler(message: bytes) -> bytes:
        if message == b"quit":
            raise close
        return message

    with Peer(serving(handler).address) as peer:
        peer.say(b"a\nquit\nb\n")
        assert peer.hear_all() == b"a\n" + rest
    assert events.closed_reason() is CloseReason.HANDLER_CLOSED
    assert not events.named("handler-failed")


def test_the_last_reply_survives_a_peer_that_is_still_sending(serving: Serving) -> None:
    """Closing with unread bytes would reset the connection and could destroy the reply."""

    def refuse(_message: bytes) -> bytes:
        raise threadwire.Close(b"no" * 100_000)

    with Peer(serving(refuse).address) as peer:
        peer.say(b"\n" + b"more" * 250_000)
        assert len(peer.hear_all()) == 200_001


@pytest.mark.parametrize("how", ["close", "raise", "drain"])
def test_a_large_last_reply_arrives_though_its_slow_reader_goes_on_sending(
    serving: Serving, how: str
) -> None:
    """Once both sides are shut down, the system would answer what comes with a reset."""
    size = 1_500_000
    handled = threading.Event()

    def last(message: bytes, connection: Connection) -> bytes | None:
        if message:
            return None
        handled.set()
        if how == "raise":
            raise threadwire.Close(b"x" * size)
        if how == "drain":
            return b"x" * size
        connection.send(b"x" * size)
        connection.close()
        return None

    server = serving(last)
    with Peer(server.address, receive_buffer=16384) as peer:
        peer.say(b"\n")
        wait_for(handled)
        if how == "drain":
            threading.Thread(target=server.close).start()
            eventually(lambda: server.connections and server.connections[0].draining)
        got = 0
        while data := peer.socket.recv(16384):
            got += len(data)
            if got < size // 2:
                peer.say(b"more\n")
    assert got == size + 1
    assert server.close() == server.close()


def test_close_from_the_handler_still_sends_what_it_returns(serving: Serving) -> None:
    def handler(message: bytes, connection: Connection) -> bytes:
        connection.close()
        with pytest.raises(threadwire.ConnectionClosed):
            connection.send(b"too late")
        assert connection.closed
        return message

    with Peer(serving(handler).address) as peer:
        peer.say(b"one\ntwo\n")
        assert peer.hear_all() == b"one\n"


def test_close_from_another_thread_wakes_a_silent_connection(
    serving: Serving, events: Events
) -> None:
    server = serving(reverse)
    with Peer(server.address) as peer:
        eventually(lambda: server.connections)
        (connection,) = server.connections
        connection.close()
        connection.close()
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.HANDLER_CLOSED
    connection.close()  # and when it is long gone
    connection.drain()
    connection.abort(CloseReason.CUT)
    with pytest.raises(threadwire.ConnectionClosed, match="handler-closed"):
        connection.send(b"x")
    with pytest.raises(threadwire.ConnectionClosed):
        connection.send_reply(b"x")


def test_receive_is_for_sessions(serving: Serving, events: Events) -> None:
    def handler(_message: bytes, connection: Connection) -> bytes:
        return connection.receive()

    with Peer(serving(handler).address) as peer:
        peer.say(b"\n")
        assert peer.hear_all() == b""
    (failure,) = events.named("handler-failed")
    assert "@threadwire.session" in str(failure["detail"])
