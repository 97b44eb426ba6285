"""Handlers that fail for every message, and one that never returns."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from threadwire.testing import GoodClient, Hostile, Peer, Script

from . import handlers
from .target import Target, scaled
from .trial import BESIDE, Trial

both = pytest.mark.parametrize("handler", ["quick", "session"])


@both
def test_handlers_that_raise(trial: Trial, handler: str) -> None:
    """Each failure ends its connection, and is told of, once: with its traceback, or counted.

    With what a handler raises raised anew in ``Turns._stumbled``: the connections stay.
    """

    def failing(run: Hostile, count: int) -> Script:
        yield 0
        for _ in range(count):
            peer = run.connect(server.address)
            peer.say(b"*fail\n*fail\n")
            assert peer.hear_all() == b""
            run.leave(peer)
            yield 0

    def attack(count: int, good: GoodClient) -> str:
        before = server.count("handler-failed")
        with Hostile(lambda run: failing(run, count)) as hostile:
            good.wait_for(BESIDE)
            hostile.wait(60)
        assert server.await_count("handler-failed", before + count) == before + count
        failed = server.events("handler-failed")
        assert "ValueError: as it was asked to" in failed[-1]["traceback"]
        repeated = server.events("repeated")
        assert all(line["raised"].endswith(" in _fail") for line in repeated)
        return f"{count} failures told of, in {len(failed) + len(repeated)} lines so far"

    with Target(handler) as server:
        count = scaled(2000)
        trial.endure(server, f"{count} messages whose handler raises", attack, count)
        assert server.events("closed", reason="handler-failed")


@both
def test_a_handler_that_never_returns(trial: Trial, handler: str) -> None:
    """At a drain: it is cut, and the log says where it is stuck; others end as they should.

    With ``events.cut`` left out: nobody knows where.
    """
    with Target(handler, "--drain-timeout=0.5") as server:
        with Peer(server.address) as stuck, Peer(server.address) as other:
            stuck.say(b"*hang\n")
            with GoodClient(server.address) as good:
                good.wait_for(BESIDE)
            other.say(b"beside\n")
            assert other.hear_line() == b"ediseb\n"
            server.process.send_signal(signal.SIGTERM)
            assert other.hear_all() == b""
            assert server.wait() == 4
        (cut,) = server.events("cut")
        line = 1 + Path(handlers.__file__).read_text().splitlines().index(
            "    threading.Event().wait()  # the line that a drain has to tell of"
        )
        assert cut["doing"] == f"{handlers.__file__}:{line} in _hang"
        assert cut["seconds"] >= 0.5
        happened = f"cut, in handlers.py:{line}; exit 4"
        trial.note_end(server, "a handler that never returns", happened, good)
