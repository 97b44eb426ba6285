"""TLS that is none, that stops half-way, or that comes in crowds."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path

import pytest

from threadwire.testing import GoodClient, Hostile, Script, garbage

from ..engine.secure import SecurePeer, certified, our_authority
from ..tls_support import NAME, client_side
from .crowd import dripping, saying
from .target import Target, scaled
from .trial import BESIDE, Trial


@pytest.fixture(autouse=True)
def trusting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The good client trusts our authority."""
    monkeypatch.setenv("SSL_CERT_FILE", our_authority(tmp_path))


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    return f"--tls-cert={certified(tmp_path)['tls_cert']}"


def hello() -> bytes:
    """What a client says first."""
    outgoing = ssl.MemoryBIO()
    tls = client_side().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def target(*options: str, handler: str = "quick") -> Target:
    return Target(handler, *options, listen=["tls://127.0.0.1:0"])


def test_garbage(trial: Trial, certificate: str) -> None:
    def attack(count: int, good: GoodClient) -> str:
        with garbage(server.address, 1, count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait(30)
        return f"{hostile.thrown_out} of {count} closed before they had said all"

    with target(certificate) as server:
        trial.endure(server, "TLS: garbage", attack, scaled(500))
        assert server.events("peer-fault", error="TlsError")


FIRST = {
    "plain text": b"hello\n" * 10,
    "a record of no known type": b"\x63\x03\x01\x00\x05hello",
    "a record as large as can be": b"\x16\x03\x01\xff\xff" + b"x" * 65535,
    "a hello of the year 1995": b"\x80\x2e\x01\x00\x02" + bytes(50),
}


def test_first_bytes_that_are_no_handshake(trial: Trial, certificate: str) -> None:
    """They end at once, without waiting for a deadline."""

    def saying_it(first: bytes, count: int, good: GoodClient) -> str:
        with saying(server.address, first, count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed"

    with target(certificate, "--handshake-timeout=60") as server:
        for what, first in FIRST.items():
            attack = functools.partial(saying_it, first)
            # Of buffers of so many sizes the allocator keeps now more, now less.
            trial.endure(server, f"TLS: {what}", attack, scaled(500), memory=24 << 20)
        assert server.events("closed", reason="tls-error")


def test_tls_to_a_plain_server(trial: Trial) -> None:
    def attack(count: int, good: GoodClient) -> str:
        with saying(server.address, hello(), count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        return f"{hostile.thrown_out} of {count} closed by message_timeout"

    with Target("quick", "--message-timeout=0.3", "--idle-timeout=0.5") as server:
        trial.endure(server, "TLS to a plain server", attack, scaled(500))


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["half a hello", "a hello"])
def test_handshakes_that_stop_half_way(trial: Trial, certificate: str, share: float) -> None:
    """They cost no thread, and end by their own deadline.

    With no timer set in ``Openings._begin_handshake``: they stay.
    """
    data = hello()[: int(len(hello()) * share)]

    def attack(count: int, good: GoodClient) -> str:
        with saying(server.address, data, count) as hostile:
            good.wait_for(BESIDE)
            assert server.threads < 20
            hostile.wait(30)
        assert hostile.thrown_out == count
        return f"all {count} closed by handshake_timeout"

    with target(certificate, "--handshake-timeout=0.4") as server:
        count = scaled(500)
        name = f"TLS: {count} stop after {'half a' if share < 1 else 'a'} hello"
        outcome = trial.endure(server, name, attack, count)
        before, most, _ = outcome.memory
        assert most - before < (4 << 20) + count * (100 << 10)
        assert server.events("closed", reason="handshake-timeout")


def test_a_handshake_that_drips(trial: Trial, certificate: str) -> None:
    def attack(count: int, good: GoodClient) -> str:
        with dripping(server.address, hello(), count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed by handshake_timeout"

    with target(certificate, "--handshake-timeout=0.4") as server:
        trial.endure(server, "TLS: the handshake drips", attack, scaled(200))
        assert server.events("closed", reason="handshake-timeout")


def test_more_handshakes_than_may_be(trial: Trial, certificate: str) -> None:
    """Those beyond are refused, counted, and told of in one line; who is there is served on.

    With ``max_handshakes`` not looked at in ``Openings._begin_handshake``: none is refused.
    """
    most = 20

    def attack(count: int, good: GoodClient) -> str:
        with saying(server.address, hello()[:100], count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait(30)
        assert hostile.thrown_out == count
        return f"{count - most} of {count} refused"

    with target(certificate, "--handshake-timeout=0.4", f"--max-handshakes={most}") as server:
        count = scaled(500, least=40)
        trial.endure(server, "TLS: max_handshakes", attack, count, each=1 << 30)
        assert len(server.events("closed", reason="busy")) == 2 * (count - most)
        assert len(server.events("refused", reason="busy")) == 1
        assert server.stop() == 0
        assert server.events("stopped")[0]["refused"] == 2 * (count - most)


@pytest.mark.parametrize("handler", ["quick", "blocking", "session"])
def test_garbage_behind_the_handshake(trial: Trial, certificate: str, handler: str) -> None:
    def broken(run: Hostile) -> Script:
        yield 0
        for _ in range(scaled(100)):
            with SecurePeer(server.address) as peer:
                peer.say_plain(b"\x17\x03\x03\x00\x20" + b"g" * 32)
                with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
                    peer.hear_all()
            yield 0

    def attack(_count: int, good: GoodClient) -> str:
        with Hostile(broken) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        return f"{scaled(100)} closed"

    with target(certificate, handler=handler) as server:
        trial.endure(server, "TLS: garbage behind the handshake", attack)
        assert server.events("closed", reason="tls-error")
