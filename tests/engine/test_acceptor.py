"""Accepting: permits, capacity, the backlog, and errors that must not end it."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import threadwire
from threadwire import CloseReason
from threadwire.engine.acceptor import Acceptor
from threadwire.engine.admission import Admission
from threadwire.engine.gate import Gate, Permits
from threadwire.engine.loop import Loop
from threadwire.engine.spare_threads import SpareThreads
from threadwire.handler import Handler
from threadwire.limits import OFF
from threadwire.networks import Networks
from threadwire.rules import Rules
from threadwire.transport import Listener, Stream, listen

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, reverse, wait_for


def listener() -> Listener:
    (made,) = listen(threadwire.parse_address("tcp://127.0.0.1:0"), 128)
    return made


class Admitting:
    """Takes streams, or fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.streams: list[Stream] = []

    def __call__(self, stream: Stream, listener: Listener, refused: CloseReason | None) -> bool:
        if self.failures:
            raise self.failures.pop(0)
        assert refused is None
        self.streams.append(stream)
        return True


@contextlib.contextmanager
def accepting(
    made: Listener, permits: Permits, admitting: Admitting, kind: type[Loop] = Loop
) -> Iterator[Acceptor]:
    threads = SpareThreads("loop under test")
    loop = kind(
        Handler(reverse),
        threads,
        rules=Rules(handoff_after=1.0, write_timeout=OFF),
        admission=Admission(Networks("allow", ()), Networks("deny", ()), OFF),
        released=lambda connection: None,
    )
    threads.run(lambda: loop.lead(loop.baton))
    admission = Admission(Networks("allow", ()), Networks("deny", ()), OFF)
    acceptor = Acceptor([made], Gate(permits, admission), admitting, loop)
    acceptor.start()
    try:
        yield acceptor
    finally:
        acceptor.stop()
        acceptor.stop()  # as after an interruption
        acceptor.finish()
        loop.stop()
        wait_for(loop.ended)
        assert threads.close(lambda: PATIENCE) == []
        for stream in admitting.streams:
            stream.close()


def test_what_is_in_the_backlog_is_accepted_before_stopping() -> None:
    made, admitting = listener(), Admitting()
    peers = [Peer(made.address) for _ in range(10)]
    with accepting(made, Permits(100), admitting):
        pass
    assert len(admitting.streams) == 10
    for peer in peers:
        peer.close()


def test_stopping_keeps_to_the_permits() -> None:
    made, admitting, permits = listener(), Admitting(), Permits(3)
    peers = [Peer(made.address) for _ in range(10)]
    with accepting(made, permits, admitting):
        pass
    assert len(admitting.streams) == 3
    for peer in peers:
        peer.close()


def test_a_permit_not_used_is_given_back() -> None:
    made, permits = listener(), Permits(1)
    with accepting(made, permits, Admitting()):
        pass
    assert permits.take(lambda: None)


def test_clients_over_the_limit_wait_in_the_backlog(events: Events) -> None:
    made, admitting, permits = listener(), Admitting(), Permits(2)
    peers = [Peer(made.address) for _ in range(5)]
    with accepting(made, permits, admitting):
        eventually(lambda: events.named("accept-paused"))
        assert len(admitting.streams) == 2
        permits.give_back()
        eventually(lambda: len(admitting.streams) == 3)
        permits.give_back()
        permits.give_back()
        eventually(lambda: len(admitting.streams) == 5)
    assert len(events.named("accept-paused")) == 1  # one line an episode
    for peer in peers:
        peer.close()


