"""For whom the calling thread calls a handler at this moment.

Nothing is noted down for a message. A thread that leads notes its baton, whose place says for
whom a handler is being called; one that serves a client alone notes that client. Each does so
once, when it begins, in storage that is its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ..connection import Connection
from .baton import Baton

__all__ = ["current_connection", "leading", "serving"]


class _Here(threading.local):
    """The calling thread's own."""

    baton: Baton[Connection] | None = None  # that it holds, or has held until it was stuck
    connection: Connection | None = None  # that it serves alone


_here = _Here()


def current_connection() -> Connection | None:
    """The connection whose handler the calling thread is inside; ``None`` if it is inside none.

    For handlers that take the message alone, and for what they call without handing it their
    connection, such as a logging filter. A thread that a handler starts itself is inside none.
    """
    baton = _here.baton
    return _here.connection if baton is None else baton.held_for()


@contextlib.contextmanager
def leading(baton: Baton[Connection]) -> Iterator[None]:
    """The calling thread leads a loop with ``baton``, until it is taken away or the loop ends."""
    _here.baton = baton
    try:
        yield
    finally:
        _here.baton = None


@contextlib.contextmanager
def serving(connection: Connection) -> Iterator[None]:
    """The calling thread serves ``connection`` alone."""
    _here.connection = connection
    try:
        yield
    finally:
        _here.connection = None
