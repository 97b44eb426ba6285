"""``threadwire serve``: a handler on a port."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .. import events
from ..address import Address
from ..engine import on_one_core
from ..errors import HandlerError, UsageError
from ..framing import Auto, Framing, Lines
from ..reversing import reverse, reverse_text
from ..server import Server
from ..settings import SETTINGS
from . import logs
from .capacity import Capacity, make_room
from .configuration import Configuration, ConfigurationError, Sources
from .load import load_handler
from .options import (
    GroupedCommand,
    GroupedOption,
    config_option,
    given_settings,
    setting_options,
    version_option,
)
from .reloading import Reloader
from .service import Service

if TYPE_CHECKING:  # most servers have none
    from ..admin import Admin

WRONG, CUT = 2, 4


@click.command(
    cls=GroupedCommand, short_help="Serve a handler; the reversing one when none is named."
)
@setting_options
@click.option(
    "-v",
    "--verbose",
    cls=GroupedOption,
    group="Logging",
    count=True,
    help="Log every message too, as --log-level debug; -vv is the same.",
)
@click.option(
    "-q",
    "--quiet",
    cls=GroupedOption,
    group="Logging",
    count=True,
    help="Log warnings and errors alone; twice: errors alone.",
)
@config_option
@version_option
@click.pass_context
def serve(ctx: click.Context, /, config: str | None, verbose: int, quiet: int, **_: Any) -> int:
    """Serve HANDLER, a function of the module MODULE, found from the current directory.

    A handler takes a message (bytes) and returns the reply; it may block as long as it
    likes: its client then has a thread of its own, and no other one waits. When none is
    named, the service is the classic exercise's: every message comes back reversed.

    What may be given as an option may also stand in the environment, as THREADWIRE_MAX_CLIENTS
    for --max-clients, or in a TOML file, as max_clients below [serve]. An option goes before a
    variable, that before the file given with --config, and that before ./threadwire.toml.

    Connections and errors are logged to standard error, a line each. SIGINT and SIGTERM
    stop it: begun messages are finished, within --drain-timeout; a second signal cuts them.
    SIGHUP has files, variables and certificates read anew. Started by systemd for a socket,
    it listens on that one.
    """
    options = given_settings(ctx)
    if verbose or quiet:
        if "log_level" in options:
            raise UsageError("--log-level says what -v and -q do: give one of them")
        options["log_level"] = _level(verbose, quiet)
    sources = Sources(options, config)
    try:
        configuration = sources.load()
    except ConfigurationError as error:
        complain(error.problems)
        return WRONG
    sys.setswitchinterval(configuration["switch_interval"])
    # Before the log is set up, since a program may set up its own when it is imported.
    handler = find_handler(configuration)
    log_format = configuration["log_format"]
    writer = logs.configure(
        logging.getLevelNamesMapping()[configuration["log_level"].upper()],
        log_format,
        on_one_core() if configuration["pin"] else None,
    )
    room = make_room(configuration["max_clients"], admin=configuration["admin"])

    def when_listening(server: Server) -> None:
        _tell_capacity(room, asked=configuration.is_given("max_clients"))
        _announce(server, None if admin is None else admin.url, log_format)

    admin = None
    try:
        server = make_server(configuration, handler, room.max_clients)
        reloader = Reloader(server, sources, configuration)
        admin = make_admin(configuration, server)
        service = Service(server, configuration["takeover"], reloader.reload, when_listening, admin)
        report = service.run()
    finally:
        writer.close()
    return CUT if report.cut else 0


def make_server(configuration: Configuration, handler: Any, room: int | None = None) -> Server:
    """The server that is configured, not started; ``room`` is for how many clients there is.

    Raises UsageError.
    """
    options = configuration.keywords()
    if room is not None and "max_clients" in options:
        options["max_clients"] = room
    options["pin"] = configuration["pin"]  # a Server's default is another one
    options["framing"] = framing_of(configuration)
    return Server(handler, *_addresses(configuration), **options)


def make_admin(configuration: Configuration, server: Server) -> Admin | None:
    """The admin endpoint that is configured, not started. Raises UsageError."""
    address: Address | None = configuration["admin"]
    if address is None:
        if configuration["admin_token_file"] is not None:
            raise UsageError(f"{configuration.origin('admin_token_file')} needs admin, its address")
        return None
    from ..admin import Admin

    certificate = {name: configuration[name] for name in ("tls_cert", "tls_key")}
    return Admin(
        server,
        address,
        token_file=configuration["admin_token_file"],
        **(certificate if address.secure else {}),
    )


def _addresses(configuration: Configuration) -> Sequence[Address]:
    """Where to listen: what is said, or else what the process was started with."""
    if "LISTEN_FDS" in os.environ:
        from ..activation import inherited

        passed = inherited()  # nobody that we start gets them, too
        if passed and not configuration.is_given("listen"):
            return [Address("fd", port=fd) for fd, _ in passed]
    addresses: Sequence[Address] = configuration["listen"]
    return addresses


def framing_of(configuration: Configuration) -> Framing:
    """The framing, which is by default the handler's affair."""
    framing: Framing | None = configuration["framing"]
    return framing or (Auto() if configuration["handler"] is None else Lines())


def find_handler(configuration: Configuration) -> Any:
    """The function that serves. Raises UsageError."""
    name = configuration["handler"]
    if name is None:
        return reverse_text() if configuration["text"] else reverse
    if configuration["text"]:
        raise UsageError(
            f"{configuration.origin('text')} belongs to the reversing handler; "
            f"it cannot go with a named one, {name}"
        )
    try:
        return load_handler(name)
    except HandlerError as error:
        origin = configuration.origin("handler")
        if origin == SETTINGS["handler"].option:
            raise
        raise HandlerError(f"{origin}: {error}") from error


def complain(problems: Sequence[str]) -> None:
    """Write a line for each on standard error."""
    for problem in problems:
        click.echo(f"threadwire: {' '.join(problem.split())}", err=True)


def _tell_capacity(room: Capacity, *, asked: bool) -> None:
    if asked and room.max_clients < room.wanted:
        events.capacity_short(room.max_clients, room.descriptors, room.wanted)
    else:
        events.capacity(room.max_clients, room.descriptors)


def _announce(server: Server, admin: str | None, log_format: str) -> None:
    urls = [str(address) for address in server.addresses]
    if log_format == "json":
        entry = {"event": "listening", "addresses": urls, "framing": str(server.framing)}
        if admin is not None:
            entry["admin"] = admin
        click.echo(json.dumps(entry))
    else:
        click.echo(f"threadwire: listening on {', '.join(urls)} (framing: {server.framing})")
        if admin is not None:
            click.echo(f"threadwire: live page, metrics and health at {admin}")


def _level(verbose: int, quiet: int) -> str:
    steps = ["debug", "info", "warning", "error"]
    return steps[max(0, min(len(steps) - 1, 1 - min(verbose, 1) + quiet))]
