"""Connection: what handlers hold. Sending, receiving, closing, leaving."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import threadwire
from threadwire import CloseReason, Connection

from .conftest import Events, Serving
from .support import PATIENCE, Peer, eventually, reverse, signal_here, wait_for

# Sessions.


def test_a_session_converses(serving: Serving, events: Events) -> None:
    @threadwire.session
    def chat(connection: Connection) -> None:
        connection.send(b"name?")
        name = connection.receive()
        for message in connection:
            connection.send(name + b": " + message)

    with Peer(serving(chat).address) as peer:
        assert peer.hear_line() == b"name?\n"
        peer.say(b"ann\nhi\nbye\n")
        peer.finish()
        assert peer.hear_all() == b"ann: hi\nann: bye\n"
    assert events.closed_reason() is CloseReason.PEER_CLOSED


def test_a_session_that_returns_closes(serving: Serving, events: Events) -> None:
    @threadwire.session
    def greet(connection: Connection) -> None:
        connection.send(b"hello")

    with Peer(serving(greet).address) as peer:
        assert peer.hear_all() == b"hello\n"
    assert events.closed_reason() is CloseReason.HANDLER_CLOSED


def test_receive_after_the_end_raises_and_ends_a_session_quietly(
    serving: Serving, events: Events
) -> None:
    errors: list[threadwire.ConnectionClosed] = []

    @threadwire.session
    def one_more(connection: Connection) -> None:
        for _ in connection:
            pass
        try:
            connection.receive()
        except threadwire.ConnectionClosed as error:
            errors.append(error)
        connection.receive()

    with Peer(serving(one_more).address) as peer:
        peer.finish()
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.PEER_CLOSED
    assert [error.reason for error in errors] == [CloseReason.PEER_CLOSED]
    assert not events.named("handler-failed")


def test_receive_with_a_timeout_loses_nothing(serving: Serving) -> None:
    timed_out = threading.Event()

    @threadwire.session
    def patient(connection: Connection) -> None:
        with pytest.raises(threadwire.TimeLimitError) as caught:
            connection.receive(timeout=0.01)
        assert caught.value.seconds == 0.01
        timed_out.set()
        connection.send(connection.receive(timeout=PATIENCE))

    with Peer(serving(patient).address) as peer:
        peer.say(b"half")
        wait_for(timed_out)
        peer.say(b" and half\n")
        assert peer.hear_line() == b"half and half\n"


def test_two_threads_may_not_receive_at_once(serving: Serving) -> None:
    @threadwire.session
    def handler(connection: Connection) -> None:
        ready = threading.Event()

        def listen() -> None:
            ready.set()
            for message in connection:
                connection.send(b"heard " + message)

        listener = threading.Thread(target=listen)
        listener.start()
        wait_for(ready)
        receiving = connection._receive_lock
        assert receiving is not None
        eventually(receiving.locked)
        with pytest.raises(threadwire.UsageError, match="another thread"):
            connection.receive()
        connection.send(b"ok")
        listener.join(PATIENCE)

    with Peer(serving(handler).address) as peer:
        assert peer.hear_line() == b"ok\n"
        peer.say(b"x\n")
        assert peer.hear_line() == b"heard x\n"


def test_a_session_learns_of_a_drain(serving: Serving) -> None:
    seen: list[object] = []
    ready = threading.Event()

    @threadwire.session
    def handler(connection: Connection) -> None:
        ready.set()
        seen.append(list(connection))
        seen.append(connection.draining)
        try:
            connection.receive()
        except threadwire.ConnectionClosed as error:
            seen.append(error.reason)
        connection.send(b"goodbye")

    server = serving(handler)
    with Peer(server.address) as peer:
        wait_for(ready)
        server.close()
        assert peer.hear_all() == b"goodbye\n"
    assert seen == [[], True, CloseReason.DRAINED]


# Sending from other threads.


def test_messages_from_many_threads_interleave_at_their_boundaries_only(serving: Serving) -> None:
    threads, each, size = 8, 50, 20_000

    @threadwire.session
    def broadcast(connection: Connection) -> None:
        def talk(letter: bytes) -> None:
            for _ in range(each):
                connection.send(letter * size)

        talkers = [threading.Thread(target=talk, args=(bytes([97 + n]),)) for n in range(threads)]
        for talker in talkers:
            talker.start()
        for talker in talkers:
            talker.join()

    with Peer(serving(broadcast).address, receive_buffer=8192) as peer:
        lines = peer.hear_all().splitlines()
    assert len(lines) == threads * each
    for line in lines:
        assert line == line[:1] * size
    for n in range(threads):
        assert sum(line[0] == 97 + n for line in lines) == each


def test_a_sender_that_is_interrupted_leaves_no_half_message_to_build_on(
    serving: Serving, events: Events
) -> None:
    server = serving(reverse)
    with Peer(server.address, receive_buffer=4096) as peer:
        eventually(lambda: server.connections)
        (connection,) = server.connections
        stream = connection._stream
        interrupt = signal_here(signal.SIGINT, lambda: stream.unsent_bytes() > 0)
        with pytest.raises(KeyboardInterrupt):
            connection.send(b"x" * 50_000_000)
        interrupt.join()
        with pytest.raises(threadwire.ConnectionClosed):
            connection.send(b"y")
        assert b"y" not in peer.hear_all()
    assert events.closed_reason() is CloseReason.HANDLER_FAILED


def test_sending_to_a_peer_that_left_raises_and_touches_nobody_else(serving: Serving) -> None:
    """A broadcast's sender learns who is gone, and goes on."""
    server = serving(reverse)
    with Peer(server.address) as leaver, Peer(server.address) as stayer:
        eventually(lambda: len(server.connections) == 2)
        first, second = server.connections
        leaver.reset()
        with pytest.raises(threadwire.ConnectionClosed):
            for _ in range(1000):
                first.send(b"news")
        second.send(b"news")
        assert stayer.hear_line() == b"news\n"


