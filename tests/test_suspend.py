"""Suspend, resume, drain and close, with clients in the backlog; and listeners left to others."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import threadwire
from threadwire import Address, CloseReport, Connection, Server, UsageError
from threadwire.testing import Clock
from threadwire.transport import Listener

from .conftest import Events, Serving
from .engine.conftest import twin
from .engine.ways import NEVER, both_twins
from .support import PATIENCE, Peer, eventually, reverse, wait_for

__all__ = ["twin"]  # a fixture


class Blocking:
    """A handler, of either kind, that is blocked by those who say so until it is let go on."""

    def __init__(self) -> None:
        self.blocked, self.go_on = threading.Event(), threading.Event()

    def message(self, message: bytes) -> bytes:
        if message == b"block":
            self.blocked.set()
            wait_for(self.go_on)
        return message[::-1]

    def session(self) -> Any:
        @threadwire.session
        def talk(connection: Connection) -> None:
            for message in connection:
                connection.send(self.message(message))

        return talk

    def block(self, server: Server) -> Peer:
        """A client whose handler is blocked from here on."""
        peer = Peer(server.address)
        peer.say(b"block\n")
        wait_for(self.blocked)
        return peer


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    made = Blocking()
    yield made
    made.go_on.set()


@contextlib.contextmanager
def background(call: Any, *arguments: Any) -> Iterator[list[Any]]:
    """Call it in a thread, which has ended at the end; what it returned is in the list."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call(*arguments)))
    thread.start()
    yield results
    thread.join(PATIENCE)
    assert not thread.is_alive()


def looked(server: Server) -> None:
    """Every loop has done what was asked of it, and what was due."""
    for _ in range(2):
        assert server.healthy(PATIENCE)


def asks(peer: Peer, text: bytes = b"hello\n") -> Peer:
    peer.say(text)
    return peer


def heard(peer: Peer) -> bytes:
    """All that it hears, up to the end; and nobody has to wait for its own end."""
    with peer:
        return peer.hear_all()


every_kind = pytest.mark.parametrize("kind", ["loop", "session"])


def of_kind(kind: str, blocking: Blocking) -> Any:
    return blocking.message if kind == "loop" else blocking.session()


# Suspending.


@both_twins
def test_who_waits_is_accepted_and_who_comes_later_waits(
    serving: Serving, blocking: Blocking, events: Events
) -> None:
    """The loop is held up meanwhile, so that nobody is accepted before it suspends.

    With no ``_accept_waiting`` in ``_suspend``: the first five wait as well. With no ``_rest``:
    the others are accepted.
    """
    server = serving(blocking.message, handoff_after=NEVER)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(blocking.block(server))
        waiting = [asks(stack.enter_context(Peer(server.address))) for _ in range(5)]
        with background(server.suspend):
            eventually(lambda: server._engine._loops[0]._posted)
            blocking.go_on.set()
        assert len(server.connections) == 6
        late = [asks(stack.enter_context(Peer(server.address))) for _ in range(3)]
        for peer in waiting:
            assert peer.hear_line() == b"olleh\n"
        assert first.hear_line() == b"kcolb\n"
        looked(server)
        assert len(server.connections) == 6
        server.resume()
        for peer in late:
            assert peer.hear_line() == b"olleh\n"
    (suspended,) = events.named("suspended")
    assert suspended["connections"] == 6
    assert len(events.named("resumed")) == 1
    assert not events.named("accept-paused")


@every_kind
def test_those_who_are_there_go_on(serving: Serving, blocking: Blocking, kind: str) -> None:
    server = serving(of_kind(kind, blocking))
    with Peer(server.address) as peer:
        for change in (server.suspend, server.suspend, server.resume, server.resume):
            change()
            assert asks(peer).hear_line() == b"olleh\n"


def test_twice_is_like_once(serving: Serving) -> None:
    """And to resume what was not suspended is nothing."""
    server = serving(reverse)
    server.resume()
    server.suspend()
    server.suspend()
    with Peer(server.address) as peer:
        asks(peer)
        looked(server)
        assert not server.connections
        server.resume()
        assert peer.hear_line() == b"olleh\n"
        server.resume()
        with Peer(server.address) as another:
            assert asks(another).hear_line() == b"olleh\n"


