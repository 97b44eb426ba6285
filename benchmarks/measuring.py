"""Measure one server on one row."""

import argparse
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from contenders import Server
from processes import END_SECONDS, LOADGEN, Failed, resident_kib, run_loadgen, running
from rows import Row, load

IDLE_SECONDS = 60
SETTLE_SECONDS = 1.0


def latency_values(report: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    latency = report["latency"] or {}
    values = {f"{prefix}{key}": latency[key] for key in ("p50", "p99", "mean") if key in latency}
    # What is still unanswered at the end counts too: in a stall it is all there is.
    longest = max(report["oldest_in_flight"], latency.get("max", 0.0))
    return values | {f"{prefix}oldest": longest, f"{prefix}messages": report["messages"]}


def measure_load(row: Row, port: int, options: argparse.Namespace) -> tuple[dict[str, float], Any]:
    report = run_loadgen(row.arguments, port, options.seconds, options.warmup)
    values = latency_values(report) | {"rate": report["messages_per_second"]}
    if "slow" in report:
        values |= latency_values(report["slow"], "slow_")
    return values, report


def measure_idle(row: Row, pid: int, port: int, connections: int) -> tuple[dict[str, float], Any]:
    run_loadgen(load(16), port, 0.2, 0.0)
    before = resident_kib(pid)
    command = [str(LOADGEN), "--port", str(port), "--seconds", str(IDLE_SECONDS), *row.arguments]
    # The load generator bounds its own time, so nothing here waits for ever.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != f"holding {connections}\n":
            raise Failed(f"idle connections: {holder.stderr.read().strip()}")
        time.sleep(SETTLE_SECONDS)
        after = resident_kib(pid)
        holder.stdin.close()
        if holder.wait(END_SECONDS):
            raise Failed(f"idle connections: {holder.stderr.read().strip()}")
    values = {"kib": (after - before) / connections, "kib_before": before}
    return values, {"connections": connections}


def measure(row: Row, server: Server, options: argparse.Namespace) -> tuple[dict[str, float], Any]:
    with running(server, options.keep_memory) as (pid, port):
        if row.idle:
            return measure_idle(row, pid, port, options.idle_connections)
        return measure_load(row, port, options)
