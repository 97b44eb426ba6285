"""``threadwire top``: watch a server in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .options import version_option

if TYPE_CHECKING:
    from ..top.endpoint import Endpoint
    from ..top.view import View

DEFAULT_URL = "http://127.0.0.1:9180"

_COLUMNS = ("id", "peer", "state", "busy", "line", "rate", "messages", "bytes", "idle", "age")


@click.command(short_help="Watch a server's clients, live.")
@click.argument("url", metavar="[ADMIN-URL]", default=DEFAULT_URL, envvar="THREADWIRE_ADMIN")
@click.option("--once", is_flag=True, help="Print one plain table, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one document, as a line of JSON.")
@click.option("--follow", is_flag=True, help="With --json: a line for every document to come.")
@click.option(
    "--sort",
    type=click.Choice(_COLUMNS),
    metavar="COLUMN",
    default="busy",
    help=f"The column to sort by: {', '.join(_COLUMNS)}.  [default: busy]",
)
@click.option("--reverse", is_flag=True, help="Sort the other way round.")
@click.option(
    "--filter", "text", metavar="WORDS", default="", help="Only clients with all of these."
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many.")
@click.option(
    "--token-file",
    metavar="FILE",
    envvar="THREADWIRE_ADMIN_TOKEN_FILE",
    help="The file with the endpoint's token.",
)
@click.option(
    "--ca", metavar="FILE", help="https://: the authorities to trust.  [default: the system's]"
)
@version_option
def top(
    url: str,
    once: bool,
    as_json: bool,
    follow: bool,
    sort: str,
    reverse: bool,
    text: str,
    limit: int | None,
    token_file: str | None,
    ca: str | None,
) -> int:
    """Watch the server whose admin endpoint is at ADMIN-URL, live.

    ADMIN-URL is HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:///PATH, the address that
    was given to "threadwire serve --admin". By default it is http://127.0.0.1:9180; where the
    server's own variables are set, THREADWIRE_ADMIN and THREADWIRE_ADMIN_TOKEN_FILE, they are
    heeded.

    The key ? shows what can be done. Where input or output is no terminal, one plain table is
    printed instead, as with --once.
    """
    from ..top.columns import column_named
    from ..top.endpoint import Endpoint, parse_admin_url
    from ..top.view import View

    if follow and (once or not as_json):
        raise UsageError("--follow goes with --json, and not with --once")
    falling = column_named(sort).falling != reverse
    view = View(sort=sort, falling=falling, text=text, limit=limit)
    endpoint = Endpoint(parse_admin_url(url), token_file=token_file, ca=ca)
    if as_json:
        return _print_json(endpoint, view, follow)
    if once or not _on_terminal():
        return _print_table(endpoint, view)
    return _watch(endpoint, view)


def _on_terminal() -> bool:
    """Textual reads keys from standard input, and draws on standard error."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(stream.isatty() for stream in streams) and os.environ.get("TERM") != "dumb"


def _print_table(endpoint: Endpoint, view: View) -> int:
    from ..top.feed import measured
    from ..top.table import table

    with endpoint.events() as stream:
        document, _ = next(measured(stream))
    view.take(document, time.monotonic())
    _list(endpoint, view)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    _write(table(view, endpoint.url, width=width, now=time.monotonic()))
    return 0


def _print_json(endpoint: Endpoint, view: View, follow: bool) -> int:
    from ..top.feed import measured
    from ..top.table import json_line

    listed: dict[int, dict[str, Any]] = {}
    with endpoint.events() as stream:
        for document, value in measured(stream):
            view.take(document, time.monotonic())
            listed = _list(endpoint, view) or listed
            _write([json_line(value, view, listed)])
            if not follow:
                break
    return 0


def _list(endpoint: Endpoint, view: View) -> dict[int, dict[str, Any]]:
    """Ask for those clients that the document has not, if any are wanted and it is time."""
    from ..top.listing import list_clients

    if not view.due(time.monotonic()):
        return {}
    listed = list_clients(endpoint, view.search)
    view.take_listed(view.search, listed.clients, time.monotonic())
    return listed.values


def _write(lines: Iterable[str]) -> None:
    """A peer's name may have characters that this terminal's encoding has not."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(line.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _watch(endpoint: Endpoint, view: View) -> int:
    try:
        from ..top.app import TopApp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise UsageError(
            "the live view needs textual: pip install 'threadwire[top]'; "
            "--once and --json do without"
        ) from error
    from ..top.terminal import end_with_terminal

    app = TopApp(endpoint, view)
    try:
        app.feed.open()
        end_with_terminal(stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr))
        app.run()
    finally:
        app.feed.close()
    return app.return_code or 0
