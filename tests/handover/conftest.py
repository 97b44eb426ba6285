"""Fixtures of the handover's tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from threadwire.handover import Handed, Offer

from .support import (
    Reports,
    assert_it_stands,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "upgrade.sock")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def offer(path: str, listening: socket.socket, reports: Reports) -> Iterator[Offer]:
    """An offer of one socket, for tests that want something to go wrong; it must stand."""

    def taken() -> None:
        reports("must not be taken", "")

    with Offer(path, [Handed("tcp://:1", listening, {"a": 1})], taken, report=reports) as made:
        yield made
        assert_it_stands(path)
        assert made.taker is None
    assert "must not be taken" not in dict(reports.all)
