"""The command as a process: standard streams that are closed, full or gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import threadwire

from ..conftest import Serving
from ..support import PATIENCE, Peer, reverse, served

COMMAND = f"{sys.executable} -m threadwire"


def shell(command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_catastrophe(serving: Serving, closed: str) -> None:
    url = serving(reverse).address
    for arguments in ("abc", ""):
        done = shell(f"{COMMAND} client {url} {arguments} {closed} </dev/null")
        assert done.returncode == 0
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", ["--version", "client {url} abc"])
def test_a_full_device_is_one_line(serving: Serving, arguments: str) -> None:
    url = str(serving(reverse).address)
    done = shell(f"{COMMAND} {arguments.format(url=url)} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "threadwire: no space left on device\n"


def test_a_log_without_standard_error_goes_into_no_other_file(tmp_path: Path) -> None:
    """The first file that is opened would get the number of standard error."""
    (tmp_path / "app.py").write_text(
        "data = open('data.db', 'w')\n"
        "def handle(message: bytes) -> bytes:\n"
        "    return message[::-1]\n"
    )
    with served("app:handle", cwd=str(tmp_path), prefix=["bash", "-c", 'exec "$0" "$@" 2>&-']) as s:
        with Peer(s.address) as peer:
            peer.say(b"abc\n")
            assert peer.hear_line() == b"cba\n"
        assert s.stop() == 0
    assert (tmp_path / "data.db").read_text() == ""


def test_version_of_every_command() -> None:
    for command in ("", "serve", "client"):
        done = shell(f"{COMMAND} {command} --version")
        assert done.stdout == f"threadwire, version {threadwire.__version__}\n"
