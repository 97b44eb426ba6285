"""Lines that repeat one another: the first ones are written, the others counted.

What a peer or a handler can bring about any number of times must not bury the rest of the log,
nor cost a traceback each time. So of the warnings and errors of one *kind* that come within a
second, ten are written. The others are counted, and one line tells the count when the second
is over. The second begins with the kind's first line; the next one begins with the first line
that comes after it.

Lines of level info and debug are never counted in place of being written: they are what the log
is kept for. Nor is ``cut``, the list of those that a drain has cut.

A kind is made of what does not change from one time to the next: the event's name, the error's
class, where it was raised; never of what a peer has sent. So there are few of them. A program
whose own log lines all differ may still have any number, of which so many are kept in mind; of
further ones every line is written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

from ..events import Event
from ..limits import LOG_REPEATS

__all__ = ["Kind", "Repeats", "is_limited", "kind_of", "kind_of_event"]

SECONDS = 1.0
_KINDS = 1000  # kept in mind at once
_TEXT = 200  # characters of a record's text that tell kinds apart

# The facts of an event that say of which kind it is, beside its name.
_TELLING = ("error", "reason", "what", "problem", "doing", "listen", "hook")


class Kind(NamedTuple):
    """What lines that repeat one another have in common."""

    level: int
    name: str  # the event's
    facts: tuple[tuple[str, str], ...]


class _Second:
    """A second of one kind's lines."""

    __slots__ = ("begun", "count", "first", "last", "lasted", "written")

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.written = 1
        self.count = 0  # of those that were not written
        self.lasted = 0.0  # seconds, until the last of these
        self.first: object = None  # the first of these that has a connection: its id
        self.last: object = None


def is_limited(level: int, name: str) -> bool:
    """Whether lines of this level, about events of this name, may be counted only."""
    return level >= logging.WARNING and name != "cut"


def kind_of_event(
    level: int, name: str, fields: dict[str, Any], traceback: TracebackType | None = None
) -> Kind:
    """The kind of one of threadwire's events; ``traceback`` is of what was raised."""
    facts = [(key, str(fields[key])) for key in _TELLING if key in fields]
    if traceback is not None:
        facts.append(("raised", _place(traceback)))
    return Kind(level, name, tuple(facts))


def kind_of(record: logging.LogRecord) -> Kind:
    """The kind of a record, somebody else's perhaps. Raises whatever showing its text raises."""
    error, _, traceback = record.exc_info or (None, None, None)
    if isinstance(record.msg, Event):
        return kind_of_event(record.levelno, record.msg.name, record.msg.fields, traceback)
    facts = [("logger", record.name), ("text", str(record.msg)[:_TEXT])]
    if error is not None:
        facts.append(("error", error.__name__))
    if traceback is not None:
        facts.append(("raised", _place(traceback)))
    return Kind(record.levelno, "log", tuple(facts))


def _place(traceback: TracebackType) -> str:
    """Where it was raised, as ``file:line in function``."""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f"{code.co_filename}:{traceback.tb_lineno} in {code.co_name}"


class Repeats:
    """Who is counted.

    Whoever calls it holds a lock, which the same thread may take again: the collector can run a
    finalizer that logs, at any point. Such a line is admitted, and nothing else is touched. Times
    are seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self._inside = False  # one of the calls below is under way
        self.counting = 0  # of the seconds that are not over, those with something to tell
        self._seconds: dict[Kind, _Second] = {}  # in the order in which they began
        self._over: list[tuple[Kind, _Second]] = []  # with something to tell

    def __bool__(self) -> bool:
        """Whether there is anything to tell, now or later."""
        return bool(self.counting or self._over)

    def admit(self, kind: Kind, now: float, connection: object = None) -> bool:
        """Whether a line of this kind is to be written; otherwise it has been counted."""
        if self._inside:
            return True
        with self._alone():
            return self._admit(kind, now, connection)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._inside = True
        try:
            yield
        finally:
            self._inside = False

    def _admit(self, kind: Kind, now: float, connection: object) -> bool:
        self._end(now - SECONDS)
        second = self._seconds.get(kind)
        if second is None:
            if len(self._seconds) < _KINDS:
                self._seconds[kind] = _Second(now)
            return True
        if second.written < LOG_REPEATS.whole:
            second.written += 1
            return True
        if not second.count:
            self.counting += 1
        second.count += 1
        second.lasted = now - second.begun
        if connection is not None:
            second.last = connection
            if second.first is None:
                second.first = connection
        return False

    def left(self, now: float) -> float | None:
        """Seconds until there is something to tell; ``None`` if there is nothing."""
        if self._over:
            return 0.0
        if not self.counting:
            return None
        with self._alone():
            begun = next(second.begun for second in self._seconds.values() if second.count)
        return max(0.0, begun + SECONDS - now)

    def take(self, now: float, *, everything: bool = False) -> list[tuple[Kind, dict[str, Any]]]:
        """What is to be told, as the facts of events; ``everything``: also before it is over."""
        with self._alone():
            self._end(now if everything else now - SECONDS)
            over, self._over = self._over, []
            return [(kind, dict(_facts(kind, second))) for kind, second in over]

    def _end(self, begun: float) -> None:
        """End the seconds that have begun up to then."""
        seconds = self._seconds
        while seconds:
            kind, second = next(iter(seconds.items()))
            if second.begun > begun:
                return
            if seconds.pop(kind, None) is second and second.count:
                self.counting -= 1
                self._over.append((kind, second))


def _facts(kind: Kind, second: _Second) -> Iterator[tuple[str, Any]]:
    yield "of", kind.name
    yield from kind.facts
    yield "count", second.count
    yield "seconds", round(second.lasted, 3)
    if second.first is not None:
        yield "first_connection", second.first
        yield "last_connection", second.last