def test_the_end_of_an_episode_is_said(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadwire.engine.acceptor._EPISODE", 0.0)
    made, admitting, permits = listener(), Admitting(RuntimeError("no thread")), Permits(5)
    with accepting(made, permits, admitting):
        for _ in range(3):
            with Peer(made.address) as peer:
                peer.finish()
                eventually(lambda: admitting.streams or events.named("accept-paused"))
        eventually(lambda: events.named("accept-resumed"))
    where = str(made.address)
    assert events.named("accept-resumed") == [{"refused_meanwhile": 1, "listen": where}]


class Failing(Listener):
    """Fails first, as it is told to."""

    def __init__(self, listening: socket.socket, *failures: OSError) -> None:
        super().__init__(listening)
        self.failures = list(failures)

    def accept(self) -> Stream | None:
        if self.failures:
            raise self.failures.pop(0)
        return super().accept()


def test_errors_other_than_the_known_ones_are_said_and_rested_on(events: Events) -> None:
    made = Failing(
        socket.create_server(("127.0.0.1", 0)),
        OSError(errno.EIO, "odd"),
        OSError(errno.ECONNABORTED, "gone"),
    )
    admitting = Admitting()
    with accepting(made, Permits(5), admitting), Peer(made.address):
        eventually(lambda: admitting.streams)
    assert [fields["detail"].errno for fields in events.named("accept-failed")] == [errno.EIO]


def test_the_last_place_taken_is_no_event_while_nobody_waits(events: Events) -> None:
    made, admitting, permits = listener(), Admitting(), Permits(1)
    with accepting(made, permits, admitting), Peer(made.address):
        eventually(lambda: admitting.streams)
        permits.give_back()
        with Peer(made.address):
            eventually(lambda: len(admitting.streams) == 2)
    assert not events.named("accept-paused")


def test_max_clients_is_kept_under_a_rush(serving: Serving) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    @threadwire.session
    def count(connection: threadwire.Connection) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        for message in connection:
            connection.send(message)
        with lock:
            inside -= 1

    server = serving(count, max_clients=5)

    def client() -> None:
        with Peer(server.address) as peer:
            peer.say(b"x\n")
            assert peer.hear_line() == b"x\n"

    clients = [threading.Thread(target=client) for _ in range(60)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(PATIENCE)
    eventually(lambda: not server.connections)
    assert 1 <= most <= 5


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("can't start new thread"),
        MemoryError(),
        OSError(errno.ENOMEM, "no"),
        ValueError("a codec that could not be made"),
    ],
)
def test_a_client_without_a_thread_is_refused_and_the_rest_go_on(
    events: Events, failure: Exception
) -> None:
    made, admitting = listener(), Admitting(failure)
    with accepting(made, Permits(10), admitting):
        with Peer(made.address) as refused:
            assert refused.hear_all() == b""
        with Peer(made.address):
            eventually(lambda: admitting.streams)
    (paused,) = events.named("accept-paused")
    assert paused["reason"] == str(failure)


def test_running_out_of_descriptors_pauses_and_recovers(serving: Serving, events: Events) -> None:
    server = serving(reverse, max_clients=1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Peer(server.address) as early:
        early.say(b"early\n")
        assert early.hear_line() == b"ylrae\n"
        try:
            late = _connect_without_descriptors(server.address, hard, events)
            early.say(b"still\n")
            assert early.hear_line() == b"llits\n"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        late.say(b"late\n")
        assert late.hear_line() == b"etal\n"
        late.close()
    assert len(events.named("accept-paused")) == 1


def _connect_without_descriptors(address: threadwire.Address, hard: int, events: Events) -> Peer:
    """A client whose connecting leaves this process, the server's too, no descriptor."""
    lowest = os.open(os.devnull, os.O_RDONLY)  # the number that the client's socket will have
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
    peer = Peer(address)
    eventually(lambda: events.named("accept-paused"))
    return peer


def test_permits_call_whoever_waits_once() -> None:
    permits, called = Permits(1), threading.Event()
    assert permits.take(called.set)
    assert not permits.take(called.set)
    assert not called.is_set()
    permits.give_back()
    wait_for(called)
    called.clear()
    assert permits.take(called.set)
    permits.give_back()
    assert not called.is_set()


class Full(Loop):
    """Its poller has no place for the first listener that it is to wait for."""

    tries = 0

    def await_clients(self, listener: Listener, ready: Callable[[], object]) -> None:
        self.tries += 1
        if self.tries == 1:
            raise OSError(errno.ENOSPC, "no space left")
        super().await_clients(listener, ready)


def test_a_listener_for_which_the_poller_has_no_place_is_tried_again(events: Events) -> None:
    made, admitting = listener(), Admitting()
    with accepting(made, Permits(5), admitting, Full), Peer(made.address):
        eventually(lambda: admitting.streams)
    assert [fields["detail"].errno for fields in events.named("accept-failed")] == [errno.ENOSPC]
    assert len(events.named("accept-paused")) == 1


def suspended(acceptor: Acceptor, admitting: Admitting) -> None:
    acceptor.suspend()
    assert not admitting.streams


def test_who_waits_when_it_is_over_is_dismissed_and_counted() -> None:
    """With the listener just closed: they are reset, and nobody knows how many there were."""
    made, admitting, permits = listener(), Admitting(), Permits(2)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(made.address)) for _ in range(5)]
        with accepting(made, permits, admitting) as acceptor:
            eventually(lambda: len(admitting.streams) == 2)
            acceptor.stop()
            peers[3].say(b"unread")
            assert [acceptor.closed, acceptor.finish(), acceptor.closed] == [False, 3, True]
            assert acceptor.finish() == 3
        for peer in peers[2:]:
            assert peer.hear_all() == b""


