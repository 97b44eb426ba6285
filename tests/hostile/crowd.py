"""Crowds of hostile peers that the kit has no script for."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from threadwire import Address
from threadwire.testing import LOOK, Hostile, Peer, Script

from ..support import PATIENCE

__all__ = ["coming_from", "dripping", "saying", "sipping", "staying_from"]

_STEP = 0.03  # seconds from one byte to the next


def saying(address: Address, data: bytes, count: int) -> Hostile:
    """``count`` connections that say ``data``, and no more; what they hear they drop."""

    def script(run: Hostile) -> Script:
        peers = []
        for _ in range(count):
            peers.append(peer := run.connect(address))
            yield from run.say_all(peer, data)
        yield 0
        while peers := [peer for peer in peers if run.keeps(peer)]:
            for peer in peers:
                _drop_replies(run, peer)
            yield LOOK

    return Hostile(script)


def dripping(address: Address, data: bytes, count: int, *, before: bytes = b"") -> Hostile:
    """``count`` connections that say ``before``, and then ``data`` byte by byte."""

    def script(run: Hostile) -> Script:
        peers = [run.connect(address) for _ in range(count)]
        for peer in peers:
            peer.say(before)
        yield 0
        place = 0
        while peers := [peer for peer in peers if run.keeps(peer)]:
            for peer in peers:
                _try_to_say(run, peer, data[place : place + 1])
                _drop_replies(run, peer)
            place += 1
            yield _STEP

    return Hostile(script)


def sipping(address: Address, request: bytes, count: int) -> Hostile:
    """``count`` connections that ask for a reply and read it byte by byte."""

    def script(run: Hostile) -> Script:
        peers = [run.connect(address, receive_buffer=4096) for _ in range(count)]
        for peer in peers:
            peer.say(request)
        yield 0
        while peers := [peer for peer in peers if run.keeps(peer)]:
            for peer in peers:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    peer.socket.setblocking(False)
                    peer.socket.recv(1)
            yield _STEP

    return Hostile(script)


@contextlib.contextmanager
def staying_from(source: str, address: Address, count: int) -> Iterator[None]:
    """``count`` connections from ``source``, which say nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(_connected(source, address))
        yield


def coming_from(source: str, address: Address, data: bytes, count: int) -> list[bytes]:
    """Connect from ``source`` so many times, one after the other, and say ``data``.

    Returns what each has heard until the server ended it.
    """
    heard = []
    for _ in range(count):
        with _connected(source, address) as connected:
            parts = []
            with contextlib.suppress(OSError):  # it may be gone before all is said
                connected.sendall(data)
                connected.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while part := connected.recv(65536):
                    parts.append(part)
            heard.append(b"".join(parts))
    return heard


def _connected(source: str, address: Address) -> socket.socket:
    connecting = socket.socket()
    try:
        connecting.settimeout(PATIENCE)
        connecting.bind((source, 0))
        connecting.connect((address.host, address.port))
    except OSError:
        connecting.close()
        raise
    return connecting


def _try_to_say(run: Hostile, peer: Peer, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # it will be counted as ended
        run.say(peer, data)


def _drop_replies(run: Hostile, peer: Peer) -> None:
    with contextlib.suppress(ConnectionError):
        run.drop_replies(peer)
