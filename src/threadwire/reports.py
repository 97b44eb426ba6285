"""What closing a server comes to, told as plain values."""

from __future__ import annotations

import os
from types import FrameType
from typing import NamedTuple

from .address import Address

__all__ = ["CloseReport", "Cut", "Handoff", "where"]


class Cut(NamedTuple):
    """A connection that a drain's deadline cut, and what its handler was doing."""

    connection: int
    peer: Address
    age: float  # seconds
    doing: str  # "file:line in function", or "" if that could not be seen
    bytes_received: int = 0
    bytes_sent: int = 0


class CloseReport(NamedTuple):
    """How a server's closing went.

    ``finished`` connections ended by themselves within the drain; ``cut`` lists the
    others. ``threads_left`` names threads whose handlers had still not returned
    when ``close()`` did; they end with the process. ``dismissed`` clients had waited in
    the listen backlog until the deadline, and were never served.
    """

    finished: int
    cut: tuple[Cut, ...]
    threads_left: tuple[str, ...]
    dismissed: int = 0


class Handoff(NamedTuple):
    """The loop was taken from a thread whose handler held it up."""

    at: float  # seconds since the epoch
    connection: int


_NOT_THE_USERS = tuple(os.path.join(os.path.dirname(f), "") for f in (os.__file__, __file__))


def where(innermost: FrameType) -> str:
    """Where a thread stands: the innermost line that is neither the library's nor Python's own."""
    frame: FrameType | None = innermost
    while frame is not None and (
        frame.f_code.co_filename.startswith(_NOT_THE_USERS)
        and "site-packages" not in frame.f_code.co_filename
    ):
        frame = frame.f_back
    frame = frame or innermost
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
