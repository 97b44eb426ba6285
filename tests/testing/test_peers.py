"""Each hostile peer does what it is there for, and a well-behaved client is served beside it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from random import Random

import pytest

import threadwire
from threadwire.testing import (
    GoodClient,
    Hostile,
    announces,
    connect_and_reset,
    drip,
    eventually,
    flood,
    garbage,
    half_open,
    never_reads,
    reset_after,
    serving,
    silent,
)

from ..support import reverse
from .conftest import PlainServer, hear, hear_all, hear_until_reset


def test_silent_ones_say_nothing_and_stay(plain_server: PlainServer) -> None:
    with silent(plain_server.address, 3) as hostile:
        servers = [plain_server.accept() for _ in range(3)]
        for server in servers:
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.recv(1)
            server.close()
        hostile.wait()
    assert (hostile.connections, hostile.bytes_sent, hostile.thrown_out) == (3, 0, 3)


def test_half_open_ones_end_their_side_and_stay(plain_server: PlainServer) -> None:
    with half_open(plain_server.address, b"half a mess", 2) as hostile:
        for _ in range(2):
            server = plain_server.accept()
            assert hear_all(server) == b"half a mess"
            server.sendall(b"is anybody there?")
            assert not hostile.finished
            server.close()
        hostile.wait()
    assert hostile.thrown_out == 2


@pytest.mark.parametrize(
    ("framing", "size", "header"),
    [
        (None, 1000, b"\0\0\x03\xe8"),
        (threadwire.LengthPrefixed(2, "little"), 1000, b"\xe8\x03"),
        (threadwire.LengthPrefixed(2, offset=3, inclusive=True), 1000, b"\0\0\0\x03\xea"),
        (threadwire.LengthPrefixed(2, offset=3), 1000, b"\0\0\0\x03\xe5"),
        (threadwire.Netstring(), 1000, b"1000:"),
    ],
)
def test_announced_sizes_are_what_the_framing_reads(
    plain_server: PlainServer, framing: threadwire.Framing | None, size: int, header: bytes
) -> None:
    with announces(plain_server.address, size, framing):
        server = plain_server.accept()
        assert hear(server, len(header)) == header
        codec = (framing or threadwire.LengthPrefixed()).codec(size - 1)
        codec.feed(header)
        with pytest.raises(threadwire.MessageTooLarge) as caught:
            codec.next_message()
        assert caught.value.size == size
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(1)


def test_drips_come_one_by_one_when_told(plain_server: PlainServer) -> None:
    with drip(plain_server.address, b"abc", seconds_per_byte=None) as hostile:
        server = plain_server.accept()
        for n, byte in enumerate(b"abc"):
            assert hostile.bytes_sent == n
            hostile.step()
            assert server.recv(10) == bytes([byte])
        server.close()
        hostile.wait()
    assert hostile.thrown_out == 1


def test_drips_come_by_themselves(plain_server: PlainServer) -> None:
    with drip(plain_server.address, b"abcdef", seconds_per_byte=0.01):
        server = plain_server.accept()
        chunks: list[bytes] = []
        while b"".join(chunks) != b"abcdef":
            chunks.append(server.recv(10))
    assert len(chunks) > 1


def test_a_drip_ends_when_the_server_does_not_want_it(plain_server: PlainServer) -> None:
    with drip(plain_server.address, b"x" * 1000, seconds_per_byte=0.001) as hostile:
        plain_server.accept().close()
        hostile.wait()
        assert hostile.thrown_out == 1
        assert hostile.bytes_sent < 1000


def test_a_flood_comes_as_fast_as_it_is_taken(plain_server: PlainServer) -> None:
    with flood(plain_server.address, b"0123456789", 2) as hostile:
        for _ in range(2):
            server = plain_server.accept()
            assert hear(server, 3_000_000) == b"0123456789" * 300_000
            server.sendall(bytes(5_000_000))  # which is read
            server.close()
        hostile.wait()
    assert hostile.thrown_out == 2
    assert hostile.bytes_sent >= 6_000_000


def test_one_that_never_reads_fills_every_buffer() -> None:
    """A plain server that echoes: it gets stuck before the block begins."""
    with serving(reverse) as served:
        with never_reads(served.address, b"0123456789\n") as hostile:
            sent = hostile.bytes_sent
            (connection,) = served.server.connections
            assert connection.bytes_received < sent
            with GoodClient(served.address) as good:
                good.wait_for(20)
            assert hostile.thrown_out == 0


def test_one_that_never_reads_does_not_wait_for_a_server_that_takes_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("threadwire.testing.peers._ENOUGH", 1 << 20)
    with serving(lambda _message: None) as served:
        with never_reads(served.address) as hostile:
            assert hostile.bytes_sent >= 1 << 20


def test_reset_after(plain_server: PlainServer) -> None:
    with reset_after(plain_server.address, b"some", times=3) as hostile:
        for _ in range(3):
            server = plain_server.accept()
            if server.family == socket.AF_UNIX:
                assert hear_all(server) == b"some"
            else:
                assert hear_until_reset(server) == b"some"
        hostile.wait()
    assert (hostile.connections, hostile.bytes_sent) == (3, 12)


def test_connect_and_reset(plain_server: PlainServer) -> None:
    with connect_and_reset(plain_server.address, 5) as hostile:
        for _ in range(5):
            server = plain_server.accept()
            if server.family == socket.AF_UNIX:
                assert hear_all(server) == b""
            else:
                assert hear_until_reset(server) == b""
        hostile.wait()
    assert (hostile.connections, hostile.bytes_sent) == (5, 0)


def test_garbage_is_the_same_for_the_same_seed(plain_server: PlainServer) -> None:
    heard = []
    for seed in (1, 1, 2):
        with garbage(plain_server.address, seed, 2, size=5000) as hostile:
            heard.append([hear_all(plain_server.accept()) for _ in range(2)])
            hostile.wait()
        assert hostile.thrown_out == 0
    assert heard[0] == heard[1] != heard[2]
    assert heard[0][0] != heard[0][1]
    assert all(len(data) == 5000 for run in heard for data in run)


def test_garbage_goes_on_with_the_next_when_one_is_thrown_out(plain_server: PlainServer) -> None:
    with garbage(plain_server.address, 1, 3, size=10_000_000) as hostile:
        for _ in range(3):
            plain_server.accept().close()
        hostile.wait()
    assert (hostile.connections, hostile.thrown_out) == (3, 3)


@pytest.mark.parametrize(
    "attack",
    [
        lambda address: silent(address, 100),
        lambda address: half_open(address, b"half a mess", 20),
        lambda address: announces(address, 1000, threadwire.Netstring(), 20),
        lambda address: announces(address, 1 << 60, threadwire.Netstring(), 20),
        lambda address: drip(address, b"1000:" + bytes(500), seconds_per_byte=0.001),
        lambda address: flood(address, b"5:flood,", 3),
        lambda address: never_reads(address, b"1000:" + bytes(1000) + b","),
        lambda address: reset_after(address, b"5:hel", 50),
        lambda address: connect_and_reset(address, 200),
        lambda address: garbage(address, 1, 50),
    ],
    ids=[
        "silent",
        "half_open",
        "announces",
        "announces-too-much",
        "drip",
        "flood",
        "never_reads",
        "reset_after",
        "connect_and_reset",
        "garbage",
    ],
)
def test_a_good_client_is_served_beside_it(
    attack: Callable[[threadwire.Address], Hostile],
) -> None:
    with serving(reverse, framing=threadwire.Netstring()) as served:
        with attack(served.address) as hostile:
            with GoodClient(served.address, threadwire.Netstring(), each=20) as good:
                good.wait_for(100)
        assert hostile.connections
        eventually(lambda: not served.server.connections)


def test_what_breaks_the_framing_is_thrown_out() -> None:
    with serving(reverse, framing=threadwire.Netstring()) as served:
        with announces(served.address, 1 << 60, threadwire.Netstring(), 5) as hostile:
            hostile.wait()
        assert hostile.thrown_out == 5
        with garbage(served.address, Random().randrange(1000), 5, size=1 << 20) as hostile:
            hostile.wait()
        assert hostile.thrown_out == 5


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: silent("tcp://h:1", 0), "count"),
        (lambda: half_open("tcp://h:1", b"", -1), "count"),
        (lambda: flood("tcp://h:1", b""), "data"),
        (lambda: never_reads("tcp://h:1", b""), "data"),
        (lambda: drip("tcp://h:1", b"x", seconds_per_byte=-1), "seconds_per_byte"),
        (lambda: reset_after("tcp://h:1", b"x", 0), "times"),
        (lambda: connect_and_reset("tcp://h:1", True), "times"),
        (lambda: garbage("tcp://h:1", 1, size=0), "size"),
        (lambda: announces("tcp://h:1", 0), "size"),
        (lambda: announces("tcp://h:1", 5, threadwire.Lines()), "framing"),
        (lambda: announces("tcp://h:1", 1 << 20, threadwire.LengthPrefixed(2)), "size 1048576"),
        (lambda: announces("tcp://h:1", 1, threadwire.LengthPrefixed(2, offset=3)), "size 1"),
    ],
)
def test_wrong_arguments_fail_at_once_and_are_named(make: Callable[[], object], named: str) -> None:
    with pytest.raises(threadwire.UsageError, match=named):
        make()
