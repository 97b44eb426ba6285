"""Connections that end in the middle of an opening, and servers in the middle of a start."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

import threadwire
from threadwire import Address, CloseReason, Connection
from threadwire.testing import Clock
from threadwire.transport import Listener

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, reverse, wait_for
from .secure import certified

LATE = 3.0


@pytest.mark.parametrize("kind", ["message", "session"])
def test_a_farewell_ends_an_opening_with_its_timer(
    serving: Serving, events: Events, kind: str
) -> None:
    """With the timer left armed: the handler is called for a connection that has been drained,
    which is then released twice.
    """
    begun: list[Connection] = []

    @threadwire.session
    def session(connection: Connection) -> None:
        begun.append(connection)

    clock = Clock()
    server = serving(
        session if kind == "session" else reverse,
        proxy_protocol="optional",
        proxy_trust=["127.0.0.1"],
        proxy_timeout=LATE,
        clock=clock,
    )
    with Peer(server.address) as peer:
        reception = server._reception
        eventually(lambda: len(reception.connections) == 1)
        assert server.drain(0) == 1
        assert peer.hear_all() == b""

        def over() -> bool:
            clock.turn(LATE)  # both the opening's time and the lingering, once that has begun
            return not reception.connections

        eventually(over)
    assert not begun
    assert events.closed_reason() is CloseReason.DRAINED
    assert not events.named("opened")
    assert not events.named("engine-failed")


def test_nobody_sends_in_plain_after_starttls_has_failed(serving: Serving, tmp_path: Path) -> None:
    """With the connection ended only after the send lock was given back: the other thread, which
    has waited for it, writes what was to be secret.
    """
    shaking, failed = threading.Event(), threading.Event()
    outcomes: list[BaseException] = []

    def send(connection: Connection) -> None:
        wait_for(shaking)
        try:
            connection.send(b"secret")
        except threadwire.ConnectionClosed as error:
            outcomes.append(error)

    @threadwire.session
    def session(connection: Connection) -> None:
        other = threading.Thread(target=send, args=(connection,))
        other.start()
        connection.send(b"go")
        try:
            connection.start_tls()
        except threadwire.ConnectionClosed as error:
            outcomes.append(error)
        failed.set()
        other.join(PATIENCE)

    server = serving(session, **certified(tmp_path))
    with Peer(server.address) as peer:
        assert peer.hear_line() == b"go\n"
        (connection,) = server.connections
        eventually(connection._send_lock.locked)
        shaking.set()
        peer.finish()
        assert peer.hear_all() == b""
        wait_for(failed)
    eventually(lambda: len(outcomes) == 2)


def test_a_signal_that_closes_a_server_that_starts() -> None:
    """With the start going on as if nothing had happened: it serves for ever."""
    server = threadwire.Server(reverse, "tcp://127.0.0.1:0")
    reports: list[threadwire.CloseReport] = []
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: reports.append(server.close()))

    def adopt(_address: Address) -> Sequence[Listener]:
        signal.raise_signal(signal.SIGUSR1)
        return ()

    try:
        server.start(adopt)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert reports == [threadwire.CloseReport(0, (), ())]
    assert server.wait(0)
    with pytest.raises(ConnectionRefusedError):
        Peer(server.address)


def test_a_server_that_found_no_thread_can_be_started_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With its threads left closed: the second start fails, and suspend() waits for ever."""
    server = threadwire.Server(reverse, "tcp://127.0.0.1:0")
    with monkeypatch.context() as patch:

        def refuse(_self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(threadwire.ListenError, match="can't start new thread"):
            server.start()
    with pytest.raises(threadwire.UsageError, match="has not been started"):
        server.suspend()
    with server, Peer(server.address) as peer:
        peer.say(b"ab\n")
        assert peer.hear_line() == b"ba\n"


def test_a_client_that_is_only_waited_for_is_not_cut(serving: Serving, events: Events) -> None:
    """It has had its replies, and our end; its own end was to be waited for."""
    logging.getLogger("threadwire").setLevel(logging.INFO)
    server = serving(reverse)
    with Peer(server.address) as peer:
        peer.say(b"ab\n")
        assert peer.hear_line() == b"ba\n"
        assert server.drain(0) == 1
        assert peer.socket.recv(1, socket.MSG_WAITALL) == b""
        report = server.close(0)
    assert report == threadwire.CloseReport(1, (), ())
    assert not events.named("cut")


def test_a_proxys_own_look_is_no_client_of_an_address(serving: Serving) -> None:
    """A LOCAL command is the proxy's, which is trusted, whatever holds for clients."""
    server = serving(
        reverse,
        proxy_protocol="required",
        proxy_trust=["127.0.0.1"],
        deny=["127.0.0.0/8"],
        max_clients_per_ip=1,
    )
    header = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"
    with Peer(server.address) as one, Peer(server.address) as other:
        for peer in (one, other):
            peer.say(header + b"ab\n")
            assert peer.hear_line() == b"ba\n"
    assert not server.refused
