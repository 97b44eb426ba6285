"""Fixtures for pytest. In the ``conftest.py`` at the top of the tests::

    pytest_plugins = ["threadwire.testing.plugin"]

Not an entry point, which pytest would load by itself in every run: importing threadwire
costs those who do not test with it, and what is imported before a coverage measurement
begins is missing from it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import TypeAlias

import pytest

from .proxy import FaultProxy
from .served import Served, serving

__all__ = ["ProxyFactory", "ServerFactory", "threadwire_proxy", "threadwire_server"]

ServerFactory: TypeAlias = Callable[..., Served]
"""What :func:`threadwire_server` gives."""

ProxyFactory: TypeAlias = Callable[..., FaultProxy]
"""What :func:`threadwire_proxy` gives."""

_PROXIES = pytest.StashKey[list[FaultProxy]]()


@pytest.fixture
def threadwire_server() -> Iterator[ServerFactory]:
    """Start servers as :func:`threadwire.testing.serving` does; they are closed at the end.

    ``threadwire_server(handler, *addresses, **options)`` returns a
    :class:`~threadwire.testing.Served`. What a handler has raised unnoticed is an error of
    the test.
    """
    with contextlib.ExitStack() as servers:
        yield lambda handler, *addresses, **options: servers.enter_context(
            serving(handler, *addresses, **options)
        )


@pytest.fixture
def threadwire_proxy(request: pytest.FixtureRequest) -> Iterator[ProxyFactory]:
    """Start proxies that make faults; they are closed at the end.

    ``threadwire_proxy(upstream, *faults, seed=None)`` returns a
    :class:`~threadwire.testing.FaultProxy`. If the test fails, seed and history are part
    of its report.
    """
    proxies = request.node.stash.setdefault(_PROXIES, [])
    with contextlib.ExitStack() as running:

        def start(*arguments: object, **options: object) -> FaultProxy:
            proxy = running.enter_context(FaultProxy(*arguments, **options))  # type: ignore[arg-type]
            proxies.append(proxy)
            return proxy

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the proxies of a failed test have done."""
    report = yield
    if report.failed:
        for proxy in item.stash.get(_PROXIES, []):
            report.sections.append(("threadwire fault proxy", proxy.recent_history))
    return report
