"""Hundreds of thousands of messages of random sizes, in random pieces, with random leaving.

Every reply of every client is checked: content, order, number. A seed makes each
client's behaviour replay; it is named when something is wrong. The number of messages
can be raised with the environment variable THREADWIRE_STRESS.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import threading
import time
from collections.abc import Iterator

import threadwire

from .conftest import Events, Serving
from .support import PATIENCE, Peer, eventually

MESSAGES = int(os.environ.get("THREADWIRE_STRESS", "200000"))
CLIENTS = 24
LARGEST = 3000


def handler(message: bytes) -> threadwire.Framing | bytes | list[bytes] | None:
    """Answers that depend on the message: one, none, two, and now and then late."""
    kind = message[:1]
    if kind == b"n":
        return None
    if kind == b"t":
        return [message[::-1], message]
    if kind == b"s":
        time.sleep(0.001)  # a handler that blocks, on purpose
    return message[::-1]


def expected(message: bytes) -> list[bytes]:
    reply = handler(message)
    if reply is None:
        return []
    return reply if isinstance(reply, list) else [reply]  # type: ignore[list-item]


class Script:
    """One client's messages, from a seed."""

    def __init__(self, seed: int, count: int) -> None:
        chance = random.Random(seed)
        self.chance = random.Random(seed + 1)
        self.messages = itertools.islice(self._make(chance), count)

    def _make(self, chance: random.Random) -> Iterator[bytes]:
        while True:
            kind = chance.choices(b"qnts", weights=(90, 4, 5, 1))[0]
            size = int(chance.expovariate(1 / 60)) if chance.random() < 0.98 else LARGEST
            yield bytes([kind]) + chance.randbytes(size).replace(b"\n", b".")

    def pieces(self, data: bytes) -> list[bytes]:
        """``data`` in pieces of random sizes, many tiny, some large."""
        made, at = [], 0
        while at < len(data):
            size = self.chance.choice((1, 2, 7, 100, 1500, 20_000, 60_000))
            made.append(data[at : at + size])
            at += size
        return made


def run_client(address: threadwire.Address, seed: int, count: int, faults: list[str]) -> None:
    script = Script(seed, count)
    framing = threadwire.Lines()
    with Peer(address) as peer:
        codec = framing.codec(1 << 20)
        messages = list(script.messages)
        encoded = b"".join(codec.encode(message) for message in messages)
        wanted = [reply for message in messages for reply in expected(message)]
        sender = threading.Thread(target=_send, args=(peer, script, encoded, faults, seed))
        sender.start()
        try:
            got = 0
            while data := peer.socket.recv(65536):
                codec.feed(data)
                while (reply := codec.next_message()) is not None:
                    if got >= len(wanted) or reply != wanted[got]:
                        faults.append(f"seed {seed}: reply {got} is {reply!r}")
                        return
                    got += 1
            if got != len(wanted):
                faults.append(f"seed {seed}: {got} replies of {len(wanted)}")
        except OSError as error:
            faults.append(f"seed {seed}: {error!r}")
        finally:
            sender.join(PATIENCE)


def _send(peer: Peer, script: Script, encoded: bytes, faults: list[str], seed: int) -> None:
    try:
        for piece in script.pieces(encoded):
            peer.say(piece)
        peer.finish()
    except OSError as error:
        faults.append(f"seed {seed}: sending: {error!r}")


def run_leaver(address: threadwire.Address, seed: int, stop: threading.Event) -> None:
    """Connects, says something, and leaves in one of the ways there are."""
    chance = random.Random(seed)
    while not stop.is_set():
        peer = Peer(address)
        try:
            for _ in range(chance.randrange(4)):
                peer.say(chance.randbytes(chance.randrange(1, 2000)))
            way = chance.randrange(4)
            if way == 0:
                peer.reset()
            elif way == 1:
                peer.finish()
                peer.hear_all()
            elif way == 2:
                peer.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the server may have been quicker to end it
        finally:
            peer.close()


def test_every_reply_is_right(serving: Serving, events: Events) -> None:
    server = serving(handler)
    faults: list[str] = []
    stop = threading.Event()
    leavers = [
        threading.Thread(target=run_leaver, args=(server.address, 10_000 + n, stop))
        for n in range(4)
    ]
    clients = [
        threading.Thread(
            target=run_client, args=(server.address, 100 * n, MESSAGES // CLIENTS, faults)
        )
        for n in range(CLIENTS)
    ]
    for thread in leavers + clients:
        thread.start()
    for thread in clients:
        thread.join()
    stop.set()
    for thread in leavers:
        thread.join(PATIENCE)
    assert faults == []
    eventually(lambda: not server.connections)
    assert not events.named("handler-failed")
    assert not events.tracebacks()


def test_draining_in_the_middle_loses_no_reply_that_was_begun(serving: Serving) -> None:
    """Each client checks that what it got is exactly the first so many replies."""
    for round_number in range(10):
        server = serving(handler)
        faults: list[str] = []
        under_way = threading.Semaphore(0)

        def converse(
            seed: int,
            address: threadwire.Address = server.address,
            faults: list[str] = faults,
            under_way: threading.Semaphore = under_way,
        ) -> None:
            """One request at a time: a drain may close only between a reply and a request."""
            script = Script(seed, 1_000_000 if seed % 2 else 50)
            encode = threadwire.Lines().codec().encode
            with Peer(address) as peer:
                try:
                    for n, message in enumerate(script.messages):
                        peer.say(encode(message))
                        for reply in expected(message):
                            line = peer.hear(len(encode(reply)))
                            if line and line != encode(reply):
                                faults.append(f"seed {seed}: reply to {n} is {line!r}")
                            if not line:
                                return
                        if n == 20:
                            under_way.release()
                except OSError:
                    return  # a request that crossed the server's goodbye

        clients = [
            threading.Thread(target=converse, args=(1000 * round_number + n,)) for n in range(12)
        ]
        for client in clients:
            client.start()
        for _ in clients:
            assert under_way.acquire(timeout=PATIENCE)
        report = server.close(PATIENCE)
        for client in clients:
            client.join(PATIENCE)
        assert faults == []
        assert report.cut == ()
        assert report.threads_left == ()
