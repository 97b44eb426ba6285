"""One byte at a time: whatever is dripped has to be complete in time."""

from __future__ import annotations

import pytest

from threadwire.testing import GoodClient

from .crowd import dripping, sipping
from .target import Target, scaled
from .trial import BESIDE, Trial

every_handler = pytest.mark.parametrize("handler", ["quick", "blocking", "session"])

WHOLE = b"one that is whole\n"


@pytest.mark.parametrize(
    ("handler", "before"),
    [("quick", b""), ("session", b""), ("quick", WHOLE), ("blocking", WHOLE)],
    ids=["quick-first", "session-first", "quick-later", "blocking-later"],
)
def test_a_message(trial: Trial, handler: str, before: bytes) -> None:
    def attack(count: int, good: GoodClient) -> str:
        with dripping(server.address, b"x" * 10_000, count, before=before) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed by message_timeout"

    with Target(handler, "--message-timeout=0.3") as server:
        name = "a later message drips" if before else "the first message drips"
        trial.endure(server, name, attack, scaled(200))
        assert server.events("closed", reason="message-timeout")
        assert server.events("peer-fault", error="TimeLimitError")


@every_handler
def test_a_large_reply(trial: Trial, handler: str) -> None:
    def attack(count: int, good: GoodClient) -> str:
        with sipping(server.address, b"*large 20000000\n", count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed by write_timeout"

    with Target(handler, "--write-timeout=0.3") as server:
        trial.endure(server, "a large reply is sipped", attack, scaled(20, least=3))
        assert server.events("closed", reason="write-timeout")


def test_a_small_reply(trial: Trial) -> None:
    def attack(count: int, good: GoodClient) -> str:
        with sipping(server.address, b"*large 2000\n", count) as hostile:
            good.wait_for(BESIDE)
        assert hostile.thrown_out == 0
        return "nothing: it is with the system"

    with Target("quick", "--write-timeout=0.3") as server:
        trial.endure(server, "a small reply is sipped", attack, scaled(200))
