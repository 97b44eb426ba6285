"""Peers that say very much, very fast: messages, or anything at all."""

from __future__ import annotations

import pytest

from threadwire import Lines, Netstring
from threadwire.testing import GoodClient, flood, garbage

from .target import Target, scaled
from .trial import BESIDE, Trial

NOTHING, MUCH = b"\n", b"*large 50000\n"


@pytest.mark.parametrize(
    ("handler", "data"),
    [("quick", NOTHING), ("session", NOTHING), ("quick", MUCH), ("blocking", MUCH)],
    ids=["quick-nothing", "session-nothing", "quick-much", "blocking-much"],
)
def test_messages(trial: Trial, handler: str, data: bytes) -> None:
    """As many as the server takes; the good client has its turn all the same."""

    def attack(count: int, good: GoodClient) -> str:
        with flood(server.address, data, count) as hostile:
            good.wait_for(2 * BESIDE)
        return f"{hostile.bytes_sent / (1 << 20):.1f} MiB taken meanwhile"

    with Target(handler) as server:
        count = scaled(20, least=4)
        trial.endure(server, f"{count} say {data!r} without end", attack, count)
        assert not server.events("handler-failed")


@pytest.mark.parametrize("framing", [Lines(), Netstring()], ids=str)
def test_garbage(trial: Trial, framing: Lines | Netstring) -> None:
    def attack(count: int, good: GoodClient) -> str:
        with garbage(server.address, 1, count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait(60)
        return f"{hostile.thrown_out} of {count} closed before they had said all"

    with Target("quick", framing=framing) as server:
        trial.endure(server, f"garbage to {framing}", attack, scaled(500))
