"""The engine as a whole: logs that fail, finalizers, several loops."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason, Connection
from threadwire.engine.baton import Baton
from threadwire.limits import JOIN_GRACE

from ..conftest import Serving
from ..support import Peer, eventually, wait_for
from .ways import NEVER, only_connection


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


@pytest.mark.usefixtures("full")
def test_a_log_that_fails_holds_up_no_closing(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of clients that are idle, blocked, and cut.

    With an ``emit`` that raises: closing begins with an error instead, or a loop that has to
    tell of a client's end goes on without having counted it out.
    """
    monkeypatch.setattr("threadwire.limits.JOIN_GRACE", JOIN_GRACE._replace(default=0.05))
    logging.getLogger("threadwire").setLevel(logging.DEBUG)
    handling, go_on = threading.Event(), threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            handling.set()
            wait_for(go_on)
        return message

    server = serving(handler)
    with Peer(server.address) as peer, Peer(server.address) as idle:
        idle.say(b"x\n")
        assert idle.hear_line() == b"x\n"
        peer.say(b"block\n")
        wait_for(handling)
        report = server.close(0)
        assert 1 <= len(report.cut) <= 2  # the idle one may have been finished by then
        assert len(report.threads_left) == 1
        assert idle.hear_all() == peer.hear_all() == b""
        go_on.set()
        eventually(lambda: not server.connections)
        eventually(lambda: len(server._engine.threads) == 0)


class Doomed:
    """A cycle, so that the collector finds it, in whatever the thread is doing then."""

    def __init__(self, close: Callable[[], None]) -> None:
        self._myself = self
        self._close = close

    def __del__(self) -> None:
        self._close()


@pytest.fixture
def each_collection() -> Iterator[list[Callable[[], None]]]:
    """Calls that a finalizer makes in each of very many collections."""
    calls: list[Callable[[], None]] = []
    busy = threading.local()

    def call_all() -> None:
        busy.now = True
        for call in tuple(calls):
            call()
        busy.now = False

    def begin(phase: str, _info: dict[str, Any]) -> None:
        if phase == "start" and calls and not getattr(busy, "now", False):
            Doomed(call_all)

    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # what there is need not be looked at so often
    gc.callbacks.append(begin)
    gc.set_threshold(1, 1000, 1000)
    yield calls
    gc.set_threshold(*before)
    calls.clear()
    gc.callbacks.remove(begin)
    gc.unfreeze()


def test_finalizers_that_close_connections_wherever_the_collector_runs(
    serving: Serving, each_collection: list[Callable[[], None]]
) -> None:
    """Also in a thread that is just changing that connection's state.

    With a state lock that a thread cannot take again: it waits for itself.
    """
    server: threadwire.Server

    def handler(message: bytes, connection: Connection) -> Any:
        if message == b"doom":
            each_collection.append(connection.close)
        return iter([message, b"end"])

    server = serving(handler, handoff_after=NEVER)
    with Peer(server.address) as other:
        for n in range(20):
            other.say(b"before %d\n" % n)
            assert other.hear_line() + other.hear_line() == b"before %d\nend\n" % n
            with Peer(server.address) as peer:
                peer.say(b"doom\n")
                assert b"doom\nend\n".startswith(peer.hear_all())
                doomed = server.connections[-1]
                peer.reset()
                doomed.abort(CloseReason.CUT)
                other.say(b"after %d\n" % n)
                assert other.hear_line() + other.hear_line() == b"after %d\nend\n" % n
            each_collection.clear()
        eventually(lambda: len(server.connections) == 1)
    assert server.close().threads_left == ()


def test_clients_are_spread_over_several_loops(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without the interpreter's lock; one of them is held up, then handed over."""
    monkeypatch.setattr("threadwire.reception.loop_count", lambda: 3)
    go_on = threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            wait_for(go_on)
        return message

    server = serving(handler)
    assert len(server._engine._loops) == 3
    peers = [Peer(server.address) for _ in range(9)]
    # Those of the other loops are posted, and taken in when these come to it.
    loops = server._engine._loops
    eventually(lambda: [len(loop._clients.here) for loop in loops] == [3, 3, 3])
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


@pytest.mark.parametrize("handoff_after", [NEVER, 0.001])
def test_a_handler_on_another_loop_may_close_the_server(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, handoff_after: float
) -> None:
    """It does not wait for itself, whether it leads its loop all the while or becomes own.

    With the connection that the calling thread, a loop's leader, is busy with among those that
    are waited for: there is no report before the deadline.
    """
    monkeypatch.setattr("threadwire.reception.loop_count", lambda: 2)
    monkeypatch.setattr("threadwire.limits.JOIN_GRACE", JOIN_GRACE._replace(default=0.05))
    server: threadwire.Server
    reports: list[threadwire.CloseReport] = []
    closed = threading.Event()

    def handler(message: bytes) -> bytes:
        reports.append(server.close(3600))
        closed.set()
        return message

    server = serving(handler, handoff_after=handoff_after)
    with Peer(server.address):  # on the first loop
        only_connection(server)
    eventually(lambda: not server.connections)
    with Peer(server.address) as peer:
        assert only_connection(server)._home is server._engine._loops[1]
        peer.say(b"x\n")
        wait_for(closed)
        assert [report.cut for report in reports] == [()]
    eventually(lambda: not server.connections)
    eventually(lambda: len(server._engine.threads) == 0)


@pytest.mark.parametrize("loops", [1, 2])
def test_a_handler_closes_the_server_in_the_moment_in_which_it_is_handed_over(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, loops: int
) -> None:
    """The watchdog has the baton, and has not noted yet whose the connection is now.

    With nobody looking again (``_LOOK_AGAIN``): there is no report before the deadline.
    """
    monkeypatch.setattr("threadwire.reception.loop_count", lambda: loops)
    server: threadwire.Server
    taken, may_note, waits = threading.Event(), threading.Event(), threading.Event()
    take, others = Baton.take, threadwire.Server._others

    def take_and_wait(baton: Baton[Any]) -> Any:
        connection = take(baton)
        if connection is not None:
            taken.set()
            wait_for(may_note)
        return connection

    def tell(server: threadwire.Server) -> Iterator[Connection]:
        found = list(others(server))
        if found:
            waits.set()
        return iter(found)

    monkeypatch.setattr(Baton, "take", take_and_wait)
    monkeypatch.setattr(threadwire.Server, "_others", tell)
    reports: list[threadwire.CloseReport] = []
    closed = threading.Event()

    def handler(message: bytes) -> bytes:
        wait_for(taken)
        reports.append(server.close(3600))
        closed.set()
        return message

    server = serving(handler)
    for _ in range(loops - 1):
        with Peer(server.address):
            only_connection(server)
        eventually(lambda: not server.connections)
    with Peer(server.address) as peer:
        assert only_connection(server)._home is server._engine._loops[-1]
        peer.say(b"x\n")
        if loops == 2:  # else the loop's new leader is needed before that
            wait_for(waits)
        may_note.set()
        wait_for(closed)
        assert [report.cut for report in reports] == [()]
        assert peer.hear_all() in (b"x\n", b"")
    eventually(lambda: not server.connections)
    eventually(lambda: len(server._engine.threads) == 0)
