"""TLS handshakes that go well, badly, slowly, or nowhere; ``test_proxy.py`` has PROXY headers.

Every test says, under "With", what was taken out of the engine to see it fail, and how it failed.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.testing import Clock

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, reverse, wait_for
from ..tls_support import certificate, client_side, server_side
from .secure import (
    SECURE,
    TLS12,
    TLS13,
    SecurePeer,
    both_versions,
    certified,
    close_reasons,
    faults,
    openings,
    our_authority,
    up_to,
)
from .ways import NEVER, both_twins, only_connection, serving_threads

SECONDS = 30.0  # handshake_timeout where a clock is turned


class Gate:
    """A server's context in whose handshakes a thread waits, as long as the gate is shut."""

    def __init__(self) -> None:
        self.context = server_side()
        self.context.sni_callback = self._wait
        self.open = threading.Event()
        self._waiting = threading.Semaphore(0)

    def _wait(self, _tls: object, _name: object, _context: object) -> None:
        self._waiting.release()
        wait_for(self.open)

    def wait_for_one(self) -> None:
        assert self._waiting.acquire(timeout=PATIENCE)

    def somebody_waits(self) -> bool:
        return self._waiting.acquire(blocking=False)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@threadwire.session
def chat(connection: Connection) -> None:
    for message in connection:
        connection.send(message[::-1])


@threadwire.session
def greet(connection: Connection) -> None:
    connection.send(b"hello")
    for message in connection:
        connection.send(message[::-1])


def hello() -> bytes:
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_side().wrap_bio(incoming, outgoing, server_hostname="server.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


# Handshakes that come about.


@both_twins
@both_versions
@pytest.mark.parametrize("piece", [1, 7, 100])
def test_hands_are_shaken_in_pieces(
    serving: Serving, tmp_path: Path, version: ssl.TLSVersion, piece: int
) -> None:
    """With what came given to a step in part: it never comes to an end."""
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, up_to(version), shake=False) as peer:
        peer.shake_hands(piece)
        assert peer.request(b"hello") == b"olleh\n"


@both_twins
@both_versions
@pytest.mark.parametrize("handler", [reverse, chat], ids=["message", "session"])
def test_who_speaks_first_is_the_client(
    serving: Serving, tmp_path: Path, version: ssl.TLSVersion, handler: object
) -> None:
    """With our last part of the handshake left to be sent with the first reply: with TLS 1.2 a
    session and its client wait for each other.
    """
    server = serving(handler, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, up_to(version)) as peer:
        assert peer.tls.version() == version.name.replace("_", ".")
        assert peer.request(b"hello") == b"olleh\n"


@both_versions
def test_who_speaks_first_is_the_server(
    serving: Serving, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    server = serving(greet, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, up_to(version)) as peer:
        assert peer.hear_line() == b"hello\n"
        assert peer.request(b"abc") == b"cba\n"


@both_twins
@pytest.mark.parametrize("handler", [reverse, chat], ids=["message", "session"])
def test_what_comes_with_the_last_of_the_handshake_is_answered(
    serving: Serving, tmp_path: Path, handler: object
) -> None:
    """Even if it is all that ever comes.

    With ``_opened`` feeding nothing to the connection: no answer.
    """
    server = serving(handler, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, up_to(TLS13), shake=False) as peer:
        last = peer.last_step()
        peer.say_plain(last + peer.sealed(b"one\n") + peer.sealed(b"two\n") + peer.close_notify())
        socket_end(peer)
        assert peer.hear_all() == b"eno\nowt\n"
        assert peer.ended == "close_notify"


def socket_end(peer: Peer) -> None:
    peer.socket.shutdown(socket.SHUT_WR)


def test_many_hands_are_shaken_at_once(serving: Serving, tmp_path: Path) -> None:
    """With those that wait for a step never called: all but a few wait for ever."""
    server = serving(reverse, SECURE, **certified(tmp_path))
    context = client_side()
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(SecurePeer(server.address, context, shake=False)) for _ in range(60)
        ]
        for peer in peers:
            peer.say_plain(peer.step())
        for n, peer in enumerate(peers):
            peer.shake_hands()
            assert peer.request(b"%d." % n) == b".%s\n" % (b"%d" % n)[::-1]


