"""TlsStream: what Stream does, with TLS in between, on real socket pairs."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from threadwire import Address, Lines, TimeLimitError, TlsError, UsageError
from threadwire.pipeline import Pipeline
from threadwire.transport import Stream
from threadwire.transport.tls import Tls
from threadwire.transport.tls_stream import TlsStream

from ..support import PATIENCE, eventually
from ..tls_support import NAME, Forger, TlsPeer, certificate, client_side, server_side

Secured: TypeAlias = tuple[TlsStream, TlsPeer]

UNNAMED = Address("unix", path="")


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        # As small as the system makes them, so that a few messages fill them.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    theirs.settimeout(PATIENCE)
    yield ours, theirs
    ours.close()
    theirs.close()


def secure(
    sockets: tuple[socket.socket, socket.socket],
    client: ssl.SSLContext | None = None,
    server: ssl.SSLContext | None = None,
) -> Secured:
    ours, theirs = sockets
    peer = TlsPeer(theirs, Tls(server or server_side(), server_side=True))
    thread = threading.Thread(target=peer.shake_hands)
    thread.start()
    try:
        stream = TlsStream.secure(
            Stream(ours, UNNAMED, UNNAMED), client or client_side(), NAME, PATIENCE
        )
    finally:
        thread.join(PATIENCE)
    return stream, peer


@pytest.fixture
def ends(sockets: tuple[socket.socket, socket.socket]) -> Iterator[Secured]:
    stream, peer = secure(sockets)
    yield stream, peer
    stream.close()


def beside(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def fill(stream: TlsStream) -> int:
    """Write until there is no more room; returns the bytes taken."""
    assert stream.read_nowait() is None  # the session's tickets are out of the way
    taken = 0
    while count := stream.write_nowait(b"x" * 200_000):
        taken += count
    return taken


# The handshake.


def test_the_handshake_is_told(ends: Secured) -> None:
    stream, _ = ends
    assert stream.tls is not None
    assert stream.tls.version == "TLSv1.3"
    assert (stream.peer, stream.local) == (UNNAMED, UNNAMED)


def test_a_wrong_host_is_refused_and_told(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    peer = TlsPeer(theirs, Tls(server_side(), server_side=True))
    problems: list[str] = []

    def shake_hands() -> None:
        try:
            peer.shake_hands()
        except TlsError as error:
            problems.append(error.problem)

    thread = beside(shake_hands)
    plain = Stream(ours, UNNAMED, UNNAMED)
    with pytest.raises(TlsError, match=r"not for 'other\.example'"):
        TlsStream.secure(plain, client_side(), "other.example", PATIENCE)
    thread.join(PATIENCE)
    assert problems == ["the peer refuses our certificate"]
    assert plain.fileno() == -1, "closed"


def test_a_server_without_tls(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    theirs.sendall(b"220 hello\r\n")
    with pytest.raises(TlsError, match="does not speak TLS"):
        TlsStream.secure(Stream(ours, UNNAMED, UNNAMED), client_side(), NAME, PATIENCE)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x03\x00\x7aonly a part"])
def test_a_server_that_says_nothing_in_time(
    sockets: tuple[socket.socket, socket.socket], said: bytes
) -> None:
    ours, theirs = sockets
    theirs.sendall(said)
    with pytest.raises(TimeLimitError, match=r"no TLS handshake within 0\.05 s"):
        TlsStream.secure(Stream(ours, UNNAMED, UNNAMED), client_side(), NAME, 0.05)


def test_a_server_that_reads_nothing_in_time(sockets: tuple[socket.socket, socket.socket]) -> None:
    plain = Stream(sockets[0], UNNAMED, UNNAMED)
    while plain.write_nowait(b"x" * 65536):
        pass
    with pytest.raises(TimeLimitError, match=r"no TLS handshake within 0\.05 s"):
        TlsStream.secure(plain, client_side(), NAME, 0.05)


@pytest.mark.parametrize("timeout", [PATIENCE, None])
def test_a_server_that_hangs_up(
    sockets: tuple[socket.socket, socket.socket], timeout: float | None
) -> None:
    ours, theirs = sockets
    theirs.sendall(b"\x16\x03\x03\x00\x7aonly a part")
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(TlsError, match="the peer hung up during the handshake"):
        TlsStream.secure(Stream(ours, UNNAMED, UNNAMED), client_side(), NAME, timeout)


def test_a_server_that_is_gone(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    theirs.close()
    with pytest.raises(TlsError, match="the peer hung up during the handshake"):
        TlsStream.secure(Stream(ours, UNNAMED, UNNAMED), client_side(), NAME, PATIENCE)


def test_wrong_arguments_close_the_stream(sockets: tuple[socket.socket, socket.socket]) -> None:
    plain = Stream(sockets[0], UNNAMED, UNNAMED)
    with pytest.raises(UsageError, match="server_name"):
        TlsStream.secure(plain, client_side(), None, PATIENCE)
    assert plain.fileno() == -1


def test_a_server_that_refuses_our_certificate_says_so_when_we_read(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    """With TLS 1.3 our handshake is complete before the server has seen our certificate."""
    ours, theirs = sockets
    server = server_side(verify=ssl.CERT_REQUIRED)
    peer = TlsPeer(theirs, Tls(server, server_side=True))

    def shake_hands() -> None:
        with pytest.raises(TlsError):
            peer.shake_hands()

    thread = beside(shake_hands)
    client = client_side(cert=certificate("client.example", by="theirs"))
    stream = TlsStream.secure(Stream(ours, UNNAMED, UNNAMED), client, NAME, PATIENCE)
    thread.join(PATIENCE)
    for _ in range(2):
        with pytest.raises(TlsError, match="does not trust the authority"):
            stream.read()
    with pytest.raises(BrokenPipeError):
        stream.write(b"x", None)
    stream.close()


# Reading.


def test_reading(ends: Secured) -> None:
    stream, peer = ends
    assert stream.read_nowait() is None
    assert stream.read_within(0) is None
    peer.say(b"abcdefgh")
    assert stream.read(2) == b"ab"
    assert stream.read_nowait(2) == b"cd"
    assert stream.readable_bytes() == 4
    assert stream.read_within(PATIENCE, 2) == b"ef"
    assert stream.read_until(None) == b"gh"
    assert stream.readable_bytes() == 0
    peer.finish()
    assert stream.read() == stream.read_nowait() == stream.read_within(PATIENCE) == b""


def test_waiting_ends_at_once_while_something_is_decrypted(ends: Secured) -> None:
    stream, peer = ends
    peer.say(b"abc")
    assert stream.read(1) == b"a"
    assert stream.readable_bytes() == 2, "nothing more in the socket"
    assert stream.wait(PATIENCE, readable=True) == (True, False)
    assert stream.wait(PATIENCE, readable=True, writable=True) == (True, True)
    assert stream.wait(0, writable=False) == (False, False)
    assert stream.read() == b"bc"
    assert stream.wait(0, readable=True) == (False, False)


def test_part_of_a_record_is_nothing_yet(ends: Secured) -> None:
    stream, peer = ends
    record = peer.tls.seal(b"hello")
    peer.socket.sendall(record[:9])
    assert stream.read_within(0.02) is None
    assert stream.read_nowait() is None
    peer.socket.sendall(record[9:])
    assert stream.read_within(PATIENCE) == b"hello"


def test_a_read_may_be_limited(ends: Secured) -> None:
    stream, peer = ends
    stream.limit_reads(0.01)
    assert stream.read() is None
    stream.limit_reads(0)
    peer.say(b"hello")
    assert stream.read() == b"hello"


def test_everything_that_was_sent_before_the_end_is_read(ends: Secured) -> None:
    stream, peer = ends
    peer.socket.sendall(peer.tls.seal(b"last") + peer.tls.take_end())
    peer.socket.close()
    assert stream.read() == b"last"
    assert stream.wait(PATIENCE, readable=True)[0]
    assert stream.read() == b""


def test_an_end_without_the_end_of_tls_is_a_cut(ends: Secured) -> None:
    stream, peer = ends
    peer.say(b"last")
    peer.socket.shutdown(socket.SHUT_WR)
    assert stream.read() == b"last"
    for _ in range(2):
        with pytest.raises(ConnectionResetError, match="the stream was cut"):
            stream.read()


def test_what_came_before_a_wrong_record_is_read_first(ends: Secured) -> None:
    stream, peer = ends
    bad = bytearray(peer.tls.seal(b"bad"))
    bad[-1] ^= 1
    peer.socket.sendall(peer.tls.seal(b"") + bytes(bad))
    with pytest.raises(TlsError, match="damaged or forged"):
        stream.read()
    with pytest.raises(TlsError, match="the peer found a record damaged or forged"):
        peer.hear_some()


def test_what_came_before_garbage_is_read_first(ends: Secured) -> None:
    stream, peer = ends
    peer.socket.sendall(peer.tls.seal(b"good") + b"\x17\3\3\0\x20" + bytes(32))
    eventually(lambda: stream.readable_bytes() > 50)
    assert stream.read() == b"good"
    assert stream.wait(PATIENCE, readable=True) == (True, False)
    with pytest.raises(TlsError, match="damaged or forged"):
        stream.read()


def test_discarding(ends: Secured) -> None:
    stream, peer = ends
    peer.say(b"x" * 3000)
    stream.discard(1 << 20, 0.01)
    assert stream.read_nowait() is None
    peer.socket.sendall(b"garbage")
    stream.discard(1 << 20, PATIENCE)
    with pytest.raises(TlsError):
        stream.read()


# Writing.


def test_a_large_write_goes_out_whole_though_the_system_takes_it_in_parts(ends: Secured) -> None:
    stream, peer = ends
    data = os.urandom(3_000_000)
    writer = beside(lambda: stream.write(data, PATIENCE))
    assert peer.hear(len(data)) == data
    writer.join(PATIENCE)
    assert stream.unsent_bytes() == 0


def test_an_empty_write(ends: Secured) -> None:
    stream, peer = ends
    stream.write(b"", None)
    stream.write(memoryview(b"x"), None)
    assert peer.hear(1) == b"x"


def test_a_write_without_any_progress_times_out_and_leaves_whole_records(ends: Secured) -> None:
    stream, peer = ends
    with pytest.raises(TimeLimitError, match=r"room for a reply within 0\.05 s"):
        stream.write(b"x" * 5_000_000, 0.05)
    stream.shutdown_write()
    reader = beside(lambda: stream.read_within(PATIENCE))
    got = peer.hear_all()
    assert 0 < len(got) < 5_000_000
    assert set(got) == set(b"x")
    peer.finish()
    reader.join(PATIENCE)


def test_a_write_that_gets_on_takes_as_long_as_it_takes(ends: Secured) -> None:
    stream, peer = ends
    pace, got = threading.Event(), bytearray()

    def read_slowly() -> None:
        while len(got) < 3_000_000:
            pace.wait(0.02)
            got.extend(peer.hear(50_000))

    reader = beside(read_slowly)
    begun = time.monotonic()
    stream.write(b"x" * 3_000_000, 1.0)
    took = time.monotonic() - begun
    reader.join(PATIENCE)
    assert took > 1.0, "else nothing was seen"


def test_the_deadline_of_a_write_is_for_all_of_it(ends: Secured) -> None:
    stream, _ = ends
    with pytest.raises(TimeLimitError):
        stream.write(b"x" * 5_000_000, None, time.monotonic() + 0.05)


def test_writing_as_much_as_there_is_room_for(ends: Secured) -> None:
    stream, peer = ends
    taken = fill(stream)
    assert 0 < stream.unsent_bytes() < 2 * (1 << 16)
    assert stream.write_nowait(b"more") == 0
    assert stream.wait(0, writable=True) == (False, False)
    got: list[bytes] = []
    reader = beside(lambda: got.append(peer.hear(taken + 4)))
    assert stream.wait(PATIENCE, writable=True) == (False, True)
    assert stream.write_nowait(b"more") == 4, "all that was unsent has gone out"
    assert stream.wait(PATIENCE, writable=True) == (False, True)
    reader.join(PATIENCE)
    assert got == [b"x" * taken + b"more"]


def test_what_is_unsent_goes_out_while_waiting_for_a_reply(ends: Secured) -> None:
    stream, peer = ends
    taken = fill(stream)
    ready: list[tuple[bool, bool]] = []
    waiter = beside(lambda: ready.append(stream.wait(PATIENCE, readable=True)))
    assert peer.hear(taken) == b"x" * taken
    peer.say(b"reply")
    waiter.join(PATIENCE)
    assert ready == [(True, False)]
    assert stream.read_nowait() == b"reply"


def test_a_wait_can_be_woken_while_something_is_unsent(ends: Secured) -> None:
    stream, _ = ends
    fill(stream)
    reader, writer = os.pipe()
    try:
        waiter = beside(lambda: stream.wait(PATIENCE, readable=True, wake=reader))
        os.write(writer, b"\0")
        waiter.join(PATIENCE)
        assert not waiter.is_alive()
        assert stream.wait(0.01, readable=True) == (False, False)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_wait_ends_when_the_peer_is_gone_while_something_is_unsent(ends: Secured) -> None:
    stream, peer = ends
    fill(stream)
    peer.socket.close()
    assert stream.wait(PATIENCE, readable=True, writable=True) == (True, True)
    with pytest.raises(OSError, match=r"cut|reset"):
        stream.read()
    with pytest.raises(BrokenPipeError):
        stream.write(b"x", None)
    assert stream.wait(0.01) == (False, False), "and does not spin"


def test_both_directions_at_once(ends: Secured) -> None:
    stream, peer = ends
    data = os.urandom(2_000_000)
    got = bytearray()

    def read() -> None:
        while part := stream.read(10_000):
            got.extend(part)

    threads = [beside(read), beside(peer.echo)]
    for at in range(0, len(data), 77_777):
        stream.write(data[at : at + 77_777], PATIENCE)
    stream.shutdown_write()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert bytes(got) == data


# Ends.


def test_half_a_close(ends: Secured) -> None:
    stream, peer = ends
    stream.write(b"last", None)
    stream.shutdown_write()
    assert peer.hear_all() == b"last"
    assert peer.socket.recv(1) == b"", "the stream ends as well"
    with pytest.raises(BrokenPipeError):
        stream.write(b"x", None)
    with pytest.raises(BrokenPipeError):
        stream.write_nowait(b"x")
    peer.say(b"still here")
    assert stream.read() == b"still here"
    peer.finish()
    assert stream.read() == b""


def test_half_a_close_sends_what_is_unsent_first(ends: Secured) -> None:
    stream, peer = ends
    taken = fill(stream)
    stream.shutdown_write()
    stream.shutdown_write()
    reader = beside(stream.read)
    assert peer.hear_all() == b"x" * taken
    assert peer.socket.recv(1) == b""
    peer.finish()
    reader.join(PATIENCE)
    assert not reader.is_alive()


@pytest.mark.parametrize("how", ["shutdown_write", "shutdown"])
@pytest.mark.parametrize("timeout", [PATIENCE, None])
def test_shutdown_wakes_a_writer(how: str, timeout: float | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname(), PATIENCE)
        theirs, _ = listening.accept()
    ours.settimeout(None)
    with theirs:
        stream, _ = secure((ours, theirs))
        errors: list[BaseException] = []

        def write() -> None:
            try:
                stream.write(b"x" * 50_000_000, timeout)
            except OSError as error:
                errors.append(error)

        writer = beside(write)
        eventually(lambda: len(stream._unsent) > 0)
        getattr(stream, how)()
        writer.join(PATIENCE)
        stream.close()
    assert [type(error) for error in errors] == [BrokenPipeError]


@pytest.mark.parametrize("how", ["shutdown_read", "shutdown"])
def test_shutdown_wakes_a_reader(ends: Secured, how: str) -> None:
    stream, _ = ends
    got: list[bytes | None] = []
    reader = beside(lambda: got.append(stream.read()))
    getattr(stream, how)()
    reader.join(PATIENCE)
    assert got == [b""]


@pytest.mark.parametrize("how", ["shutdown", "close"])
def test_the_peer_is_told_of_the_end(ends: Secured, how: str) -> None:
    stream, peer = ends
    stream.write(b"last", None)
    for _ in range(2):
        getattr(stream, how)()
    assert peer.hear_all() == b"last"


@pytest.mark.parametrize("how", ["shutdown", "close"])
def test_an_end_waits_for_nobody(ends: Secured, how: str) -> None:
    stream, peer = ends
    fill(stream)
    getattr(stream, how)()
    with pytest.raises(ConnectionResetError):
        peer.hear_all()


def test_ending_when_the_peer_is_gone(ends: Secured) -> None:
    stream, peer = ends
    peer.socket.close()
    stream.shutdown_write()
    stream.shutdown()
    stream.close()
    assert stream.fileno() == -1


# The peer asks for an answer: both of its ends change their keys.


@pytest.fixture
def forged(
    sockets: tuple[socket.socket, socket.socket], tmp_path: Path
) -> Iterator[tuple[TlsStream, TlsPeer, Forger]]:
    client, server = client_side(), server_side()
    client.keylog_filename = str(tmp_path / "keys")
    server.num_tickets = 0
    stream, peer = secure(sockets, client, server)
    yield stream, peer, Forger(tmp_path / "keys", "SERVER_TRAFFIC_SECRET_0")
    stream.close()


def test_a_reader_sends_the_answers(forged: tuple[TlsStream, TlsPeer, Forger]) -> None:
    stream, peer, forger = forged
    requests = b"".join(forger.change_of_keys()[1] for _ in range(3))
    peer.socket.sendall(requests + forger.data(b"hello"))
    assert stream.read() == b"hello"
    assert peer.tls.open(peer.socket.recv(65536)) == b""
    stream.write(b"reply", None)
    assert peer.hear(5) == b"reply"


def test_answers_while_another_thread_writes(forged: tuple[TlsStream, TlsPeer, Forger]) -> None:
    stream, peer, forger = forged
    data = os.urandom(1_000_000)
    writer = beside(lambda: stream.write(data, PATIENCE))
    eventually(lambda: len(stream._unsent) > 0)
    reader = beside(lambda: [stream.read() for _ in range(100)])
    requests = b"".join(forger.change_of_keys()[1] + forger.data(b"x") for _ in range(100))
    said = beside(lambda: peer.socket.sendall(requests))
    assert peer.hear(len(data)) == data
    for thread in (writer, said):
        thread.join(PATIENCE)
    stream.shutdown()
    reader.join(PATIENCE)
    assert not reader.is_alive()


# As clients use it.


def pipelined(
    ends: Secured, messages: list[bytes], *, half_close: bool = False, window: int = 1024
) -> list[bytes]:
    stream, peer = ends
    server = beside(peer.echo)
    pipeline = Pipeline(stream, Lines().codec(1 << 20), window, PATIENCE, half_close)
    replies = [reply for batch in pipeline.run(messages) for reply in batch]
    if not half_close:
        stream.shutdown_write()
    server.join(PATIENCE)
    assert not server.is_alive()
    return replies


@pytest.mark.parametrize("half_close", [False, True])
def test_a_pipeline(ends: Secured, half_close: bool) -> None:
    messages = [b"%d" % n for n in range(5000)]
    assert pipelined(ends, messages, half_close=half_close) == messages


@pytest.mark.parametrize("half_close", [False, True])
def test_a_pipeline_of_large_messages_does_not_deadlock(ends: Secured, half_close: bool) -> None:
    messages = [b"%d" % n + b"x" * 300_000 for n in range(10)]
    assert pipelined(ends, messages, half_close=half_close) == messages


def test_a_pipeline_whose_server_ends_without_the_end_of_tls(ends: Secured) -> None:
    from threadwire import CloseReason, ConnectionClosed

    stream, peer = ends

    def answer_once() -> None:
        peer.say(peer.hear(2))
        peer.socket.shutdown(socket.SHUT_RDWR)

    server = beside(answer_once)
    pipeline = Pipeline(stream, Lines().codec(1 << 20), 1, PATIENCE, False)
    got = []
    with pytest.raises(ConnectionClosed) as caught:
        for batch in pipeline.run([b"a", b"b"]):
            got += batch
    server.join(PATIENCE)
    assert got == [b"a"]
    assert caught.value.reason is CloseReason.PEER_RESET


def test_against_the_standard_librarys_own_sockets() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    context = server_side()
    got: list[bytes] = []

    def serve() -> None:
        connected, _ = listening.accept()
        connected.settimeout(PATIENCE)
        with context.wrap_socket(connected, server_side=True) as tls:
            while data := tls.recv(65536):
                tls.sendall(data)
                got.append(data)
            tls.unwrap().close()

    server = beside(serve)
    connected = socket.create_connection(listening.getsockname(), PATIENCE)
    connected.settimeout(None)
    stream = TlsStream.secure(
        Stream(connected, UNNAMED, UNNAMED), client_side(), "127.0.0.1", PATIENCE
    )
    stream.write(b"x" * 100_000, PATIENCE)
    stream.shutdown_write()
    replies = bytearray()
    while data := stream.read():
        replies += data
    assert len(replies) == 100_000
    stream.close()
    server.join(PATIENCE)
    listening.close()
    assert b"".join(got) == b"x" * 100_000
