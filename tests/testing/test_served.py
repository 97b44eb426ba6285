"""Servers for the length of a block: they say what has gone wrong in their handlers."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import threadwire
from threadwire.testing import FaultProxy, Split, eventually, serving

from ..support import PATIENCE, reverse, wait_for


class Oops(Exception):
    pass


def fail(message: bytes) -> bytes:
    raise Oops(message.decode())


def test_it_serves_for_the_length_of_the_block() -> None:
    with serving(reverse) as served:
        assert served.address.host == "127.0.0.1"
        assert served.connect().request(b"hello") == b"olleh"
    with pytest.raises(threadwire.ConnectError):
        threadwire.connect(served.address)
    assert served.report is not None
    assert served.report.threads_left == ()


def test_addresses_and_options_are_the_server_s(tmp_path: Path) -> None:
    framing = threadwire.Netstring()
    unix = f"unix://{tmp_path}/s.sock"
    with serving(reverse, unix, "tcp://127.0.0.1:0", framing=framing, max_message=5) as served:
        assert str(served.address) == unix
        for address in served.server.addresses:
            assert served.connect(address).request(b"a\nb") == b"b\na"
        with served.peer() as peer:
            peer.say(b"6:")
            assert peer.hear_all() == b"", "it is too large"


def test_clients_are_closed_at_the_end() -> None:
    with serving(reverse) as served:
        client, peer = served.connect(timeout=PATIENCE), served.peer(timeout=PATIENCE)
        assert client.request(b"ab") == b"ba"
        assert peer.timeout == PATIENCE
    assert client.closed
    assert peer.socket.fileno() == -1


def test_clients_may_go_another_way() -> None:
    with serving(reverse) as served, FaultProxy(served.address, Split(1)) as proxy:
        assert served.connect(proxy.address).request(b"hello") == b"olleh"
        with served.peer(proxy.address) as peer:
            peer.say(b"ab\n")
            assert peer.hear_line() == b"ba\n"
        assert proxy.connections == 2


def test_a_handler_s_error_is_raised_at_the_end() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        with serving(fail) as served:
            with served.peer() as peer:
                peer.say(b"one\n")
                assert peer.hear_all() == b""
            with served.peer() as peer:
                peer.say(b"two\n")
                assert peer.hear_all() == b""
            assert [str(error) for error in served.errors] == ["one", "two"]
    assert isinstance(caught.value, ExceptionGroup)
    assert "in the handler of the server under test" in str(caught.value)
    assert [type(error) for error in caught.value.exceptions] == [Oops, Oops]
    assert caught.value.exceptions[0].__traceback__ is not None


def test_an_error_that_is_expected_is_taken_out() -> None:
    with serving(fail) as served:
        with served.peer() as peer:
            peer.say(b"one\n")
            error = served.take_error(Oops)
            assert error.args == ("one",)
            assert peer.hear_all() == b""
        assert served.errors == []


def test_errors_are_taken_by_their_kind() -> None:
    def handler(message: bytes) -> bytes:
        raise (KeyError if message == b"key" else Oops)(message)

    with serving(handler) as served:
        for message in (b"key\n", b"other\n"):
            with served.peer() as peer:
                peer.say(message)
                assert peer.hear_all() == b""
        assert isinstance(served.take_error(Oops), Oops)
        assert isinstance(served.take_error(), KeyError)


def test_waiting_in_vain_for_an_error() -> None:
    with serving(fail) as served:
        with served.peer() as peer:
            peer.say(b"one\n")
            assert peer.hear_all() == b""
        with pytest.raises(threadwire.TimeLimitError, match=r"no KeyError from a handler .*Oops"):
            served.take_error(KeyError, timeout=0.01)
        served.take_error()


def test_what_the_block_raises_comes_first_with_the_handler_s_as_a_note() -> None:
    with pytest.raises(threadwire.ConnectionClosed) as caught:
        with serving(fail) as served:
            served.connect().request(b"one")
    assert caught.value.__notes__ == ["in the handler of the server under test: Oops('one')"]


def test_all_kinds_of_failures_are_seen() -> None:
    @threadwire.session
    def failing_session(connection: threadwire.Connection) -> None:
        raise Oops("session")

    def half_a_reply(message: bytes) -> Iterator[bytes]:
        yield b"first"
        raise Oops("generator")

    def wrong_reply(message: bytes) -> bytes:
        return "text"  # type: ignore[return-value]

    for handler, kind in (
        (failing_session, Oops),
        (half_a_reply, Oops),
        (wrong_reply, threadwire.UsageError),
    ):
        with serving(handler) as served:
            with served.peer() as peer:
                peer.say(b"x\n")
                served.take_error(kind)
                peer.wait_end()


def test_closing_and_leaving_are_no_errors() -> None:
    def close(message: bytes) -> bytes:
        raise threadwire.Close(b"bye")

    @threadwire.session
    def listen(connection: threadwire.Connection) -> None:
        while True:
            connection.receive()

    with serving(close) as served:
        with served.peer() as peer:
            peer.say(b"x\n")
            assert peer.hear_all() == b"bye\n"
    with serving(listen) as served:
        served.peer().close()
        served.peer().reset()
        eventually(lambda: not served.server.connections)
    with serving(reverse, max_message=5) as served:
        with served.peer() as peer:
            peer.say(b"far too long\n")
            assert peer.hear_all() == b""


def test_errors_of_another_server_are_its_own(tmp_path: Path) -> None:
    """Also where both know their connections by the same number and address."""
    with serving(fail, f"unix://{tmp_path}/a.sock") as failing:
        with serving(reverse, f"unix://{tmp_path}/b.sock") as fine:
            with fine.peer() as other, failing.peer() as peer:
                other.say(b"ab\n")
                assert other.hear_line() == b"ba\n"
                peer.say(b"one\n")
                assert peer.hear_all() == b""
            assert fine.errors == []
        failing.take_error(Oops)


def test_a_handler_that_does_not_return_is_told() -> None:
    release, handling = threading.Event(), threading.Event()

    def stuck(message: bytes) -> bytes:
        handling.set()
        wait_for(release)
        return message

    with pytest.raises(ExceptionGroup) as caught:
        with serving(stuck) as served:
            served.peer().say(b"x\n")
            wait_for(handling)
    release.set()
    (problem,) = caught.value.exceptions
    assert "a handler has not returned yet, in threadwire-" in str(problem)


def test_it_may_be_closed_before_the_end_and_again() -> None:
    with serving(fail) as served:
        with served.peer() as peer:
            peer.say(b"x\n")
            assert peer.hear_all() == b""
        with pytest.raises(ExceptionGroup):
            served.close()
        served.close()


def test_a_server_that_cannot_start_leaves_nothing() -> None:
    handlers = list(logging.getLogger("threadwire").handlers)
    with serving(reverse) as served:
        with pytest.raises(threadwire.ListenError):
            with serving(reverse, str(served.address)):
                pass
    assert logging.getLogger("threadwire").handlers == handlers
    gc.collect()


def test_wrong_options_fail_at_once() -> None:
    with pytest.raises(threadwire.UsageError, match="max_message"):
        serving(reverse, max_message=0)
