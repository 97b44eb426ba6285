"""PROXY headers that are cut short, too long, slow, wrong, or not to be believed."""

from __future__ import annotations

import functools

import pytest

from threadwire import Codec, Lines
from threadwire.framing.delimited import LineCodec
from threadwire.proxy_protocol import ProxyParser
from threadwire.testing import GoodClient, half_open

from .crowd import coming_from, dripping, saying
from .target import Target, scaled
from .trial import BESIDE, Trial

HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
OPTIONS = ("--proxy-trust=127.0.0.1", "--proxy-timeout=0.3")


class Introduced(Lines):
    """Lines of a proxy's client: the first of a connection has the header before it."""

    def codec(self, max_message: int = 1 << 20) -> Codec:
        return _Introduced(max_message, self)


class _Introduced(LineCodec):
    __slots__ = ("_told",)

    def __init__(self, max_message: int, framing: Lines) -> None:
        super().__init__(max_message, framing)
        self._told = False

    def encode(self, message: bytes) -> bytes:
        header, self._told = (b"" if self._told else HEADER), True
        return header + super().encode(message)


def test_a_good_client_is_introduced() -> None:
    codec, parser = Introduced().codec(), ProxyParser()
    assert parser.feed(codec.encode(b"one")) is not None
    assert parser.rest == b"one\n"
    assert codec.encode(b"two") == b"two\n"


SAID = {
    "nonsense": b"PROXY TCP4 nobody nowhere\r\n",
    "no header": b"hello\n",
    "a line without end": HEADER[:-2] + b" " * 200,
    "version 2, 64 KiB": SIGNATURE + b"\x21\x11\xff\xff" + bytes(65535),
    "version 2, too short": SIGNATURE + b"\x21\x11\0\4" + bytes(4),
    "version 15": SIGNATURE + b"\xf1\x11\0\x0c" + bytes(12),
}


def test_headers_that_are_none(trial: Trial) -> None:
    """They end their connections at once, and nothing of them is kept."""

    def saying_it(said: bytes, count: int, good: GoodClient) -> str:
        with saying(server.address, said, count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed"

    options = ("--proxy-trust=127.0.0.1", "--proxy-timeout=60")
    with Target("quick", "--proxy-protocol=required", *options) as server:
        for what, said in SAID.items():
            attack = functools.partial(saying_it, said)
            trial.endure(server, f"PROXY: {what}", attack, scaled(500), framing=Introduced())
        assert server.events("peer-fault", error="ProxyHeaderError")
        assert {line["reason"] for line in server.events("closed")} == {
            "proxy-error",
            "peer-closed",  # the good client's
        }


@pytest.mark.parametrize(
    ("handler", "size"), [("quick", 0), ("quick", 20), ("session", len(HEADER) - 1)]
)
def test_a_header_that_is_cut_short(trial: Trial, handler: str, size: int) -> None:
    """By the stream's end: known at once; by silence: after ``proxy_timeout``.

    With no timer set in ``Openings.begin``: the silent ones stay.
    """

    def attack(count: int, good: GoodClient) -> str:
        with half_open(server.address, HEADER[:size], count) as ended:
            good.wait_for(BESIDE)
            ended.wait()
        with saying(server.address, HEADER[:size], count) as silent:
            good.wait_for(BESIDE)
            silent.wait()
        assert ended.thrown_out == silent.thrown_out == count
        return f"{count} ended at once, {count} by proxy_timeout"

    with Target(handler, "--proxy-protocol=required", *OPTIONS) as server:
        name = f"PROXY: {size} bytes of a header"
        trial.endure(server, name, attack, scaled(200), framing=Introduced())


def test_a_header_that_drips(trial: Trial) -> None:
    def attack(count: int, good: GoodClient) -> str:
        with dripping(server.address, HEADER * 2, count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed by proxy_timeout"

    with Target("quick", "--proxy-protocol=required", *OPTIONS) as server:
        trial.endure(server, "PROXY: it drips", attack, scaled(200), framing=Introduced())
        assert server.events("closed", reason="proxy-error")


def test_a_header_of_somebody_who_is_not_trusted(trial: Trial) -> None:
    """He is refused, counted, and told of in one line: he might say to be anybody.

    With ``proxy_trust`` not looked at in ``Reception._admit``: he is answered.
    """
    forged = HEADER + b"let me in\n"

    def attack(count: int, good: GoodClient) -> str:
        heard = coming_from("127.0.0.2", server.address, forged, count)
        good.wait_for(BESIDE)
        assert set(heard) == {b""}
        return f"all {count} refused"

    with Target("quick", "--proxy-protocol=required", *OPTIONS) as server:
        count = scaled(1000)
        name = "PROXY: forged, where one is required"
        trial.endure(server, name, attack, count, framing=Introduced())
        assert len(server.events("refused", reason="denied")) == 1
        assert not [line for line in server.log if "192.0.2.1" in line and "127.0.0.2" in line]
        assert server.stop() == 0
        assert server.events("stopped")[0]["refused"] == 2 * count


def test_a_forged_header_where_none_is_required(trial: Trial) -> None:
    """It is a message like any other, and the peer stays who he is."""
    forged = HEADER + b"let me in\n"

    def attack(count: int, good: GoodClient) -> str:
        heard = coming_from("127.0.0.2", server.address, forged, count)
        good.wait_for(BESIDE)
        assert set(heard) == {HEADER.rstrip()[::-1] + b"\nni em tel\n"}
        return f"all {count} answered as what they are"

    with Target("quick", "--proxy-protocol=optional", *OPTIONS) as server:
        trial.endure(server, "PROXY: forged, where one is optional", attack, scaled(1000))
        assert not [line for line in server.log if "192.0.2.1" in line]