def test_all_places_taken_who_waits_goes_on_waiting(serving: Serving, events: Events) -> None:
    """Also when a place becomes free meanwhile.

    With ``_resume`` not looking at the state: it is accepted then.
    """
    server = serving(reverse, max_clients=1)
    with Peer(server.address) as first, Peer(server.address) as second:
        assert asks(first).hear_line() == b"olleh\n"
        asks(second)
        eventually(lambda: events.named("accept-paused"))
        server.suspend()
        first.close()
        eventually(lambda: not server.connections)
        looked(server)
        assert not server.connections
        server.resume()
        assert second.hear_line() == b"olleh\n"


def test_a_rate_that_holds_somebody_up_meanwhile(serving: Serving, events: Events) -> None:
    """Its time comes while nobody is to be accepted, and is nothing then."""
    clock = Clock()
    server = serving(reverse, accept_rate=1, clock=clock)
    with Peer(server.address) as first, Peer(server.address) as second:
        assert asks(first).hear_line() == b"olleh\n"
        asks(second)
        eventually(lambda: events.named("accept-paused"))
        server.suspend()
        clock.turn(2)
        looked(server)
        assert len(server.connections) == 1
        server.resume()
        assert second.hear_line() == b"olleh\n"


def test_while_descriptors_are_wanting(serving: Serving, events: Events) -> None:
    server = serving(reverse, max_clients=1000)
    with out_of_descriptors(server, events) as late:
        server.suspend()
    looked(server)
    assert not server.connections
    server.resume()
    with late:
        assert asks(late).hear_line() == b"olleh\n"


