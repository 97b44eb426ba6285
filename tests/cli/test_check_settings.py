"""``threadwire check --config`` and ``--show`` as a user meets them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from threadwire.settings import SETTINGS

from ..support import COMMAND, PATIENCE
from ..test_docs import _section

APP = (
    "import sys\n"
    "print('imported', file=sys.stderr)\n"
    "def handle(message: bytes) -> bytes:\n"
    "    return message\n"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def check(cwd: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "check", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        env={**os.environ, **environ},
        check=False,
    )


def shown(cwd: Path, *arguments: str, **environ: str) -> dict[str, dict[str, Any]]:
    """The entries of ``--show --json``, by name."""
    done = check(cwd, "--show", "--json", *arguments, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    entries = json.loads(done.stdout)["settings"]
    assert all(set(entry) == {"name", "value", "unit", "source"} for entry in entries)
    assert [entry["name"] for entry in entries] == list(SETTINGS)
    return {entry["name"]: entry for entry in entries}


# Whether they are right.


def test_a_file_that_is_right(directory: Path) -> None:
    (directory / "app.toml").write_text("[serve]\nhandler = 'app:handle'\nlisten = ['tcp://:1']\n")
    done = check(directory, "--config", "app.toml")
    assert (done.returncode, done.stdout) == (0, "app.toml is all right\n")
    assert done.stderr == "imported\n"
    done = check(directory, "--config", "app.toml", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ok": True, "problems": []})


def test_all_that_is_wrong_is_told(directory: Path) -> None:
    (directory / "app.toml").write_text(
        "[serve]\nhandler = 'app:missing'\nbacklog = 0\nmax_client = 5\nallow = ['x']\n"
    )
    done = check(directory, "--config", "app.toml", THREADWIRE_IDLE_TIMEOUT="soon")
    told = [
        "app.toml: backlog must be at least 1 items, not 0",
        "app.toml: max_client: there is no such setting; do you mean max_clients?",
        "app.toml: allow: 'x' is not a network;",
        "THREADWIRE_IDLE_TIMEOUT: 'soon' is not a duration;",
        "app.toml:handler: handler 'app:missing': app has no 'missing'",
    ]
    lines = [line for line in done.stderr.splitlines() if line != "imported"]
    assert (done.returncode, done.stdout, len(lines)) == (2, "", len(told))
    for line, begin in zip(lines, told, strict=True):
        assert line.startswith(f"threadwire: {begin}")
    done = check(directory, "--config", "app.toml", "--json", THREADWIRE_IDLE_TIMEOUT="soon")
    assert done.returncode == 2
    assert json.loads(done.stdout) == {
        "ok": False,
        "problems": [line.removeprefix("threadwire: ") for line in lines],
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("handler = 'app:handle'\ntext = true", "app.toml:text belongs to the reversing handler"),
        ("proxy_protocol = 'required'", "proxy_protocol needs proxy_trust"),
        ("tls_key = 'key.pem'", "tls_key needs tls_cert"),
        ("tls_cert = 'no.pem'", "no.pem"),
        ("framing = 'length:1'\nbusy_reply = '''" + "x" * 300 + "'''", "300 bytes"),
    ],
)
def test_what_only_a_server_finds_wrong(directory: Path, text: str, told: str) -> None:
    (directory / "app.toml").write_text(f"[serve]\n{text}\n")
    done = check(directory, "--config", "app.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("threadwire: ")
    assert told in done.stderr


def test_nothing_is_started(directory: Path) -> None:
    (directory / "app.toml").write_text(f"[serve]\nlisten = ['unix://{directory}/s']\n")
    assert check(directory, "--config", "app.toml").returncode == 0
    assert not (directory / "s").exists()


def test_a_file_that_is_not_there(directory: Path) -> None:
    done = check(directory, "--config", "no.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "threadwire: no.toml: cannot read it: no such file or directory\n"


@pytest.mark.parametrize("arguments", [("--config", "app.toml"), ("--show",)])
def test_strict_is_about_the_machine(directory: Path, arguments: tuple[str, ...]) -> None:
    done = check(directory, "--strict", *arguments)
    assert done.returncode == 2
    assert "--strict" in done.stderr


# What they are.


def test_every_setting_is_shown_with_its_value_and_its_origin(directory: Path) -> None:
    (directory / "threadwire.toml").write_text("[serve]\nmax_clients = 50\nidle_timeout = '90s'\n")
    (directory / "app.toml").write_text("[serve]\nallow = ['::1', '::2']\nhandler = 'no:such'\n")
    arguments = ("--show", "--config", "app.toml")
    environ = {"THREADWIRE_MAX_MESSAGE": "2MiB", "THREADWIRE_BUSY_REPLY": "come\nlater"}
    done = check(directory, *arguments, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [re.split(r" {2,}", line) for line in done.stdout.splitlines()]
    assert rows[0] == ["setting", "value", "from"]
    assert [row[0] for row in rows[1:]] == list(SETTINGS)
    assert all(len(row) == 3 for row in rows)
    table = {name: (value, origin) for name, value, origin in rows}
    assert table["max_clients"] == ("50", "./threadwire.toml:max_clients")
    assert table["idle_timeout"] == ("90 s", "./threadwire.toml:idle_timeout")
    assert table["allow"] == ("::1/128, ::2/128", "app.toml:allow")
    assert table["max_message"] == ("2 MiB", "THREADWIRE_MAX_MESSAGE")
    assert table["busy_reply"] == (r'"come\nlater"', "THREADWIRE_BUSY_REPLY")
    assert table["backlog"] == ("1,024", "default")
    assert table["framing"] == ("lines", "default")
    assert table["handler"] == ("no:such", "app.toml:handler")
    starts = {
        tuple(m.start() for m in re.finditer(r"(?<=  )\S", line))
        for line in done.stdout.splitlines()
    }
    assert len(starts) == 1, "the columns stand below each other"

    entries = shown(directory, *arguments[1:], **environ)
    assert entries["idle_timeout"] == {
        "name": "idle_timeout",
        "value": 90,
        "unit": "seconds",
        "source": "./threadwire.toml:idle_timeout",
    }
    assert entries["max_message"]["value"] == 2 << 20
    assert entries["max_message"]["unit"] == "bytes"
    assert entries["allow"]["value"] == ["::1/128", "::2/128"]
    assert entries["busy_reply"]["value"] == "come\nlater"
    assert entries["busy_reply"]["unit"] is None
    assert {name: entry["source"] for name, entry in entries.items()} == {
        name: origin for name, (_, origin) in table.items() if name != "setting"
    }


def test_the_defaults(directory: Path) -> None:
    entries = shown(directory)
    assert all(entry["source"] == "default" for entry in entries.values())
    assert entries["handler"]["value"] is None
    assert entries["framing"]["value"] == "auto"
    assert entries["listen"]["value"] == ["tcp://localhost:12345"]
    assert entries["idle_timeout"]["value"] is None
    assert entries["accept_rate"]["unit"] == "a second"
    assert entries["pin"]["value"] is True
    table = check(directory, "--show").stdout
    assert re.search(r"(?m)^handler +the reversing one +default$", table)
    assert re.search(r"(?m)^idle_timeout +off +default$", table)


def test_max_clients_is_what_serve_would_come_to(directory: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", 'ulimit -n 100; exec "$0" "$@"', *COMMAND, "check", "--show", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=directory,
        check=True,
    )
    values = {entry["name"]: entry["value"] for entry in json.loads(done.stdout)["settings"]}
    assert values["max_clients"] == 75


def test_what_cannot_be_shown_is_wrong(directory: Path) -> None:
    (directory / "threadwire.toml").write_text("[serve]\nmax_client = 50\n")
    done = check(directory, "--show", THREADWIRE_PIN="2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("threadwire: ") == 2


def test_standard_output_that_takes_ascii_alone(directory: Path) -> None:
    environ = {"THREADWIRE_BUSY_REPLY": "später", "PYTHONIOENCODING": "ascii"}
    assert check(directory, "--show", **environ).returncode == 0


# The page.


def test_the_page_shows_what_it_looks_like(directory: Path) -> None:
    config = re.search(r"(?s)```toml\n(.*?)```", _section("The file", "configuration.md"))
    assert config is not None
    (directory / "threadwire.toml").write_text(config[1])
    page = _section("Checking it", "configuration.md")
    shown = re.search(r"(?s)\$ threadwire check --show\n(.*?)\n\.\.\.\n```", page)
    assert shown is not None
    real = check(directory, "--show", THREADWIRE_MAX_CLIENTS="6000")
    assert real.stdout.startswith(shown[1] + "\n")


def test_the_page_shows_what_is_told_of_what_is_wrong(directory: Path) -> None:
    page = _section("Checking it", "configuration.md")
    shown = re.search(r"(?s)--config app.toml\n(.*?)\n\$ .*? --config typo.toml\n(.*?)```", page)
    assert shown is not None
    (directory / "app.toml").write_text("[serve]\nhandler = 'app:handle'\n")
    assert check(directory, "--config", "app.toml").stdout == shown[1] + "\n"
    (directory / "typo.toml").write_text("[serve]\nmax_client = 5\nidle_timeout = 'soon'\n")
    assert check(directory, "--config", "typo.toml").stderr == shown[2]
