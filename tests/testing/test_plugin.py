"""The fixtures, as pytest runs them in somebody's project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = 'pytest_plugins = ["threadwire.testing.plugin"]\n'


def run_pytest(directory: Path, tests: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "test_it.py").write_text("import pytest, threadwire\n" + tests)
    (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_server_for_a_test(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        """
servers = []

def test_one(threadwire_server):
    one = threadwire_server(lambda message: message[::-1])
    other = threadwire_server(bytes.upper, framing=threadwire.Netstring())
    assert one.connect().request(b"hello") == b"olleh"
    assert other.connect().request(b"hello") == b"HELLO"
    servers.extend([one.server, other.server])

def test_they_were_closed():
    assert all(server.wait(0) for server in servers)
    assert len(servers) == 2
""",
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_a_handler_s_error_fails_the_test(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        """
def fail(message):
    raise KeyError("deep inside")

def test_unnoticed(threadwire_server):
    peer = threadwire_server(fail).peer()
    peer.say(b"x\\n")
    peer.hear_all()

def test_expected(threadwire_server):
    served = threadwire_server(fail)
    served.peer().say(b"x\\n")
    served.take_error(KeyError)
""",
    )
    assert "2 passed, 1 error" in done.stdout
    assert "ERROR at teardown of test_unnoticed" in done.stdout
    assert "KeyError: 'deep inside'" in done.stdout


def test_a_failed_test_tells_what_its_proxies_did(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        """
from threadwire.testing import Split, Truncate

def start(threadwire_server, threadwire_proxy):
    served = threadwire_server(lambda message: message[::-1])
    return served.peer(threadwire_proxy(served.address, Split(2), Truncate(4), seed=77).address)

def test_bad(threadwire_server, threadwire_proxy):
    peer = start(threadwire_server, threadwire_proxy)
    peer.say(b"hello\\n")
    assert peer.hear_line() == b"olleh\\n"

def test_good(threadwire_server, threadwire_proxy):
    peer = start(threadwire_server, threadwire_proxy)
    peer.say(b"abc\\n")
    assert peer.hear_line() == b"cba\\n"
""",
        "-rA",
    )
    assert "1 failed, 1 passed" in done.stdout
    assert done.stdout.count("- threadwire fault proxy -") == 1
    told = done.stdout.partition("- threadwire fault proxy -")[2]
    assert re.search(
        r"(?m)^fault proxy, seed=77: Split\(most=2\), Truncate\(after_bytes=4\)$", told
    )
    assert re.search(r"(?m)^connection 1 up: 4 bytes, truncated: split@.* truncate@4$", told)


def test_a_fixture_of_the_same_name_comes_first(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        """
@pytest.fixture
def threadwire_server():
    return "mine"

def test_it(threadwire_server):
    assert threadwire_server == "mine"
""",
    )
    assert done.returncode == 0, done.stdout


def test_it_is_there_only_where_it_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it():\n    assert 'threadwire' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "--fixtures"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "threadwire" not in done.stdout.replace(str(tmp_path), "")


def test_fixtures_are_listed_with_what_they_are_for(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "", "--fixtures")
    for name in ("threadwire_server", "threadwire_proxy"):
        assert re.search(rf"(?m)^{name} -- .*\n    Start ", done.stdout), done.stdout


@pytest.mark.parametrize("way", ["conftest", "-p"])
def test_ways_to_ask_for_it(tmp_path: Path, way: str) -> None:
    test = "def test_it(threadwire_server):\n    threadwire_server(bytes.upper)\n"
    if way == "conftest":
        done = run_pytest(tmp_path, test)
    else:
        done = run_pytest(tmp_path, test, "--noconftest", "-p", "threadwire.testing.plugin")
    assert done.returncode == 0, done.stdout
