"""``threadwire serve``: a handler on a port."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import click

from .. import limits
from ..address import Address, parse_address
from ..engine import on_one_core
from ..errors import UsageError
from ..framing import Auto, Framing, Lines
from ..reversing import reverse, reverse_text
from ..server import Server, serve_until_signal
from . import logs
from .load import load_handler
from .options import ADDRESS, framing_option, limit_option, version_option

DEFAULT_LISTEN = "tcp://localhost:12345"
CUT = 4


@click.command(short_help="Serve a handler; the reversing one when none is named.")
@click.argument("handler", metavar="[MODULE:HANDLER]", required=False)
@click.option(
    "--listen",
    "-l",
    "addresses",
    type=ADDRESS,
    multiple=True,
    metavar="URL",
    help="Where to listen; may be given several times. tcp://HOST:PORT, tcp://:PORT for all "
    "interfaces, unix:///PATH, fd://NUMBER; port 0 takes a free one, which is printed.  "
    f"[default: {DEFAULT_LISTEN}]",
)
@framing_option("lines; auto for the reversing handler")
@click.option("--text", is_flag=True, help="Reverse UTF-8 by character instead of bytes.")
@limit_option(limits.MAX_MESSAGE)
@limit_option(limits.MAX_CLIENTS, shown=f"{limits.default_max_clients():,}")
@limit_option(limits.BACKLOG)
@limit_option(limits.WRITE_TIMEOUT)
@limit_option(limits.DRAIN_TIMEOUT)
@limit_option(limits.HANDOFF_AFTER)
@limit_option(limits.SWITCH_INTERVAL)
@click.option(
    "--pin/--no-pin",
    default=True,
    help="Whether the serving threads share one core; with the interpreter's lock that is faster "
    "by far. What a handler itself starts inherits the core.  [default: --pin]",
)
@click.option(
    "--log-format",
    type=click.Choice(["human", "json"]),
    default="human",
    show_default=True,
    help="How log lines, on standard error, are written.",
)
@version_option
@click.option("-v", "--verbose", count=True, help="Log every message too.")
@click.option("-q", "--quiet", count=True, help="Log warnings alone; twice: errors alone.")
def serve(
    handler: str | None,
    addresses: tuple[Address, ...],
    framing: Framing | None,
    text: bool,
    pin: bool,
    log_format: str,
    verbose: int,
    quiet: int,
    **given_limits: Any,
) -> int:
    """Serve HANDLER, a function of the module MODULE, found from the current directory.

    A handler takes a message (bytes) and returns the reply; it may block as long as it
    likes: its client then has a thread of its own, and no other one waits. When none is
    named, the service is the classic exercise's: every message comes back reversed.

    Connections and errors are logged to standard error, a line each. SIGINT and SIGTERM
    stop it: begun messages are finished, within --drain-timeout; a second signal cuts them.
    """
    if handler is not None and text:
        raise UsageError("--text belongs to the reversing handler; it cannot go with a named one")
    if handler is None:
        function: Any = reverse_text() if text else reverse
        framing = framing or Auto()
    else:
        function = load_handler(handler)
        framing = framing or Lines()
    options = {name: value for name, value in given_limits.items() if value is not None}
    sys.setswitchinterval(options.pop("switch_interval", limits.SWITCH_INTERVAL.default))
    server = Server(
        function,
        *(addresses or (parse_address(DEFAULT_LISTEN),)),
        framing=framing,
        pin=pin,
        **options,
    )
    writer = logs.configure(_level(verbose, quiet), log_format, on_one_core() if pin else None)
    try:
        report = serve_until_signal(server, lambda s: _announce(s, log_format))
    finally:
        writer.close()
    return CUT if report.cut else 0


def _announce(server: Server, log_format: str) -> None:
    urls = [str(address) for address in server.addresses]
    if log_format == "json":
        entry = {"event": "listening", "addresses": urls, "framing": str(server.framing)}
        click.echo(json.dumps(entry))
    else:
        click.echo(f"threadwire: listening on {', '.join(urls)} (framing: {server.framing})")


def _level(verbose: int, quiet: int) -> int:
    steps = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR]
    return steps[max(0, min(len(steps) - 1, 1 - min(verbose, 1) + quiet))]