def test_a_step_without_a_thread_for_it_is_taken_in_the_loop(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With such a step dropped: the client waits in vain."""
    server = serving(reverse, SECURE, **certified(tmp_path))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with SecurePeer(server.address) as peer:
            assert peer.request(b"hello") == b"olleh\n"


def test_who_is_not_opened_yet_is_no_connection_yet(
    serving: Serving, events: Events, tmp_path: Path
) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, shake=False) as peer:
        last = peer.last_step()
        assert len(openings(server)) == 1
        assert server.connections == ()
        assert not events.named("opened")
        peer.say_plain(last)
        assert peer.request(b"hello") == b"olleh\n"
        assert len(events.named("opened")) == 1
        assert only_connection(server).tls is not None


# Handshakes that stop half-way.


@pytest.mark.parametrize("said", ["nothing", "half", "hello"])
def test_five_hundred_that_stop_half_way_cost_no_thread(
    serving: Serving, events: Events, tmp_path: Path, said: str
) -> None:
    """And a good client is served all the while.

    With no time limit: they are there for ever.
    """
    clock = Clock()
    server = serving(reverse, SECURE, **certified(tmp_path, clock=clock, handshake_timeout=SECONDS))
    whole = hello()
    first = {"nothing": b"", "half": whole[: len(whole) // 2], "hello": whole}[said]
    before = len(os.listdir("/proc/self/fd"))
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(SecurePeer(server.address))
        peers = [stack.enter_context(Peer(server.address)) for _ in range(500)]
        for n, peer in enumerate(peers):
            peer.say(first)
            if n % 10 == 0:
                assert good.request(b"%d." % n) == b".%s\n" % (b"%d" % n)[::-1]
        eventually(lambda: len(openings(server)) == 500)
        if said == "hello":
            for peer in peers:
                assert peer.hear(1) == b"\x16"
        assert serving_threads() <= 10 * len(server._engine._loops)
        with SecurePeer(server.address) as another:
            assert another.request(b"hello") == b"olleh\n"
        clock.turn(SECONDS + 1)
        for peer in peers:
            peer.hear_all()
            peer.close()
        eventually(lambda: not openings(server))
        assert good.request(b"hello") == b"olleh\n"
    assert server.close().cut == ()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert list(close_reasons(events).values()).count(CloseReason.HANDSHAKE_TIMEOUT) == 500
    assert len(faults(events)) == 500


@both_twins
@pytest.mark.parametrize("handler", [reverse, chat], ids=["message", "session"])
def test_a_handshake_has_so_long(
    serving: Serving, events: Events, tmp_path: Path, handler: object
) -> None:
    """However it drips. With the timer set anew for each step: it is never over."""
    clock = Clock()
    server = serving(handler, SECURE, **certified(tmp_path, clock=clock, handshake_timeout=SECONDS))
    with SecurePeer(server.address, shake=False) as peer:
        peer.say_plain(peer.step())
        peer.take_in()
        last = peer.step()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            for byte in last[:20]:
                peer.say_plain(bytes([byte]))
                clock.turn(SECONDS / 10)
            for byte in last[20:]:
                peer.say_plain(bytes([byte]))
            peer.take_in()
            peer.tls.read(1)
    assert events.closed_reason() is CloseReason.HANDSHAKE_TIMEOUT
    assert faults(events) == [f"no TLS handshake within {SECONDS:g} s"]
    assert not events.named("opened")


def test_a_handshake_that_was_done_in_time_is_not_timed_any_more(
    serving: Serving, tmp_path: Path
) -> None:
    """With the timer left in place at the end: the client is closed."""
    clock = Clock()
    server = serving(reverse, SECURE, **certified(tmp_path, clock=clock, handshake_timeout=SECONDS))
    with SecurePeer(server.address) as peer:
        assert peer.request(b"hello") == b"olleh\n"
        clock.turn(2 * SECONDS)
        assert peer.request(b"hello") == b"olleh\n"


def test_a_failure_is_told_of_once(serving: Serving, events: Events, tmp_path: Path) -> None:
    """The time for a handshake passes while the peer is given its moment to read.

    With the timer left in place: a second line says that it took too long.
    """
    clock = Clock()
    server = serving(reverse, SECURE, **certified(tmp_path, clock=clock, handshake_timeout=0.5))
    with Peer(server.address) as peer:
        peer.say(b"garbage")
        assert peer.hear_all() == b""
        clock.turn(0.6)
        with SecurePeer(server.address) as other:
            assert other.request(b"hello") == b"olleh\n"
        assert len(openings(server)) == 1
    eventually(lambda: 1 in close_reasons(events))
    assert len(faults(events)) == 1
    assert close_reasons(events)[1] is CloseReason.TLS_ERROR


@pytest.mark.parametrize("handler", [reverse, greet], ids=["message", "session"])
def test_a_step_that_is_done_too_late(
    serving: Serving, events: Events, gate: Gate, handler: object
) -> None:
    """It would have been the last, but had to wait for others.

    With the late step taken note of: a session that nobody is there for.
    """
    clock = Clock()
    server = serving(
        handler, SECURE, tls_context=gate.context, clock=clock, handshake_timeout=SECONDS
    )
    steps = server._engine._loops[0]._openings
    gate.open.set()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(SecurePeer(server.address, shake=False)) for _ in range(5)]
        late, *others = peers
        last = late.last_step()
        gate.wait_for_one()
        gate.open.clear()
        for other in others:
            other.say_plain(other.step())
            gate.wait_for_one()
        late.say_plain(last)
        eventually(lambda: steps._waiting)
        clock.turn(SECONDS + 1)
        eventually(lambda: len(faults(events)) == 5)
        gate.open.set()
        eventually(lambda: not steps._steps)
        for peer in peers:
            Peer.hear_all(peer)
    eventually(lambda: len(close_reasons(events)) == 5)
    assert set(close_reasons(events).values()) == {CloseReason.HANDSHAKE_TIMEOUT}
    assert len(faults(events)) == 5
    assert not events.named("opened")
    assert not events.tracebacks()


def test_a_few_steps_are_taken_at_once(serving: Serving, gate: Gate) -> None:
    """And a client that is there already is served meanwhile.

    With no bound on the steps: a thread for each of the clients.
    """
    gate.open.set()
    server = serving(reverse, SECURE, tls_context=gate.context)
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(SecurePeer(server.address))
        gate.wait_for_one()
        gate.open.clear()
        peers = [stack.enter_context(SecurePeer(server.address, shake=False)) for _ in range(40)]
        for peer in peers:
            peer.say_plain(peer.step())
        loops = len(server._engine._loops)
        for _ in range(4 * loops):
            gate.wait_for_one()
        eventually(lambda: len(openings(server)) == 40)
        assert good.request(b"hello") == b"olleh\n"
        assert serving_threads() <= 6 * loops + 1  # leaders, their successors, and four each
        assert not gate.somebody_waits()
        gate.open.set()
        for peer in peers:
            peer.shake_hands()
            assert peer.request(b"hello") == b"olleh\n"


# As many as there may be.


def test_further_handshakes_are_refused(serving: Serving, events: Events, tmp_path: Path) -> None:
    """With places not given back by those that are done: nobody is let in any more."""
    server = serving(reverse, SECURE, **certified(tmp_path, max_handshakes=2))
    with SecurePeer(server.address) as good:
        assert good.request(b"hello") == b"olleh\n"
        with Peer(server.address) as first, Peer(server.address) as second:
            eventually(lambda: len(openings(server)) == 2)
            for n in range(2):
                with Peer(server.address) as third:
                    assert third.hear_all() == b""
                eventually(lambda n=n: server.refused == {CloseReason.BUSY: n + 1})  # type: ignore[misc]
            assert good.request(b"hello") == b"olleh\n"
            second.close()
            eventually(lambda: len(openings(server)) == 1)
            with SecurePeer(server.address) as fourth:
                assert fourth.request(b"hello") == b"olleh\n"
            first.say(hello())
    (line,) = events.named("refused")
    assert line["reason"] is CloseReason.BUSY
    assert not faults(events)


def test_as_many_as_the_server_is_told_while_it_serves(serving: Serving, tmp_path: Path) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path, max_handshakes=1))
    with Peer(server.address):
        eventually(lambda: len(openings(server)) == 1)
        with Peer(server.address) as refused:
            assert refused.hear_all() == b""
        server.reconfigure(max_handshakes=2)
        with SecurePeer(server.address) as peer:
            assert peer.request(b"hello") == b"olleh\n"


# Handshakes that fail.


@both_twins
@pytest.mark.parametrize("handler", [reverse, chat], ids=["message", "session"])
@pytest.mark.parametrize(
    "said",
    [b"hello\n", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x00\x02", b"\0", b"\x17\3\3\0\1x"],
)
def test_plain_text(
    serving: Serving, events: Events, tmp_path: Path, handler: object, said: bytes
) -> None:
    """With what is wrong not told by ``_fail``: no line says why."""
    server = serving(handler, SECURE, **certified(tmp_path))
    with Peer(server.address) as peer:
        peer.say(said)
        assert said not in peer.hear_all()
    assert events.closed_reason() is CloseReason.TLS_ERROR
    (fault,) = faults(events)
    assert "the peer does not speak TLS" in fault
    assert not events.tracebacks()
    assert not events.named("opened")


@both_twins
def test_tls_to_a_plain_server(serving: Serving, events: Events) -> None:
    server = serving(reverse, max_message=50)
    with SecurePeer(server.address, shake=False) as peer:
        peer.say_plain(peer.step())
        socket_end(peer)
        with pytest.raises(ssl.SSLError):
            peer.take_in()
            peer.tls.do_handshake()
    with Peer(server.address) as peer_:
        peer_.say(b"hello\n")
        assert peer_.hear_line() == b"olleh\n"
    assert not events.tracebacks()


def test_garbage_ends_nothing_but_its_own_connection(
    serving: Serving, events: Events, tmp_path: Path
) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path))
    chance = random.Random(5)
    count = 150
    with SecurePeer(server.address) as good:
        for n in range(count):
            data = bytearray(hello())
            if n % 3 == 0:
                data = bytearray(b"\x16" + chance.randbytes(chance.randrange(1, 3000)))
            elif n % 3 == 1:
                for _ in range(chance.randrange(1, 5)):
                    data[chance.randrange(1, len(data))] ^= 1 << chance.randrange(8)
            else:
                at = chance.randrange(5, len(data))
                data[at:at] = chance.randbytes(chance.randrange(1, 50))
            with Peer(server.address) as peer, contextlib.suppress(ConnectionError):
                peer.say(bytes(data))
                peer.finish()
                peer.hear_all()
            if n % 10 == 0:
                assert good.request(b"hello") == b"olleh\n"
        eventually(lambda: len(close_reasons(events)) == count)
    assert set(close_reasons(events).values()) <= {
        CloseReason.TLS_ERROR,
        CloseReason.PEER_CLOSED,
        CloseReason.PEER_RESET,
    }
    assert not events.tracebacks()


def test_a_version_that_is_too_old(serving: Serving, events: Events, tmp_path: Path) -> None:
    """The peer is told so by an alert.

    With the alert not written: the stream ends, and the peer can only guess.
    """
    context = server_side()
    context.minimum_version = TLS13
    server = serving(reverse, SECURE, tls_context=context)
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        SecurePeer(server.address, up_to(TLS12))
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert faults(events) == ["TLS failed: no version of TLS that both ends allow"]


@both_versions
def test_a_client_that_does_not_trust_us(
    serving: Serving, events: Events, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path))
    with SecurePeer(server.address, up_to(version, trusts="nobody"), shake=False) as peer:
        with pytest.raises(ssl.SSLCertVerificationError):
            peer.shake_hands()
        peer.say_plain(peer.outgoing.read())  # its alert
        eventually(lambda: faults(events))
    assert events.closed_reason() is CloseReason.TLS_ERROR
    assert "does not trust the authority" in faults(events)[0]


@both_versions
@pytest.mark.parametrize("shown", ["nothing", "another authority's"])
def test_a_client_without_the_certificate_that_is_required(
    serving: Serving, events: Events, tmp_path: Path, version: ssl.TLSVersion, shown: str
) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path, tls_client_ca=our_authority(tmp_path)))
    cert = None if shown == "nothing" else certificate("mallory.example", by="theirs")
    with SecurePeer(server.address, up_to(version, cert=cert), shake=False) as peer:
        with pytest.raises(ssl.SSLError, match="ALERT"):
            peer.shake_hands()
            peer.hear_all()
    assert events.closed_reason() is CloseReason.TLS_ERROR
    (fault,) = faults(events)
    assert ("sent no certificate" if shown == "nothing" else "not trusted") in fault
    assert not events.named("opened")


@both_twins
@pytest.mark.parametrize("end", ["finish", "reset", "close"])
@pytest.mark.parametrize("said", ["nothing", "half", "hello"])
def test_a_client_that_leaves_in_the_middle(
    serving: Serving, events: Events, tmp_path: Path, said: str, end: str
) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path))
    whole = hello()
    with Peer(server.address) as peer:
        peer.say({"nothing": b"", "half": whole[:100], "hello": whole}[said])
        if said == "hello":
            peer.hear(1)
        getattr(peer, end)()
        if end == "finish":
            peer.hear_all()
    assert events.closed_reason() in (CloseReason.PEER_CLOSED, CloseReason.PEER_RESET)
    assert not events.tracebacks()
    eventually(lambda: not openings(server))


# Ends.


def test_a_drain_ends_those_who_have_not_begun(serving: Serving, tmp_path: Path) -> None:
    """With them waited for: they are cut at the deadline."""
    server = serving(reverse, SECURE, **certified(tmp_path, handshake_timeout=NEVER))
    with Peer(server.address) as silent:
        eventually(lambda: openings(server))
        closing = threading.Thread(target=silent.hear_all)
        closing.start()
        report = server.close(PATIENCE)
        closing.join(PATIENCE)
        assert (report.finished, report.cut) == (1, ())


@both_twins
@pytest.mark.parametrize("handler", [reverse, chat], ids=["message", "session"])
def test_a_drain_lets_a_handshake_come_to_its_end(
    serving: Serving, events: Events, tmp_path: Path, handler: object
) -> None:
    """And what has come with it is answered. With a drain that ends it: it is not."""
    server = serving(handler, SECURE, **certified(tmp_path))
    reports: list[threadwire.CloseReport] = []
    closing = threading.Thread(target=lambda: reports.append(server.close(PATIENCE)))
    with SecurePeer(server.address, shake=False) as peer:
        last = peer.last_step()
        closing.start()
        eventually(lambda: events.named("draining") and openings(server)[0].draining)
        peer.say_plain(last + peer.sealed(b"hello\n"))
        assert peer.hear_all() == b"olleh\n"
        assert peer.ended == "close_notify"
        closing.join(PATIENCE)
    (report,) = reports
    assert (report.finished, report.cut) == (1, ())
    assert events.closed_reason() is CloseReason.DRAINED


@pytest.mark.parametrize("said", ["half", "hello"])
def test_those_who_do_not_come_to_an_end_are_cut(
    serving: Serving, events: Events, tmp_path: Path, said: str
) -> None:
    server = serving(reverse, SECURE, **certified(tmp_path))
    whole = hello()
    with Peer(server.address) as peer:
        peer.say({"half": whole[:100], "hello": whole}[said])
        eventually(lambda: openings(server))
        if said == "hello":
            peer.hear(1)
        report = server.close(0)
        assert len(report.cut) == 1
        assert report.threads_left == ()
        with contextlib.suppress(ConnectionResetError):
            peer.hear_all()
    assert events.closed_reason() is CloseReason.CUT


def test_cut_in_the_middle_of_a_step(serving: Serving, events: Events, gate: Gate) -> None:
    """And while others wait for their steps: each is gone at once, whatever becomes of its step."""
    server = serving(reverse, SECURE, tls_context=gate.context)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(SecurePeer(server.address, shake=False)) for _ in range(8)]
        for peer in peers:
            peer.say_plain(peer.step())
        for _ in range(4):
            gate.wait_for_one()
        eventually(lambda: len(openings(server)) == 8)
        report = server.close(0)
        assert len(report.cut) == 8
        for peer in peers:
            with contextlib.suppress(ConnectionResetError):
                assert Peer.hear_all(peer) == b""
        gate.open.set()
    assert len(events.named("closed")) == 8
    assert not events.tracebacks()
