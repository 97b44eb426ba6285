"""The command's log: one whole line an event, human or JSON, on standard error.

Lines are formatted by the thread that has something to say and written by one
thread of the log's own, so that no client ever waits for whoever reads the log.
The queue between them is bounded; what does not fit is dropped, counted, and the
count is logged as soon as there is room.
"""

from __future__ import annotations

import json
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..events import Event, show
from ..limits import LOG_QUEUE

_FLUSH_SECONDS = 2.0  # how long the end of the process waits for a slow reader of its log
_WRITE_LINES = 256  # written at once


class HumanFormatter(logging.Formatter):
    """``2026-11-23 06:39:32.123 INFO opened connection=1 peer=tcp://127.0.0.1:53142``.

    A handler's traceback follows its line, indented, in the same write.
    """

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{stamp}.{int(record.msecs):03d} {record.levelname} {_text(record)}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {_printable(part)}" for part in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (UTC, ISO 8601), ``level``, ``event``, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        if isinstance(record.msg, Event):
            entry["event"] = record.msg.name
            for key, value in record.msg.fields.items():
                plain = value is None or isinstance(value, bool | int | float)
                entry[key] = value if plain else str(value)
        else:
            entry["event"] = "log"
            entry["logger"] = record.name
            entry["text"] = record.getMessage()
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


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
        self.setFormatter(formatter)
        self._descriptor = descriptor
        self._changed = threading.Condition(threading.Lock())
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._writing = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="threadwire-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own way to report a bad record
            self.handleError(record)
            return
        with self._changed:
            if len(self._lines) >= LOG_QUEUE.whole:
                self._dropped += 1
                return
            self._lines.append(line.encode(errors="backslashreplace") + b"\n")
            if not self._writing:
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is written, but not for ever on a stuck reader."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        with self._changed:
            while self._lines or self._writing or self._dropped:
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return
                self._changed.wait(left)

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
                self._write(b"".join(batch))
        except OSError:
            self._give_up()

    def _next_batch(self) -> list[bytes]:
        """The lines to write next, waiting for them; none when the log is closed."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            while not (self._lines or self._dropped):
                if self._closed:
                    return []
                self._changed.wait()
            self._writing = True
            batch = [self._lines.popleft() for _ in range(min(_WRITE_LINES, len(self._lines)))]
            dropped, self._dropped = self._dropped, 0
        if dropped:
            batch.append(self._dropped_line(dropped))
        return batch

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # whoever gave us this descriptor made it so
                select.select([], [self._descriptor], [])

    def _dropped_line(self, count: int) -> bytes:
        event = Event("log-dropped", {"lines": count})
        record = logging.LogRecord("threadwire", logging.WARNING, "", 0, event, (), None)
        return self.format(record).encode() + b"\n"

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
    root = logging.getLogger()
    root.handlers[:] = [writer]
    root.setLevel(max(level, logging.INFO))  # other libraries' debug lines are not wanted
    logging.getLogger("threadwire").setLevel(level)
    return writer


def _text(record: logging.LogRecord) -> str:
    """The record's message on one line, whatever it contains."""
    if isinstance(record.msg, Event):
        return str(record.msg)
    return _printable(record.getMessage())


def _printable(text: str) -> str:
    return text if text.isprintable() else show(text)[1:-1]