def test_a_backends_end_is_the_handlers_failure(serving: Serving, events: Events) -> None:
    """Even when the peer, too, has ended its side already."""

    @threadwire.session
    def ask_backend(connection: Connection) -> None:
        for _ in connection:
            pass
        with threadwire.connect(backend.address) as client:
            client.request(b"x")

    def hang_up(_message: bytes) -> bytes:
        raise threadwire.Close

    backend = serving(hang_up)
    with Peer(serving(ask_backend).address) as peer:
        peer.finish()
        assert peer.hear_all() == b""
    eventually(lambda: events.named("handler-failed"))
    assert events.named("handler-failed")[0]["error"] == "ConnectionClosed"


def test_another_connections_end_is_a_failure_of_the_handler_that_ignores_it(
    serving: Serving, events: Events
) -> None:
    server: threadwire.Server

    def forward(message: bytes, connection: Connection) -> None:
        closed = connection.state.setdefault("other", server.connections[0])
        closed.close()
        closed.send(message)

    server = serving(forward)
    with Peer(server.address), Peer(server.address) as sender:
        eventually(lambda: len(server.connections) == 2)
        sender.say(b"x\n")
        assert sender.hear_all() == b""
    assert events.named("handler-failed")[0]["error"] == "ConnectionClosed"


# Peers that misbehave or leave.


def test_half_close_still_gets_every_reply(serving: Serving) -> None:
    with Peer(serving(reverse).address) as peer:
        peer.say(b"".join(b"%d\n" % n for n in range(1000)))
        peer.finish()
        assert peer.hear_all() == b"".join(str(n)[::-1].encode() + b"\n" for n in range(1000))


def test_an_unfinished_message_at_the_end_is_logged_as_the_peers_fault(
    serving: Serving, events: Events
) -> None:
    with Peer(serving(reverse).address) as peer:
        peer.say(b"whole\nhalf")
        peer.finish()
        assert peer.hear_all() == b"elohw\n"
    assert events.closed_reason() is CloseReason.FRAMING_ERROR
    (fault,) = events.named("peer-fault")
    assert fault["error"] == "TruncatedMessage"
    assert not events.tracebacks()


def test_a_message_too_large_ends_that_connection_after_the_replies_before_it(
    serving: Serving, events: Events
) -> None:
    server = serving(reverse, max_message=10)
    with Peer(server.address) as peer, Peer(server.address) as other:
        peer.say(b"0123456789\n0123456789a\nnever\n")
        assert peer.hear_all() == b"9876543210\n"
        assert events.closed_reason() is CloseReason.MESSAGE_TOO_LARGE
        other.say(b"ok\n")
        assert other.hear_line() == b"ko\n"
    (fault,) = events.named("peer-fault")
    assert "max_message" in str(fault["detail"])


def test_an_endless_message_is_never_buffered(serving: Serving, events: Events) -> None:
    with Peer(serving(reverse, max_message=1000).address) as peer:
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as it happens
            for _ in range(10_000):
                peer.say(b"x" * 65536)
        eventually(lambda: events.named("closed"))
        (fields,) = events.named("closed")
        assert fields["reason"] is CloseReason.MESSAGE_TOO_LARGE
        assert fields["bytes_received"] < 1000 + 2 * 65536


def test_a_framing_error_in_a_session_can_be_caught_and_is_still_logged(
    serving: Serving, events: Events
) -> None:
    @threadwire.session
    def handler(connection: Connection) -> None:
        for _ in range(2):
            with pytest.raises(threadwire.MessageTooLarge):
                connection.receive()
        connection.send(b"too large")

    with Peer(serving(handler, max_message=4).address) as peer:
        peer.say(b"12345\n")
        assert peer.hear_all() == b"too large\n"
    assert events.closed_reason() is CloseReason.MESSAGE_TOO_LARGE
    assert len(events.named("peer-fault")) == 1


