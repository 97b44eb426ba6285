"""Fixtures of the service's tests."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import APP, Supervisor


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The directory that services run in; ``app`` is a module there."""
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def trusts(here: Path) -> ssl.SSLContext:
    """What clients trust; the certificate is in ``own.pem``."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    (here / "own.pem").touch(0o600)
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        str(here / "own.pem")
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def supervisor(here: Path) -> Iterator[Supervisor]:
    made = Supervisor(here / "notify.sock")
    with made.socket:
        yield made
