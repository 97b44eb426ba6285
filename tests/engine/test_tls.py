"""TLS connections once hands are shaken: handlers of every kind, much data, faults, and ends.

Every test says, under "With", what was taken out of the engine to see it fail, and how it failed.
"""

from __future__ import annotations

import contextlib
import itertools
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason, Connection, LengthPrefixed
from threadwire.limits import HIGH_WATER, READ_SIZE
from threadwire.testing import Clock

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, reverse, wait_for
from ..tls_support import Forger, authority, certificate, client_side
from .secure import (
    SECURE,
    TLS13,
    SecurePeer,
    both_versions,
    certified,
    close_reasons,
    faults,
    our_authority,
    up_to,
    write_pem,
)
from .ways import (
    NEVER,
    become_own,
    both_twins,
    every_form,
    in_form,
    no_more_room,
    only_connection,
)

WAYS = ["loop", "own thread", "session"]
every_way = pytest.mark.parametrize("way", WAYS)


def in_way(way: str, function: Callable[[bytes], bytes]) -> Callable[..., Any]:
    """A handler that answers by ``function``: on the loop, on a lent thread, or as a session."""
    if way == "loop":
        return function
    if way == "own thread":

        def handler(message: bytes, connection: Connection) -> bytes:
            become_own(connection)
            return function(message)

        return handler

    def talk(connection: Connection) -> None:
        for message in connection:
            connection.send(function(message))

    return threadwire.session(talk)


# Handlers of every kind.


@both_twins
@both_versions
@every_way
def test_messages_are_answered(
    serving: Serving, events: Events, tmp_path: Path, way: str, version: ssl.TLSVersion
) -> None:
    """Counts are of plain text. With bytes counted before they are opened: some dozens more."""
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    with SecurePeer(server.address, up_to(version)) as peer:
        for n in range(5):
            assert peer.request(b"hello %d" % n) == b"%d olleh\n" % n
        peer.say(b"one\ntwo\n")
        assert peer.hear_line() + peer.hear_line() == b"eno\nowt\n"
        assert peer.tls.version() == version.name.replace("_", ".")
        peer.finish()
        assert peer.hear_all() == b""
        assert peer.ended == "close_notify"
    assert events.closed_reason() is CloseReason.PEER_CLOSED
    (line,) = events.named("closed")
    assert (line["messages_received"], line["messages_sent"]) == (7, 7)
    assert (line["bytes_received"], line["bytes_sent"]) == (48, 48)


@both_twins
@every_form
def test_a_handler_that_blocks_in_the_middle_of_what_was_read(
    serving: Serving, tmp_path: Path, form: str
) -> None:
    """What comes before it is sent at once, what comes after when it is done, others meanwhile.

    With the successor not writing what the turn had ready for it: the first is not heard.
    """
    go_on = threading.Event()

    def function(message: bytes) -> bytes:
        if message == b"block":
            wait_for(go_on)
        return message

    server = serving(in_form(form, function), SECURE, **certified(tmp_path, handoff_after=0.05))
    with SecurePeer(server.address) as peer, SecurePeer(server.address) as other:
        assert other.request(b"hello") == b"hello\n"
        before = [b"%d\n" % n for n in range(50)]
        after = [b"then %d\n" % n for n in range(50)]
        said = b"".join([*before, b"block\n", *after])
        peer.say_plain(b"".join(peer.sealed(said[n : n + 70]) for n in range(0, len(said), 70)))
        for line in before:
            assert peer.hear_line() == line
        assert other.request(b"beside") == b"beside\n"
        go_on.set()
        for line in [b"block\n", *after]:
            assert peer.hear_line() == line
        for n in range(20):  # it goes back to the loop
            assert peer.request(b"again %d" % n) == b"again %d\n" % n
        eventually(lambda: server.connections[0].owner is None)
        assert peer.request(b"back") == b"back\n"


