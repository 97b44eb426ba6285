"""Option types and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .._version import __version__
from ..address import parse_address
from ..errors import UsageError
from ..framing import SPEC_HELP, parse_framing
from ..limits import Limit
from ..units import format_duration, format_size, parse_duration, parse_size

_F = TypeVar("_F", bound=Callable[..., Any])


if TYPE_CHECKING:
    _Parameter = click.ParamType[Any]
else:
    _Parameter = click.ParamType  # generic from click 8.4 on


class Parsed(_Parameter):
    """A parameter read by one of the library's parsers, whose UsageError names the fault."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except UsageError as error:
            return self.fail(str(error), param, ctx)


ADDRESS = Parsed("url", parse_address)
FRAMING = Parsed("spec", parse_framing)


version_option = click.version_option(__version__, prog_name="threadwire")


def limit_option(limit: Limit, *, shown: str | None = None) -> Callable[[_F], _F]:
    """``--name`` for a limit; type, default and help come from its declaration."""
    option = "--" + limit.name.replace("_", "-")

    def parse(text: str) -> float:
        if limit.unit == "seconds":
            return limit.check(parse_duration(text))
        if limit.unit == "bytes":
            return limit.check_whole(parse_size(text))
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"{limit.name} must be a whole number, not {text!r}")
        return limit.check_whole(int(text))

    kind = {"seconds": "duration", "bytes": "size", "count": "number"}[limit.unit]
    if shown is None:
        shown = {
            "seconds": lambda: format_duration(limit.default),
            "bytes": lambda: format_size(limit.whole),
            "count": lambda: f"{limit.whole:,}",
        }[limit.unit]()
    return click.option(
        option,
        limit.name,
        type=Parsed(kind, parse),
        help=f"{limit.help}  [default: {shown}]",
    )


def framing_option(default: str) -> Callable[[_F], _F]:
    return click.option(
        "--framing",
        type=FRAMING,
        help=f"How messages lie in the stream: {SPEC_HELP}.  [default: {default}]",
    )
