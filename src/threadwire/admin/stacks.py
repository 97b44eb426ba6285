"""Where every thread stands, by name, and which client it serves."""

from __future__ import annotations

import linecache
import sys
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

from ..connection import Connection

__all__ = ["MOST_THREADS", "as_text", "stack_of", "threads"]

MOST_THREADS = 1000  # shown; the others are counted
_DEEPEST = 64  # frames of a stack, the innermost ones


def threads(connections: Iterable[Connection]) -> dict[str, Any]:
    """Every thread with its stack, outermost call first."""
    owners: dict[int | None, Connection] = {c.owner: c for c in connections}
    owners.pop(None, None)
    running = threading.enumerate()
    shown = []
    frames = sys._current_frames()
    try:
        for thread in running[:MOST_THREADS]:
            serves = owners.get(thread.ident)
            frame = frames.get(thread.ident or 0)
            shown.append(
                {
                    "name": thread.name,
                    "id": thread.native_id,
                    "daemon": thread.daemon,
                    "serves": serves and {"id": serves.id, "peer": str(serves.peer)},
                    "stack": [] if frame is None else _lines(frame),
                }
            )
    finally:
        frames.clear()  # they hold what the threads hold
    return {"threads": shown, "left_out": len(running) - len(shown)}


def stack_of(connection: Connection) -> list[str]:
    """Where the thread stands that serves it alone; nothing if none does."""
    owner = connection.owner
    frame = None if owner is None else sys._current_frames().get(owner)
    return [] if frame is None else _lines(frame)


def as_text(found: dict[str, Any]) -> str:
    """What :func:`threads` gives, for people."""
    lines = []
    for thread in found["threads"]:
        serves = thread["serves"]
        client = f", serves client {serves['id']} {serves['peer']}" if serves else ""
        lines.append(f"{thread['name']} ({thread['id']}){client}")
        lines += [f"    {line}" for line in thread["stack"]]
        lines.append("")
    if found["left_out"]:
        lines.append(f"{found['left_out']} further threads")
    return "\n".join(lines)


def _lines(innermost: FrameType) -> list[str]:
    """A line a call, ``file:line in function: code``, outermost first."""
    lines: list[str] = []
    frame: FrameType | None = innermost
    while frame is not None and len(lines) < _DEEPEST:
        code, number = frame.f_code, frame.f_lineno
        source = linecache.getline(code.co_filename, number or 0).strip()
        place = f"{code.co_filename}:{number} in {code.co_name}"
        lines.append(f"{place}: {source}" if source else place)
        frame = frame.f_back
    lines.reverse()
    return lines