@both_twins
@pytest.mark.parametrize("blocking", [False, True], ids=["quick", "blocking"])
def test_several_replies_and_none(serving: Serving, tmp_path: Path, blocking: bool) -> None:
    def handler(message: bytes, connection: Connection) -> object:
        if blocking:
            become_own(connection)
        if message == b"none":
            return None
        return (message + b" %d" % n for n in range(3))

    server = serving(handler, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        peer.say(b"none\na\nnone\nb\n")
        for line in (b"a 0\n", b"a 1\n", b"a 2\n", b"b 0\n", b"b 1\n", b"b 2\n"):
            assert peer.hear_line() == line


@both_twins
@pytest.mark.parametrize("blocking", [False, True], ids=["quick", "blocking"])
def test_a_last_reply(serving: Serving, events: Events, tmp_path: Path, blocking: bool) -> None:
    """It is followed by TLS's own end. With that left out: the peer cannot know that it is all."""

    def handler(message: bytes, connection: Connection) -> bytes:
        if blocking:
            become_own(connection)
        if message == b"bye":
            raise threadwire.Close(b"goodbye")
        return message

    server = serving(handler, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        peer.say(b"hello\nbye\nnever handled\n")
        assert peer.hear_all() == b"hello\ngoodbye\n"
        assert peer.ended == "close_notify"
        assert peer.socket.recv(1) == b""
    assert events.closed_reason() is CloseReason.HANDLER_CLOSED


@both_twins
@pytest.mark.parametrize("blocking", [False, True], ids=["quick", "blocking"])
def test_a_large_last_reply_to_a_slow_reader(
    serving: Serving, tmp_path: Path, blocking: bool
) -> None:
    """With TLS's own end not waiting until everything is written: it comes too soon."""
    size = 10_000_000

    closing: list[Connection] = []

    def handler(_message: bytes, connection: Connection) -> bytes:
        if blocking:
            become_own(connection)
        closing.append(connection)
        raise threadwire.Close(b"x" * size)

    server = serving(handler, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, receive_buffer=65536) as peer:
        peer.say(b"bye\n")
        eventually(lambda: closing and no_more_room(closing[0]))
        assert len(peer.hear_all()) == size + 1
        assert peer.ended == "close_notify"


@both_twins
def test_a_close_while_another_thread_is_sending(serving: Serving, tmp_path: Path) -> None:
    """What it is sending is delivered, and then the end. With the end not waiting: it is cut."""
    size = 10_000_000
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, receive_buffer=65536) as peer:
        assert peer.request(b"hello") == b"olleh\n"
        connection = only_connection(server)
        sender = threading.Thread(target=connection.send, args=(b"x" * size,))
        sender.start()
        eventually(lambda: connection._send_lock.locked() and no_more_room(connection))
        connection.close()
        assert len(peer.hear_all()) == size + 1
        assert peer.ended == "close_notify"
        sender.join(PATIENCE)


@both_twins
def test_a_handler_that_raises(serving: Serving, events: Events, tmp_path: Path) -> None:
    server = serving(lambda message: message[5], SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear_all() == b""
        assert peer.ended == "close_notify"
    assert events.closed_reason() is CloseReason.HANDLER_FAILED
    assert len(events.tracebacks()) == 1


def test_a_session_that_waits_only_so_long_for_half_a_record(
    serving: Serving, tmp_path: Path
) -> None:
    """With the half that came dropped: what follows cannot be read."""
    waited = threading.Event()

    @threadwire.session
    def patient(connection: Connection) -> None:
        for _ in range(2):
            with contextlib.suppress(threadwire.TimeLimitError):
                connection.receive(timeout=0.05)
                raise AssertionError("there is no whole message")
        waited.set()
        connection.send(connection.receive(PATIENCE))

    server = serving(patient, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        data = peer.sealed(b"hel") + peer.sealed(b"lo\n")
        peer.say_plain(data[:-9])
        wait_for(waited)
        peer.say_plain(data[-9:])
        assert peer.hear_line() == b"hello\n"


@both_twins
def test_a_framing_that_has_to_guess(serving: Serving, tmp_path: Path) -> None:
    """After a moment without a newline, what came in is a message."""
    server = serving(reverse, SECURE, **certified(tmp_path, framing=threadwire.Auto()))
    with SecurePeer(server.address) as raw, SecurePeer(server.address) as lines:
        raw.say(b"hello")
        assert raw.hear(5) == b"olleh"
        lines.say(b"one\ntwo\n")
        assert lines.hear_line() + lines.hear_line() == b"eno\nowt\n"


# Many messages, from many sides.


@both_twins
@both_versions
def test_other_threads_send_while_the_loop_replies(
    serving: Serving, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Ten thousand replies and as many news, each whole, once and in its order.

    With records not written in the order they were made (a send that does not hold its lock until
    it has written): the first that is out of order ends the connection.
    """
    clients, each = 4, 2500
    server = serving(reverse, SECURE, **certified(tmp_path))

    def broadcast(connection: Connection, sender: int) -> None:
        for n in range(each // 2):
            connection.send(b"news %d %d" % (sender, n))

    wrong: list[object] = []

    def converse(number: int) -> None:
        wanted = [b"client %d says %d" % (number, n) for n in range(each)]
        with SecurePeer(server.address, up_to(version)) as peer:
            assert peer.request(b"here") == b"ereh\n"
            port = peer.name.port
            (connection,) = (c for c in server.connections if c.peer.port == port)
            # Encrypted before, so that one thread alone uses the client's TLS from here on.
            chunks = [
                peer.sealed(b"".join(line + b"\n" for line in wanted[n : n + 7]))
                for n in range(0, each, 7)
            ]
            writer = threading.Thread(target=peer.say_plain, args=(b"".join(chunks),))
            senders = [threading.Thread(target=broadcast, args=(connection, n)) for n in range(2)]
            for thread in (writer, *senders):
                thread.start()
            replies, news = 0, [0, 0]
            while replies < each or sum(news) < each:
                line = peer.hear_line()
                if line.startswith(b"news "):
                    sender, n = map(int, line[5:].split())
                    right = n == news[sender]
                    news[sender] += 1
                else:
                    right = replies < each and line == wanted[replies][::-1] + b"\n"
                    replies += 1
                if not right:
                    wrong.append((number, line))
                    break
            for thread in (writer, *senders):
                thread.join(PATIENCE)

    threads = [threading.Thread(target=converse, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE)
    assert wrong == []
    eventually(lambda: not server.connections)


@both_twins
def test_replies_and_broadcasts_to_clients_that_come_and_go_between_loop_and_threads(
    serving: Serving, tmp_path: Path
) -> None:
    """In messages that do not fit at once, to a client that reads slowly.

    With what a short write left not kept as it was encrypted: it is encrypted twice.
    """
    size, rounds = 100_000, 30
    filler = b"." * size

    def handler(message: bytes) -> bytes:
        if b"slow" in message:
            threading.Event().wait(0.003)  # a handler that blocks, on purpose
        return b"reply " + message + filler

    server = serving(handler, SECURE, **certified(tmp_path, handoff_after=0.0005))
    stop = threading.Event()

    def broadcast() -> None:
        for n in itertools.count():
            for connection in server.connections:
                with contextlib.suppress(threadwire.ConnectionClosed):
                    connection.send(b"news %d " % n + filler)
            if stop.wait(0.005):
                return

    with SecurePeer(server.address, receive_buffer=16384) as peer:
        wanted = [b"%d%s" % (n, b" slow" if n % 9 == 4 else b"") for n in range(rounds)]
        peer.say_plain(b"".join(peer.sealed(message + b"\n") for message in wanted))
        sender = threading.Thread(target=broadcast)
        sender.start()
        try:
            news = -1
            while wanted:
                line = peer.hear_line()
                assert line.endswith(filler + b"\n"), line[:50]
                if line.startswith(b"news "):
                    now = int(line[5 : line.index(b" ", 5)])
                    assert now > news
                    news = now
                else:
                    assert line == b"reply " + wanted.pop(0) + filler + b"\n"
        finally:
            stop.set()
            peer.reset()
            sender.join(PATIENCE)


@both_twins
@pytest.mark.parametrize("piece", [1, 13, 1000, 1 << 20])
def test_a_thousand_at_once_cut_anywhere(serving: Serving, tmp_path: Path, piece: int) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        wanted = [b"message %d" % n for n in range(1000 if piece > 1 else 20)]
        data = b"".join(peer.sealed(message + b"\n") for message in wanted)
        writer = threading.Thread(target=peer.say_in_pieces, args=(data, piece))
        writer.start()
        for message in wanted:
            assert peer.hear_line() == message[::-1] + b"\n"
        writer.join(PATIENCE)


# Large ones.


@both_twins
@both_versions
@every_way
def test_large_messages_and_replies(
    serving: Serving, tmp_path: Path, way: str, version: ssl.TLSVersion
) -> None:
    size = 5_000_000
    server = serving(
        in_way(way, lambda message: message[::-1]),
        SECURE,
        **certified(tmp_path, framing=LengthPrefixed(4), max_message=size),
    )
    message = bytes(range(256)) * (size // 256)
    header = len(message).to_bytes(4, "big")
    with SecurePeer(server.address, up_to(version)) as peer:
        for _ in range(2):
            data = peer.sealed(header + message)
            writer = threading.Thread(target=peer.say_plain, args=(data,))
            writer.start()
            heard = peer.hear(4 + len(message))
            writer.join(PATIENCE)
            assert heard == header + message[::-1]


@both_twins
@every_way
def test_a_message_that_is_too_large(
    serving: Serving, events: Events, tmp_path: Path, way: str
) -> None:
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path, max_message=100_000))
    with SecurePeer(server.address) as peer:
        peer.say(b"x" * 150_000)
        assert peer.hear_all() == b""
        assert peer.ended == "close_notify"
    assert events.closed_reason() is CloseReason.MESSAGE_TOO_LARGE
    assert len(faults(events)) == 1


@both_twins
def test_a_peer_that_does_not_read_is_not_read_from(serving: Serving, tmp_path: Path) -> None:
    """And gets everything when it does. With the loop going on to read: megabytes are."""
    handled = itertools.count()

    def handler(message: bytes) -> bytes:
        next(handled)
        return message

    server = serving(handler, SECURE, **certified(tmp_path, handoff_after=NEVER))
    with (
        SecurePeer(server.address, receive_buffer=4096) as peer,
        SecurePeer(server.address) as other,
    ):
        lines = [b"%06d" % n + b"x" * 1000 + b"\n" for n in range(10_000)]
        data = b"".join(peer.sealed(b"".join(lines[n : n + 10])) for n in range(0, len(lines), 10))
        writer = threading.Thread(target=peer.say_plain, args=(data,))
        writer.start()
        assert other.request(b"hello") == b"hello\n"
        connection = server.connections[0]
        eventually(lambda: connection.bytes_received and no_more_room(connection))
        assert other.request(b"beside") == b"beside\n"
        waiting = sum(map(len, connection._pending or ())) + sum(map(len, connection._raw or ()))
        assert waiting <= 2 * (HIGH_WATER.whole + READ_SIZE.whole)
        assert connection.bytes_received < len(data) // 2
        for line in lines:
            assert peer.hear_line() == line
        writer.join(PATIENCE)


@both_twins
@every_way
def test_a_peer_that_never_reads_has_so_long(
    serving: Serving, events: Events, tmp_path: Path, way: str
) -> None:
    server = serving(
        in_way(way, lambda message: b"x" * 20_000_000),
        SECURE,
        **certified(tmp_path, write_timeout=0.1),
    )
    with SecurePeer(server.address, receive_buffer=4096) as peer, SecurePeer(server.address):
        peer.say(b"all\n")
        eventually(lambda: 1 in close_reasons(events))
        assert only_connection(server).id == 2
    assert close_reasons(events)[1] is CloseReason.WRITE_TIMEOUT
    assert not events.tracebacks()


# What a handler sees.


@both_versions
@pytest.mark.parametrize(
    ("auth", "shown"), [("required", True), ("optional", True), ("optional", False)]
)
def test_a_clients_certificate(
    serving: Serving, tmp_path: Path, version: ssl.TLSVersion, auth: str, shown: bool
) -> None:
    def who(_message: bytes, connection: Connection) -> bytes:
        assert connection.tls is not None
        theirs = connection.tls.peer_certificate
        if theirs is None:
            assert connection.tls.peer_certificate_der is None
            return b"nobody"
        assert connection.tls.peer_certificate_der
        names: Any = theirs["subjectAltName"]
        return str(names[0][1]).encode()

    server = serving(
        who,
        SECURE,
        **certified(tmp_path, tls_client_ca=our_authority(tmp_path), tls_client_auth=auth),
    )
    cert = certificate("client.example") if shown else None
    with SecurePeer(server.address, up_to(version, cert=cert)) as peer:
        assert peer.request(b"who?") == (b"client.example\n" if shown else b"nobody\n")


@both_versions
def test_what_was_agreed_on(serving: Serving, tmp_path: Path, version: ssl.TLSVersion) -> None:
    def tell(_message: bytes, connection: Connection) -> bytes:
        tls = connection.tls
        assert tls is not None
        return f"{tls.version} {tls.cipher} {tls.alpn} {tls.server_name}".encode()

    server = serving(tell, SECURE, "tcp://127.0.0.1:0", **certified(tmp_path, tls_alpn=["b", "a"]))
    for offered, agreed in (["a", "b"], "b"), (["a"], "a"), ([], None):
        with SecurePeer(server.address, up_to(version, alpn=offered)) as peer:
            cipher = peer.tls.cipher()
            assert cipher is not None
            said = f"{version.name.replace('_', '.')} {cipher[0]} {agreed} server.example\n"
            assert peer.request(b"?") == said.encode()
            assert peer.tls.selected_alpn_protocol() == agreed


def test_plain_and_tls_beside_each_other(serving: Serving, tmp_path: Path) -> None:
    server = serving(
        lambda message, connection: b"tls" if connection.tls else b"plain",
        "tcp://127.0.0.1:0",
        SECURE,
        **certified(tmp_path),
    )
    plain, secure = server.addresses
    assert (plain.scheme, secure.scheme) == ("tcp", "tls")
    with Peer(plain) as peer, SecurePeer(secure) as other:
        for _ in range(3):
            peer.say(b"?\n")
            assert peer.hear_line() == b"plain\n"
            assert other.request(b"?") == b"tls\n"


def test_new_certificates_while_serving(serving: Serving, events: Events, tmp_path: Path) -> None:
    """With the context kept by the loop: new clients see the old one, too."""

    def serial(peer: SecurePeer) -> object:
        shown = peer.tls.getpeercert()
        assert shown is not None
        return shown["serialNumber"]

    server = serving(reverse, SECURE, **certified(tmp_path))
    assert server.certificates is not None
    with SecurePeer(server.address) as old:
        assert old.request(b"hello") == b"olleh\n"
        write_pem(tmp_path / "server.pem", authority().issue_cert("server.example"))
        with SecurePeer(server.address) as other:
            assert serial(other) == serial(old)
        server.certificates.reload()
        with SecurePeer(server.address) as new:
            assert serial(new) != serial(old)
            assert new.request(b"hello") == b"olleh\n"
            assert old.request(b"again") == b"niaga\n"
            (tmp_path / "server.pem").write_text("nothing of use")
            with pytest.raises(threadwire.UsageError, match=r"server\.pem"):
                server.certificates.reload()
            with SecurePeer(server.address) as another:
                assert serial(another) == serial(new)
            assert old.request(b"again") == b"niaga\n"


def test_a_session_that_is_resumed(serving: Serving, tmp_path: Path) -> None:
    """The tickets that a server sends unasked reach the client, and the client gets in by one."""
    server = serving(reverse, SECURE, **certified(tmp_path))
    context = client_side()
    with SecurePeer(server.address, context) as peer:
        assert peer.request(b"hello") == b"olleh\n"
        session = peer.tls.session
    assert session is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="server.example", session=session)
    with SecurePeer(server.address, context, shake=False) as peer:
        peer.tls, peer.incoming, peer.outgoing = tls, incoming, outgoing
        peer.shake_hands()
        assert peer.tls.session_reused
        assert peer.request(b"hello") == b"olleh\n"


# What a peer can do wrong.


@both_twins
@every_way
@pytest.mark.parametrize("before", [b"", b"good\n"], ids=["alone", "behind a good one"])
def test_a_record_that_was_tampered_with(
    serving: Serving, events: Events, tmp_path: Path, way: str, before: bytes
) -> None:
    """It ends its own connection, by an alert, with a line that says why and no traceback.

    With a failure met only by the next read: the reply to the good one cannot be encrypted, which
    is the engine's failure, and the connection is never released.
    """
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer, SecurePeer(server.address) as other:
        assert peer.request(b"hello") == b"olleh\n"
        good, bad = peer.sealed(before) if before else b"", bytearray(peer.sealed(b"bad\n"))
        bad[-1] ^= 1
        peer.say_plain(good + bad)
        with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
            while peer.hear_line() == b"doog\n":
                pass
        assert other.request(b"beside") == b"ediseb\n"
        eventually(lambda: 1 in close_reasons(events))
    assert close_reasons(events)[1] is CloseReason.TLS_ERROR
    assert faults(events) == ["TLS failed: a record was damaged or forged"]
    assert not events.tracebacks()


@both_twins
@every_way
def test_plain_text_in_the_middle(
    serving: Serving, events: Events, tmp_path: Path, way: str
) -> None:
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        assert peer.request(b"hello") == b"olleh\n"
        peer.say_plain(b"hello\n")
        with pytest.raises(ssl.SSLError):
            peer.hear_all()
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert len(faults(events)) == 1
    assert not events.tracebacks()


def test_a_session_may_make_of_it_what_it_likes(
    serving: Serving, events: Events, tmp_path: Path
) -> None:
    """But it cannot go on. With the stream not ended: the session waits for more."""
    met: list[object] = []

    @threadwire.session
    def talk(connection: Connection) -> None:
        try:
            connection.receive()
        except threadwire.TlsError as error:
            met.append(error.problem)
        for call in (connection.receive, lambda: connection.send(b"still there?")):
            try:
                call()
            except threadwire.ConnectionClosed as error:
                met.append(error.reason)

    server = serving(talk, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        peer.say_plain(b"hello\n")
        with contextlib.suppress(ssl.SSLError):
            assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert len(met) == 3
    assert met[1:] == [CloseReason.TLS_ERROR, CloseReason.TLS_ERROR]
    assert len(faults(events)) == 1
    assert not events.tracebacks()


@both_twins
@every_way
def test_a_peer_that_says_what_we_did_wrong(
    serving: Serving, events: Events, tmp_path: Path, way: str
) -> None:
    """By an alert that ends the connection."""
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    peer, forger = forged(server, tmp_path / "keys")
    with peer:
        peer.say_plain(forger.data(b"hello\n"))
        assert peer.hear_line() == b"olleh\n"
        peer.say_plain(forger.record(21, b"\2\x50"))  # fatal, internal_error
        with contextlib.suppress(ssl.SSLError):
            assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert faults(events) == ["TLS failed: the peer sent an alert: internal error"]
    assert not events.tracebacks()


def forged(server: threadwire.Server, key_log: Path) -> tuple[SecurePeer, Forger]:
    """A client, and who forges what it sends from now on."""
    context = up_to(TLS13)
    context.keylog_filename = str(key_log)
    peer = SecurePeer(server.address, context)
    return peer, Forger(key_log)


@both_twins
@every_way
def test_keys_are_changed(serving: Serving, tmp_path: Path, way: str) -> None:
    """As often as the peer likes, whether or not it asks us to do the same."""
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    peer, forger = forged(server, tmp_path / "keys")
    with peer:
        for n in range(10):
            peer.say_plain(forger.change_of_keys()[1] + forger.data(b"hello %d\n" % n))
            assert peer.hear_line() == b"%d olleh\n" % n


@both_twins
@every_way
def test_a_change_of_keys_is_answered_though_nothing_is_asked(
    serving: Serving, tmp_path: Path, way: str
) -> None:
    """With the loop not looking whether TLS has something to say: nothing comes."""
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    peer, forger = forged(server, tmp_path / "keys")
    with peer:
        peer.say_plain(forger.data(b"hello\n"))
        assert peer.hear_line() == b"olleh\n"
        # OpenSSL makes the answer to the first when the second comes.
        peer.say_plain(forger.change_of_keys()[1] + forger.change_of_keys()[1])
        assert peer.socket.recv(65536)[:1] == b"\x17"


@both_twins
@every_way
def test_half_a_handshake_message_and_a_reply_beyond_all_bounds(
    serving: Serving, events: Events, tmp_path: Path, way: str
) -> None:
    """Nothing may be sent within one, so the reply waits for its end, up to a MiB.

    With the failure not met where replies are written: it is the engine's.
    """
    server = serving(in_way(way, lambda message: b"x" * 3_000_000), SECURE, **certified(tmp_path))
    peer, forger = forged(server, tmp_path / "keys")
    with peer:
        with SecurePeer(server.address) as other:
            # In one piece, so that it is read before the reply is sent.
            peer.say_plain(forger.data(b"all\n") + forger.record(22, b"\x18\0\0\x01"))
            with contextlib.suppress(ssl.SSLError):
                peer.hear_all()
            other.say(b"x\n")
            assert len(other.hear_line()) == 3_000_001
    eventually(lambda: 1 in close_reasons(events))
    assert close_reasons(events)[1] is CloseReason.TLS_ERROR
    assert not events.tracebacks()


@both_twins
def test_half_a_handshake_message_and_a_handler_that_blocks(
    serving: Serving, events: Events, tmp_path: Path
) -> None:
    """The successor finds that what the turn had ready cannot be sent any more.

    With that not met where it parts with the client: it is the engine's failure.
    """
    handling, go_on = threading.Event(), threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            handling.set()
            wait_for(go_on)
        return b"x" * 250_000

    server = serving(handler, SECURE, **certified(tmp_path, handoff_after=0.05))
    peer, forger = forged(server, tmp_path / "keys")
    with peer, SecurePeer(server.address) as other:
        assert len(other.request(b"hello")) == 250_001
        said = b"big\n" * 5 + b"block\n"  # a MiB of replies, and some more
        peer.say_plain(forger.data(said) + forger.record(22, b"\x18\0\0\x01"))
        wait_for(handling)
        assert len(other.request(b"beside")) == 250_001
        go_on.set()
        with contextlib.suppress(ssl.SSLError):
            peer.hear_all()
    eventually(lambda: 1 in close_reasons(events))
    assert close_reasons(events)[1] is CloseReason.TLS_ERROR
    assert not events.tracebacks()


@both_twins
@every_way
def test_half_a_handshake_message_and_its_end(serving: Serving, tmp_path: Path, way: str) -> None:
    """With what was kept not sent when it comes: the reply never does."""
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    peer, forger = forged(server, tmp_path / "keys")
    with peer:
        said = forger.data(b"hello\n")
        first, second = forger.change_of_keys(cut_at=4)
        peer.say_plain(said + first)
        eventually(lambda: only_connection(server).messages_sent)
        peer.say_plain(second)
        assert peer.hear_line() == b"olleh\n"
        peer.say_plain(forger.data(b"again\n"))
        assert peer.hear_line() == b"niaga\n"


# Time.


@both_twins
@every_way
def test_half_a_record_is_a_message_begun(
    serving: Serving, events: Events, tmp_path: Path, way: str
) -> None:
    """With records not counted in ``begun``: it may wait for ever."""
    seconds = 30.0
    clock = Clock()
    server = serving(
        in_way(way, reverse),
        SECURE,
        **certified(tmp_path, clock=clock, message_timeout=seconds, handoff_after=0.05),
    )
    with SecurePeer(server.address) as peer, SecurePeer(server.address) as other:
        assert peer.request(b"hello") == b"olleh\n"
        connection = server.connections[0]
        data = peer.sealed(b"hello\n")
        for byte in data[:10]:
            peer.say_plain(bytes([byte]))
            eventually(lambda: connection.begun)
        for _ in range(20):
            clock.turn(seconds / 8)
            assert other.request(b"beside") == b"ediseb\n"

        def told_of() -> object:
            """Of the looks that were due meanwhile, the loop may have made a single one."""
            clock.turn(seconds / 8)
            return faults(events)

        eventually(told_of)
        with contextlib.suppress(ConnectionResetError):
            Peer.hear_all(peer)
        peer.close()
        eventually(lambda: 1 in close_reasons(events))
    assert close_reasons(events)[1] is CloseReason.MESSAGE_TIMEOUT


@both_twins
def test_an_idle_client_has_so_long(serving: Serving, events: Events, tmp_path: Path) -> None:
    """And is told that nothing more will come."""
    seconds = 30.0
    clock = Clock()
    server = serving(reverse, SECURE, **certified(tmp_path, clock=clock, idle_timeout=seconds))
    with SecurePeer(server.address) as peer:
        for _ in range(3):
            assert peer.request(b"hello") == b"olleh\n"
            clock.turn(seconds / 2)
        assert peer.request(b"hello") == b"olleh\n"
        connection = only_connection(server)

        def closed() -> bool:
            """It is looked at several times within the timeout, so a turn at once would be one."""
            clock.turn(seconds / 8)
            return connection.closed

        eventually(closed)
        assert peer.hear_all() == b""
        assert peer.ended == "close_notify"
    assert events.closed_reason() is CloseReason.IDLE_TIMEOUT


# Ends.


@both_twins
@both_versions
@every_way
def test_a_peer_that_has_said_all_still_hears(
    serving: Serving, events: Events, tmp_path: Path, way: str, version: ssl.TLSVersion
) -> None:
    """With TLS's end of the stream not heeded: nothing comes after the reply."""
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    with SecurePeer(server.address, up_to(version)) as peer:
        peer.say_plain(peer.sealed(b"one\ntwo\n") + peer.close_notify())
        assert peer.hear_all() == b"eno\nowt\n"
        assert peer.ended == "close_notify"
    assert events.closed_reason() is CloseReason.PEER_CLOSED


@both_twins
@every_way
@pytest.mark.parametrize("begun", [False, True], ids=["between messages", "within one"])
def test_a_stream_that_ends_without_the_end_of_tls(
    serving: Serving, events: Events, tmp_path: Path, way: str, begun: bool
) -> None:
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        peer.say(b"one\n" + (b"tw" if begun else b""))
        peer.socket.shutdown(1)
        assert peer.hear_all() == b"eno\n"
        assert peer.ended == "close_notify"
    reason = CloseReason.FRAMING_ERROR if begun else CloseReason.PEER_CLOSED
    assert events.closed_reason() is reason
    assert len(faults(events)) == begun


@both_twins
@every_way
def test_a_reset(serving: Serving, events: Events, tmp_path: Path, way: str) -> None:
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        assert peer.request(b"hello") == b"olleh\n"
        peer.reset()
    assert events.closed_reason() is CloseReason.PEER_RESET
    assert not events.tracebacks()


@both_twins
@pytest.mark.parametrize("how", ["close_notify", "handler closes"])
def test_who_is_closed_by_a_handler(serving: Serving, tmp_path: Path, how: str) -> None:
    """From another thread, while it is idle."""
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        assert peer.request(b"hello") == b"olleh\n"
        connection = only_connection(server)
        if how == "close_notify":
            peer.say_plain(peer.close_notify())
        else:
            connection.close()
        assert peer.hear_all() == b""
        assert peer.ended == "close_notify"
    with pytest.raises(threadwire.ConnectionClosed):
        connection.send(b"too late")


@both_twins
@every_way
def test_a_drain_of_an_idle_client(
    serving: Serving, events: Events, tmp_path: Path, way: str
) -> None:
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        assert peer.request(b"hello") == b"olleh\n"
        closing = threading.Thread(target=server.close, args=(PATIENCE,))
        closing.start()
        assert peer.hear_all() == b""
        assert peer.ended == "close_notify"
        peer.close()
        closing.join(PATIENCE)
    report = server.close()
    assert (report.finished, report.cut) == (1, ())
    assert events.closed_reason() is CloseReason.DRAINED


@both_twins
@every_way
@pytest.mark.parametrize("begun", ["half a message", "half a record"])
def test_a_drain_lets_what_was_begun_be_finished(
    serving: Serving, events: Events, tmp_path: Path, way: str, begun: str
) -> None:
    """With ``begun`` not asking TLS: who has sent half a record is closed at once."""
    server = serving(in_way(way, reverse), SECURE, **certified(tmp_path, handoff_after=0.05))
    with SecurePeer(server.address) as peer:
        assert peer.request(b"hello") == b"olleh\n"
        connection = only_connection(server)
        if begun == "half a message":
            first, rest = peer.sealed(b"hel"), peer.sealed(b"lo\n")
        else:
            record = peer.sealed(b"hello\n")
            first, rest = record[:-9], record[-9:]
        peer.say_plain(first)
        eventually(lambda: connection.begun)
        closing = threading.Thread(target=server.close, args=(PATIENCE,))
        closing.start()
        eventually(lambda: connection.draining)
        peer.say_plain(rest)
        assert peer.hear_all() == b"olleh\n"
        assert peer.ended == "close_notify"
        peer.close()
        closing.join(PATIENCE)
    assert server.close().cut == ()
    assert events.closed_reason() is CloseReason.DRAINED


@both_twins
@pytest.mark.parametrize("form", ["message", "session"])
def test_a_drain_waits_for_a_handler_that_blocks(
    serving: Serving, events: Events, tmp_path: Path, form: str
) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def block(message: bytes) -> bytes:
        handling.set()
        wait_for(go_on)
        return message

    server = serving(
        in_way("session" if form == "session" else "loop", block), SECURE, **certified(tmp_path)
    )
    with SecurePeer(server.address) as peer:
        peer.say(b"hello\n")
        wait_for(handling)
        closing = threading.Thread(target=server.close, args=(PATIENCE,))
        closing.start()
        eventually(lambda: only_connection(server).draining)
        go_on.set()
        assert peer.hear_all() == b"hello\n"
        assert peer.ended == "close_notify"
        peer.close()
        closing.join(PATIENCE)
    assert server.close().cut == ()


@both_twins
@pytest.mark.parametrize(
    "state", ["idle", "begun", "blocked", "does not read", "session", "blocked session"]
)
def test_a_cut_in_every_state(serving: Serving, events: Events, tmp_path: Path, state: str) -> None:
    handling, go_on = threading.Event(), threading.Event()

    def function(message: bytes) -> bytes:
        if message == b"block":
            handling.set()
            go_on.wait(PATIENCE)
        return b"x" * 20_000_000 if message == b"all" else message

    way = "session" if "session" in state else "loop"
    server = serving(in_way(way, function), SECURE, **certified(tmp_path))
    with SecurePeer(server.address, receive_buffer=4096) as peer:
        assert peer.request(b"hello") == b"hello\n"
        connection = only_connection(server)
        if "blocked" in state:
            peer.say(b"block\n")
            wait_for(handling)
        elif state == "begun":
            peer.say_plain(peer.sealed(b"hello\n")[:-3])
            eventually(lambda: connection.begun)
        elif state == "does not read":
            peer.say(b"all\n")
            eventually(lambda: connection.bytes_sent > 20_000_000 and no_more_room(connection))
        closing = threading.Thread(target=server.close, args=(0,))
        closing.start()
        eventually(lambda: connection.closed)
        go_on.set()
        with contextlib.suppress(ConnectionResetError):
            Peer.hear_all(peer)
        closing.join(PATIENCE)
    report = server.close()
    assert report.threads_left == ()
    assert events.closed_reason() in (CloseReason.CUT, CloseReason.DRAINED)
    assert not events.tracebacks()


@every_way
@pytest.mark.parametrize("framing", [threadwire.Lines(unterminated=True), threadwire.Auto()])
def test_what_somebody_has_cut_off_is_nobodys_message(
    serving: Serving, events: Events, tmp_path: Path, way: str, framing: threadwire.Framing
) -> None:
    """Though without TLS a last message would need no end. With it handled: "delete 10"."""
    server = serving(in_way(way, reverse), SECURE, framing=framing, **certified(tmp_path))
    with SecurePeer(server.address) as peer:
        peer.say(b"show\n")
        assert peer.hear_line() == b"wohs\n"
        peer.say(b"delete 10")
        peer.socket.shutdown(1)
        assert peer.hear_all() == b""
    assert events.closed_reason() is CloseReason.FRAMING_ERROR
    assert len(faults(events)) == 1
