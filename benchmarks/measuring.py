"""Measure one server on one row."""

import argparse
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from contenders import Server
from proc import cpu_seconds, extensions, resident_kib, threads
from processes import (
    END_SECONDS,
    LOADGEN,
    SOURCE_DIR,
    Failed,
    Running,
    run_loadgen,
    running,
)
from rows import MEMORY_STEP, Row, load

Measured = tuple[dict[str, float], dict[str, Any]]

HOLD_SECONDS = 60
SETTLE_SECONDS = 1.0
IDLE_SECONDS = 3.0
STEP_SECONDS = 300.0


def group_values(report: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """What is told about the quick clients, or the slow ones."""
    latency: dict[str, float] = report["latency"] or {}
    first: dict[str, float] = report.get("first") or {}
    # What is still unanswered at the end counts too: in a stall it is all there is.
    longest = max(report["oldest_in_flight"], latency.get("max", 0.0), first.get("max", 0.0))
    return {
        **{f"{prefix}{key}": value for key, value in latency.items()},
        **{f"{prefix}first_{key}": value for key, value in first.items()},
        f"{prefix}oldest": longest,
        f"{prefix}messages": report["messages"],
    }


def measure_load(row: Row, server: Running, options: argparse.Namespace) -> Measured:
    report = run_loadgen(row.arguments, server.port, options.seconds, options.warmup)
    values = group_values(report) | {"rate": report["messages_per_second"]}
    if "slow" in report:
        values |= group_values(report["slow"], "slow_")
    return values, report


def measure_idle(row: Row, server: Running, connections: int) -> Measured:
    run_loadgen(load(16), server.port, 0.2, 0.0)
    before = resident_kib(server.pid)
    timing = ["--port", str(server.port), "--seconds", str(HOLD_SECONDS)]
    # The load generator bounds its own time, so nothing here waits for ever.
    with subprocess.Popen(
        [str(LOADGEN), *timing, *row.arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != f"holding {connections}\n":
            raise Failed(f"idle connections: {holder.stderr.read().strip()}")
        time.sleep(SETTLE_SECONDS)
        after = resident_kib(server.pid)
        used, began = cpu_seconds(server.pid), time.monotonic()
        time.sleep(IDLE_SECONDS)
        used, took = cpu_seconds(server.pid) - used, time.monotonic() - began
        values = {
            "kib": (after - before) / connections,
            "kib_before": before,
            "threads": threads(server.pid),
            "cpu": used / took,
        }
        holder.stdin.close()
        if holder.wait(END_SECONDS):
            raise Failed(f"idle connections: {holder.stderr.read().strip()}")
    return values, {"connections": connections}


def measure_memory(row: Row, server: Running, connections: int) -> Measured:
    """Resident memory after each so many connections, when none of them is open."""
    run_loadgen(load(16), server.port, 0.2, 0.0)
    resident = [(0, resident_kib(server.pid))]
    seconds = 0.0
    done = 0
    while done < connections:
        step = min(MEMORY_STEP, connections - done)
        arguments = [*row.arguments, "--connections", str(step)]
        report = run_loadgen(arguments, server.port, STEP_SECONDS, 0.0)
        seconds += report["seconds"]
        done += step
        time.sleep(SETTLE_SECONDS)
        resident.append((done, resident_kib(server.pid)))
    last = resident[-1][1]
    values = {"kib": last, "kib_before": resident[0][1], "rate": connections / seconds}
    if done > MEMORY_STEP:
        values["kib_growth"] = last - resident[1][1]
    return values, {"connections": connections, "resident_kib": resident}


def measure(row: Row, server: Server, options: argparse.Namespace) -> Measured:
    with running(server, options.keep_memory) as process:
        if row.mode == "idle":
            values, report = measure_idle(row, process, options.idle_connections)
        elif row.mode == "memory":
            values, report = measure_memory(row, process, options.million_connections)
        else:
            values, report = measure_load(row, process, options)
        if server.is_threadwire:
            report["extensions"] = extensions(process.pid, SOURCE_DIR / "threadwire")
    if server.is_threadwire:
        report["log_lines_dropped"] = process.log_lines_dropped
    return values, report
