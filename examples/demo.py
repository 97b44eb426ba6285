"""The main job, to watch: three clients converse at the same time beside one that is silent.

Starts ``threadwire serve``, connects a client that never says a word, and lets three
``threadwire client`` processes, each on a terminal of its own, hold the classic
exercise's dialogue. No client goes on to its second message before all three have
their first reply, which a server that takes one client after another could not give.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading

COMMAND = [sys.executable, "-m", "threadwire"]
CLIENTS, MESSAGES = 3, 3
PATIENCE = 20.0  # seconds that anything may take before the demo gives up
QUESTION = b"(y/n): "


def show(who: str, text: str) -> None:
    for line in text.splitlines():
        print(f"{who:>8} | {line.rstrip()}", flush=True)


def converse(name: str, url: str, together: threading.Barrier, failures: list[str]) -> None:
    """One person at one terminal: says y until the last message, and then n."""
    ours, theirs = pty.openpty()
    client = subprocess.Popen([*COMMAND, "client", url], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        for number in range(MESSAGES):
            screen = b""
            while QUESTION not in screen:
                screen += os.read(ours, 4096)
            if b"Received from server: tneilc morf olleh" not in screen:
                failures.append(f"{name} read {screen!r}")
            together.wait(PATIENCE)
            answer = "y" if number < MESSAGES - 1 else "n"
            show(name, screen.decode().lstrip("yn\r\n") + answer)
            os.write(ours, answer.encode() + b"\n")
        if client.wait(PATIENCE) != 0:
            failures.append(f"{name} ended with exit code {client.returncode}")
    except (OSError, threading.BrokenBarrierError, subprocess.TimeoutExpired) as error:
        together.abort()
        failures.append(f"{name}: {error!r}")
    finally:
        client.kill()
        client.wait()
        os.close(ours)


def main() -> int:
    server = subprocess.Popen(
        [*COMMAND, "serve", "--listen", "tcp://127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = threading.Timer(3 * PATIENCE, server.kill)
    watchdog.daemon = True
    watchdog.start()
    assert server.stdout is not None
    failures: list[str] = []
    try:
        first = server.stdout.readline()
        show("server", first)
        found = re.search(r"tcp://([\d.]+):(\d+)", first)
        if found is None:
            return 1
        log = threading.Thread(
            target=lambda lines: [show("server", line) for line in lines],
            args=(server.stdout,),
            daemon=True,
        )
        log.start()
        with socket.create_connection((found[1], int(found[2])), PATIENCE):
            show("silent", "connected, and will not say a word")
            together = threading.Barrier(CLIENTS)
            people = [
                threading.Thread(
                    target=converse, args=(f"client {n}", found[0], together, failures)
                )
                for n in range(1, CLIENTS + 1)
            ]
            for person in people:
                person.start()
            for person in people:
                person.join()
            server.send_signal(signal.SIGINT)
            code = server.wait(PATIENCE)
        log.join(PATIENCE)
    finally:
        server.kill()
        server.wait()
    if code != 0:
        failures.append(f"the server ended with exit code {code}")
    for failure in failures:
        show("demo", f"FAILED: {failure}")
    if not failures:
        show(
            "demo",
            f"{CLIENTS} clients had {MESSAGES} replies each while a silent one held its "
            "connection; the server stopped cleanly",
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
