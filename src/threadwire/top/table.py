"""The plain forms: a table in lines of text, and the document as a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .columns import fit, layout
from .summary import summary
from .view import View

__all__ = ["json_line", "table"]

_ALL_ROWS = 99


def table(view: View, url: str, *, width: int | None, now: float) -> Iterator[str]:
    """The lines: how the server is, and its clients, in at most ``width`` cells."""
    for line in summary(view, url, width=width, height=_ALL_ROWS, now=now):
        text = "".join(piece.text for piece in line)
        yield text if width is None else fit(text, width).rstrip()
    rows = view.rows()
    yield ""
    cells = layout(rows, width, view.sort)
    yield " ".join(cell.title() for cell in cells).rstrip()
    for client in rows:
        yield " ".join(cell.text(client) for cell in cells).rstrip()
    if rest := view.rest(len(rows), now):
        yield f"({rest})"


def json_line(value: dict[str, Any], view: View, listed: dict[int, dict[str, Any]]) -> str:
    """The document as it came, without its history, and with the clients that ``view`` has.

    ``listed`` are those that were found beyond the document, by id.
    """
    value = dict(value)
    value.pop("history", None)
    by_id = listed | {client["id"]: client for client in value["clients"]["shown"]}
    shown = [by_id[client.id] for client in view.rows()]
    left_out = value["clients"]["total"] - len(shown)
    value["clients"] = {**value["clients"], "shown": shown, "left_out": left_out}
    return json.dumps(value, separators=(",", ":"))