@contextlib.contextmanager
def out_of_descriptors(server: Server, events: Events) -> Iterator[Peer]:
    """A client whose connecting leaves this process, the server's too, no descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)  # the number that the client's socket will have
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
    try:
        peer = Peer(server.address)
        eventually(lambda: events.named("accept-paused"))
        yield peer
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@both_twins
def test_a_handler_may_suspend_its_server(serving: Serving) -> None:
    """It holds up the loop that is to do so, and is handed over."""
    server: Server

    def handler(message: bytes) -> bytes:
        if message == b"suspend":
            server.suspend()
        return message

    server = serving(handler)
    with Peer(server.address) as peer, Peer(server.address) as other:
        assert asks(other, b"x\n").hear_line() == b"x\n"
        assert asks(peer, b"suspend\n").hear_line() == b"suspend\n"
        assert asks(other, b"x\n").hear_line() == b"x\n"
        with Peer(server.address) as late:
            asks(late, b"x\n")
            looked(server)
            assert len(server.connections) == 2
            server.resume()
            assert late.hear_line() == b"x\n"


@pytest.mark.parametrize("method", ["suspend", "resume", "drain", "hand_over"])
def test_a_server_that_has_not_been_started(method: str) -> None:
    with pytest.raises(UsageError, match="has not been started"):
        getattr(Server(reverse, "tcp://127.0.0.1:0"), method)()


def test_a_server_that_has_closed(serving: Serving) -> None:
    """Nothing is left to be done, and nobody waits for it."""
    server = serving(reverse)
    server.close()
    server.suspend()
    server.resume()
    assert server.drain() == 0
    server.hand_over()


# Draining.


@both_twins
@every_kind
def test_drain_closes_those_who_are_there_and_then_the_server_goes_on(
    serving: Serving, blocking: Blocking, kind: str
) -> None:
    """With ``_suspend`` left out: who comes meanwhile is accepted."""
    server = serving(of_kind(kind, blocking))
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(5)]
        for peer in peers:
            assert asks(peer).hear_line() == b"olleh\n"
        with background(server.drain, PATIENCE) as left:
            for peer in peers:
                assert heard(peer) == b""
        assert left == [0]
        late = asks(stack.enter_context(Peer(server.address)))
        looked(server)
        assert not server.connections
        assert server.drain() == 0  # once more
        server.resume()
        assert late.hear_line() == b"olleh\n"
        assert asks(late).hear_line() == b"olleh\n"


@both_twins
@every_kind
def test_drain_says_how_many_are_left_and_they_go_on(
    serving: Serving, blocking: Blocking, kind: str
) -> None:
    """With their connections cut: no reply. With no wait for the others: more are left."""
    server = serving(of_kind(kind, blocking))
    with blocking.block(server) as stuck, Peer(server.address) as quick:
        assert asks(quick).hear_line() == b"olleh\n"
        assert server.drain(0.2) == 1
        assert heard(quick) == b""
        server.resume()
        with Peer(server.address) as late:
            assert asks(late).hear_line() == b"olleh\n"
            blocking.go_on.set()
            assert heard(stuck) == b"kcolb\n"
            assert asks(late).hear_line() == b"olleh\n"
    eventually(lambda: not server.connections)
    assert server.close() == CloseReport(0, (), (), 0)


def test_drain_waits_no_longer_than_for_the_last(serving: Serving, blocking: Blocking) -> None:
    server = serving(blocking.message, drain_timeout=3600)
    with blocking.block(server) as peer, background(server.drain) as left:
        eventually(lambda: server.connections[0].draining)
        assert not left
        blocking.go_on.set()
        assert heard(peer) == b"kcolb\n"
    assert left == [0]


def test_drain_answers_who_waited_in_the_backlog(serving: Serving, blocking: Blocking) -> None:
    """It has been accepted before, with what it had said.

    With connections listed before it suspends: they stay.
    """
    server = serving(blocking.message, handoff_after=NEVER)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(blocking.block(server))
        waiting = [asks(stack.enter_context(Peer(server.address))) for _ in range(5)]
        with background(server.drain, PATIENCE) as left:
            eventually(lambda: server._engine._loops[0]._posted)
            blocking.go_on.set()
            assert heard(first) == b"kcolb\n"
            for peer in waiting:
                assert heard(peer) == b"olleh\n"
        assert left == [0]


def test_a_handler_that_drains_its_server_is_not_waited_for(serving: Serving) -> None:
    server: Server
    left: list[int] = []

    def handler(message: bytes) -> bytes:
        left.append(server.drain(PATIENCE))
        return message

    server = serving(handler)
    with Peer(server.address) as other, Peer(server.address) as peer:
        eventually(lambda: len(server.connections) == 2)
        assert asks(peer, b"x\n").hear_all() == b"x\n"
        assert heard(other) == b""
    assert left == [0]


@pytest.mark.parametrize("timeout", [-1, "soon", 1e300])
def test_a_wrong_timeout_drains_nothing(serving: Serving, timeout: Any) -> None:
    server = serving(reverse)
    with pytest.raises(UsageError, match="drain_timeout"):
        server.drain(timeout)
    with Peer(server.address) as peer:
        assert asks(peer).hear_line() == b"olleh\n"


# Closing, with clients in the backlog.


@both_twins
@every_kind
def test_who_waits_while_it_is_suspended_is_served_at_the_close(
    serving: Serving, blocking: Blocking, kind: str
) -> None:
    """With the listeners just closed: they are reset."""
    server = serving(of_kind(kind, blocking), drain_timeout=3600)
    server.suspend()
    with contextlib.ExitStack() as stack:
        peers = [asks(stack.enter_context(Peer(server.address))) for _ in range(20)]
        with background(server.close) as reports:
            for peer in peers:
                assert heard(peer) == b"olleh\n"
    assert reports == [CloseReport(20, (), (), 0)]


@both_twins
@pytest.mark.parametrize("listeners", [1, 3])
@every_kind
def test_who_waits_for_a_place_at_the_close_is_served_when_there_is_one(
    serving: Serving, blocking: Blocking, kind: str, listeners: int
) -> None:
    """One after the other; and the close takes no longer than that, by far.

    With the listener open until the next look at it, which never comes when the last client has
    taken the last place; or with those at which nobody waits left open: until the deadline.
    """
    urls = ["tcp://127.0.0.1:0"] * listeners
    server = serving(of_kind(kind, blocking), *urls, max_clients=1, drain_timeout=3600)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(blocking.block(server))
        waiting = [asks(stack.enter_context(Peer(server.address))) for _ in range(4)]
        with background(server.close) as reports:
            eventually(lambda: server._engine.acceptor._state.value == "emptying")  # type: ignore[union-attr]
            assert len(server.connections) == 1
            blocking.go_on.set()
            assert heard(first) == b"kcolb\n"
            for peer in waiting:
                assert peer.hear_line() == b"olleh\n"
                peer.close()  # which makes room for the next at once
    assert reports == [CloseReport(5, (), (), 0)]


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
@every_kind
def test_who_has_no_place_by_the_deadline_is_dismissed(
    serving: Serving,
    blocking: Blocking,
    kind: str,
    scheme: str,
    tmp_path: Path,
    events: Events,
) -> None:
    """Counted, and not reset, though nobody has read what they sent.

    With the listener closed over their heads: a reset, of an unknown number. On a unix socket
    also if what they sent is left unread.
    """
    url = "tcp://127.0.0.1:0" if scheme == "tcp" else f"unix://{tmp_path}/s"
    server = serving(of_kind(kind, blocking), url, max_clients=1)
    with contextlib.ExitStack() as stack:
        stack.enter_context(blocking.block(server))
        said = [b"hello\n", b"x" * 100_000, b""]
        waiting = [asks(stack.enter_context(Peer(server.address)), text) for text in said]
        report = server.close(0.2)
        for peer in waiting:
            assert heard(peer) == b""
        assert report.dismissed == 3
        assert len(report.cut) == 1
        assert report.finished == 0
        blocking.go_on.set()
    (stopped,) = events.named("stopped")
    assert stopped["dismissed"] == 3


def test_who_says_nothing_is_not_waited_for_as_long(serving: Serving, blocking: Blocking) -> None:
    """With no deadline for its first message: as long as for a message begun."""
    server = serving(blocking.message, max_clients=1, drain_timeout=3600)
    with blocking.block(server) as first, Peer(server.address) as silent:
        with background(server.close) as reports:
            eventually(lambda: server.connections[0].draining)
            blocking.go_on.set()
            assert heard(first) == b"kcolb\n"
            assert heard(silent) == b""
    assert reports == [CloseReport(2, (), (), 0)]


def test_who_has_left_the_backlog_is_no_trouble(serving: Serving, blocking: Blocking) -> None:
    server = serving(blocking.message, max_clients=1, drain_timeout=3600)
    with blocking.block(server) as first:
        for leave in (Peer.reset, Peer.close, Peer.reset):
            leave(asks(Peer(server.address)))
        with Peer(server.address) as last, background(server.close) as reports:
            asks(last)
            eventually(lambda: server.connections[0].draining)
            blocking.go_on.set()
            assert heard(first) == b"kcolb\n"
            assert heard(last) == b"olleh\n"
    assert reports[0].cut == ()
    assert reports[0].dismissed == 0


def test_one_who_is_gone_does_not_keep_the_others_from_being_dismissed(
    serving: Serving, blocking: Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the dismissing ended by its error: the others are reset."""
    server = serving(blocking.message, max_clients=1)
    with contextlib.ExitStack() as stack:
        stack.enter_context(blocking.block(server))
        waiting = [asks(stack.enter_context(Peer(server.address))) for _ in range(3)]
        accept, gone = Listener.accept, list[Any]()

        def accept_but_the_first(listener: Listener) -> Any:
            stream = accept(listener)
            if stream is not None and not gone:
                gone.append(stream)
                stream.close()
                raise ConnectionAbortedError(errno.ECONNABORTED, "it has gone")
            return stream

        monkeypatch.setattr(Listener, "accept", accept_but_the_first)
        report = server.close(0.1)
        for peer in waiting:
            assert heard(peer) == b""
        assert report.dismissed == 2
        blocking.go_on.set()


