"""What ``threadwire check`` tells of the settings: whether they are right, and what they are."""

from __future__ import annotations

import json
from typing import Any

import click

from ..errors import ThreadwireError
from ..events import show
from ..settings import SETTINGS, Setting
from .capacity import capacity
from .configuration import Configuration, Sources
from .serve import WRONG, complain, find_handler, framing_of, make_admin, make_server

__all__ = ["show_settings", "validate"]

RIGHT = 0


def validate(config: str, *, as_json: bool) -> int:
    """Tell whether a server could be started so, or all that is wrong; returns the exit code."""
    configuration, problems = Sources(config=config).read()
    problems += _problems(configuration, whole=not problems)
    if as_json:
        click.echo(json.dumps({"ok": not problems, "problems": problems}))
    elif not problems:
        click.echo(f"{config} is all right")
    else:
        complain(problems)
    return WRONG if problems else RIGHT


def _problems(configuration: Configuration, *, whole: bool) -> list[str]:
    """What is found out by trying; a server only if the settings are there as a whole."""
    try:
        handler = find_handler(configuration)
        if whole:
            server = make_server(configuration, handler)
            admin = make_admin(configuration, server)
            for made in (admin, server):
                if made is not None:
                    made.close()
    except ThreadwireError as error:
        return [str(error)]
    return []


def show_settings(config: str | None, *, as_json: bool) -> int:
    """Write every setting with its value and its origin; returns the exit code."""
    configuration, problems = Sources(config=config).read()
    if problems:
        complain(problems)
        return WRONG
    click.echo(_json_of(configuration) if as_json else _text_of(configuration))
    return RIGHT


def _text_of(configuration: Configuration) -> str:
    rows = [("setting", "value", "from")]
    rows += [
        (name, _text(setting, _value(setting, configuration)), show(configuration.origin(name)))
        for name, setting in SETTINGS.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(
        f"{name.ljust(widths[0])}  {value.ljust(widths[1])}  {origin}"
        for name, value, origin in rows
    )


def _json_of(configuration: Configuration) -> str:
    settings = [
        {
            "name": name,
            "value": _plain(setting, _value(setting, configuration)),
            "unit": setting.kind.unit,
            "source": configuration.origin(name),
        }
        for name, setting in SETTINGS.items()
    ]
    return json.dumps({"settings": settings})


def _value(setting: Setting, configuration: Configuration) -> Any:
    """The value that holds; a default may depend on something."""
    if setting.name == "framing":
        return framing_of(configuration)
    value = configuration[setting.name]
    if setting.name == "max_clients" and not configuration.is_given(setting.name):
        return capacity(value, admin=configuration["admin"]).max_clients
    return value


def _text(setting: Setting, value: Any) -> str:
    text = setting.default_text if value is None else setting.show(value)
    return text if text.isprintable() else show(text)


def _plain(setting: Setting, value: Any) -> Any:
    """As JSON has it: a limit is a number, in its unit."""
    if setting.many:
        return [setting.kind.show(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return setting.kind.show(value)
