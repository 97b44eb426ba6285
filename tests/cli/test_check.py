"""``threadwire check`` as a user meets it, and what its page says of it."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

import threadwire
from threadwire import machine
from threadwire.cli.check import text_of

from ..support import COMMAND, PATIENCE, run
from ..test_docs import _in_code, _rows, _section
from ..test_machine import GOOD, UNKNOWN

NAMES = [fact.name for fact in machine.report(GOOD)]

# One that leaves everything to wish for.
BAD = GOOD._replace(
    twin="python",
    twin_error="/usr/lib/python3/_speedups.so: undefined symbol: PyObject_DoAllOfIt",
    free_threaded=True,
    cores=1024,
    usable_cores=768,
    descriptors=100_000,
    most_descriptors=1_048_576,
    max_clients=9999,
    somaxconn=128,
    syn_backlog=128,
    syn_cookies=0,
    thread_limits=(("cgroup pids.max", 100),),
    memory_limit=123_456_789,
    watches=9000,
)


def check(
    *arguments: str, before: str = "true", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command's run after the command ``before`` of a shell's."""
    return subprocess.run(
        ["bash", "-c", f'{before}; exec "$0" "$@"', *COMMAND, "check", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "THREADWIRE_PURE": "", **environment},
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The entries by name, of one object on one line."""
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    report = json.loads(done.stdout)
    assert set(report) == {"ok", "facts"}
    assert all(set(entry) == {"name", "value", "advice"} for entry in report["facts"])
    assert report["ok"] == all(entry["advice"] is None for entry in report["facts"])
    assert [entry["name"] for entry in report["facts"]] == NAMES
    return {entry["name"]: entry for entry in report["facts"]}


def test_each_fact_has_its_line() -> None:
    done = check()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    named = [line for line in lines[:-2] if line[0] != " "]
    assert [re.split(r" {2,}", line)[0] for line in named] == NAMES
    assert lines[0].split() == ["threadwire", threadwire.__version__]
    assert lines[-2] == ""
    assert "to change" in lines[-1]


def test_json_says_the_same() -> None:
    facts = told(check("--json"))
    text = " ".join(check().stdout.split())
    for name, entry in facts.items():
        assert f"{name} {entry['value']}" in text
    assert facts["threadwire"]["value"] == threadwire.__version__
    assert sys.version.split()[0] in facts["python"]["value"]
    assert (facts["poller"]["advice"] is None) == facts["poller"]["value"].startswith("in C")


def test_few_descriptors() -> None:
    before = "ulimit -n 256"
    done = check(before=before)
    assert done.returncode == 0
    assert re.search(
        r"\ndescriptors +256\n"
        r"  ! Only 192 of 10,000 clients are served at once, the others wait:\n"
        r"      \S.*\n"
        r"      LimitNOFILE=65536 +in its systemd unit\n",
        done.stdout,
    )
    entry = told(check("--json", before=before))["descriptors"]
    assert "`LimitNOFILE=65536` in its systemd unit" in entry["advice"]


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_strict_fails_if_there_is_something_to_change(arguments: tuple[str, ...]) -> None:
    few = check("--strict", *arguments, before="ulimit -n 256")
    assert (few.returncode, few.stderr) == (1, "")
    usual = check("--json", "--strict", *arguments)
    assert usual.returncode == (0 if json.loads(usual.stdout)["ok"] else 1)


def test_the_poller_in_python_by_choice() -> None:
    entry = told(check("--json", THREADWIRE_PURE="1"))["poller"]
    assert entry["value"] == "in Python, the slower one: THREADWIRE_PURE is set"
    assert "`unset THREADWIRE_PURE`" in entry["advice"]
    after = told(check("--json", before="unset THREADWIRE_PURE", THREADWIRE_PURE="1"))["poller"]
    assert "THREADWIRE_PURE" not in after["value"]


def test_the_poller_in_python_for_want_of_the_other() -> None:
    script = (
        "import sys; sys.modules['threadwire.transport._speedups'] = None; "
        "from threadwire.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "check", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "THREADWIRE_PURE": ""},
        check=True,
    )
    entry = told(done)["poller"]
    assert "_speedups" in entry["value"], "the error is shown"
    assert "pip install" in entry["advice"]


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or not machine.look().has_lock,
    reason="needs affinity and the interpreter's lock",
)
def test_cores_are_those_that_the_process_may_use() -> None:
    core = min(os.sched_getaffinity(0))
    value = told(check("--json", before=f"taskset -pc {core} $$ >/dev/null"))["cores"]["value"]
    assert re.fullmatch(r"1( of \d+)? usable; 1 loop; serve leaves its threads unpinned", value)


def test_standard_output_that_takes_ascii_alone() -> None:
    done = check(PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")


def test_standard_output_that_is_full() -> None:
    command = f"{shlex.join(COMMAND)} check > /dev/full"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (1, "threadwire: no space left on device\n")


@pytest.mark.parametrize("arguments", [["--json", "now"], ["--no-such-option"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = run("check", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("threadwire: ")


def test_version() -> None:
    assert run("check", "--version").stdout == f"threadwire, version {threadwire.__version__}\n"


def test_looking_needs_nothing_that_the_command_had_not_loaded() -> None:
    script = (
        "import sys, threadwire.cli; before = set(sys.modules); "
        "from threadwire.machine import look, report; report(look()); "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["threadwire.machine"]


# How it is written.


@pytest.mark.parametrize("found", [GOOD, UNKNOWN, BAD, BAD._replace(most_descriptors=100_000)])
def test_it_fits_into_80_columns(found: machine.Machine) -> None:
    lines = text_of(machine.report(found)).splitlines()
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", range(40, 70))
def test_an_option_is_never_broken(width: int) -> None:
    text = text_of([machine.Fact("memory", f"{'x' * width} --max-clients of it")])
    assert "--max-clients" in text


def test_each_advice_stands_below_its_fact() -> None:
    facts = machine.report(BAD)
    advised = [fact.name for fact in facts if fact.advice is not None]
    assert len(advised) == 7
    lines = text_of(facts).splitlines()
    names = [re.split(r" {2,}", line)[0] for line in lines if re.match(r"\S| {2}!", line)]
    above = [name for name, mark in itertools.pairwise(names) if mark == ""]
    assert above == advised
    assert lines[-1] == '7 things to change, marked with "!".'


def test_a_long_command_stays_one_for_a_shell() -> None:
    (found,) = [fact for fact in machine.report(BAD) if fact.name == "poller"]
    assert found.advice is not None
    text = text_of([found])
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.lstrip().startswith("pip install --"))
    assert lines[start].endswith(" \\")
    words = shlex.split(f"{lines[start]}\n{lines[start + 1]}".replace("\\\n", ""))
    assert words == found.advice.changes[0].what.split()


def test_how_many_things_there_are_to_change() -> None:
    assert text_of(machine.report(GOOD)).endswith(
        "\n\nNothing to change for a server with the default limits."
    )
    one = text_of(machine.report(GOOD._replace(somaxconn=128)))
    assert one.endswith('\n\n1 thing to change, marked with "!".')


# The page.


def test_every_option_is_in_the_page() -> None:
    help_text = run("check", "--help").stdout.partition("Options:")[2]
    options = set(re.findall(r"(?m)^ +(?:-\w, )?(--[\w-]+)", help_text)) | {"-h"}
    in_page = {
        code.split()[0] for row in _rows(_section("Options of check")) for code in _in_code(row[0])
    }
    assert in_page == options


def test_every_fact_is_in_the_page() -> None:
    rows = _rows(_section("The facts"))
    assert [_in_code(row[0]) for row in rows] == [[name] for name in NAMES]
    may_have_advice = [row[0].strip("`") for row in rows if len(row) > 2 and row[2].strip()]
    advised = [fact.name for fact in machine.report(BAD) if fact.advice is not None]
    assert may_have_advice == advised


def test_the_page_shows_what_it_looks_like() -> None:
    shown = re.search(r"(?s)\$ threadwire check\n(.*?)```", _section("threadwire check"))
    assert shown is not None
    found = GOOD._replace(
        cores=2,
        usable_cores=2,
        descriptors=1024,
        most_descriptors=4096,
        max_clients=4032,
        memory=int(23.54 * (1 << 30)),
        watches=5_491_511,
    )
    assert shown[1] == text_of(machine.report(found)) + "\n"
