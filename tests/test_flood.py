"""A flood: as many messages as go through, in bursts, with handlers that block now and then.

Where the storm of test_stress.py does everything at random, this does one thing very often: a
burst of messages in a few reads, among them one whose handler takes about as long as it may
hold up the loop, so that hand-offs come at every place in a batch. Every byte of every reply
is compared. THREADWIRE_FLOOD is the number of messages of all these tests together.
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import NamedTuple

import pytest

import threadwire
import threadwire.reception

from .conftest import Events, Serving
from .engine.conftest import serve_in_python
from .support import PATIENCE, Peer, eventually
from .test_stress import make_hasty, where_all_stand

MESSAGES = int(os.environ.get("THREADWIRE_FLOOD", "100000"))
CLIENTS = 12
HANDOFF_AFTER = 0.001
BLOCKING = 400  # of so many messages one blocks


class Kind(NamedTuple):
    share: float
    plain: bool = True
    loops: int = 1
    pure: bool = False


KINDS = {
    "plain": Kind(0.5),
    "with its connection": Kind(0.2, plain=False),
    "two loops": Kind(0.2, loops=2),
    "pure": Kind(0.1, pure=True),
}


def plain(message: bytes) -> bytes:
    if message.startswith(b"!"):
        time.sleep(int(message[1:3]) / 20 * HANDOFF_AFTER)
    return message[::-1]


def full(message: bytes, connection: threadwire.Connection) -> bytes:
    assert not connection.closed
    return plain(message)


class Client:
    """Sends bursts and compares what comes back, byte by byte."""

    def __init__(self, server: threadwire.Server, seed: int, count: int) -> None:
        self._server = server
        self._chance = random.Random(seed)
        self._seed = seed
        self._count = count
        self.faults: list[str] = []

    def run(self) -> None:
        done = 0
        try:
            with Peer(self._server.address) as peer:
                while done < self._count:
                    size = min(self._count - done, self._chance.choice((1, 3, 50, 400, 2000)))
                    lines = [self._message(done + n) for n in range(size)]
                    peer.say(b"".join(line + b"\n" for line in lines))
                    wanted = b"".join(line[::-1] + b"\n" for line in lines)
                    heard = peer.hear(len(wanted))
                    if heard != wanted:
                        self._complain(done, wanted, heard)
                        return
                    done += size
        except OSError as error:
            stand = where_all_stand(self._server)
            self.faults.append(f"seed {self._seed}: after {done}: {error!r}\n{stand}")

    def _message(self, number: int) -> bytes:
        if self._chance.randrange(BLOCKING):
            return b"%d.%d" % (self._seed, number)
        return b"!%02d.%d.%d" % (self._chance.randrange(60), self._seed, number)

    def _complain(self, done: int, wanted: bytes, heard: bytes) -> None:
        pairs = zip(wanted.split(b"\n"), heard.split(b"\n"), strict=False)
        first = next((n for n, (one, other) in enumerate(pairs) if one != other), -1)
        self.faults.append(
            f"seed {self._seed}: reply {done + first} is wrong: {heard.split()[first]!r} "
            f"for {wanted.split()[first]!r}; {len(heard)} of {len(wanted)} bytes"
        )


@pytest.mark.timeout(120 + MESSAGES / 2000)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_reply_of_a_flood_is_right(
    kind: Kind, serving: Serving, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_hasty(monkeypatch)
    monkeypatch.setattr(threadwire.reception, "loop_count", lambda: kind.loops)
    if kind.pure:
        serve_in_python(monkeypatch)
    server = serving(plain if kind.plain else full, handoff_after=HANDOFF_AFTER)
    batons = [each.baton for each in server._engine._loops]
    seed = time.time_ns() % 1_000_000
    count = max(BLOCKING, int(MESSAGES * kind.share / CLIENTS))
    clients = [Client(server, seed + n, count) for n in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [fault for client in clients for fault in client.faults] == []
    eventually(lambda: not server.connections, f"seed {seed}")
    assert not events.named("handler-failed")
    assert sum(fields["messages_received"] for fields in events.named("closed")) == count * CLIENTS
    assert sum(fields["messages_sent"] for fields in events.named("closed")) == count * CLIENTS
    for before, each in zip(batons, server._engine._loops, strict=True):
        assert each.baton is not before, "no hand-off at all"
    assert server.close(PATIENCE).threads_left == ()
