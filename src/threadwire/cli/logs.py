"""The command's log: one whole line an event, human or JSON, on standard error.

Lines are formatted by the thread that has something to say and written by one
thread of the log's own, so that no client ever waits for whoever reads the log.
The queue between them is bounded; what does not fit is dropped, counted, and the
count is logged as soon as there is room. So are warnings that repeat one another, beyond some
a second (see repeats.py).

A busy server has tens of thousands of lines a second to log. Two things keep them cheap:
the writing thread gathers lines for a moment and writes them at once; and threadwire's own
events become lines without a record, as long as nobody would see it but this log.
"""

from __future__ import annotations

import json
import logging
import math
import os
import select
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from logging import Logger, LogRecord, getLevelName, getLogRecordFactory
from types import FunctionType
from typing import Any

from .. import events
from ..engine import current_connection
from ..events import Event, lay_out, show
from ..limits import LOG_QUEUE
from .repeats import Kind, Repeats, is_limited, kind_of, kind_of_event

_FLUSH_SECONDS = 2.0  # how long the end of the process waits for a slow reader of its log
# How long a line waits for others. Each time the writing thread wakes, it takes the interpreter's
# lock from the threads that serve; so that is a hundred times a second at most, and whoever
# watches the log does not notice.
_GATHER_SECONDS = 0.01
_WRITE_LINES = 1024  # written at once, and not waited beyond: more than mostly come in that time
_QUEUE_LINES = LOG_QUEUE.whole
_NEVER = _QUEUE_LINES + 1

_ROOT = logging.getLogger()
# What a record goes through. Monitoring tools put functions of their own in place of these.
_MAKE, _HANDLE, _CALL = Logger.makeRecord, Logger.handle, Logger.callHandlers


class LineFormatter(logging.Formatter, ABC):
    """What both forms share: threadwire's own events become lines without a record, too."""

    def __init__(self) -> None:
        super().__init__()
        # What was last written of the time, and for when: most lines come in the same
        # second, and on a busy server in the same millisecond. Any thread; replaced whole.
        self._second = (-1, "")
        self._millisecond = (-1, "")

    @abstractmethod
    def line(self, stamp: str, level: str, name: str, fields: dict[str, Any]) -> str:
        """The line for an event."""

    @abstractmethod
    def moment(self, second: int) -> str:
        """The second, in this form's words."""

    def stamp(self, second: int, millisecond: int) -> str:
        """The time at the beginning of a line."""
        last, moment = self._second
        if last != second:
            moment = self.moment(second)
            self._second = (second, moment)
        return f"{moment}.{millisecond:03d}"

    def stamp_of(self, record: LogRecord) -> str:
        return self.stamp(int(record.created), int(record.msecs))

    def stamp_now(self) -> str:
        now = time.time_ns() // 1_000_000
        last, stamp = self._millisecond
        if last != now:
            stamp = self.stamp(*divmod(now, 1000))
            self._millisecond = (now, stamp)
        return stamp


class HumanFormatter(LineFormatter):
    """``2026-11-23 06:39:32.123 INFO opened connection=1 peer=tcp://127.0.0.1:53142``.

    A handler's traceback follows its line, indented, in the same write. What a handler logs
    itself ends with its connection's number.
    """

    def format(self, record: LogRecord) -> str:
        line = f"{self.stamp_of(record)} {record.levelname} {_text(record)}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {_printable(part)}" for part in trace.splitlines())
        return line

    def line(self, stamp: str, level: str, name: str, fields: dict[str, Any]) -> str:
        return lay_out(f"{stamp} {level} {name}", fields)

    def moment(self, second: int) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


