"""Peers that say nothing, or next to nothing, and those that leave at once."""

from __future__ import annotations

import socket

import pytest

from threadwire.testing import (
    GoodClient,
    Hostile,
    Script,
    connect_and_reset,
    half_open,
    reset_after,
    silent,
)

from .target import Target, processor_seconds, scaled
from .trial import BESIDE, Trial

both = pytest.mark.parametrize("handler", ["quick", "session"])

BACKLOG = 500  # clients that come while the server is stopped; its backlog has room for them


@both
def test_connections_that_send_nothing(trial: Trial, handler: str) -> None:
    """With idle clients not watched in ``Clients.take_in``: none is closed."""
    count = scaled(2000 if handler != "session" else 500)

    def attack(count: int, good: GoodClient) -> str:
        with silent(server.address, count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed by idle_timeout"

    with Target(handler, "--idle-timeout=0.5") as server:
        outcome = trial.endure(server, f"{count} that send nothing", attack, count)
        before, most, _ = outcome.memory
        ceiling = 2 << 10 if handler != "session" else 64 << 10  # a session has a thread
        assert most - before < (4 << 20) + count * ceiling


@both
def test_connections_that_are_reset(trial: Trial, handler: str) -> None:
    """At once, after the first byte, and before they are accepted.

    With what the poller notices not heeded in ``Turns._heed_notices``: the connections stay.
    """
    count = scaled(10_000)

    def attack(count: int, good: GoodClient) -> str:
        with connect_and_reset(server.address, count // 2) as first:
            good.wait_for(BESIDE)
            first.wait(30)
        with reset_after(server.address, b"x", count // 2) as second:
            good.wait_for(BESIDE)
            second.wait(30)
        server.freeze()
        try:
            with connect_and_reset(server.address, BACKLOG) as third:
                third.wait()
        finally:
            server.thaw()
        good.wait_for(BESIDE)
        return f"{BACKLOG} of them before they were accepted"

    with Target(handler) as server:
        trial.endure(server, f"{count} connect and reset", attack, count)
        assert not server.events("accept-paused")


@both
def test_clients_that_end_their_side_at_once(trial: Trial, handler: str) -> None:
    """Both those who go then and those who stay.

    With a peer's end not noted in ``Turns._heed_notices``: the connections stay.
    """

    def attack(count: int, good: GoodClient) -> str:
        with half_open(server.address, b"", count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed at once"

    with Target(handler) as server:
        trial.endure(server, "end their side at once", attack, scaled(2000))
        assert {line["reason"] for line in server.events("closed")} == {"peer-closed"}


@both
def test_urgent_data(trial: Trial, handler: str) -> None:
    """It is no part of the stream, and wakes nobody again and again.

    With urgent data inline (SO_OOBINLINE), or asked for by the poller: a wrong answer, or a
    processor that is never idle.
    """

    def urgent(run: Hostile) -> Script:
        peers = [run.connect(server.address) for _ in range(scaled(500))]
        yield 0
        for peer in peers:
            peer.say(b"before ")
            peer.socket.send(b"!", socket.MSG_OOB)
            peer.say(b"after\n")
        for peer in peers:
            assert peer.hear(13) == b"retfa erofeb\n"
            peer.socket.send(b"!", socket.MSG_OOB)  # and this one stays where it is
        yield from run.stay(peers)

    def attack(_count: int, good: GoodClient) -> str:
        with Hostile(urgent):
            good.wait_for(BESIDE)
            server.await_quiet()
            before = processor_seconds(server.pid)
            good.wait_for(BESIDE)
            used = processor_seconds(server.pid) - before
        return f"left out of the stream; {used:.2f} s of processor beside it"

    with Target(handler) as server:
        trial.endure(server, "urgent data", attack)
