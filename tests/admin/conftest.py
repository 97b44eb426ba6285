"""Fixtures of the admin endpoint's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from threadwire.admin import Admin

Administering: TypeAlias = Callable[..., Admin]


@pytest.fixture
def administering() -> Iterator[Administering]:
    """Start admin endpoints on free ports; they are closed at the end."""
    started: list[Admin] = []

    def start(server: Any, address: str = "127.0.0.1:0", **options: Any) -> Admin:
        admin = Admin(server, address, **options)
        started.append(admin)
        return admin.start()

    yield start
    for admin in started:
        admin.close()
