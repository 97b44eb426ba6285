"""No thread to be had, for a while.

The system's limit for threads (RLIMIT_NPROC) is lowered to nothing while the server runs. It
counts all threads of a user, and does not bind the superuser; so the server runs as another one.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from threadwire.engine.lending import _WARY_SECONDS
from threadwire.testing import GoodClient, Peer, eventually, silent

from ..engine.secure import certified, our_authority
from .target import ROOT, Target, as_user, scaled
from .trial import BESIDE, Trial

# The user that servers run as: one that nothing else runs as, or whoever runs this.
USER = 61_234 if os.geteuid() == 0 else None


@pytest.fixture(autouse=True, scope="module")
def another_user() -> None:
    command = [*as_user(USER), sys.executable, "-c", "import threadwire"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs setpriv(1), to be another user than the superuser")
    if done.returncode:
        pytest.skip(f"another user cannot run this interpreter: {done.stderr.strip()}")


def target(handler: str, *options: str, listen: str = "tcp://127.0.0.1:0") -> Target:
    return Target(handler, *options, listen=[listen], user=USER)


@contextlib.contextmanager
def no_more_threads(server: Target) -> Iterator[None]:
    _limit_threads(server, 0)
    try:
        yield
    finally:
        _limit_threads(server, resource.getrlimit(resource.RLIMIT_NPROC)[1])


def _limit_threads(server: Target, most: int) -> None:
    command = ["prlimit", f"--pid={server.pid}", f"--nproc={most}:"]
    subprocess.run([*as_user(USER), *command], check=True)


def test_sessions(trial: Trial) -> None:
    """Who comes then is refused, who is there is served on, and one line tells of it.

    With an error of ``start_session`` not caught in ``Acceptor._admitted``: the loop says that
    it has failed.
    """

    def attack(count: int, good: GoodClient) -> str:
        with no_more_threads(server):
            with silent(server.address, count) as hostile:
                good.wait_for(BESIDE)
                hostile.wait(30)
        assert hostile.thrown_out == count
        with GoodClient(server.address) as another:
            another.wait_for(BESIDE)
        return f"all {count} refused; others served afterwards"

    with target("session") as server:
        trial.endure(server, "no thread for a session", attack, scaled(50, 5), each=1 << 30)
        assert all("thread" in line["reason"] for line in server.events("accept-paused"))
        assert 1 <= len(server.events("accept-paused")) <= 2  # one an episode


def test_handlers_that_will_block(trial: Trial) -> None:
    """Who is suspected of it, and would be lent a thread, is closed; who has one keeps it.

    With an error not caught in ``Lender.lend``: the loop says that it has failed.
    """

    def attack(count: int, good: GoodClient) -> str:
        with no_more_threads(server):
            peers = [Peer(server.address) for _ in range(count)]
            with contextlib.ExitStack() as stack:
                for peer in peers:
                    stack.enter_context(peer)
                    peer.say(b"hello\n")
                good.wait_for(BESIDE)
                answers = [peer.hear_line() for peer in peers]
        answered = answers.count(b"olleh\n")
        assert answered + answers.count(b"") == count
        return f"{answered} of {count} answered, the others closed"

    with target("blocking") as server:
        name = "no thread for handlers that will block"
        trial.endure(server, name, attack, scaled(50, 5), each=1 << 30)
        assert server.events("no-capacity")


def test_handlers_that_block(trial: Trial) -> None:
    """Who is not suspected holds up the loop, which nobody else can lead, and is answered.

    With a hand-off for which there is no thread (``Watchdog._hand_over``): nobody leads the loop
    any more.
    """

    def attack(count: int, good: GoodClient) -> str:
        tick = threading.Event()
        answered = 0
        with no_more_threads(server):
            # The watchdog may have a thread in reserve, for the first.
            while answered < count or not server.events("stuck"):
                tick.wait(_WARY_SECONDS + 0.1)
                with Peer(server.address) as peer:
                    peer.say(b"hello\n")
                    assert peer.hear_line() == b"olleh\n"
                answered += 1
            good.wait_for(BESIDE)
        return f"all {answered} answered by the loop, which waited for them"

    with target("blocking") as server:
        name = "no thread for handlers that block"
        trial.endure(server, name, attack, warm_up=0, each=1 << 30)
        assert all("thread" in line["detail"] for line in server.events("stuck"))


def test_handlers_that_are_quick(trial: Trial) -> None:
    """They need none."""

    def attack(count: int, good: GoodClient) -> str:
        with no_more_threads(server), silent(server.address, count):
            good.wait_for(5 * BESIDE)
        return "nobody noticed"

    with target("quick") as server:
        trial.endure(server, "no thread, and none needed", attack, scaled(500))


def test_handshakes(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without threads for them they are computed in the loop.

    With an error of ``SpareThreads.run`` not caught in ``Openings._run``: they end there.
    """

    def attack(_count: int, good: GoodClient) -> str:
        at_rest = server.at_rest.before.threads.total()
        eventually(lambda: server.threads <= at_rest, "the end of threads that have nothing to do")
        with no_more_threads(server), GoodClient(server.address, each=1) as another:
            another.wait_for(BESIDE)
            good.wait_for(BESIDE)
        return "the loop shakes hands itself"

    monkeypatch.setenv("SSL_CERT_FILE", our_authority(tmp_path))
    with tempfile.TemporaryDirectory() as name:
        certificate = certified(Path(name))["tls_cert"]
        if USER is not None:  # who is to read it, and nobody else
            for path in (name, certificate):
                os.chown(path, USER, USER)
        listen = "tls://127.0.0.1:0"
        with target("quick", f"--tls-cert={certificate}", listen=listen) as server:
            trial.endure(server, "no thread for TLS handshakes", attack, each=1 << 30)