def test_a_close_while_descriptors_are_wanting(serving: Serving, events: Events) -> None:
    """Who could not be accepted is, as soon as another one's descriptor is free.

    With a rest that ends with the accepting: it is dismissed.
    """
    server = serving(reverse, max_clients=1000, drain_timeout=PATIENCE)
    with Peer(server.address) as early:
        assert asks(early).hear_line() == b"olleh\n"
        with out_of_descriptors(server, events) as late:
            asks(late)
            with background(server.close) as reports:
                assert heard(early) == b""
                assert heard(late) == b"olleh\n"
    assert reports == [CloseReport(2, (), (), 0)]


def test_a_close_while_the_rate_holds_somebody_up(serving: Serving, events: Events) -> None:
    server = serving(reverse, accept_rate=10, drain_timeout=PATIENCE)
    with contextlib.ExitStack() as stack:
        peers = [asks(stack.enter_context(Peer(server.address))) for _ in range(14)]
        eventually(lambda: events.named("accept-paused"))
        with background(server.close) as reports:
            for peer in peers:
                assert heard(peer) == b"olleh\n"
    assert reports == [CloseReport(14, (), (), 0)]


def test_those_beyond_the_places_are_refused_at_the_close_if_that_is_the_policy(
    serving: Serving, blocking: Blocking
) -> None:
    server = serving(
        blocking.message,
        max_clients=1,
        overload="refuse",
        busy_reply=b"busy",
        drain_timeout=3600,
    )
    with blocking.block(server) as first:
        server.suspend()
        with Peer(server.address) as late, background(server.close) as reports:
            assert heard(late) == b"busy\n"
            late.close()
            blocking.go_on.set()
            assert heard(first) == b"kcolb\n"
    assert reports == [CloseReport(1, (), (), 0)]


