"""What the servers under attack serve, as processes: one set of answers, in three forms.

A good client's messages come back reversed. What attackers ask for begins with an asterisk.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import threadwire
from threadwire.engine import engine
from threadwire.engine.spare_threads import SpareThreads

__all__ = ["blocking", "quick", "session"]

BLOCKED_SECONDS = 0.02  # longer than a handler may hold up the loop

# Threads that have nothing to do end after a fifth of a second instead of ten: so a test sees
# within a moment whether all have gone that an attack has cost.
vars(engine).update(SpareThreads=functools.partial(SpareThreads, idle_seconds=0.2))

Reply: TypeAlias = "bytes | Iterator[bytes] | None"


def quick(message: bytes) -> Reply:
    """Served by the loop."""
    if not message.startswith(b"*"):
        return message[::-1]
    word, *numbers = message[1:].split()
    return _WORDS[word](*map(int, numbers))


def blocking(message: bytes) -> Reply:
    """Served by threads that are lent."""
    time.sleep(BLOCKED_SECONDS)
    return quick(message)


@threadwire.session
def session(connection: threadwire.Connection) -> None:
    """Served by threads of its own."""
    for message in connection:
        reply = quick(message)
        if isinstance(reply, bytes):
            connection.send(reply)
        elif reply is not None:
            for part in reply:
                connection.send(part)


def _large(size: int) -> bytes:
    return b"x" * size


def _many(count: int, size: int) -> Iterator[bytes]:
    """Replies that begin with their number, so that their order can be looked at."""
    for number in range(count):
        yield b"%d " % number + b"x" * size


def _fail() -> Reply:
    raise ValueError("as it was asked to")


def _hang() -> Reply:
    threading.Event().wait()  # the line that a drain has to tell of
    return None


_WORDS: dict[bytes, Callable[..., Reply]] = {
    b"large": _large,
    b"many": _many,
    b"fail": _fail,
    b"hang": _hang,
}