class JsonFormatter(LineFormatter):
    """One JSON object a line: ``time`` (UTC, ISO 8601), ``level``, ``event``, and the facts."""

    def format(self, record: LogRecord) -> str:
        if isinstance(record.msg, Event):
            name, facts = record.msg.name, record.msg.fields
        else:
            name, facts = "log", {"logger": record.name, "text": record.getMessage()}
            connection = current_connection()
            if connection is not None:
                facts["connection"] = connection.id
        line = self.line(self.stamp_of(record), record.levelname, name, facts)
        if record.exc_info:
            line = f'{line[:-1]}, "traceback": {quoted(self.formatException(record.exc_info))}}}'
        return line

    def line(self, stamp: str, level: str, name: str, fields: dict[str, Any]) -> str:
        # What json.dumps makes of it, in half its time.
        line = f'{{"time": "{stamp}Z", "level": {quoted(level.lower())}, "event": {quoted(name)}'
        for key, value in fields.items():
            line = f"{line}, {quoted(key)}: {value if type(value) is int else _json(value)}"
        return line + "}"

    def moment(self, second: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class LogWriter(logging.Handler):
    """Writes lines to a descriptor from a thread of its own.

    The queue, the count of dropped lines, the repeats, the phase and who waits for what belong
    to the holder of ``_lock``, which is ``_changed``'s.
    """

    def __init__(
        self,
        descriptor: int,
        formatter: logging.Formatter,
        on_start: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._on_start = on_start  # constant: what the writing thread calls first
        self.setFormatter(formatter)
        self._form = formatter if isinstance(formatter, LineFormatter) else None  # constant
        self._alone = [self]  # constant
        self._descriptor = descriptor
        # One that may be taken again: the collector can run a finalizer that logs. And the one that
        # logging itself takes around emit(), for that finalizer would take the two the other way.
        self.lock = self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._lines: deque[str] = deque()
        self._wake_at = _NEVER  # with so many lines in the queue, the writing thread is woken
        self._dropped = 0
        self._repeats = Repeats()
        self._writing = False
        self._flushing = 0  # threads that wait until everything is written
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="threadwire-log", daemon=True)
        self._thread.start()

    def tell(self, level: int, name: str, fields: dict[str, Any]) -> bool:
        """Take one of threadwire's events without a record; see :data:`threadwire.events.shortcut`.

        Whoever has a handler may change at any time what is logged and who is told; so each
        time everything is looked at that could make a difference to a record.
        """
        logger, form = events.logger, self._form
        if (
            form is None
            or self.formatter is not form
            or self.filters
            or level < self.level
            or _ROOT.handlers != self._alone
            or logger.handlers
            or logger.filters
            or not logger.propagate
            or getLogRecordFactory() is not LogRecord
            or Logger.makeRecord is not _MAKE
            or Logger.handle is not _HANDLE
            or Logger.callHandlers is not _CALL
        ):
            return False
        try:
            if level >= logging.WARNING and is_limited(level, name):
                kind = kind_of_event(level, name, fields)
                if not self._admits(kind, fields.get("connection")):
                    return True
            line = form.line(form.stamp_now(), getLevelName(level), name, fields)
        except Exception:  # noqa: BLE001 - the ordinary way fails as well, and reports it
            return False
        self._put(line)
        return True

    def emit(self, record: LogRecord) -> None:
        try:
            if record.levelno >= logging.WARNING and not self._admits_record(record):
                return
            line = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own way to report a bad record
            self.handleError(record)
            return
        self._put(line)

    def _admits_record(self, record: LogRecord) -> bool:
        message = record.msg
        if isinstance(message, Event):
            name, connection = message.name, message.fields.get("connection")
        else:
            name, here = "", current_connection()
            connection = None if here is None else here.id
        return not is_limited(record.levelno, name) or self._admits(kind_of(record), connection)

    def _admits(self, kind: Kind, connection: object) -> bool:
        """Whether a line of this kind is to be written, and not only counted."""
        with self._lock:
            if self._closed:
                return True  # nobody tells a count any more
            counting = self._repeats.counting
            admitted = self._repeats.admit(kind, time.monotonic(), connection)
            if self._repeats.counting > counting and self._wake_at == 1:
                self._wake_at = _NEVER
                self._changed.notify_all()  # it is to wake up in time to tell the count
            return admitted

    def _put(self, line: str) -> None:
        with self._lock:
            lines = self._lines
            if len(lines) >= _QUEUE_LINES:
                self._dropped += 1
                return
            lines.append(line)
            if len(lines) >= self._wake_at:
                self._wake_at = _NEVER
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is written, but not for ever on a stuck reader."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                while self._lines or self._writing or self._dropped or self._repeats:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._thread.is_alive():
                        return
                    self._changed.wait(left)
            finally:
                self._flushing -= 1

    def close(self) -> None:
        if events.shortcut == self.tell:
            events.shortcut = None
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        super().close()

    def _run(self) -> None:
        try:
            if self._on_start is not None:
                self._on_start()
            while batch := self._next_batch():
                batch.append("")  # so that the last line ends, too
                self._write("\n".join(batch).encode(errors="backslashreplace"))
        except OSError:
            self._give_up()
        except BaseException:  # nobody would write any more, nor say so
            self._give_up()
            raise

    def _next_batch(self) -> list[str]:
        """The lines to write next, waiting for them; none when the log is closed."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            # Gathering comes first also after a write: on a busy server the next lines come
            # meanwhile, and nobody has to wake this thread for them.
            while not self._gather():
                if self._closed:
                    return []
                self._wake_at = 1
                self._changed.wait(self._repeats.left(time.monotonic()))
            self._wake_at = _NEVER
            self._writing = True
            batch = [self._lines.popleft() for _ in range(min(_WRITE_LINES, len(self._lines)))]
            dropped, self._dropped = self._dropped, 0
            repeats = self._repeats.take(time.monotonic(), everything=self._at_last())
        if dropped:
            batch.append(self._line(logging.WARNING, "log-dropped", {"lines": dropped}))
        batch += [self._line(kind.level, "repeated", facts) for kind, facts in repeats]
        return batch

    def _at_last(self) -> bool:
        """Whether somebody waits for all there is, and that is not much any more."""
        return not self._lines and (self._flushing > 0 or self._closed)

    def _gather(self) -> bool:
        """Wait for more lines; returns whether there are any. The lock is held."""
        self._wake_at = _WRITE_LINES
        self._changed.wait_for(self._no_use_waiting, _GATHER_SECONDS)
        repeats = self._repeats
        if repeats and (self._at_last() or repeats.left(time.monotonic()) == 0):
            return True
        return bool(self._lines or self._dropped)

    def _no_use_waiting(self) -> bool:
        return len(self._lines) >= _WRITE_LINES or self._flushing > 0 or self._closed

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # whoever gave us this descriptor made it so
                select.select([], [self._descriptor], [])

    def _line(self, level: int, name: str, facts: dict[str, Any]) -> str:
        """What the log itself has to say."""
        return self.format(LogRecord("threadwire", level, "", 0, Event(name, facts), (), None))

    def _give_up(self) -> None:
        """Nobody reads the log any more; nobody is left to tell."""
        with self._changed:
            self._closed = True
            self._lines.clear()
            self._dropped = 0
            self._repeats = Repeats()
            self._lines = deque(maxlen=0)
            self._writing = False
            self._changed.notify_all()


def configure(level: int, form: str, on_start: Callable[[], None] | None = None) -> LogWriter:
    """Send the whole process's log to standard error; close the result at the end."""
    writer = LogWriter(2, JsonFormatter() if form == "json" else HumanFormatter(), on_start)
    _ROOT.handlers[:] = [writer]
    _ROOT.setLevel(max(level, logging.INFO))  # other libraries' debug lines are not wanted
    events.logger.setLevel(level)
    if type(events.logger) is Logger and all(map(_is_loggings_own, (_MAKE, _HANDLE, _CALL))):
        events.shortcut = writer.tell
    return writer


def _is_loggings_own(function: object) -> bool:
    return type(function) is FunctionType and function.__globals__ is vars(logging)


_SCALARS = (int, float, bool, type(None))


def _json(value: object) -> str:
    if type(value) is float and math.isfinite(value):
        return repr(value)
    return json.dumps(value) if isinstance(value, _SCALARS) else quoted(str(value))


def _text(record: LogRecord) -> str:
    """The record's message on one line, whatever it contains."""
    if isinstance(record.msg, Event):
        return str(record.msg)
    text = _printable(record.getMessage())
    connection = current_connection()
    return text if connection is None else f"{text} connection={connection.id}"


def _printable(text: str) -> str:
    return text if text.isprintable() else show(text)[1:-1]
