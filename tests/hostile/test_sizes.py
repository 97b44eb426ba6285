"""Messages that are too large, or say that they will be; and many that are nearly so."""

from __future__ import annotations

import pytest

from threadwire import Framing, LengthPrefixed, Netstring
from threadwire.testing import GoodClient

from .crowd import saying
from .target import Target, scaled
from .trial import BESIDE, Trial

LIMIT = 1 << 20  # max_message, by default
LITTLE = 2 << 20  # bytes that a process takes for this and that

every_handler = pytest.mark.parametrize("handler", ["quick", "blocking", "session"])


@every_handler
def test_one_byte_too_much(trial: Trial, handler: str) -> None:
    """With ``max_message`` not looked at in ``LineCodec._without_newline``: they stay."""

    def attack(count: int, good: GoodClient) -> str:
        with saying(server.address, b"x" * (LIMIT + 2), count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed"

    with Target(handler) as server:
        count = scaled(20, least=4)
        outcome = trial.endure(server, f"{count} x a byte above max_message", attack, count)
        before, most, _ = outcome.memory
        assert most - before < LITTLE + count * 1.3 * LIMIT
        assert server.events("closed", reason="message-too-large")
        fault = server.events("peer-fault", error="MessageTooLarge")[0]
        assert "peer" in fault
        assert "1048576" in fault["detail"].replace(",", ""), "the limit is told"


ANNOUNCED: dict[str, tuple[Framing, bytes]] = {
    "2^64-1 bytes": (LengthPrefixed(8), b"\xff" * 8),
    "4 GiB": (LengthPrefixed(), b"\xff" * 4),
    "a netstring of 10^18 bytes": (Netstring(), b"1" + b"0" * 18 + b":"),
}


@pytest.mark.parametrize("handler", ["quick", "session"])
@pytest.mark.parametrize("what", ANNOUNCED)
def test_announced_sizes(trial: Trial, handler: str, what: str) -> None:
    """Nothing is made ready for what has not come.

    With a buffer of the announced size: a MemoryError, or a process that grows by megabytes.
    """
    framing, header = ANNOUNCED[what]

    def attack(count: int, good: GoodClient) -> str:
        with saying(server.address, header, count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed"

    with Target(handler, framing=framing) as server:
        count = scaled(500)
        outcome = trial.endure(server, f"{count} announce {what}", attack, count)
        before, most, _ = outcome.memory
        threads = 16 << 10 if handler == "session" else 0
        assert most - before < LITTLE + count * threads
        assert server.events("closed", reason="message-too-large")


def test_a_netstring_whose_length_never_ends(trial: Trial) -> None:
    def attack(count: int, good: GoodClient) -> str:
        with saying(server.address, b"9" * 100_000, count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed"

    with Target("quick", framing=Netstring()) as server:
        trial.endure(server, "a netstring's length without end", attack, scaled(200))
        assert server.events("peer-fault")


@pytest.mark.parametrize("handler", ["quick", "session"])
def test_messages_that_are_large_and_never_complete(trial: Trial, handler: str) -> None:
    """Of each, no more than ``max_message`` and what a growing buffer has in reserve.

    With no deadline for them: they stay, and so does their memory.
    """
    reserve = 1.25  # a bytearray that grows has an eighth more than it needs

    def attack(count: int, good: GoodClient) -> str:
        with saying(server.address, b"x" * (LIMIT - 1), count) as hostile:
            good.wait_for(BESIDE)
            hostile.wait()
        assert hostile.thrown_out == count
        return f"all {count} closed by message_timeout"

    with Target(handler, "--message-timeout=0.5") as server:
        count = scaled(200)
        outcome = trial.endure(server, f"{count} x 1 MiB, never complete", attack, count)
        before, most, _ = outcome.memory
        assert most - before < LITTLE + count * reserve * LIMIT
