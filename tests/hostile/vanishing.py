"""``python -m tests.hostile.vanishing``: peers whose network is gone, with nobody to say so.

Run in a network namespace of its own (unshare(1)), where this process may do as it likes. The
peers have another one, at the other end of a wire; when they are connected, their namespace drops
whatever they would send, as a firewall does. Prints, as JSON, what became of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import threadwire
from threadwire.events import Event, logger
from threadwire.testing import GoodClient, eventually

HERE, THERE = "10.213.0.1", "10.213.0.2"
PEERS = 20  # of each kind
PATIENCE = 20.0  # seconds

# Connects, says what is to be said, reads one line of what comes, says so, and stays.
_PEERS = """
import socket, sys, time
peers = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(int(sys.argv[3]))]
for peer in peers:
    peer.sendall(b"hello\\n")
for peer in peers:
    assert peer.recv(6) == b"olleh\\n"
print("connected", flush=True)
time.sleep(60)
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextlib.contextmanager
def other_end() -> Iterator[str]:
    """A namespace at the other end of a wire; gives the number of a process in it."""
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as keeper:
        number = str(keeper.pid)
        try:
            ours = os.readlink("/proc/self/ns/net")
            eventually(lambda: os.readlink(f"/proc/{number}/ns/net") != ours, "a namespace")
            inside = ("nsenter", "--target", number, "--net")
            run("ip", "link", "set", "lo", "up")
            run("ip", "link", "add", "here", "type", "veth", "peer", "there", "netns", number)
            run("ip", "address", "add", f"{HERE}/30", "dev", "here")
            run("ip", "link", "set", "here", "up")
            run(*inside, "ip", "address", "add", f"{THERE}/30", "dev", "there")
            run(*inside, "ip", "link", "set", "there", "up")
            yield number
        finally:
            keeper.kill()


@contextlib.contextmanager
def connected(keeper: str, port: int) -> Iterator[None]:
    command = ["nsenter", "--target", keeper, "--net", sys.executable, "-c", _PEERS]
    command += [HERE, str(port), str(PEERS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "connected\n"
            yield
        finally:
            process.kill()


def vanish(keeper: str) -> None:
    command = ["nsenter", "--target", keeper, "--net", "ip", "route", "add", "blackhole"]
    run(*command, f"{HERE}/32")


def gone(server: threadwire.Server) -> bool:
    return all(connection.peer.host != THERE for connection in server.connections)


class Reasons(logging.Handler):
    """Why the connections of those who vanished have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()  # any thread adds to it, by one step

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, Event) and record.msg.name == "closed":
            fields = record.msg.fields
            if fields["peer"].host == THERE:
                self.seen.add(str(fields["reason"]))


def main() -> None:
    reasons = Reasons()
    logger.addHandler(reasons)
    logger.setLevel(logging.INFO)
    addresses = f"tcp://{HERE}:0", "tcp://127.0.0.1:0"
    with contextlib.ExitStack() as stack:
        keeper = stack.enter_context(other_end())
        asking = stack.enter_context(
            threadwire.Server(
                lambda message: message[::-1],
                *addresses,
                keepalive_idle=1,
                keepalive_interval=1,
                keepalive_count=2,
            )
        )
        sending = stack.enter_context(
            threadwire.Server(lambda message: message[::-1], *addresses, user_timeout=1.0)
        )
        stack.enter_context(connected(keeper, asking.addresses[0].port))
        stack.enter_context(connected(keeper, sending.addresses[0].port))
        goods = [stack.enter_context(GoodClient(s.addresses[1])) for s in (asking, sending)]
        vanish(keeper)
        begun = time.monotonic()
        for connection in sending.connections:
            if connection.peer.host == THERE:
                connection.send(b"are you there?")
        eventually(lambda: gone(sending), "the end of those who were sent to", timeout=PATIENCE)
        seconds_sending = time.monotonic() - begun
        eventually(lambda: gone(asking), "the end of those who were asked", timeout=PATIENCE)
        seconds_asking = time.monotonic() - begun
        for good in goods:
            good.wait_for(20)
            good.stop()
        outcome = {
            "peers": 2 * PEERS,
            "reasons": sorted(reasons.seen),
            "user_timeout": seconds_sending,
            "keepalive": seconds_asking,
            "answers": sum(good.count for good in goods),
            "errors": sum(good.error_count for good in goods),
            "worst": max(good.worst for good in goods),
        }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
