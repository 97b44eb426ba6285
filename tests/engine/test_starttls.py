"""STARTTLS: sessions that begin in plain text and go on in TLS.

Every test says, under "With", what was taken out of the engine to see it fail, and how it failed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import threadwire
from threadwire import CloseReason, Connection, ConnectionClosed, TlsError, UsageError
from threadwire.handler import SessionHandler

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from ..tls_support import certificate, server_side
from .secure import (
    SECURE,
    TLS12,
    TLS13,
    SecurePeer,
    both_versions,
    certified,
    close_reasons,
    faults,
    our_authority,
    up_to,
)
from .ways import only_connection


@threadwire.session
def chat(connection: Connection) -> None:
    """Answers everything, and goes on in TLS when told to."""
    for message in connection:
        if message == b"STARTTLS":
            connection.send(b"go")
            info = connection.start_tls()
            assert info is connection.tls
        else:
            connection.send(message[::-1])


@threadwire.session
def forgive(connection: Connection) -> None:
    """As ``chat``, but takes a failure for nothing special."""
    with contextlib.suppress(TlsError, ConnectionClosed):
        chat(connection)


def begin(server: threadwire.Server, context: ssl.SSLContext | None = None) -> SecurePeer:
    """A client that has been told to go on in TLS."""
    peer = SecurePeer(server.address, context, shake=False)
    try:
        peer.say_plain(b"hello\nSTARTTLS\n")
        assert Peer.hear(peer, 9) == b"olleh\ngo\n"
    except BaseException:
        peer.close()
        raise
    return peer


def in_handshake(connection: Connection) -> bool:
    """The session's thread is inside start_tls()."""
    return connection._send_lock.locked()


# That it works.


@both_versions
@pytest.mark.parametrize("piece", [1, 1 << 16])
def test_a_session_goes_on_in_tls(
    serving: Serving, events: Events, tmp_path: Path, version: ssl.TLSVersion, piece: int
) -> None:
    """With our last part of the handshake not written: with TLS 1.2 nobody goes on."""
    server = serving(chat, **certified(tmp_path))
    with begin(server, up_to(version)) as peer:
        peer.shake_hands(piece)
        for n in range(3):
            assert peer.request(b"hello %d" % n) == b"%d olleh\n" % n
        tls = only_connection(server).tls
        assert tls is not None
        assert tls.version == version.name.replace("_", ".")
        assert tls.server_name == "server.example"
        peer.finish()
        assert peer.hear_all() == b""
        assert peer.ended == "close_notify"
    assert events.closed_reason() is CloseReason.PEER_CLOSED
    (line,) = events.named("closed")
    assert (line["bytes_received"], line["bytes_sent"]) == (39, 33)


def test_what_comes_with_the_last_of_the_handshake_is_received(
    serving: Serving, tmp_path: Path
) -> None:
    """With it not fed to the session: no answer."""
    server = serving(chat, **certified(tmp_path))
    with begin(server, up_to(TLS13)) as peer:
        last = peer.last_step()
        peer.say_plain(last + peer.sealed(b"one\ntw") + peer.sealed(b"o\n") + peer.close_notify())
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.hear_all() == b"eno\nowt\n"
        assert peer.ended == "close_notify"


