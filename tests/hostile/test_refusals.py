"""More clients than there may be: of one address, or of all."""

from __future__ import annotations

import time

from threadwire.testing import GoodClient, silent

from .crowd import coming_from, staying_from
from .target import Target, scaled
from .trial import BESIDE, Trial


def test_a_flood_from_one_address(trial: Trial) -> None:
    """It takes nothing from those who come from elsewhere.

    With clients not counted in ``Admission.judge``: all are served.
    """
    most = 5

    def attack(count: int, good: GoodClient) -> str:
        with staying_from("127.0.0.2", server.address, most):
            heard = coming_from("127.0.0.2", server.address, b"let me in\n", count)
            good.wait_for(BESIDE)
        assert set(heard) == {b""}
        return f"all {count} beyond the first {most} refused"

    with Target("quick", f"--max-clients-per-ip={most}") as server:
        count = scaled(2000)
        trial.endure(server, "a flood from one address", attack, count)
        assert len(server.events("refused", reason="address-busy")) == 1
        assert server.stop() == 0
        assert server.events("stopped")[0]["refused"] == 2 * count


def test_busy_replies(trial: Trial) -> None:
    """A thousand a second are told that there is no place, and those who have one notice nothing.

    With all of them just closed in ``Reception._turn_away``: they hear nothing.
    """
    most = 10

    def attack(count: int, good: GoodClient) -> str:
        with silent(server.address, most - 1):
            begun = time.monotonic()
            heard = coming_from("127.0.0.2", server.address, b"", count)
            seconds = time.monotonic() - begun
            good.wait_for(BESIDE)
        assert set(heard) == {b"busy\n"}
        return f"all {count} told so, {count / seconds:,.0f} a second"

    options = (f"--max-clients={most}", "--overload=refuse", "--busy-reply=busy")
    with Target("quick", *options) as server:
        count = scaled(5000)
        trial.endure(server, "busy replies", attack, count, each=1 << 30)
        assert len(server.events("refused", reason="busy")) == 1
        assert server.stop() == 0
        assert server.events("stopped")[0]["refused"] == 2 * count


def test_refused_clients_that_do_not_leave(trial: Trial) -> None:
    """Only so many are told at once (``max_refusals``), and each only for a moment."""
    most, refusals = 3, 4

    def attack(count: int, good: GoodClient) -> str:
        with silent(server.address, most - 1), silent(server.address, count) as refused:
            good.wait_for(BESIDE)
            refused.wait()
        assert refused.thrown_out == count
        return f"all {count} closed"

    options = (f"--max-clients={most}", "--overload=refuse", "--busy-reply=busy")
    with Target("quick", *options, f"--max-refusals={refusals}") as server:
        trial.endure(server, "refused, and staying", attack, scaled(500), each=1 << 30)
        assert len(server.events("refused", reason="busy")) == 1
