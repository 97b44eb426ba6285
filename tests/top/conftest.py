"""Fixtures of the tests of ``threadwire top``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from .support import Watched

Watching: TypeAlias = Callable[..., Watched]


@pytest.fixture
def watching() -> Iterator[Watching]:
    """Start servers with their admin endpoints; they are closed at the end."""
    started: list[Watched] = []

    def start(**options: object) -> Watched:
        started.append(Watched(**options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for watched in started:
        watched.close()