def test_a_second_close_with_a_shorter_deadline_dismisses(
    serving: Serving, blocking: Blocking
) -> None:
    server = serving(blocking.message, max_clients=1)
    with blocking.block(server), Peer(server.address) as waiting:
        asks(waiting)
        with background(server.close, 3600) as reports:
            eventually(lambda: server.connections[0].draining)
            assert server.close(0).dismissed == 1
        assert reports[0].dismissed == 1
        assert heard(waiting) == b""
        blocking.go_on.set()


@both_twins
def test_a_handler_closes_its_server_with_clients_in_the_backlog(serving: Serving) -> None:
    server: Server

    def handler(message: bytes) -> bytes:
        if message == b"close":
            server.close()
        return message

    server = serving(handler, max_clients=2, drain_timeout=PATIENCE)
    with contextlib.ExitStack() as stack:
        closing, other, late = (stack.enter_context(Peer(server.address)) for _ in range(3))
        assert asks(other, b"x\n").hear_line() == b"x\n"
        asks(late, b"x\n")
        asks(closing, b"close\n")
        assert heard(other) == b""
        assert heard(late) == b"x\n"
        assert heard(closing) == b"close\n"
    assert server.wait(PATIENCE)


# Listeners that others have, too.


@contextlib.contextmanager
def shared(address: Address, server: Server) -> Iterator[socket.socket]:
    """The server's listening socket, as another process holds it."""
    (listener,) = server.listeners
    with socket.socket(fileno=os.dup(listener.fileno())) as other:
        other.settimeout(PATIENCE)
        yield other


def serve_one(listening: socket.socket) -> None:
    """As the other process, in its way."""
    listening.setblocking(True)
    connected, _ = listening.accept()
    with connected:
        connected.settimeout(PATIENCE)
        connected.recv(1000)
        connected.sendall(b"the other's\n")


@both_twins
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_hand_over_leaves_those_who_wait_to_the_other_one(
    serving: Serving, blocking: Blocking, scheme: str, tmp_path: Path
) -> None:
    """Who was accepted is served to the end; a unix socket's file stays.

    With ``stop`` in its place: they are accepted here, or the queue is cut short for both. With
    no ``leave_in_place``: the file is gone, and nobody finds the other one.
    """
    url = "tcp://127.0.0.1:0" if scheme == "tcp" else f"unix://{tmp_path}/s"
    server = serving(blocking.message, url, handoff_after=NEVER, drain_timeout=3600)
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(shared(server.address, server))
        first = stack.enter_context(blocking.block(server))
        waiting = [asks(stack.enter_context(Peer(server.address))) for _ in range(3)]
        with background(server.hand_over):
            eventually(lambda: server._engine._loops[0]._posted)
            blocking.go_on.set()
        assert first.hear_line() == b"kcolb\n"
        assert asks(first).hear_line() == b"olleh\n"
        with background(server.close) as reports:
            assert heard(first) == b""
        assert reports == [CloseReport(1, (), (), 0)]
        waiting.append(asks(stack.enter_context(Peer(server.address))))  # who comes later
        for peer in waiting:
            serve_one(other)
            assert heard(peer) == b"the other's\n"


def test_a_listener_that_was_inherited_is_closed_and_left_to_the_others(
    serving: Serving, blocking: Blocking
) -> None:
    """Who cannot be accepted for lack of a place is not dismissed: another one may have it.

    With it closed to newcomers, or emptied by dismissing, as one of our own: nobody is left.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = serving(blocking.message, f"fd://{os.dup(other.fileno())}", max_clients=1)
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(blocking.block(server))
            waiting = [asks(stack.enter_context(Peer(server.address))) for _ in range(3)]
            with background(server.close, PATIENCE) as reports:
                eventually(lambda: server.connections[0].draining)
                blocking.go_on.set()
                assert heard(first) == b"kcolb\n"
            waiting.append(asks(stack.enter_context(Peer(server.address))))
            for peer in waiting:
                serve_one(other)
                assert heard(peer) == b"the other's\n"
    assert reports == [CloseReport(1, (), (), 0)]


def test_after_a_hand_over_there_is_nothing_to_resume(serving: Serving) -> None:
    server = serving(reverse)
    with shared(server.address, server) as other:
        server.hand_over()
        server.hand_over()
        server.suspend()
        server.resume()
        with Peer(server.address) as peer:
            asks(peer)
            looked(server)
            assert not server.connections
            serve_one(other)
            assert heard(peer) == b"the other's\n"
