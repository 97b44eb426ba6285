"""When messages are due in an open loop.

Without a ramp the k-th message is due when k / rate seconds have gone by. With one, the rate
grows evenly from nothing, so that rate * t² / (2 * ramp) messages are due in the first t
seconds; the time of the k-th is that formula's inverse. Random arrivals go through the same
formula, k being the time of an event of a Poisson process whose rate is one.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Literal

__all__ = ["due_times"]


def due_times(
    rate: float,
    arrivals: Literal["constant", "poisson"],
    *,
    ramp: float = 0.0,
    seed: int = 0,
    part: int = 0,
    parts: int = 1,
) -> Iterator[float]:
    """Seconds after the beginning at which messages are due, in order, without end.

    This is process ``part`` of ``parts``, which share ``rate``: all of them together keep the
    constant gaps, or are one Poisson process.
    """
    counts = (
        itertools.count(part, parts)
        if arrivals == "constant"
        else _poisson(random.Random(f"{seed} {part}"), parts)
    )
    if not ramp:
        for count in counts:
            yield count / rate
    before = rate * ramp / 2  # messages due within the ramp
    for count in counts:
        yield math.sqrt(2 * ramp * count / rate) if count < before else count / rate + ramp / 2


def _poisson(chance: random.Random, parts: int) -> Iterator[float]:
    time, gap, rate = 0.0, chance.expovariate, 1 / parts
    while True:
        time += gap(rate)
        yield time
