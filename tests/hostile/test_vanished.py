"""Peers that are gone without a word: the system finds out, as it was told."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys

import pytest

import threadwire

from ..conftest import Serving
from ..support import Peer, reverse
from .target import ROOT
from .trial import Outcome, Trial

# A network namespace of our own, which needs no privilege where the system allows that at all.
_APART = ["unshare", "--net", "--map-root-user"]


def _may_be_apart() -> bool:
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    return subprocess.run([*_APART, "true"], capture_output=True, check=False).returncode == 0


def test_what_the_system_is_told(serving: Serving) -> None:
    """With ``Listener.set_options`` not called: two hours of silence."""
    server = serving(
        reverse, keepalive_idle=7, keepalive_interval=3, keepalive_count=2, user_timeout=9.5
    )
    with Peer(server.address) as peer:
        peer.say(b"hello\n")
        assert peer.hear_line() == b"olleh\n"
        (connection,) = server.connections
        option = connection._stream.socket.getsockopt
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 3
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 2
        assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 9500


def test_a_network_that_drops_everything(trial: Trial) -> None:
    """A real one: the peers' packets go nowhere, from one moment to the next."""
    if not _may_be_apart():
        pytest.skip("there is no network namespace to be had")
    command = [*_APART, sys.executable, "-m", "tests.hostile.vanishing"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == 0
    assert found["reasons"] == [str(threadwire.CloseReason.PEER_RESET)]
    happened = (
        f"ended after {found['keepalive']:.1f} s by keepalive (1 + 2 x 1 s), "
        f"{found['user_timeout']:.1f} s by user_timeout (1 s)"
    )
    name = f"{found['peers']} peers vanish (quick, in-process)"
    numbers = found["answers"], found["errors"], found["worst"]
    trial.keep(Outcome(name, happened, *numbers, (0, 0, 0), (0, 0), (0, 0), 0))
