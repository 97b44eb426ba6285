"""``threadwire check``: what the machine gives a server, and whether its settings are right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from .options import config_option, version_option

if TYPE_CHECKING:
    from ..machine import Advice, Fact

WIDTH = 80
TO_CHANGE = 1


@click.command(short_help="Tell what this machine gives a server, and what to change.")
@config_option
@click.option("--show", is_flag=True, help="Tell every setting's value, and where it is from.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@click.option("--strict", is_flag=True, help="Exit with 1 if there is something to change.")
@version_option
def check(config: str | None, show: bool, as_json: bool, strict: bool) -> int:
    """Tell what this machine and this installation give a server, a fact a line.

    Where a server with the default limits would be better off with a change, the lines
    marked with "!" say why and what; one of the commands below them is enough. Run it as
    the server will run: as the same user, in the same shell, container or systemd unit.

    With --config FILE it tells instead whether "threadwire serve --config FILE" could begin
    to serve, and if not, all that is wrong; the handler is imported for that, but nothing is
    started. With --show it tells the value of every setting.

    --json writes {"ok", "facts": [{"name", "value", "advice"}]}; with --config {"ok",
    "problems"}; with --show {"settings": [{"name", "value", "unit", "source"}]}.
    """
    if show or config is not None:
        if strict:
            raise UsageError("--strict is about the machine, --config and --show about settings")
        from .check_settings import show_settings, validate

        if show or config is None:
            return show_settings(config, as_json=as_json)
        return validate(config, as_json=as_json)
    from ..machine import look, report

    facts = report(look())
    click.echo(json_of(facts) if as_json else text_of(facts))
    return TO_CHANGE if strict and _to_change(facts) else 0


def json_of(facts: Sequence[Fact]) -> str:
    import json

    entries = [
        {"name": name, "value": value, "advice": None if advice is None else str(advice)}
        for name, value, advice in facts
    ]
    return json.dumps({"ok": not _to_change(facts), "facts": entries})


def text_of(facts: Sequence[Fact]) -> str:
    column = max(len(fact.name) for fact in facts) + 2
    lines: list[str] = []
    for fact in facts:
        lines += _wrapped(fact.value, fact.name.ljust(column), " " * column)
        if fact.advice is not None:
            lines += _advice_lines(fact.advice)
    count = _to_change(facts)
    if not count:
        summary = "Nothing to change for a server with the default limits."
    else:
        summary = f'{count} thing{"s" if count > 1 else ""} to change, marked with "!".'
    return "\n".join([*lines, "", summary])


def _to_change(facts: Sequence[Fact]) -> int:
    return sum(fact.advice is not None for fact in facts)


def _advice_lines(advice: Advice) -> Iterator[str]:
    yield from _wrapped(f"{advice.why}:", "  ! ", "    ")
    column = max((len(change.what) for change in advice.changes if change.where), default=0) + 2
    for what, where in advice.changes:
        if where:
            yield f"      {what.ljust(column)}{where}"
        else:
            *first, last = _wrapped(what, "      ", "        ", room=2)
            yield from (f"{line} \\" for line in first)  # so that a shell takes it as one
            yield last


def _wrapped(text: str, first: str, further: str, room: int = 0) -> list[str]:
    import textwrap

    return textwrap.wrap(
        text,
        WIDTH - room,
        initial_indent=first,
        subsequent_indent=further,
        break_on_hyphens=False,
    )
