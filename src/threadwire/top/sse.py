"""Server-sent events, read from a stream of bytes; no I/O.

The format is the one of the HTML standard, section 9.2.6, "Interpreting an event stream".
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

__all__ = ["Event", "EventDecoder", "EventTooLarge"]

# A document with its history has some 200 KiB.
MAX_EVENT = 8 << 20

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """An event with more than ``limit`` bytes, refused before it was kept."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"an event of more than {self.limit} bytes"


class Event(NamedTuple):
    """One event: its type and its data."""

    name: str
    data: str


class EventDecoder:
    """Fed with what comes; gives whole events. Times and last ids are not kept."""

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._parts: list[bytes] = []  # of a line whose end has not come
        self._size = 0  # bytes of the event that is under way, with these parts
        self._begun = False
        self._after_cr = False  # the last byte was CR; an LF belongs to it
        self._name = ""
        self._data: list[str] = []
        self._events: deque[Event] = deque()

    def feed(self, data: bytes) -> None:
        """Take the stream's next bytes; raises :class:`EventTooLarge`."""
        if not data:
            return
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r") if data else False
        *ended, rest = _LINE_END.split(data)
        for piece in ended:
            self._keep(piece)
            line, self._parts = b"".join(self._parts), []
            if not self._begun:
                self._begun, line = True, line.removeprefix(_BOM)
            self._take(line)
        if rest:
            self._keep(rest)

    def next_event(self) -> Event | None:
        """The next whole event, or ``None`` if there is none."""
        return self._events.popleft() if self._events else None

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise EventTooLarge(self._limit)
        self._parts.append(piece)

    def _take(self, line: bytes) -> None:
        if not line:
            if self._data:
                self._events.append(Event(self._name or "message", "\n".join(self._data)))
            self._name, self._data, self._size = "", [], 0
            return
        field, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif not self._data:
            self._size = 0  # a comment or another field, of which nothing is kept
