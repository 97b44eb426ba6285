"""Fixtures of the engine's tests."""

from __future__ import annotations

import pytest

from threadwire.transport import handling, poller, portable


def serve_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have servers that are made from now on do without C."""
    monkeypatch.setattr("threadwire.engine.loop.Poller", portable.Poller)
    monkeypatch.setattr("threadwire.engine.turns.call_each", handling.call_each)
    for module in ("baton", "loop", "spare_threads"):
        monkeypatch.setattr(f"threadwire.engine.{module}.Tally", handling.Tally)
    monkeypatch.setattr("threadwire.engine.baton.Place", handling.Place)
    monkeypatch.setattr("threadwire.engine.turns.Taken", handling.Taken)
    for module in ("turns", "own_thread"):
        monkeypatch.setattr(f"threadwire.engine.{module}.timed", handling.timed)


@pytest.fixture(params=["c", "python"])
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve by the one poller and by the other."""
    if request.param == "python":
        serve_in_python(monkeypatch)
    elif poller.TWIN != "c":
        pytest.skip("the C twin was not built")
