"""An attack, and what became of it: of the server, and of a good client meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import pytest

from threadwire import Address, Framing
from threadwire.testing import GoodClient, Leaks

from .target import SETTLE, Target

__all__ = ["BESIDE", "PROPERTY", "Attack", "Outcome", "Trial"]

PROPERTY = "hostile"  # the property of a test's report that keeps an outcome
BESIDE = 20  # right answers that a good client gets while an attack is at its height

_PAUSE = 0.002  # seconds between a good client's requests, which is no flood itself
_MEMORY = 8 << 20  # bytes that it may keep

Attack: TypeAlias = Callable[[int, GoodClient], str]
"""Called with a count and with the good client; returns what happened, in words."""


class Outcome(NamedTuple):
    """A line of the table. Memory is resident, in bytes."""

    attack: str
    happened: str
    answers: int
    errors: int
    worst: float  # seconds
    memory: tuple[int, int, int]  # before, the most meanwhile, after
    threads: tuple[int, int]  # before, after
    descriptors: tuple[int, int]  # the same
    log_lines: int


class Trial:
    """Has servers endure attacks, and keeps the outcomes with its test's report."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def endure(
        self,
        target: Target,
        name: str,
        attack: Attack,
        count: int = 1,
        *,
        warm_up: int | None = None,
        memory: int = _MEMORY,
        each: int = 100,
        pause: float = _PAUSE,
        framing: Framing | None = None,
        address: Address | None = None,
    ) -> Outcome:
        """Attack ``target``, first with ``warm_up`` [count; 0: not at all], then with ``count``.

        Meanwhile a good client makes requests, ``each`` in a connection, ``pause`` seconds
        apart, and has to be answered rightly. Then threads and descriptors have to be as many
        as at the server's start, and memory at most ``memory`` bytes more than between the two.
        """

        def good_client() -> GoodClient:
            tick = threading.Event()

            def message(number: int) -> bytes:
                tick.wait(pause)
                return b"good client, message %d" % number

            return GoodClient(
                address or target.address, framing or target.framing, message=message, each=each
            )

        if warm_up != 0:
            with good_client() as good:
                good.wait_for()
                attack(warm_up or count, good)
        target.at_rest.check()
        target.reset_peak()
        lines = target.await_quiet()
        with Leaks(target.pid, memory=memory, threads=1, settle=SETTLE) as leaks:
            with good_client() as good:
                good.wait_for()
                happened = attack(count, good)
                good.wait_for()
        target.at_rest.check()
        target.serves_on()
        outcome = Outcome(
            f"{name} ({target.handler})",
            happened,
            good.count,
            good.error_count,
            good.worst,
            (leaks.before.memory, target.peak, leaks.after.memory),
            (target.at_rest.before.threads.total(), target.at_rest.after.threads.total()),
            (target.at_rest.before.descriptors.total(), target.at_rest.after.descriptors.total()),
            target.await_quiet() - lines,
        )
        self.keep(outcome)
        return outcome

    def note_end(self, target: Target, name: str, happened: str, good: GoodClient) -> None:
        """Keep the outcome of an attack that ``target`` was meant not to outlive."""
        before = target.at_rest.before
        self.keep(
            Outcome(
                f"{name} ({target.handler})",
                happened,
                good.count,
                good.error_count,
                good.worst,
                (before.memory, before.memory, 0),
                (before.threads.total(), 0),
                (before.descriptors.total(), 0),
                len(target.log),
            )
        )

    def keep(self, outcome: Outcome) -> None:
        """For the table."""
        self._item.user_properties.append((PROPERTY, list(outcome)))
