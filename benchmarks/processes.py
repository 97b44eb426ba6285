"""Build, start and end the servers and the load generator."""

import contextlib
import json
import mmap
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contenders import BUILD_DIR, HERE, SERVERS_DIR, Server

SOURCE_DIR = HERE.parent / "src"
LOADGEN = BUILD_DIR / "loadgen"

READY = re.compile(r"listening (\d+)|tcp://127\.0\.0\.1:(\d+)")
READY_SECONDS = 20.0
LOG_DROPPED = re.compile(rb"log-dropped\W+lines\W+(\d+)")
END_SECONDS = 60.0
LOADGEN_SPARE_SECONDS = 60.0
# glibc gives blocks of 128 KiB and more back to the system when they are freed, until a program
# happens to free a big one; these let it keep them.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}


class Failed(Exception):
    """A run that gave no result."""


@dataclass
class Running:
    """A started server."""

    pid: int
    port: int
    log_lines_dropped: int = 0  # known when it has ended


def build() -> None:
    BUILD_DIR.mkdir(exist_ok=True)
    sources = {
        LOADGEN: HERE / "loadgen.c",
        BUILD_DIR / "epoll_server": SERVERS_DIR / "epoll_server.c",
    }
    for program, source in sources.items():
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True
        )


def raise_file_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Where threadwire is measured from: this checkout, whatever is installed."""
    paths = [str(SOURCE_DIR), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(path for path in paths if path)
    return {**os.environ, "PYTHONPATH": path, **(more or {})}


def importable(python: str, module: str) -> bool:
    """Whether the servers' interpreter finds a module, in the servers' environment."""
    check = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    done = subprocess.run(
        [python, "-c", check, module],
        env=environment(),
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def present(python: str, servers: Sequence[Server], skipped: list[str]) -> list[Server]:
    modules = {module for server in servers for module in server.modules}
    missing = {module for module in modules if not importable(python, module)}
    for server in servers:
        for module in missing.intersection(server.modules):
            line = f"{server.name}: {module} cannot be imported"
            if line not in skipped:
                skipped.append(line)
    return [server for server in servers if not missing.intersection(server.modules)]


def tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, 2000, max(0, size - 2000)).decode(errors="replace").strip()
    return f"\n{text}" if text else ""


def wait_until_ready(process: subprocess.Popen[bytes], output: int) -> int:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        # A positioned read: the server writes at the offset it shares with this descriptor.
        text = os.pread(output, 8192, 0).decode(errors="replace")
        complete = text[: text.rfind("\n") + 1]
        if match := READY.search(complete):
            return int(match[1] or match[2])
        if process.poll() is not None:
            raise Failed(f"ended with status {process.returncode} before it was ready")
        time.sleep(0.01)
    raise Failed(f"was not ready after {READY_SECONDS:g} s")


def end(process: subprocess.Popen[bytes], blocked: bool) -> None:
    if process.poll() is not None:
        raise Failed(f"ended by itself with status {process.returncode}")
    process.terminate()
    try:
        status = process.wait(1.0 if blocked else END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        if blocked:
            return
        raise Failed(f"did not end within {END_SECONDS:g} s of SIGTERM") from None
    if status not in (0, -signal.SIGTERM):
        raise Failed(f"ended with status {status} after SIGTERM")


def log_lines_dropped(log: int) -> int:
    if not os.fstat(log).st_size:
        return 0
    with mmap.mmap(log, 0, access=mmap.ACCESS_READ) as text:
        return sum(int(found[1]) for found in LOG_DROPPED.finditer(text))


@contextlib.contextmanager
def running(server: Server, keep_memory: bool) -> Iterator[Running]:
    """Starts a server and ends it.

    What it writes, its log among it, goes to files without a name: it is formatted and written,
    and nobody has to read it for that to go on.
    """
    memory = KEEP_MEMORY if keep_memory else {}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            server.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=SERVERS_DIR,
            env=environment({**memory, **server.environment}),
        )
        try:
            port = wait_until_ready(process, output.fileno())
            started = Running(process.pid, port)
            yield started
            end(process, server.blocked)
            started.log_lines_dropped = log_lines_dropped(errors.fileno())
        except Failed as error:
            raise Failed(f"{error}{tail(errors.fileno())}") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def run_loadgen(arguments: Sequence[str], port: int, seconds: float, warmup: float) -> Any:
    timing = ["--seconds", f"{seconds:g}", "--warmup", f"{warmup:g}"]
    try:
        done = subprocess.run(
            [str(LOADGEN), "--port", str(port), "--json", *timing, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + warmup + LOADGEN_SPARE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed("the load generator did not end in time") from None
    if done.returncode:
        raise Failed(f"the load generator ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)
