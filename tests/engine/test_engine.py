"""The engine as a whole: logs that fail, several loops."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

import threadwire

from ..conftest import Serving
from ..support import Peer, eventually, wait_for


class Full(logging.Handler):
    """Fails, as on a full disk, without logging's own mercy."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(28, "no space left on device")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger, handler = logging.getLogger("threadwire"), Full()
    before = logger.level
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR])
def test_a_log_that_fails_costs_no_client_anything(serving: Serving, level: int) -> None:
    """Whatever is logged: opening, messages, faults of peers and handlers, hand-offs, closing."""
    logging.getLogger("threadwire").setLevel(level)
    handed = threading.Event()
    server: threadwire.Server

    def handler(message: bytes) -> bytes:
        if message == b"raise":
            raise ValueError("no")
        if message == b"block":
            wait_for(handed)
        return message

    server = serving(handler, max_message=100)
    for _ in range(2):
        for said in (b"raise\n", b"x" * 200 + b"\n"):
            with Peer(server.address) as peer:
                peer.say(b"ok\n")
                assert peer.hear_line() == b"ok\n"
                peer.say(said)
                assert peer.hear_all() == b""
    with Peer(server.address) as peer:
        peer.say(b"block\nthen\n")
        eventually(lambda: any(connection.owner for connection in server.connections))
        handed.set()
        assert peer.hear(11) == b"block\nthen\n"
    eventually(lambda: not server.connections)
    assert server.close().threads_left == ()


def test_clients_are_spread_over_several_loops(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without the interpreter's lock; one of them is held up, then handed over."""
    monkeypatch.setattr("threadwire.server.loop_count", lambda: 3)
    go_on = threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            wait_for(go_on)
        return message

    server = serving(handler)
    assert len(server._engine._loops) == 3
    peers = [Peer(server.address) for _ in range(9)]
    eventually(lambda: len(server.connections) == 9)
    assert {len(loop._clients.here) for loop in server._engine._loops} == {3}
    for n, peer in enumerate(peers):
        peer.say(b"block\n" if n % 3 == 0 else b"%d\n" % n)
    for n, peer in enumerate(peers):
        if n % 3:
            assert peer.hear_line() == b"%d\n" % n
    go_on.set()
    for peer in peers[::3]:
        assert peer.hear_line() == b"block\n"
    for peer in peers:
        peer.close()
    eventually(lambda: not server.connections)
    assert server.close().threads_left == ()
