"""Results for what shows results: made up, but each as a run could have left it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from threadwire.bench.expect import Reverse
from threadwire.bench.histogram import Histogram
from threadwire.bench.plan import Plan
from threadwire.bench.results import ErrorKind, Generator, Interval, Progress, Result

URL = "tcp://127.0.0.1:12345"
STARTED = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def histogram(seconds: Iterable[float]) -> Histogram:
    made = Histogram()
    made.record_many(seconds)
    return made


def spread_out(count: int = 1000, scale: float = 1.0) -> Histogram:
    """Evenly from 1 ms on to 2 ms."""
    return histogram(scale * (0.001 + 0.001 * n / count) for n in range(count))


def intervals(rates: Iterable[float], p99: float = 0.002) -> tuple[Interval, ...]:
    """One second each."""
    return tuple(
        Interval(float(n), 1.0, int(rate), 0, p99 / 2, p99, p99 * 2) for n, rate in enumerate(rates)
    )


def result(
    *,
    plan: Mapping[str, Any] | None = None,
    latency: Histogram | None = None,
    service: Histogram | None = None,
    messages: int = 1000,
    seconds: float = 10.0,
    errors: Mapping[str, int | ErrorKind] | None = None,
    **fields: Any,
) -> Result:
    asked = Plan(url=URL, expect=Reverse(), **(plan or {})).summary()
    durations = spread_out() if latency is None else latency
    kinds = {
        kind: ErrorKind(error, f"an example of {kind}") if isinstance(error, int) else error
        for kind, error in (errors or {}).items()
    }
    defaults: dict[str, Any] = {
        "started_at": STARTED,
        "messages_per_second": messages / seconds if seconds else 0.0,
        "connects": 0,
        "connects_per_second": 0.0,
        "connects_before": 64,
        "bytes_sent": 65 * messages,
        "bytes_received": 65 * messages,
        "connect": histogram([0.0001] * 64),
        "intervals": intervals([100.0] * 10),
        "generator": Generator(cpu=0.5),
    }
    return Result(
        seconds=seconds,
        plan=asked,
        messages=messages,
        latency=durations,
        service=durations if service is None else service,
        errors=kinds,
        **{**defaults, **fields},
    )


def stalled() -> Result:
    """20 s at a rate of 50, with a stall of one second in the middle, in an open loop."""
    quick = [0.001] * 950
    waiting = [1.0 - n / 50 for n in range(50)]
    return result(
        plan={"rate": 50.0},
        latency=histogram(quick + waiting),
        service=histogram([*quick, *[0.001] * 49, 1.0]),
        seconds=20.0,
    )


def progress(**fields: Any) -> Progress:
    defaults: dict[str, Any] = {
        "phase": "measuring",
        "elapsed": 4.0,
        "planned": 11.0,
        "done": 4 / 11,
        "connected": 64,
        "clients": 64,
        "messages": 3000,
        "rate": 1000.0,
        "errors": {},
        "latency": spread_out(),
    }
    return Progress(**{**defaults, **fields})
