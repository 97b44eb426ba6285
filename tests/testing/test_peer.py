"""The plain peer: what it says and hears, and that nothing waits for ever."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

import threadwire
from threadwire.testing import Peer, eventually

from .conftest import PlainServer, hear, hear_all, hear_until_reset


def test_it_says_and_hears_bytes_as_they_are(plain_server: PlainServer) -> None:
    with Peer(plain_server.address) as peer:
        server = plain_server.accept()
        peer.say(b"\0\xffhello")
        assert hear(server, 7) == b"\0\xffhello"
        server.sendall(b"one\ntwo\nrest")
        assert peer.hear(2) == b"on"
        assert peer.hear_line() == b"e\n"
        assert peer.hear_line() == b"two\n"
        server.close()
        assert peer.hear(2) == b"re"
        assert peer.hear_all() == b"st"
        assert peer.hear(5) == peer.hear_line() == peer.hear_all() == b""


def test_it_may_finish_and_go_on_listening(plain_server: PlainServer) -> None:
    with Peer(plain_server.address) as peer:
        server = plain_server.accept()
        peer.say(b"question")
        peer.finish()
        assert hear_all(server) == b"question"
        server.sendall(b"answer\n")
        assert peer.hear_line() == b"answer\n"


def test_it_leaves_with_a_reset_or_without(plain_server: PlainServer) -> None:
    peer = Peer(plain_server.address)
    server = plain_server.accept()
    peer.reset()
    if server.family == socket.AF_UNIX:
        assert hear_all(server) == b""
    else:
        assert hear_until_reset(server) == b""
    peer = Peer(plain_server.address)
    server = plain_server.accept()
    peer.close()
    assert hear_all(server) == b""


def test_what_does_not_come_is_told_with_what_has(plain_server: PlainServer) -> None:
    with Peer(plain_server.address, timeout=0.05) as peer:
        server = plain_server.accept()
        with pytest.raises(threadwire.TimeLimitError, match=r"nothing came\) within 0.05 s"):
            peer.hear_all()
        server.sendall(b"ab")
        with pytest.raises(threadwire.TimeLimitError, match=r"\(b'ab' came\) within 0.05 s"):
            peer.hear(3)
        server.sendall(b"x" * 100)
        with pytest.raises(threadwire.TimeLimitError, match=r"\(b'x{40}'… came\)"):
            peer.hear_line()
        with pytest.raises(threadwire.TimeLimitError, match="end of the connection"):
            peer.wait_end()
        with pytest.raises(threadwire.TimeLimitError, match="room for 10000000 bytes"):
            peer.say(bytes(10_000_000))


def test_what_does_not_wait(plain_server: PlainServer) -> None:
    with Peer(plain_server.address) as peer:
        server = plain_server.accept()
        assert peer.overhear() is None
        ended = [peer.ended]
        server.sendall(b"abc")
        eventually(lambda: peer.overhear() == b"abc")
        assert peer.wait_room(0)
        sent = 0
        while peer.wait_room(0.05):
            sent += peer.offer(bytes(100_000))
        while count := peer.offer(bytes(1000)):  # there may be some left, too little to tell of
            sent += count
        assert hear(server, sent) == bytes(sent)
        assert peer.wait_room(5)
        server.shutdown(socket.SHUT_WR)
        peer.wait_end()
        ended.append(peer.ended)
        assert ended == [False, True]
        assert peer.overhear() == b""


def test_the_end_is_seen_without_reading(plain_server: PlainServer) -> None:
    with Peer(plain_server.address) as peer:
        server = plain_server.accept()
        server.sendall(b"unread")
        server.close()
        peer.wait_end()
        assert peer.hear_all() == b"unread"


def test_a_small_receive_buffer_is_soon_full() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = threadwire.Address("tcp", "127.0.0.1", listening.getsockname()[1])
        with Peer(address, receive_buffer=4096) as peer:
            assert peer.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 20_000


def test_every_address_of_a_host_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        for host in ("localhost", ""):
            Peer(threadwire.Address("tcp", host, port)).close()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Peer("localhost:1"), threadwire.AddressError),
        (lambda: Peer("fd://3"), threadwire.UsageError),
        (lambda: Peer("unix:///nowhere/at/all"), threadwire.ConnectError),
        (lambda: Peer("tcp://no such host:1"), threadwire.AddressError),
        (lambda: Peer(f"tcp://{'x' * 300}:1"), threadwire.ConnectError),
    ],
)
def test_addresses_that_cannot_be_connected_to(
    make: Callable[[], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make()
