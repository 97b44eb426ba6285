"""Sockets passed by a supervisor: what is taken, what is refused, what children see."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadwire import UsageError, activation

from .support import PATIENCE, eventually

# Two sockets, as a supervisor passes them: from descriptor 3 on, and then the program itself.
START = """
import os, socket, sys
names, count, pid, script = sys.argv[1:]
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
spare = [os.dup(s.fileno()) for s in sockets]
spare = [os.dup2(fd, 50 + n) for n, fd in enumerate(spare)]
for n, fd in enumerate(spare):
    os.dup2(fd, 3 + n, inheritable=True)
    os.close(fd)
os.closerange(5, 60)
environ = {**os.environ, "LISTEN_FDS": count, "LISTEN_PID": pid or str(os.getpid())}
if names != "-":
    environ["LISTEN_FDNAMES"] = names
os.execve(sys.executable, [sys.executable, "-c", script], environ)
"""

SHOW = """
import os, sys, threadwire
from threadwire import activation
try:
    print(*activation.inherited())
    print(activation.inherited() == activation.inherited())
    print(*[os.get_inheritable(fd) for fd, _ in activation.inherited()])
    print(*sorted(name for name in os.environ if name.startswith("LISTEN_")))
    print(activation.named("b"))
except threadwire.ThreadwireError as error:
    print(type(error).__name__, error)
"""


def started(
    script: str = SHOW, *, names: str = "a:b", count: str = "2", pid: str = ""
) -> list[str]:
    """What ``script`` prints, started with two sockets."""
    done = subprocess.run(
        [sys.executable, "-c", START, names, count, pid, script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout.splitlines()


def test_what_was_passed_is_taken_once() -> None:
    assert started() == [
        "Inherited(fd=3, name='a') Inherited(fd=4, name='b')",
        "True",
        "False False",
        "",  # no variable is left for a child process to mistake for its own
        "[4]",
    ]


def test_sockets_of_one_unit_share_a_name() -> None:
    assert started(names="b:b")[-1] == "[3, 4]"


def test_names_may_be_missing() -> None:
    lines = started(names="-")
    assert lines[0] == "Inherited(fd=3, name='unknown') Inherited(fd=4, name='unknown')"
    assert lines[-1] == (
        "ListenError cannot listen on fd://b: no socket of this name was passed to this process, "
        "only unknown"
    )


def test_what_is_meant_for_another_process_is_left_alone() -> None:
    *_, variables, error = started(pid="1")
    assert variables == "LISTEN_FDNAMES LISTEN_FDS LISTEN_PID"
    assert "sockets were passed to process 1, but this is process" in error


def test_fewer_descriptors_than_announced() -> None:
    assert started(count="3", names="-") == [
        "UsageError LISTEN_FDS announces 3 descriptors from 3 on, but 5 is not open"
    ]


def test_a_huge_count_ends_at_once() -> None:
    assert "but 5 is not open" in started(count="999999999", names="-")[0]


def test_names_that_do_not_fit() -> None:
    assert started(names="a:b:c") == [
        "UsageError LISTEN_FDNAMES must have a name for each of the 2 descriptors of LISTEN_FDS, "
        "not 3"
    ]


@pytest.mark.parametrize("count", ["", "0", "-1", "two", "2 ", "\u0662", "1" * 5000])
def test_a_count_that_is_none(count: str) -> None:
    (error,) = started(count=count)
    assert error.startswith("UsageError LISTEN_FDS must be a number from 1 on, not ")


def test_a_process_that_is_none() -> None:
    (error,) = started(pid="me")
    assert error == "UsageError LISTEN_PID must be a number from 1 on, not 'me'"


def test_mistakes_are_told_every_time_and_nothing_is_taken() -> None:
    script = """
import os
from threadwire import UsageError, activation
for _ in range(2):
    try:
        activation.inherited()
    except UsageError:
        print(os.environ["LISTEN_FDS"], os.get_inheritable(3))
"""
    assert started(script, count="3", names="-") == ["3 True", "3 True"]


def test_a_process_started_in_the_ordinary_way() -> None:
    script = "from threadwire import activation; print(activation.inherited()); " + (
        "activation.named('b')"
    )
    environ = {name: value for name, value in os.environ.items() if "LISTEN_" not in name}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == "[]\n"
    assert "fd://b: no sockets were passed to this process (LISTEN_FDS is not set)" in done.stderr


def test_a_forked_child_of_the_one_addressed_is_not_addressed() -> None:
    script = """
import os
from threadwire import activation
if not os.fork():
    print(activation.inherited(), flush=True)
    os._exit(0)
os.wait()
print(len(activation.inherited()))
"""
    assert started(script) == ["[]", "2"]


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.one_of(WORDS, st.integers(-3, 10**12).map(str), st.just(str(os.getpid())))


@given(
    st.dictionaries(st.sampled_from(["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]), VALUES),
    st.booleans(),
)
def test_any_environment_is_understood_or_refused_by_name(
    environ: dict[str, str], ours: bool
) -> None:
    if ours:
        environ["LISTEN_PID"] = str(os.getpid())
    passed, problem = [], ""
    try:
        passed = activation._passed(environ, os.getpid())
    except UsageError as error:
        problem = str(error)
    assert not problem or problem.startswith("LISTEN_")
    if passed:
        assert environ["LISTEN_PID"] == str(os.getpid())
        assert [fd for fd, _ in passed] == list(range(3, 3 + int(environ["LISTEN_FDS"])))


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is missing"
)
def test_systemd_starts_it_when_a_client_comes(tmp_path: Path) -> None:
    script = """
import socket
from threadwire import activation
passed = activation.inherited()
for fd in activation.named("web"):
    with socket.socket(fileno=fd) as listening, listening.accept()[0] as connected:
        connected.sendall(b" ".join([connected.recv(100), repr(passed).encode()]))
"""
    path = tmp_path / "web.sock"
    activator = subprocess.Popen(
        [
            "systemd-socket-activate",
            f"--listen={path}",
            "--fdname=web",
            *(f"--setenv={name}" for name in ("PATH", "PYTHONPATH") if name in os.environ),
            sys.executable,
            "-c",
            script,
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(path.exists)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            eventually(lambda: client.connect_ex(str(path)) == 0)
            client.sendall(b"hello")
            assert client.recv(100) == b"hello [Inherited(fd=3, name='web')]"
        assert activator.wait(PATIENCE) == 0
    finally:
        activator.kill()
        activator.wait(PATIENCE)
