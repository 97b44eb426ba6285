"""docs/top.md has every option, state, column and key."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from threadwire.cli.top import top
from threadwire.top.columns import COLUMNS
from threadwire.top.documents import STATES

PAGE = (Path(__file__).parents[2] / "docs" / "top.md").read_text()


def rows_of(title: str) -> list[list[str]]:
    """The cells of the tables below a heading."""
    (section,) = re.findall(rf"(?ms)^#+ {re.escape(title)}$(.*?)(?=^#|\Z)", PAGE)
    return [row.strip("|").split("|") for row in section.splitlines() if row.startswith("| `")]


def codes(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_every_option() -> None:
    told = {code.split()[0] for row in rows_of("Options") for code in codes(row[0])}
    options = [parameter for parameter in top.params if isinstance(parameter, click.Option)]
    assert told == {name for option in options for name in option.opts} - {"--version"}


def test_every_state() -> None:
    assert {code for row in rows_of("The states") for code in codes(row[0])} == set(STATES)


def test_every_column() -> None:
    told = {code for row in rows_of("What one sees") for code in codes(row[0])}
    assert {column.title for column in COLUMNS} - told == {"ID", "PEER", "STATE"}
    (row,) = [row for row in rows_of("Options") if "--sort" in row[0]]
    assert codes(row[2]) == {column.name for column in COLUMNS}


def test_every_key() -> None:
    pytest.importorskip("textual")
    from textual.binding import Binding

    from threadwire.top.app import TopApp

    told = {code for row in rows_of("What one can do") for code in codes(row[0])}
    names = {
        "question_mark": "?",
        "slash": "/",
        "less_than_sign": "<",
        "greater_than_sign": ">",
        "space": "Space",
        "ctrl+c": "Ctrl-C",
        "ctrl+z": "Ctrl-Z",
    }
    bound = {
        names.get(key, key)
        for binding in TopApp.BINDINGS
        if isinstance(binding, Binding)
        for key in binding.key.split(",")
    }
    moves = {"↑", "↓", "PgUp", "PgDn", "Home", "End", "Enter"}
    assert told == bound | moves
