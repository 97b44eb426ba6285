"""A seed does the same again, and what was done is told."""

from __future__ import annotations

import socket
from random import Random

import pytest

import threadwire
from threadwire.testing import (
    Chaos,
    Delay,
    Fault,
    FaultProxy,
    Glue,
    Peer,
    Reset,
    Split,
    Stall,
    Truncate,
    eventually,
    serving,
)

from ..support import PATIENCE, reverse
from .conftest import DATA, PlainServer, hear, hear_all, through


def exchange(
    address: threadwire.Address, faults: list[Fault], seed: int, hasty: bool
) -> FaultProxy:
    """A conversation of the same bytes, in one go or bit by bit, one client after the other."""
    chance = Random()
    with FaultProxy(address, *faults, seed=seed) as proxy:
        for n in range(3):
            message = b"%d" % n * 5000
            with Peer(proxy.address) as client:
                left = message + b"\n"
                while left:
                    size = len(left) if hasty else chance.choice((1, 10, 500))
                    client.say(left[:size])
                    left = left[size:]
                    if not hasty:
                        client.wait_room(0.001)
                assert client.hear_line() == message[::-1] + b"\n"
                client.finish()
                assert client.hear_all() == b""
            eventually(lambda: "open" not in proxy.history)
    return proxy


@pytest.mark.parametrize(
    "faults",
    [
        [Split(50)],
        [Glue(300, 0.002), Delay(0.001, 1000)],
        [Split(400), Delay(0.002, 900), Stall(range(6000), 0.02)],
        [Chaos()],
    ],
    ids=lambda faults: "-".join(type(fault).__name__ for fault in faults),
)
def test_same_seed_and_bytes_same_history_whatever_the_timing(faults: list[Fault]) -> None:
    with serving(reverse) as served:
        hasty = exchange(served.address, faults, 1234, hasty=True)
        slow = exchange(served.address, faults, 1234, hasty=False)
        assert hasty.history == slow.history
        for connection in (1, 2, 3):
            for direction in ("up", "down"):
                steps = hasty.steps(connection, direction)
                assert steps == slow.steps(connection, direction)
        if not any(isinstance(fault, Glue) for fault in faults):
            other = exchange(served.address, faults, 1235, hasty=True)
            assert other.history.partition("\n")[2] != hasty.history.partition("\n")[2]


@pytest.mark.parametrize("seed", range(6))
def test_same_seed_same_bytes_delivered_where_streams_are_cut(seed: int) -> None:
    """What a stream delivers up to its end depends on the seed alone."""

    def once() -> list[bytes]:
        delivered = []
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(PATIENCE)
        address = threadwire.Address("tcp", "127.0.0.1", listening.getsockname()[1])
        faults = [Split(100), Truncate(range(2000), connections=[1, 3]), Reset(range(2000))]
        with listening, FaultProxy(address, *faults, seed=seed) as proxy:
            for _ in range(4):
                with Peer(proxy.address) as client:
                    server, _ = listening.accept()
                    with server:
                        server.settimeout(PATIENCE)
                        client.say(DATA[:3000])
                        try:
                            heard = hear_all(server)
                        except ConnectionResetError:
                            heard = b"reset"
                        delivered.append(heard)
            delivered += [b"%d" % len(proxy.steps(number, "up")) for number in range(1, 5)]
        return delivered

    assert once() == once()


def test_a_seed_is_drawn_and_told(plain_server: PlainServer) -> None:
    first, second = FaultProxy(plain_server.address), FaultProxy(plain_server.address)
    assert first.seed != second.seed
    assert f"seed={first.seed}" in first.history
    assert f"seed={first.seed})" in repr(first)


def test_repr_is_what_makes_it_again(plain_server: PlainServer) -> None:
    proxy = FaultProxy(plain_server.address, Split(3), Reset(9, connections=[2]), seed=7)
    again = eval(repr(proxy))
    assert (again.upstream, again.faults, again.seed) == (proxy.upstream, proxy.faults, 7)


def test_history_shows_the_beginning_and_the_end_of_many_steps(plain_server: PlainServer) -> None:
    with FaultProxy(plain_server.address, Split(1, direction="up")) as proxy:
        client, server = through(proxy, plain_server)
        with client:
            client.say(bytes(1000))
            client.finish()
            assert hear_all(server) == bytes(1000)
    line = proxy.history.splitlines()[1]
    assert line.startswith("connection 1 up: 1000 bytes, finished: split@1 split@2 ")
    assert " split@40 (919 more) split@960 " in line
    assert line.endswith(" split@999")
    assert len(proxy.steps(1, "up")) == 999


def test_only_so_many_connections_are_remembered(
    plain_server: PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadwire.testing.proxy._REMEMBERED", 3)
    with FaultProxy(plain_server.address) as proxy:
        for _ in range(5):
            client, server = through(proxy, plain_server)
            client.close()
            server.close()
        eventually(lambda: not proxy._links)
        assert "(2 connections before these)\nconnection 3 up" in proxy.history
        with pytest.raises(threadwire.UsageError, match="no record of a connection 2"):
            proxy.steps(2, "up")
        with pytest.raises(threadwire.UsageError, match="direction"):
            proxy.steps(5, "left")  # type: ignore[arg-type]


def test_a_failed_block_tells_seed_and_history(plain_server: PlainServer) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        with FaultProxy(plain_server.address, Split(2), seed=99) as proxy:
            client, server = through(proxy, plain_server)
            with client:
                client.say(b"abc")
                hear(server, 3)
                raise ZeroDivisionError
    (note,) = caught.value.__notes__
    assert note.startswith("fault proxy, seed=99: Split(most=2)\nconnection 1 up: 3 bytes")
