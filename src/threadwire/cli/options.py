"""Option types and options that several commands share, and those that settings are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from .._version import __version__
from ..errors import UsageError
from ..kinds import BOOLEAN, FRAMING
from ..limits import Limit
from ..settings import SETTINGS, Setting, setting_of

_F = TypeVar("_F", bound=Callable[..., Any])

_ALL = tuple(SETTINGS.values())


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


version_option = click.version_option(__version__, prog_name="threadwire")

config_option = click.option(
    "--config",
    metavar="FILE",
    help="A TOML file with settings, which go before those in ./threadwire.toml.",
)


def limit_option(limit: Limit) -> Callable[[_F], _F]:
    """``--name`` for a limit; type, default and help come from its declaration."""
    setting = setting_of(limit)
    return click.option(
        setting.option,
        setting.name,
        type=Parsed(setting.metavar.lower(), setting.parse),
        help=_help(setting),
    )


def framing_option(default: str) -> Callable[[_F], _F]:
    return click.option(
        "--framing",
        type=Parsed(FRAMING.metavar.lower(), FRAMING.parse),
        help=f"{SETTINGS['framing'].help}  [default: {default}]",
    )


# Settings. Their options take text as it is; it is read together with the other sources'.


class GroupedOption(click.Option):
    """An option that stands below a heading of its own in the help text."""

    def __init__(self, *arguments: Any, group: str, **fields: Any) -> None:
        super().__init__(*arguments, **fields)
        self.group = group


class GroupedCommand(click.Command):
    """A command with many options, below headings in its help text, as these first come up."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                groups.setdefault(getattr(parameter, "group", _OTHERS), []).append(record)
        others = groups.pop(_OTHERS)  # --help at least
        for group, records in (*groups.items(), (_OTHERS, others)):
            with formatter.section(group):
                formatter.write_dl(_even(records))


_OTHERS = "Other options"
_COLUMN = 30  # where click goes to the next line


def _even(records: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """With the first column as wide as in all other groups."""
    (first, text), *others = records
    return [(first.ljust(_COLUMN), text), *others]


def setting_options(function: _F) -> _F:
    """An option, or the argument, for every setting."""
    for setting in reversed(_ALL):
        function = _setting_option(setting)(function)
    return function


def _setting_option(setting: Setting) -> Callable[[_F], _F]:
    if setting.argument:
        return click.argument(setting.name, metavar=f"[{setting.metavar}]", required=False)
    names = [setting.option, setting.name]
    form: dict[str, Any] = {"metavar": setting.metavar}
    if setting.kind is BOOLEAN:
        names[0] += f"/--no-{setting.option[2:]}"
        form = {"default": None}
    if setting.short:
        names.insert(0, setting.short)
    return click.option(
        *names,
        cls=GroupedOption,
        group=setting.group,
        multiple=setting.many,
        help=_help(setting),
        **form,
    )


def _help(setting: Setting) -> str:
    default = setting.default_text
    if setting.kind is BOOLEAN:
        default = setting.option if setting.default else f"--no-{setting.option[2:]}"
    parts = [f"default: {default}"]
    if setting.optional and default != "off":
        parts.append("may be off")
    if setting.many:
        parts.append("may be given several times")
    return f"{setting.help}  [{'; '.join(parts)}]"


def given_settings(ctx: click.Context) -> dict[str, Any]:
    """The settings that stand on the command line."""
    given: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = ctx.params[name]
            given[name] = list(value) if setting.many else value
    return given
