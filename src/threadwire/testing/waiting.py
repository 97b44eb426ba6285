"""Waiting for what nothing announces."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["eventually"]

_LOOK_AGAIN = 0.005  # seconds


def eventually(condition: Callable[[], object], what: str = "", *, timeout: float = 10.0) -> None:
    """Wait until ``condition()`` holds; AssertionError, with ``what``, after ``timeout`` seconds.

    For states that nothing announces, as that a server has forgotten a connection. Where
    something does announce it, wait for that.
    """
    tick = threading.Event()
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}")
        tick.wait(_LOOK_AGAIN)
