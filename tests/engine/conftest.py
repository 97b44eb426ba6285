"""Fixtures of the engine's tests."""

from __future__ import annotations

import pytest

from threadwire.transport import poller, portable, tally


def serve_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have servers that are made from now on do without C."""
    monkeypatch.setattr("threadwire.engine.loop.Poller", portable.Poller)
    monkeypatch.setattr("threadwire.engine.turns.call_each", tally.call_each)
    for module in ("baton", "loop", "spare_threads"):
        monkeypatch.setattr(f"threadwire.engine.{module}.Tally", tally.Tally)
    for module in ("turns", "own_thread"):
        monkeypatch.setattr(f"threadwire.engine.{module}.timed", tally.timed)


@pytest.fixture(params=["c", "python"])
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve by the one poller and by the other."""
    if request.param == "python":
        serve_in_python(monkeypatch)
    elif poller.TWIN != "c":
        pytest.skip("the C twin was not built")
