"""The command's log: one whole line an event, human or JSON, on standard error.

Lines are formatted by the thread that has something to say and written by one
thread of the log's own, so that no client ever waits for whoever reads the log.
The queue between them is bounded; what does not fit is dropped, counted, and the
count is logged as soon as there is room.

A busy server logs tens of thousands of lines a second, and two things keep them cheap.
The writing thread gathers lines for a moment before it writes them all at once. And
threadwire's own events become lines without a record in between, as long as nobody but
this log would see the record; see :meth:`LogWriter.tell`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quote
from types import FunctionType
from typing import Any

from .. import events
from ..events import Event, lay_out, show
from ..limits import LOG_QUEUE

_FLUSH_SECONDS = 2.0  # how long the end of the process waits for a slow reader of its log
# How long the first line waits for others. Each time the writing thread wakes it takes the
# interpreter's lock from the threads that serve; so that is a hundred times a second at most,
# and nobody who watches a log sees the difference.
_GATHER_SECONDS = 0.01
_WRITE_LINES = 1024  # written at once; more than come in that time, and a tenth of the queue
_QUEUE_LINES = LOG_QUEUE.whole
_NEVER = _QUEUE_LINES + 1

# What a record goes through. Monitoring tools put their own in place of these.
_ROUTE = (logging.Logger.makeRecord, logging.Logger.handle, logging.Logger.callHandlers)
_ROUTE_IS_LOGGINGS_OWN = all(
    type(step) is FunctionType and step.__globals__ is vars(logging) for step in _ROUTE
)
_root = logging.getLogger()


class LineFormatter(logging.Formatter):
    """What both forms have in common: an event is a line, and so is a record with an event."""

    clock: Callable[[float], time.struct_time]
    pattern: str

    def __init__(self) -> None:
        super().__init__()
        # The last millisecond and its text. Any thread, replaced as a whole.
        self._last = (0, self._stamp(0))

    def now(self) -> str:
        """The time of a line that is laid out now."""
        now = time.time_ns() // 1_000_000
        last, stamp = self._last
        if now != last:
            stamp = self._stamp(now)
            self._last = (now, stamp)
        return stamp

    def _stamp(self, milliseconds: int) -> str:
        seconds, rest = divmod(milliseconds, 1000)
        return self.stamp(seconds, rest)

    def stamp(self, seconds: float, milliseconds: float) -> str:
        moment = time.strftime(self.pattern, type(self).clock(seconds))
        return f"{moment}.{int(milliseconds):03d}"

    def line(self, stamp: str, level: str, name: str, fields: dict[str, Any]) -> str:
        """One event, without the end of the line."""
        raise NotImplementedError


class HumanFormatter(LineFormatter):
    """``2026-11-23 06:39:32.123 INFO opened connection=1 peer=tcp://127.0.0.1:53142``.

    A handler's traceback follows its line, indented, in the same write.
    """

    clock = time.localtime
    pattern = "%Y-%m-%d %H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        stamp = self.stamp(record.created, record.msecs)
        line = f"{stamp} {record.levelname} {_text(record)}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {_printable(part)}" for part in trace.splitlines())
        return line

    def line(self, stamp: str, level: str, name: str, fields: dict[str, Any]) -> str:
        return f"{stamp} {level} {lay_out(name, fields)}"


class JsonFormatter(LineFormatter):
    """One JSON object a line: ``time`` (UTC, ISO 8601), ``level``, ``event``, and the facts."""

    clock = time.gmtime
    pattern = "%Y-%m-%dT%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        stamp = self.stamp(record.created, record.msecs)
        if isinstance(record.msg, Event):
            line = self.line(stamp, record.levelname, record.msg.name, record.msg.fields)
        else:
            facts = {"logger": record.name, "text": record.getMessage()}
            line = self.line(stamp, record.levelname, "log", facts)
        if record.exc_info:
            line = f'{line[:-1]}, "traceback": {quote(self.formatException(record.exc_info))}}}'
        return line

    def line(self, stamp: str, level: str, name: str, fields: dict[str, Any]) -> str:
        # As json.dumps would write it, in half the time.
        line = f'{{"time": "{stamp}Z", "level": {quote(level.lower())}, "event": {quote(name)}'
        parts = [line]
        for key, value in fields.items():
            parts.append(
                f"{quote(key)}: {value}" if type(value) is int else f"{quote(key)}: {_json(value)}"
            )
        return ", ".join(parts) + "}"


def _json(value: object) -> str:
    if type(value) is float and math.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return quote(str(value))


class LogWriter(logging.Handler):
    """Writes lines to a descriptor from a thread of its own.

    The queue, the count of dropped lines and the phase belong to the holder of
    ``_changed``'s lock.
    """

    def __init__(
        self,
        descriptor: int,
        formatter: logging.Formatter,
        on_start: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._on_start = on_start  # constant: what the writing thread calls first
        self._lines_of = formatter if isinstance(formatter, LineFormatter) else None  # constant
        self.setFormatter(formatter)
        self._alone = [self]  # constant
        self._descriptor = descriptor
        self._queue_lock = threading.Lock()
        self._changed = threading.Condition(self._queue_lock)
        self._lines: deque[str] = deque()
        self._wake_at = _NEVER  # so many lines in the queue wake the writing thread
        self._dropped = 0
        self._writing = False
        self._flushing = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="threadwire-log", daemon=True)
        self._thread.start()

    def tell(self, level: int, name: str, fields: dict[str, Any]) -> bool:
        """One of threadwire's own events; ``False`` if a record has to be made of it."""
        logger = events.logger
        form = self._lines_of
        if (
            form is None
            or _root.handlers != self._alone
            or logger.handlers
            or logger.filters
            or self.filters
            or self.formatter is not form
            or level < self.level
            or not logger.propagate
            or logger.parent is not _root
            or logging.getLogRecordFactory() is not logging.LogRecord
            or (logging.Logger.makeRecord, logging.Logger.handle, logging.Logger.callHandlers)
            != _ROUTE
        ):
            return False
        try:
            line = form.line(form.now(), logging.getLevelName(level), name, fields)
        except Exception:  # noqa: BLE001 - the ordinary way reports it
            return False
        self._put(line + "\n")
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own way to report a bad record
            self.handleError(record)
            return
        self._put(line + "\n")

    def _put(self, line: str) -> None:
        with self._queue_lock:
            count = len(self._lines)
            if count >= _QUEUE_LINES:
                self._dropped += 1
                return
            self._lines.append(line)
            if count + 1 >= self._wake_at:
                self._wake_at = _NEVER
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is written, but not for ever on a stuck reader."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            while self._lines or self._writing or self._dropped:
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    break
                self._changed.wait(left)
            self._flushing -= 1

    def close(self) -> None:
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
                self._write("".join(batch).encode(errors="backslashreplace"))
        except OSError:
            self._give_up()

    def _next_batch(self) -> list[str]:
        """The lines to write next, waiting for them; none when the log is closed."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            while not (self._lines or self._dropped):
                if self._closed:
                    return []
                self._wake_at = 1
                self._changed.wait()
            self._wake_at = _WRITE_LINES
            self._changed.wait_for(self._gathered, _GATHER_SECONDS)
            self._wake_at = _NEVER
            self._writing = True
            batch = [self._lines.popleft() for _ in range(min(_WRITE_LINES, len(self._lines)))]
            dropped, self._dropped = self._dropped, 0
        if dropped:
            batch.append(self._dropped_line(dropped))
        return batch

    def _gathered(self) -> bool:
        return bool(self._flushing) or self._closed or len(self._lines) >= _WRITE_LINES

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # whoever gave us this descriptor made it so
                select.select([], [self._descriptor], [])

    def _dropped_line(self, count: int) -> str:
        event = Event("log-dropped", {"lines": count})
        record = logging.LogRecord("threadwire", logging.WARNING, "", 0, event, (), None)
        return self.format(record) + "\n"

    def _give_up(self) -> None:
        """Nobody reads the log any more; nobody is left to tell."""
        with self._changed:
            self._closed = True
            self._lines.clear()
            self._dropped = 0
            self._lines = deque(maxlen=0)
            self._writing = False
            self._changed.notify_all()


def configure(level: int, form: str, on_start: Callable[[], None] | None = None) -> LogWriter:
    """Send the whole process's log to standard error; close the result at the end."""
    writer = LogWriter(2, JsonFormatter() if form == "json" else HumanFormatter(), on_start)
    _root.handlers[:] = [writer]
    _root.setLevel(max(level, logging.INFO))  # other libraries' debug lines are not wanted
    events.logger.setLevel(level)
    if _ROUTE_IS_LOGGINGS_OWN and type(events.logger) is logging.Logger:
        events.shortcut = writer.tell
    return writer


def _text(record: logging.LogRecord) -> str:
    """The record's message on one line, whatever it contains."""
    if isinstance(record.msg, Event):
        return str(record.msg)
    return _printable(record.getMessage())


def _printable(text: str) -> str:
    return text if text.isprintable() else show(text)[1:-1]