def test_the_server_may_speak_first(serving: Serving, tmp_path: Path) -> None:
    @threadwire.session
    def greet(connection: Connection) -> None:
        connection.start_tls()
        connection.send(b"x" * 3_000_000)

    server = serving(greet, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        assert len(peer.hear_all()) == 3_000_001
        assert peer.ended == "close_notify"


@pytest.mark.parametrize("shown", [True, False])
def test_a_clients_certificate(serving: Serving, tmp_path: Path, shown: bool) -> None:
    @threadwire.session
    def tell(connection: Connection) -> None:
        tls = connection.start_tls()
        connection.send(f"{tls.alpn} {tls.peer_certificate is not None}".encode())

    server = serving(
        tell,
        **certified(
            tmp_path,
            tls_client_ca=our_authority(tmp_path),
            tls_client_auth="optional",
            tls_alpn=["talk"],
        ),
    )
    cert = certificate("client.example") if shown else None
    with SecurePeer(server.address, up_to(TLS13, cert=cert, alpn=["talk"])) as peer:
        assert peer.hear_line() == b"talk %s\n" % str(shown).encode()


def test_a_context_of_the_users_own(serving: Serving) -> None:
    server = serving(chat, tls_context=server_side(most=TLS12))
    with begin(server) as peer:
        peer.shake_hands()
        assert peer.tls.version() == "TLSv1.2"
        assert peer.request(b"hello") == b"olleh\n"


# Other threads.


def test_what_other_threads_send_meanwhile_comes_after_it_encrypted(
    serving: Serving, tmp_path: Path
) -> None:
    """With senders not held up: their plain text is in the middle of the handshake."""
    server = serving(chat, **certified(tmp_path))
    with begin(server, up_to(TLS13)) as peer:
        connection = only_connection(server)
        eventually(lambda: in_handshake(connection))
        begun = threading.Semaphore(0)

        def send(number: int) -> None:
            begun.release()
            for n in range(50):
                connection.send(b"news %d %d" % (number, n))

        senders = [threading.Thread(target=send, args=(number,)) for number in range(8)]
        for sender in senders:
            sender.start()
            assert begun.acquire(timeout=PATIENCE)
        last = peer.last_step()
        peer.say_plain(last[:-1])
        assert all(sender.is_alive() for sender in senders)
        peer.say_plain(last[-1:] + peer.sealed(b"hello\n"))
        heard = [0] * 8
        replies = 0
        while replies < 1 or sum(heard) < 400:
            line = peer.hear_line()
            if line == b"olleh\n":
                replies += 1
            else:
                word, number, n = line.split()
                assert (word, int(n)) == (b"news", heard[int(number)])
                heard[int(number)] += 1
        for sender in senders:
            sender.join(PATIENCE)


@pytest.mark.parametrize("how", ["close", "abort", "peer resets"])
def test_an_end_in_the_middle_frees_all_who_wait(
    serving: Serving, events: Events, tmp_path: Path, how: str
) -> None:
    server = serving(chat, **certified(tmp_path))
    with begin(server) as peer:
        connection = only_connection(server)
        eventually(lambda: in_handshake(connection))
        refused: list[CloseReason] = []

        def send() -> None:
            try:
                connection.send(b"news")
            except ConnectionClosed as error:
                refused.append(error.reason)

        senders = [threading.Thread(target=send) for _ in range(4)]
        for sender in senders:
            sender.start()
        if how == "close":
            connection.close()
        elif how == "abort":
            connection.abort(CloseReason.CUT)
        else:
            peer.say_plain(peer.step())
            peer.reset()
        for sender in senders:
            sender.join(PATIENCE)
    reason = {
        "close": CloseReason.HANDLER_CLOSED,
        "abort": CloseReason.CUT,
        "peer resets": CloseReason.PEER_RESET,
    }[how]
    assert events.closed_reason() is reason
    if how != "close":  # what was sent before a close is delivered
        assert refused == [reason] * 4
    assert not events.tracebacks()


# What a peer can do wrong.


@pytest.mark.parametrize("handler", [chat, forgive], ids=["uncaught", "caught"])
@pytest.mark.parametrize("injected", [b"DELETE everything\n", b"DEL", b"one\ntwo\n", b"\n"])
def test_plain_text_that_came_before_is_refused(
    serving: Serving,
    events: Events,
    tmp_path: Path,
    handler: SessionHandler,
    injected: bytes,
) -> None:
    """It would pass for the peer's own, said in TLS. With the check left out, it does."""
    server = serving(handler, **certified(tmp_path))
    with SecurePeer(server.address, shake=False) as peer:
        peer.say_plain(b"STARTTLS\n" + injected)
        with contextlib.suppress(ConnectionResetError):
            assert Peer.hear_all(peer) == b"go\n"
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert faults(events) == ["TLS failed: bytes had come before the handshake began"]
    assert not events.tracebacks()


@pytest.mark.parametrize("handler", [chat, forgive], ids=["uncaught", "caught"])
@pytest.mark.parametrize("said", [b"DELETE everything\n", b"\x16\3\1\0\4\xff\0\0\0", b"\0"])
def test_what_is_no_handshake(
    serving: Serving,
    events: Events,
    tmp_path: Path,
    handler: SessionHandler,
    said: bytes,
) -> None:
    """A line that says what is wrong, and no traceback, whether the handler catches it or not."""
    server = serving(handler, **certified(tmp_path))
    with begin(server) as peer:
        peer.say_plain(said)
        with contextlib.suppress(ConnectionResetError):
            assert b"olleh" not in Peer.hear_all(peer)
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert len(faults(events)) == 1
    assert not events.tracebacks()


def test_a_failure_is_told_to_the_peer(serving: Serving, events: Events) -> None:
    """By an alert. With it not written: the peer can only guess."""
    context = server_side()
    context.minimum_version = TLS13
    server = serving(chat, tls_context=context)
    with begin(server, up_to(TLS12)) as peer:
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            peer.shake_hands()
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert faults(events) == ["TLS failed: no version of TLS that both ends allow"]


@pytest.mark.parametrize("handler", [chat, forgive], ids=["uncaught", "caught"])
@pytest.mark.parametrize("said", [b"", b"\x16\3\1"])
def test_a_handshake_has_so_long(
    serving: Serving,
    events: Events,
    tmp_path: Path,
    handler: SessionHandler,
    said: bytes,
) -> None:
    """With no deadline given to its reads: it waits for ever."""
    server = serving(handler, **certified(tmp_path, handshake_timeout=0.1))
    with begin(server) as peer:
        peer.say_plain(said)
        with contextlib.suppress(ConnectionResetError):
            assert Peer.hear_all(peer) == b""
    assert events.closed_reason() is CloseReason.HANDSHAKE_TIMEOUT
    assert len(faults(events)) == 1
    assert "within 0.1 s" in faults(events)[0]
    assert not events.tracebacks()


@pytest.mark.parametrize("said", ["nothing", "hello"])
@pytest.mark.parametrize("end", ["finish", "reset"])
def test_a_peer_that_leaves_in_the_middle(
    serving: Serving, events: Events, tmp_path: Path, said: str, end: str
) -> None:
    """Is gone as any other: the handler is told by ConnectionClosed."""
    server = serving(chat, **certified(tmp_path))
    with begin(server) as peer:
        connection = only_connection(server)
        eventually(lambda: in_handshake(connection))
        if said == "hello":
            peer.say_plain(peer.step())
            peer.take_in()
        if end == "finish":
            peer.socket.shutdown(socket.SHUT_WR)
            Peer.hear_all(peer)
        else:
            peer.reset()
    expected = CloseReason.PEER_CLOSED if end == "finish" else CloseReason.PEER_RESET
    assert events.closed_reason() is expected
    assert not events.tracebacks()


def test_a_handler_cannot_go_on_after_a_failure(
    serving: Serving, events: Events, tmp_path: Path
) -> None:
    """Half in plain text, half encrypted: it would not know what it talks about."""
    met: list[object] = []

    @threadwire.session
    def stubborn(connection: Connection) -> None:
        calls: list[Callable[[], object]] = [
            connection.start_tls,
            connection.receive,
            connection.start_tls,
            lambda: connection.send(b"in plain text, then"),
        ]
        for call in calls:
            try:
                met.append(call())
            except threadwire.ThreadwireError as error:
                met.append(type(error))

    server = serving(stubborn, **certified(tmp_path))
    with Peer(server.address) as peer:
        peer.say(b"hello\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"plain" not in peer.hear_all()
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert met == [TlsError, ConnectionClosed, ConnectionClosed, ConnectionClosed]


# What the caller can do wrong.


def told(serving: Serving, call: Callable[[Connection], object], **options: object) -> str:
    """What a session's ``call`` raises UsageError with; the session goes on."""

    @threadwire.session
    def talk(connection: Connection) -> None:
        try:
            call(connection)
        except UsageError as error:
            connection.send(str(error).encode())
        connection.send(connection.receive())

    secure = options.pop("secure", False)
    server = serving(talk, *([SECURE] if secure else []), **options)
    with SecurePeer(server.address) if secure else Peer(server.address) as peer:
        problem = peer.hear_line()
        peer.say(b"still there?\n")
        assert peer.hear_line() == b"still there?\n"
    return problem.decode()


def test_without_a_certificate(serving: Serving) -> None:
    assert "tls_cert" in told(serving, lambda connection: connection.start_tls())


def test_on_a_connection_of_tls(serving: Serving, tmp_path: Path) -> None:
    def call(connection: Connection) -> object:
        return connection.start_tls()

    assert "TLS one already" in told(serving, call, secure=True, **certified(tmp_path))


def test_twice(serving: Serving, tmp_path: Path) -> None:
    @threadwire.session
    def talk(connection: Connection) -> None:
        connection.start_tls()
        with pytest.raises(UsageError, match="already"):
            connection.start_tls()
        connection.send(b"done")

    server = serving(talk, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        assert peer.hear_line() == b"done\n"


def test_in_a_message_handler(serving: Serving, events: Events, tmp_path: Path) -> None:
    def handler(message: bytes, connection: Connection) -> bytes:
        with pytest.raises(UsageError, match="session"):
            connection.start_tls()
        return message

    server = serving(handler, **certified(tmp_path))
    with Peer(server.address) as peer:
        peer.say(b"hello\n")
        assert peer.hear_line() == b"hello\n"


def test_while_another_thread_receives(serving: Serving, tmp_path: Path) -> None:
    """Both would read. With the receiving not looked at: the handshake loses half its bytes."""
    receiving = threading.Thread()

    def call(connection: Connection) -> object:
        nonlocal receiving

        def receive() -> None:
            with contextlib.suppress(threadwire.TimeLimitError):
                connection.receive(timeout=0.2)

        receiving = threading.Thread(target=receive)
        receiving.start()
        eventually(lambda: connection._reading)
        try:
            return connection.start_tls()
        finally:
            receiving.join(PATIENCE)

    assert "another thread" in told(serving, call, **certified(tmp_path))


def test_on_a_closed_connection(serving: Serving, tmp_path: Path) -> None:
    met: list[CloseReason] = []
    done = threading.Event()

    @threadwire.session
    def talk(connection: Connection) -> None:
        connection.close()
        with pytest.raises(ConnectionClosed) as caught:
            connection.start_tls()
        met.append(caught.value.reason)
        done.set()

    server = serving(talk, **certified(tmp_path))
    with Peer(server.address) as peer:
        wait_for(done)
        assert peer.hear_all() == b""
    assert met == [CloseReason.HANDLER_CLOSED]


# Ends.


def test_a_drain_lets_the_handshake_come_to_its_end(
    serving: Serving, events: Events, tmp_path: Path
) -> None:
    """And what has come with it is answered."""
    server = serving(chat, **certified(tmp_path))
    with begin(server, up_to(TLS13)) as peer:
        connection = only_connection(server)
        last = peer.last_step()
        closing = threading.Thread(target=server.close, args=(PATIENCE,))
        closing.start()
        eventually(lambda: connection.draining)
        peer.say_plain(last + peer.sealed(b"hello\n"))
        assert peer.hear_all() == b"olleh\n"
        assert peer.ended == "close_notify"
        peer.close()
        closing.join(PATIENCE)
    assert server.close().cut == ()
    assert events.closed_reason() is CloseReason.DRAINED


def test_a_cut(serving: Serving, events: Events, tmp_path: Path) -> None:
    server = serving(chat, **certified(tmp_path))
    with begin(server) as peer:
        eventually(lambda: in_handshake(only_connection(server)))
        report = server.close(0)
        assert (len(report.cut), report.threads_left) == (1, ())
        with contextlib.suppress(ConnectionResetError):
            assert Peer.hear_all(peer) == b""
    assert close_reasons(events) == {1: CloseReason.CUT}
    assert not events.tracebacks()
