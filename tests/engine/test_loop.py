"""The loop: unforeseen errors, lack of descriptors, and what comes after its end."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import threadwire
from threadwire import CloseReason
from threadwire.engine import loop as engine_loop
from threadwire.engine.admission import Admission
from threadwire.engine.loop import Loop
from threadwire.engine.spare_threads import SpareThreads
from threadwire.handler import Handler
from threadwire.limits import OFF
from threadwire.networks import Networks
from threadwire.rules import Rules
from threadwire.transport.poller import ACCEPT, Poller

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, reverse, wait_for
from .ways import server_side


class Troubled:
    """A poller that fails when it is told to."""

    trouble: dict[str, BaseException]
    made: list[Troubled]

    def __init__(self, **options: Any) -> None:
        self._poller = Poller(**options)
        self.made.append(self)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._poller, name)
        return found if name not in ("wait", "write", "modify") else self._failing(name, found)

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*arguments: Any) -> Any:
            if name in self.trouble:
                raise self.trouble.pop(name)
            return call(*arguments)

        return failing

    def add(self, sock: Any, key: object, interest: int) -> None:
        if interest != ACCEPT and "add" in self.trouble:
            raise self.trouble.pop("add")
        self._poller.add(sock, key, interest)


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """What the loop's poller will raise, once, by the method's name."""
    told: dict[str, BaseException] = {}
    monkeypatch.setattr(Troubled, "trouble", told, raising=False)
    monkeypatch.setattr(Troubled, "made", [], raising=False)
    monkeypatch.setattr(engine_loop, "Poller", Troubled)
    return told


@pytest.mark.parametrize("error", [OSError(5, "odd"), MemoryError(), SystemExit(3)])
def test_a_wait_that_fails_is_said_and_the_loop_goes_on(
    serving: Serving, events: Events, trouble: dict[str, BaseException], error: BaseException
) -> None:
    server = serving(reverse)
    with Peer(server.address) as peer:
        peer.say(b"ab\n")
        assert peer.hear_line() == b"ba\n"
        trouble["wait"] = error
        for _ in range(3):
            peer.say(b"cd\n")
            assert peer.hear_line() == b"dc\n"
    assert [fields["error"] for fields in events.named("engine-failed")] == [type(error).__name__]


def test_a_client_that_cannot_be_waited_for_is_closed_and_the_rest_go_on(
    serving: Serving, events: Events, trouble: dict[str, BaseException]
) -> None:
    server = serving(reverse)
    with Peer(server.address) as other:
        other.say(b"ab\n")
        assert other.hear_line() == b"ba\n"
        trouble["add"] = OSError(28, "no space left on device")
        with Peer(server.address) as peer:
            assert peer.hear_all() == b""
        assert events.closed_reason() is CloseReason.NO_CAPACITY
        other.say(b"cd\n")
        assert other.hear_line() == b"dc\n"
    assert not events.named("engine-failed")


def test_a_client_that_cannot_be_waited_for_again_after_its_thread(
    serving: Serving, events: Events, trouble: dict[str, BaseException]
) -> None:
    server: threadwire.Server

    def handler(message: bytes) -> bytes:
        eventually(lambda: server.connections[0].owner)
        return message

    server = serving(handler)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear_line() == b"x\n"
        trouble["add"] = OSError(12, "cannot allocate memory")
        assert peer.hear_all() == b""  # when it has been quiet for a while
    assert events.closed_reason() is CloseReason.NO_CAPACITY


def test_a_handler_that_cannot_be_called_ends_its_client_and_the_rest_go_on(
    serving: Serving, events: Events
) -> None:
    """With the empty place taken for a lost baton: the loop waits for ever for who has it."""
    server = serving(reverse)
    with Peer(server.address) as other, Peer(server.address) as peer:
        for each in (other, peer):
            each.say(b"ab\n")
            assert each.hear_line() == b"ba\n"
        connection = server_side(server, peer)
        eventually(lambda: connection._quick)
        baton = server._engine._loops[0].baton
        call, errors = baton.call, [MemoryError()]

        def failing(*arguments: Any) -> Any:
            if errors:
                raise errors.pop()
            return call(*arguments)

        baton.call = failing
        peer.say(b"cd\n")
        assert peer.hear_all() == b""
        assert events.closed_reason() is CloseReason.HANDLER_FAILED
        other.say(b"ef\n")
        assert other.hear_line() == b"fe\n"
        assert server.healthy(PATIENCE)
    assert not events.named("engine-failed")


def test_posted_calls_that_raise_keep_nobody_from_the_others(
    serving: Serving, events: Events
) -> None:
    (loop,) = serving(reverse)._engine._loops
    made = threading.Event()

    def fail() -> None:
        raise SystemExit(3)

    loop.post(fail)
    loop.post(made.set)
    wait_for(made)
    later = threading.Event()

    def set_both() -> None:
        loop.later(0.0, fail)
        loop.later(0.0, later.set)

    loop.call(set_both)
    wait_for(later)
    assert len(events.named("engine-failed")) == 2


@pytest.fixture
def led() -> Iterator[Loop]:
    threads = SpareThreads("loop under test")
    made = Loop(
        Handler(reverse),
        threads,
        rules=Rules(handoff_after=1.0, write_timeout=OFF),
        admission=Admission(Networks("allow", ()), Networks("deny", ()), OFF),
        released=lambda connection: None,
    )
    threads.run(lambda: made.lead(made.baton))
    yield made
    made.stop()
    wait_for(made.ended)
    assert threads.close(lambda: PATIENCE) == []


def test_after_the_end_calls_are_made_by_whoever_asks(led: Loop) -> None:
    by: list[int] = []
    led.call(lambda: by.append(threading.get_ident()))
    led.stop()
    wait_for(led.ended)
    led.call(lambda: by.append(threading.get_ident()))
    me = threading.get_ident()
    assert [ident == me for ident in by] == [False, True]
    assert not led.post(lambda: None)
    assert not led.stop()


def test_what_was_posted_before_the_end_is_done(led: Loop) -> None:
    done = threading.Event()

    def stop_and_post() -> None:
        led.stop()
        led.post(done.set)

    led.call(stop_and_post)
    wait_for(done)


def test_a_finalizer_may_post_while_its_thread_is_posting(led: Loop) -> None:
    """With a lock that a thread cannot take again: it waits for itself."""
    made: list[str] = []
    done = threading.Event()

    class Collecting(list[Callable[[], None]]):
        def append(self, call: Callable[[], None], /) -> None:
            gc.collect()
            super().append(call)

    class Posting:
        def __init__(self) -> None:
            self.myself = self

        def __del__(self) -> None:
            led.post(lambda: made.append("finalizer's"))

    led.call(lambda: setattr(led, "_posted", Collecting()))
    Posting()
    led.post(done.set)
    wait_for(done)
    led.call(lambda: made.append("last"))
    assert made == ["finalizer's", "last"]


def test_a_handler_that_returns_when_the_loop_has_ended(serving: Serving, events: Events) -> None:
    """Its connection is released by its own thread, also when a sender has still to leave."""
    handling, go_on = threading.Event(), threading.Event()

    @threadwire.session
    def session(_connection: threadwire.Connection) -> None:
        handling.set()
        wait_for(go_on)

    server = serving(session)
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        wait_for(handling)
        (connection,) = server.connections
        eventually(lambda: connection.owner)
        report = server.close(0)
        assert len(report.threads_left) == 1
        with connection._send_lock:  # as a sender has it that has not left yet
            go_on.set()
            eventually(lambda: connection._released)
            assert connection._stream.fileno() != -1
        eventually(lambda: connection._stream.fileno() == -1)
        assert peer.hear_all() == b""
    eventually(lambda: not server.connections)
    assert events.closed_reason() is CloseReason.CUT


def test_a_release_is_tried_again_until_a_sender_has_left(serving: Serving, events: Events) -> None:
    server = serving(reverse)
    with Peer(server.address) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        first = server.connections[0]
        with first._send_lock:
            first.abort(CloseReason.CUT)
            assert peer.hear_all() == b""
            other.say(b"ab\n")
            assert other.hear_line() == b"ba\n"
            assert first in server.connections
        eventually(lambda: first not in server.connections)
    assert first._stream.fileno() == -1
