"""Nothing a peer does, and no way of leaving, ends anything but its own connection."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable

import pytest

from threadwire import CloseReason

from ..conftest import Events, Serving
from ..support import PATIENCE, Peer, eventually, wait_for
from .ways import (
    both_twins,
)


def _leave_by_closing(peer: Peer) -> None:
    peer.close()


def _leave_by_a_reset(peer: Peer) -> None:
    peer.reset()


def _leave_by_halves(peer: Peer) -> None:
    peer.finish()
    peer.socket.shutdown(socket.SHUT_RD)
    peer.close()


def _leave_by_an_end_and_a_reset(peer: Peer) -> None:
    peer.finish()
    peer.reset()


def _leave_with_a_last_word(peer: Peer) -> None:
    peer.say(b"\n\n\nlast words\n" * 100)
    peer.reset()


LEAVING: dict[str, Callable[[Peer], None]] = {
    "closing": _leave_by_closing,
    "reset": _leave_by_a_reset,
    "both halves": _leave_by_halves,
    "end and reset": _leave_by_an_end_and_a_reset,
    "last words and reset": _leave_with_a_last_word,
}
MOMENTS = ["at once", "idle", "begun", "garbage", "unread replies", "own thread", "much unread"]


@both_twins
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("leave", list(LEAVING))
def test_no_way_of_leaving_touches_anybody_else(
    serving: Serving, events: Events, moment: str, leave: str
) -> None:
    """With a failed write not told from one that wrote little (``_fell_short``): those who left
    with much unread never go.
    """
    go_on, blocked = threading.Event(), threading.Semaphore(0)

    def handler(message: bytes) -> bytes:
        if message == b"block":
            blocked.release()
            wait_for(go_on)
        if message == b"much":
            return b"x" * 5_000_000
        return message

    server = serving(handler, handoff_after=0.005)
    with Peer(server.address) as witness:
        leavers = [Peer(server.address) for _ in range(5)]
        for peer in leavers:
            if moment == "begun":
                peer.say(b"whole\nbeg")
                assert peer.hear_line() == b"whole\n"
            elif moment == "garbage":
                peer.say(random.Random(7).randbytes(5000) + b"\n\xff\0")
            elif moment == "unread replies":
                peer.say(b"request\n" * 5000)
            elif moment == "own thread":
                peer.say(b"block\nbehind it\n")
                assert blocked.acquire(timeout=PATIENCE)
            elif moment == "much unread":
                peer.say(b"much\n" * 3)
            elif moment == "idle":
                peer.say(b"x\n")
                assert peer.hear_line() == b"x\n"
        witness.say(b"before\n")
        assert witness.hear_line() == b"before\n"
        for peer in leavers:
            with contextlib.suppress(OSError):  # it may have been reset meanwhile
                LEAVING[leave](peer)
            peer.close()
        go_on.set()
        eventually(lambda: len(server.connections) == 1)
        witness.say(b"after\n")
        assert witness.hear_line() == b"after\n"
        with Peer(server.address) as late:
            late.say(b"late\n")
            assert late.hear_line() == b"late\n"
    assert not events.named("engine-failed")
    assert not events.named("handler-failed")
    assert not events.named("accept-failed")
    assert not events.tracebacks()
    reasons = {fields["reason"] for fields in events.named("closed")}
    assert reasons <= {
        CloseReason.PEER_CLOSED,
        CloseReason.PEER_RESET,
        CloseReason.FRAMING_ERROR,  # the stream ended within a message
    }