def test_a_reset_between_messages_is_quiet(serving: Serving, events: Events) -> None:
    server = serving(reverse)
    peer = Peer(server.address)
    peer.say(b"x\n")
    peer.hear_line()
    peer.reset()
    assert events.closed_reason() is CloseReason.PEER_RESET
    assert not events.named("peer-fault")
    assert not events.tracebacks()


def test_a_reset_inside_a_message_is_quiet_too(serving: Serving, events: Events) -> None:
    server = serving(reverse)
    peer = Peer(server.address)
    peer.say(b"half a mess")
    eventually(lambda: server.connections and server.connections[0].bytes_received)
    peer.reset()
    assert events.closed_reason() is CloseReason.PEER_RESET
    assert not events.tracebacks()


def test_a_peer_that_leaves_before_its_reply(serving: Serving, events: Events) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def slow(_message: bytes) -> Iterator[bytes]:
        handling.set()
        wait_for(go_on)
        for _ in range(1000):
            yield b"x" * 10_000

    peer = Peer(serving(slow).address)
    peer.say(b"\n")
    wait_for(handling)
    peer.reset()
    go_on.set()
    assert events.closed_reason() is CloseReason.PEER_RESET
    assert not events.tracebacks()


def test_a_peer_that_never_reads_is_closed_after_write_timeout(
    serving: Serving, events: Events
) -> None:
    server = serving(lambda _message: b"x" * 20_000_000, write_timeout=0.1)
    with Peer(server.address, receive_buffer=4096) as peer, Peer(server.address) as other:
        peer.say(b"\n")
        assert events.closed_reason() is CloseReason.WRITE_TIMEOUT
        other.finish()
        assert other.hear_all() == b""


def test_a_slow_reader_is_not_closed_while_it_makes_progress(serving: Serving) -> None:
    size = 3_000_000
    server = serving(lambda _message: b"x" * size, write_timeout=0.5)
    with Peer(server.address, receive_buffer=65536) as peer:
        peer.say(b"\n")
        begun, got = time.monotonic(), 0
        pause = threading.Event()
        while got < size + 1:
            data = peer.socket.recv(100_000)
            assert data
            got += len(data)
            pause.wait(0.02)  # a reader that is slow, on purpose
        assert time.monotonic() - begun > 0.1


def test_a_client_that_never_reads_has_a_memory_ceiling(serving: Serving) -> None:
    """While a reply waits, nothing more is read from its client, nor handled for it."""
    handled = threading.Semaphore(0)

    def handler(_message: bytes) -> bytes:
        handled.release()
        return b"x" * 1_000_000

    server = serving(handler)
    with Peer(server.address, receive_buffer=4096) as peer:
        peer.socket.setblocking(False)
        sent = 0
        calm = 0
        while calm < 50:
            try:
                sent += peer.socket.send(b"ask\n" * 10_000)
                calm = 0
            except BlockingIOError:
                calm += 1
                threading.Event().wait(0.01)
        (connection,) = server.connections
        # Far less than was sent has been taken from the system, and far fewer replies made.
        assert connection.messages_received < 20
        assert connection.bytes_received <= 2 * 65536


def test_large_messages_pass_whole_both_ways(serving: Serving) -> None:
    size = 64 << 20
    message = bytes(range(256)) * (size // 256)
    server = serving(reverse, framing=threadwire.LengthPrefixed(4), max_message=size)
    framing = threadwire.LengthPrefixed(4)
    with threadwire.connect(
        server.address, framing=framing, max_message=size, timeout=60
    ) as client:
        assert client.request(message) == message[::-1]


def test_auto_framing_decides_for_each_connection(serving: Serving) -> None:
    server = serving(reverse, framing=threadwire.Auto())
    with Peer(server.address) as raw, Peer(server.address) as lines, Peer(server.address) as late:
        raw.say(b"hello from client")
        assert raw.hear(17) == b"tneilc morf olleh"
        raw.say(b"again\n")
        assert raw.hear(6) == b"\nniaga"
        lines.say(b"one\ntw")
        assert lines.hear_line() == b"eno\n"
        lines.say(b"o\n")
        assert lines.hear_line() == b"owt\n"
        late.say(b"no newline at the end")
        late.finish()
        assert late.hear_all() == b"dne eht ta enilwen on"


def test_auto_framing_and_a_timed_receive(serving: Serving) -> None:
    @threadwire.session
    def handler(connection: Connection) -> None:
        with pytest.raises(threadwire.TimeLimitError):
            connection.receive(timeout=0.001)
        connection.send(connection.receive(timeout=PATIENCE))

    with Peer(serving(handler, framing=threadwire.Auto(patience=0.05)).address) as peer:
        peer.say(b"raw")
        assert peer.hear(3) == b"raw"


def test_keepalive_and_no_delay_are_on(serving: Serving) -> None:
    server = serving(reverse)
    with Peer(server.address):
        eventually(lambda: server.connections)
        sock = server.connections[0]._stream.socket
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
