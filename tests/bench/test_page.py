"""What docs/bench.md says is what there is: options, kinds of errors, fields, measures, figures."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest

import threadwire.bench
from threadwire.bench.measures import measure_of
from threadwire.bench.results import ERROR_KINDS
from threadwire.bench.saving import json_of
from threadwire.bench.thresholds import parse_threshold
from threadwire.cli import command as main_command

from .samples import result

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "bench.md").read_text()
PACKAGE = Path(threadwire.bench.__file__).parent


def section(title: str) -> str:
    """What the page says under a heading, up to the next one."""
    (text,) = re.findall(rf"(?ms)^##+ {re.escape(title)}$(.*?)(?=^##|\Z)", PAGE)
    return str(text)


def first_cells(title: str) -> list[str]:
    """What stands in code in the first cells of the section's table."""
    cells = re.findall(r"(?m)^\| (`.*?) \|", section(title).replace(r"\|", "/"))
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def test_every_option_is_in_the_page() -> None:
    options = {"-h", "--help"}
    for parameter in main_command.commands["bench"].params:
        if isinstance(parameter, click.Option):
            options |= set(parameter.opts)
    told = [code.split()[0] for code in first_cells("Options of bench")]
    assert sorted(told) == sorted(options)


def test_every_default_is_in_the_page_as_the_help_has_it() -> None:
    rows = re.findall(r"(?m)^\| `.*?(--[\w-]+).*?` \| (.*?) \|", section("Options of bench"))
    told = {option: cell.replace("`", "") for option, cell in rows}
    for parameter in main_command.commands["bench"].params:
        found = re.search(r"\[default: ([^,;\]]*)", getattr(parameter, "help", None) or "")
        if found is not None:
            cell = told[parameter.opts[-1]]
            written = re.sub(r"(\d)(s|ms)\b", r"\1 \2", found[1])
            assert cell.partition(";")[0] == written, parameter.name


SAID = re.compile(r'(?:\b_?fail|\berror|Broken)\((?:client, |key, )?"([a-z]+(?:-[a-z]+)*)",')
RETURNED = re.compile(r'(?m)^ +return "([a-z]+(?:-[a-z]+)*)", ')


def test_every_kind_of_error_is_in_the_page() -> None:
    source = "\n".join(path.read_text() for path in PACKAGE.glob("*.py"))
    told = set(first_cells("Kinds of errors"))
    assert told == ERROR_KINDS
    assert {*SAID.findall(source), *RETURNED.findall(source)} <= told
    assert all(source.count(f'"{kind}"') > 1 for kind in told), "it is counted somewhere"


def test_every_field_of_the_json_is_in_the_page() -> None:
    told = json.loads(json_of(result(errors={"closed": 1})))
    assert set(first_cells("JSON")) >= set(told)
    text = section("JSON")
    for part in (told["plan"], told["latency"], told["intervals"][0], told["generator"]):
        assert all(f"`{name}`" in text for name in part)
    fields = [code for code in first_cells("JSON") if code in told]
    assert sorted(fields) == sorted(told)


def test_every_measure_is_one() -> None:
    for name in first_cells("Thresholds"):
        if re.fullmatch(r"[a-z_.]+[\d.]*", name) and name != "pNN":
            measure_of(name)


def test_the_conditions_that_are_shown_can_be_given() -> None:
    conditions = re.findall(r"--fail-if '([^']+)'", PAGE)
    assert len(conditions) >= 4
    for condition in conditions:
        parse_threshold(condition)


def commands() -> list[str]:
    return re.findall(r"(?m)^ *\$ (?:.*?; do )?(threadwire bench[^;&\n]*)", PAGE)


@pytest.mark.parametrize("line", commands())
def test_the_commands_that_are_shown_can_be_given(line: str) -> None:
    words = shlex.split(line.replace("$rate", "1k"))[2:]
    main_command.commands["bench"].make_context("bench", words)


def test_the_exit_codes_are_those_of_the_help() -> None:
    codes = re.findall(r"(?m)^\| (\d+) \|", section("Exit codes"))
    help_text = main_command.commands["bench"].help or ""
    told = help_text.partition("Exit codes:")[2]
    assert codes == re.findall(r"\b(\d+) [a-z]", told)
