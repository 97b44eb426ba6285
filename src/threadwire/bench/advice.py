"""What a result means, in sentences: whether to believe it, and what to try next."""

from __future__ import annotations

import os
from collections.abc import Iterator

from .amounts import duration_words, rate_words
from .description import several
from .results import Result

__all__ = ["advice", "told_by_enough"]

_KEPT_UP = 0.98  # of the rate asked for; what is less is not noise
_HELD_BACK = 2.0  # the corrected p99 over the uncorrected one, from which it is worth a word
_HELD_BACK_SECONDS = 0.001  # if it is so much longer, too
_OWN_SHARE = 0.5  # of the corrected p99, from which the generator's lateness is the cause of it
_BUSY = 0.9  # of a core; with less, it is not too little of a process that is the matter
_ENOUGH = 10  # durations above a percentile, for it to be more than chance
_AWAY = {"connect-refused", "connect-failed", "closed", "reset"}  # no connection to send by

# By the kind of error: what to look at.
_BY_ERROR = {
    "wrong-reply": "--expect says what is a right reply: reverse (the default), echo, any, "
    "regex:PATTERN or MODULE:FUNCTION.",
    "framing": "--framing must be the one that the service speaks.",
    "connect-timeout": "The service accepts more slowly than clients come: --ramp lets them "
    "come one after the other.",
    "tls": "--ca names the authorities to trust; --no-verify trusts anybody.",
    "unsent": "More messages were due than could be sent: a lower --rate, more --clients or a "
    "deeper --pipeline.",
    "too-much": "More came back than was asked for: is --framing the one that the service speaks?",
}


def advice(result: Result) -> list[str]:
    """A sentence for each thing that a reader has to know; none if all is well."""
    return [*_bottleneck(result), *_lost(result), *_rate(result), *_errors(result)]


def told_by_enough(count: int, percentage: float) -> bool:
    """Whether at least ten of ``count`` durations lie above that percentile."""
    return count * (100 - percentage) / 100 >= _ENOUGH - 1e-6


def _bottleneck(result: Result) -> Iterator[str]:
    generator = result.generator
    if not generator.saturated:
        if generator.own_above is not None:
            yield (
                f"The load generator itself was late by up to "
                f"{duration_words(generator.behind_max)}: latencies above "
                f"p{generator.own_above:g} are its own, and not the service's."
            )
        return
    why = f": {generator.why.rstrip('.')}" if generator.why else ""
    yield (
        f"The load generator was itself the bottleneck{why}. "
        "The service may well do better than what is told here."
    )
    cores = os.cpu_count() or 1
    if generator.cpu < _BUSY:
        yield (
            "Something else took the processor when it was needed: leave the generator a core "
            "of its own, or send the load from another machine."
        )
    elif generator.processes < cores:
        yield (
            f"Try --processes {generator.processes + 1}: so many of them share the load"
            + (", as long as the service leaves them a core." if cores <= 2 else ".")
        )
    else:
        yield "Every core here has a generating process: send load from another machine, too."


def _lost(result: Result) -> Iterator[str]:
    if result.lost.count:
        yield (
            f"{several(result.lost.count, 'request')} got no reply. In the percentiles, each has "
            "the time for which it was waited for, and would have taken longer."
        )


def _rate(result: Result) -> Iterator[str]:
    asked = result.plan.get("rate")
    if asked is None or not result.messages:
        return
    if result.saturated:
        return
    kept_up = result.messages_per_second >= _KEPT_UP * asked
    if not kept_up and _AWAY & set(result.errors):
        yield (
            f"Not all of the load was answered: {rate_words(asked)} messages/s were due, "
            f"{rate_words(result.messages_per_second)} were answered. The service ended "
            "connections, or took none, as the errors tell; what was due meanwhile had to wait."
        )
    elif not kept_up:
        yield (
            f"Not all of the load was answered: {rate_words(asked)} messages/s were due, "
            f"{rate_words(result.messages_per_second)} were answered. Above what a service can do, "
            "its corrected latency grows for as long as that lasts; a lower --rate tells what "
            "it does below."
        )
    elif _was_held_back(result):
        yield (
            "Messages had to wait before they could be sent, for the connections were waiting "
            "for replies: the corrected latency has that wait, as the users of a service have it."
        )


def _was_held_back(result: Result) -> bool:
    """Whether the corrected p99 is much more than the uncorrected one, by the service's doing."""
    corrected, uncorrected = result.latency.percentile(99.0), result.service.percentile(99.0)
    if result.plan.get("connect_each"):
        uncorrected += result.connect.percentile(99.0)
    own = result.generator.behind > _OWN_SHARE * corrected
    much = corrected - uncorrected >= _HELD_BACK_SECONDS
    return much and 0 < _HELD_BACK * uncorrected <= corrected and not own


def _errors(result: Result) -> Iterator[str]:
    if result.errors and not result.messages and result.connected:
        yield "Not one request got a right reply."
    for kind in result.errors:
        if kind in _BY_ERROR and not (kind == "unsent" and _AWAY & set(result.errors)):
            yield _BY_ERROR[kind]
