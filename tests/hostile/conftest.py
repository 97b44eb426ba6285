"""Fixtures of the attacks."""

from __future__ import annotations

import pytest

from .trial import Trial


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    return Trial(request.node)
