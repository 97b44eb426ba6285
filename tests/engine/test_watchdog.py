"""The watchdog: no thread for a successor, its patience, its rest, and stopping it."""

from __future__ import annotations

import threading

import pytest

import threadwire
from threadwire.engine.loop import Loop
from threadwire.engine.watchdog import Watchdog
from threadwire.framing.delimited import LineCodec

from ..conftest import Events, Serving
from ..support import Peer, eventually, wait_for


def test_without_a_thread_for_a_successor_the_loop_keeps_its_leader(
    serving: Serving, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once, and as soon as there is a thread the loop is handed over."""
    handling, go_on = threading.Event(), threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            handling.set()
            wait_for(go_on)
        return message

    def refuse(_thread: threading.Thread) -> None:
        tried.release()
        raise RuntimeError("can't start new thread")

    tried = threading.Semaphore(0)
    server = serving(handler)
    with Peer(server.address) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        first = server.connections[0]
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            peer.say(b"block\n")
            wait_for(handling)
            for _ in range(5):
                assert tried.acquire(timeout=5)
            assert len(events.named("stuck")) == 1
            assert first.owner is None
        other.say(b"x\n")  # now there is one
        assert other.hear_line() == b"x\n"
        eventually(lambda: first.owner)
        go_on.set()
        assert peer.hear_line() == b"block\n"


def test_a_successor_that_was_not_needed_is_kept_and_sent_home_at_the_end(serving: Serving) -> None:
    server = serving(lambda message: message)
    watchdog = server._engine._watchdog
    assert watchdog is not None
    (loop,) = server._engine._loops
    eventually(lambda: watchdog._resting)
    # The call has returned by the time that the thread was reserved.
    watchdog._hand_over(loop, loop.baton)
    assert watchdog._successor is not None
    with Peer(server.address) as peer:
        peer.say(b"x\n")
        assert peer.hear_line() == b"x\n"
    assert server.close().threads_left == ()


def test_it_rests_while_nothing_happens_and_wakes_for_a_call_that_blocks(serving: Serving) -> None:
    server = serving(lambda message: message if message == b"quick" else block(message))
    go_on = threading.Event()

    def block(message: bytes) -> bytes:
        wait_for(go_on)
        return message

    watchdog = server._engine._watchdog
    assert watchdog is not None
    with Peer(server.address) as peer, Peer(server.address) as other:
        for _ in range(3):
            other.say(b"quick\n")
            assert other.hear_line() == b"quick\n"
            eventually(lambda: watchdog._resting)
        peer.say(b"block\n")
        other.say(b"quick\n")
        assert other.hear_line() == b"quick\n"
        go_on.set()
        assert peer.hear_line() == b"block\n"


def test_it_does_not_rest_inside_a_turn_though_a_framing_holds_that_up(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that blocks then is of the same turn, which nobody announces again.

    With a watchdog that rests where no turn has begun since: the other client waits for ever.
    """
    looks = 0
    look = Watchdog._look

    def count(watchdog: Watchdog, loop: Loop) -> bool:
        nonlocal looks
        looks += 1
        return look(watchdog, loop)

    monkeypatch.setattr(Watchdog, "_look", count)
    server: threadwire.Server

    class Slow(threadwire.Lines):
        def codec(self, max_message: int = 0) -> threadwire.Codec:
            class Codec(LineCodec):
                def messages(self, data: bytes) -> list[bytes]:
                    watchdog = server._engine._watchdog
                    assert watchdog is not None
                    enough = looks + 40
                    eventually(lambda: looks > enough or watchdog._resting)
                    return super().messages(data)

            return Codec(1 << 20, self)

    handling, go_on = threading.Event(), threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            handling.set()
            wait_for(go_on)
        return message

    server = serving(handler, framing=Slow(), handoff_after=0.001)
    with Peer(server.address) as peer, Peer(server.address) as other:
        eventually(lambda: len(server.connections) == 2)
        peer.say(b"block\nthen\n")
        wait_for(handling)
        other.say(b"quick\n")
        assert other.hear_line() == b"quick\n"
        go_on.set()
        assert peer.hear(11) == b"block\nthen\n"


@pytest.mark.parametrize("busy", [False, True])
def test_closing_does_not_wait_for_its_patience(serving: Serving, busy: bool) -> None:
    """Else this would take half an hour."""
    server = serving(lambda message: message, handoff_after=3600.0)
    if busy:
        with Peer(server.address) as peer:
            peer.say(b"x\n")
            assert peer.hear_line() == b"x\n"
    assert server.close().threads_left == ()
