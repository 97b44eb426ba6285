"""Nothing of a client that has gone waits for the garbage collector.

It may come late: what has lived for a while is only looked at when there is much more of it.
Until then each such client would keep what was read of it, a megabyte and more.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from threadwire import Address, Connection
from threadwire.events import logger
from threadwire.testing import Peer, eventually
from threadwire.transport.tls import Tls

from ..conftest import Serving
from ..engine.secure import SECURE, SecurePeer, certified
from . import handlers

CLIENTS = 3
WATCHED = 1  # the one whose call the watchdog has seen last

Client: TypeAlias = Callable[[Address], None]


@pytest.fixture(autouse=True)
def no_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logger, "disabled", True)  # whose records pytest would keep
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def too_large(address: Address) -> None:
    with Peer(address) as peer, contextlib.suppress(ConnectionError):
        peer.say(b"x" * ((1 << 20) + 2))
        peer.hear_all()


def cut_short(address: Address) -> None:
    with Peer(address) as peer:
        peer.say(b"half a mess")
        peer.finish()
        peer.hear_all()


def never_complete(address: Address) -> None:
    with Peer(address) as peer:
        peer.say(b"half a mess")
        peer.hear_all()


def never_reading(address: Address) -> None:
    with Peer(address, receive_buffer=4096) as peer:
        peer.say(b"*large 20000000\n")
        peer.wait_end()


def failing(address: Address) -> None:
    with Peer(address) as peer:
        peer.say(b"*fail\n")
        peer.hear_all()


def resetting(address: Address) -> None:
    with Peer(address, receive_buffer=4096) as peer:
        peer.say(b"*large 20000000\n")
        peer.hear(100)
        peer.reset()


def well_behaved(address: Address) -> None:
    with Peer(address) as peer:
        peer.say(b"hello\n")
        assert peer.hear_line() == b"olleh\n"


PLAIN = [too_large, cut_short, never_complete, never_reading, failing, resetting, well_behaved]


def no_tls(address: Address) -> None:
    with Peer(address) as peer:
        peer.say(b"hello\n")
        peer.hear_all()


def a_broken_hello(address: Address) -> None:
    with Peer(address) as peer:
        peer.say(b"\x16\x03\x01\x00\x05hello")
        peer.hear_all()


def half_a_hello(address: Address) -> None:
    with Peer(address) as peer:
        peer.say(b"\x16\x03\x01\x02\x00\x01")
        peer.hear_all()


def a_forged_record(address: Address) -> None:
    with SecurePeer(address) as peer:
        peer.say_plain(b"\x17\x03\x03\x00\x20" + b"g" * 32)
        with contextlib.suppress(OSError):
            peer.hear_all()


def too_large_in_tls(address: Address) -> None:
    with SecurePeer(address) as peer, contextlib.suppress(OSError):
        peer.say(b"x" * ((1 << 20) + 2))
        peer.hear_all()


def well_behaved_in_tls(address: Address) -> None:
    with SecurePeer(address) as peer:
        assert peer.request(b"hello") == b"olleh\n"


IN_TLS = [
    no_tls,
    a_broken_hello,
    half_a_hello,
    a_forged_record,
    too_large_in_tls,
    well_behaved_in_tls,
]

every_handler = pytest.mark.parametrize("handler", ["quick", "blocking", "session"])


def left(kind: type[Connection] | type[Tls]) -> int:
    return sum(isinstance(each, kind) for each in gc.get_objects())


@every_handler
@pytest.mark.parametrize("client", [*PLAIN, *IN_TLS], ids=lambda client: client.__name__)
def test_nothing_is_left(serving: Serving, handler: str, client: Client, tmp_path: Path) -> None:
    """With errors that a connection keeps (``Owned._forget_errors``), or one that a step of a
    handshake does (``Openings._take_step``): all of those clients are left.
    """
    options = {"message_timeout": 0.1, "write_timeout": 0.1, "handshake_timeout": 0.2}
    addresses = []
    if client in IN_TLS:
        options |= certified(tmp_path)
        addresses = [SECURE]
    server = serving(getattr(handlers, handler), *addresses, **options)
    connections, ends = left(Connection), left(Tls)
    for _ in range(CLIENTS):
        client(server.address)
    eventually(lambda: not server.connections)
    eventually(lambda: left(Connection) <= connections + WATCHED, "no connection", timeout=2)
    eventually(lambda: left(Tls) <= ends + WATCHED, "no TLS", timeout=2)
