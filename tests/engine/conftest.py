"""Fixtures of the engine's tests."""

from __future__ import annotations

import pytest

from threadwire.transport import poller, portable


@pytest.fixture(params=["c", "python"])
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve by the one poller and by the other."""
    if request.param == "python":
        monkeypatch.setattr("threadwire.engine.loop.Poller", portable.Poller)
        monkeypatch.setattr("threadwire.engine.turns.call_each", portable.call_each)
    elif poller.TWIN != "c":
        pytest.skip("the C twin was not built")