@pytest.mark.parametrize("resumed", [False, True])
def test_stopping_while_it_is_suspended(resumed: bool) -> None:
    """Who waits is accepted then. With ``stop`` leaving it suspended: it is never closed."""
    made, admitting = listener(), Admitting()
    with contextlib.ExitStack() as stack, accepting(made, Permits(10), admitting) as acceptor:
        suspended(acceptor, admitting)
        for _ in range(3):
            stack.enter_context(Peer(made.address))
        if resumed:
            acceptor.resume()
        acceptor.stop()
        assert acceptor.closed
        assert len(admitting.streams) == 3
        acceptor.resume()  # too late
        acceptor.suspend()
        assert acceptor.closed


def test_a_permit_in_hand_is_given_back_however_it_ends() -> None:
    """With none given back by ``_have_closed``: there is one less, for whoever counts."""
    for end in (Acceptor.stop, Acceptor.finish, Acceptor.hand_over):
        made, admitting, permits = listener(), Admitting(), Permits(2)
        with accepting(made, permits, admitting) as acceptor, Peer(made.address):
            eventually(lambda: admitting.streams)  # noqa: B023 - called at once
            end(acceptor)
            assert acceptor.closed
        assert permits.take(lambda: None)
        assert not permits.take(lambda: None)


def test_a_listener_that_others_have_is_left_to_them() -> None:
    """Who waits for a permit is not dismissed. With it emptied like our own: they are."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        made = Listener(socket.socket(fileno=os.dup(other.fileno())), shared=True)
        admitting, permits = Admitting(), Permits(2)
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(Peer(made.address)) for _ in range(4)]
            with accepting(made, permits, admitting) as acceptor:
                eventually(lambda: len(admitting.streams) == 2)
                acceptor.stop()
                assert acceptor.closed
                assert acceptor.finish() == 0
            for peer in peers[2:]:
                connected, name = other.accept()
                connected.close()
                assert name == peer.socket.getsockname()


def test_handing_over_accepts_nobody() -> None:
    """With ``_accept_waiting`` in it: those are ours, though the other one has begun to serve."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        made = Listener(socket.socket(fileno=os.dup(other.fileno())))
        admitting = Admitting()
        with accepting(made, Permits(5), admitting) as acceptor:
            suspended(acceptor, admitting)
            with Peer(made.address) as peer:
                acceptor.hand_over()
                acceptor.hand_over()
                assert acceptor.closed
                assert not admitting.streams
                connected, _ = other.accept()
                connected.close()
                assert peer.hear_all() == b""


def test_a_listener_that_was_closed_within_the_turn_is_not_accepted_from() -> None:
    """Somebody was seen to wait there, and then it was closed.

    With another listener's being open taken for this one's: an error, and a rest for all.
    """
    made, other, admitting = listener(), listener(), Admitting()
    with accepting(made, Permits(5), admitting) as acceptor:
        acceptor._loop.call(lambda: acceptor._listeners.append(other))
        acceptor._loop.call(acceptor._rest)
        acceptor._loop.call(acceptor._resume)

        def close_and_accept() -> None:
            acceptor._close(other)
            assert not acceptor._accept(other)
            assert acceptor._awaited == [made]

        acceptor._loop.call(close_and_accept)
        with Peer(made.address):
            eventually(lambda: admitting.streams)
        assert not acceptor._in_episode


class Refusing(Admitting):
    """Takes over streams, and refuses them."""

    def __call__(self, stream: Stream, listener: Listener, refused: CloseReason | None) -> bool:
        self.streams.append(stream)
        return False


def test_who_is_refused_takes_no_permit() -> None:
    """With the permit taken for gone: after five of them nobody is accepted any more."""
    made, admitting, permits = listener(), Refusing(), Permits(5)
    with contextlib.ExitStack() as stack, accepting(made, permits, admitting):
        for n in range(20):
            stack.enter_context(Peer(made.address))
            eventually(lambda: len(admitting.streams) == n + 1)  # noqa: B023 - called at once
    assert all(permits.take(lambda: None) for _ in range(5))
