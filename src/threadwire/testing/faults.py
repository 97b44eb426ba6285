"""What a :class:`~threadwire.testing.FaultProxy` does to a stream, and at which byte of it.

A fault's steps stand at offsets in the stream, drawn from a generator of its own, whose key
is the seed, the connection's number, the direction and the fault's place in the list. So
the same seed gives the same steps, whatever the timing and whatever the other connections
do. No I/O here, and no clock.
"""

from __future__ import annotations

import enum
import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Literal, NamedTuple, TypeAlias

from ..errors import UsageError
from ..value import Value
from .arguments import check_seconds, check_share, check_whole

__all__ = [
    "Chaos",
    "Delay",
    "Direction",
    "Fault",
    "Glue",
    "Reset",
    "Split",
    "Stall",
    "Step",
    "StepKind",
    "Truncate",
    "plan",
]

Direction: TypeAlias = Literal["up", "down"]
"""``up`` is from the client to the server, ``down`` back."""

MOST_GLUED = 1 << 20  # bytes; what is held back is in memory


# The most that Chaos does at once: bytes, pieces and seconds. Enough to upset whoever counts on
# one read being one message, and little enough for a test that sends megabytes.
_CHAOS_LOSS = 64 << 10
_CHAOS_PIECE = 2048
_CHAOS_PIECES = 64
_CHAOS_GLUED = 8192
_CHAOS_GLUE_SECONDS = 0.005
_CHAOS_DELAY = 0.003
_CHAOS_STALL = 0.03
_CHAOS_PLAIN = 2048


class StepKind(enum.StrEnum):
    """What is done at one place of a stream."""

    SPLIT = "split"  # what comes next begins a piece of its own
    GLUE = "glue"  # the next `size` bytes wait until they are together
    DELAY = "delay"  # what comes next waits
    STALL = "stall"  # the same, also for the end of the stream
    TRUNCATE = "truncate"  # the stream ends here
    RESET = "reset"  # the connection is reset here

    @property
    def once(self) -> bool:
        """Whether it is done as soon as the stream has come so far; the others await a byte."""
        return self in _ONCE


_ONCE = frozenset((StepKind.STALL, StepKind.TRUNCATE, StepKind.RESET))


class Step(NamedTuple):
    """One thing done to a stream, after ``offset`` bytes of it.

    ``seconds`` is how long something waits at most, ``math.inf`` until it is released.
    """

    offset: int
    kind: StepKind
    seconds: float = 0.0
    size: int = 0

    def __str__(self) -> str:
        text = f"{self.kind}@{self.offset}"
        if self.kind is StepKind.GLUE:
            text += f"+{self.size}"
        elif self.seconds == math.inf:
            text += "(until released)"
        elif self.seconds:
            text += f"({self.seconds:.6f}s)"
        return text


class Fault(Value, ABC):
    """One kind of fault; what all of them take:

    connections
        The numbers of the connections that have it, the first is 1 [all].
    direction
        ``"up"``, from the client to the server, or ``"down"`` [both].

    Wrong arguments raise :class:`~threadwire.UsageError`.
    """

    __slots__: tuple[str, ...] = ()

    connections: frozenset[int] | None
    direction: Direction | None

    @abstractmethod
    def steps(self, chance: Random) -> Iterator[Step]:
        """Its steps in one stream; their offsets never fall.

        ``chance`` is this stream's own. Only its ``random()`` is used: what the others make
        of a seed may change with the version of Python.
        """

    def concerns(self, connection: int, direction: Direction) -> bool:
        return (self.connections is None or connection in self.connections) and (
            self.direction is None or direction == self.direction
        )

    def _limit_to(self, connections: Iterable[int] | None, direction: Direction | None) -> None:
        if direction not in (None, "up", "down"):
            raise UsageError(f"direction must be 'up', 'down' or None, not {direction!r}")
        if connections is not None:
            connections = frozenset(connections)
            if not all(type(number) is int and number > 0 for number in connections):
                raise UsageError("connections must be numbers from 1 on, as in [1, 3]")
        self.connections = connections
        self.direction = direction

    def __repr__(self) -> str:
        fields = [
            f"{name}={sorted(value) if isinstance(value, frozenset) else value!r}"
            for name in self.__slots__
            if (value := getattr(self, name)) is not None
        ]
        return f"{type(self).__name__}({', '.join(fields)})"


class Split(Fault):
    """Cut the stream into pieces of 1 to ``most`` bytes [16], each sent by itself.

    A receiver that is slower than the proxy may still read several at once; a
    :class:`Delay` beside it keeps them apart.
    """

    __slots__ = ("connections", "direction", "most")

    def __init__(
        self,
        most: int = 16,
        *,
        connections: Iterable[int] | None = None,
        direction: Direction | None = None,
    ) -> None:
        self.most = check_whole("most", most, 1)
        self._limit_to(connections, direction)

    def steps(self, chance: Random) -> Iterator[Step]:
        offset = 0
        while True:
            offset += _up_to(chance, self.most)
            yield Step(offset, StepKind.SPLIT)


class Glue(Fault):
    """Send ``size`` bytes at once [4,096], however they came.

    They are held back until they are together; but no longer than ``seconds`` after the
    first of them came [0.02], since who waits for an answer sends no more.
    """

    __slots__ = ("connections", "direction", "seconds", "size")

    def __init__(
        self,
        size: int = 4096,
        seconds: float = 0.02,
        *,
        connections: Iterable[int] | None = None,
        direction: Direction | None = None,
    ) -> None:
        self.size = check_whole("size", size, 2, MOST_GLUED)
        self.seconds = check_seconds("seconds", seconds)
        self._limit_to(connections, direction)

    def steps(self, chance: Random) -> Iterator[Step]:
        offset = 0
        while True:
            yield Step(offset, StepKind.GLUE, self.seconds, self.size)
            offset += self.size


class Delay(Fault):
    """Hold the stream up, again and again, for 0 to ``most`` seconds [0.01].

    Before its first byte, and then after every ``every`` bytes [256] on average.
    """

    __slots__ = ("connections", "direction", "every", "most")

    def __init__(
        self,
        most: float = 0.01,
        every: int = 256,
        *,
        connections: Iterable[int] | None = None,
        direction: Direction | None = None,
    ) -> None:
        self.most = check_seconds("most", most)
        self.every = check_whole("every", every, 1)
        self._limit_to(connections, direction)

    def steps(self, chance: Random) -> Iterator[Step]:
        offset = 0
        while True:
            yield Step(offset, StepKind.DELAY, chance.random() * self.most)
            offset += _up_to(chance, 2 * self.every - 1)


class _Once(Fault):
    """What is done at one place: after so many bytes, or after one of a range of numbers."""

    __slots__ = ()

    after_bytes: int | range

    def _place(self, chance: Random) -> int:
        places = self.after_bytes
        if isinstance(places, range):
            return places[int(chance.random() * len(places))]
        return places


class Stall(_Once):
    """Let nothing through behind the first ``after_bytes`` bytes, neither bytes nor the end.

    ``seconds``: for how long [until :meth:`FaultProxy.release`]. A range of bytes, as in
    ``range(100)``, stands for one of its numbers.
    """

    __slots__ = ("after_bytes", "connections", "direction", "seconds")

    def __init__(
        self,
        after_bytes: int | range,
        seconds: float | None = None,
        *,
        connections: Iterable[int] | None = None,
        direction: Direction | None = None,
    ) -> None:
        self.after_bytes = _places(after_bytes)
        self.seconds = None if seconds is None else check_seconds("seconds", seconds)
        self._limit_to(connections, direction)

    def steps(self, chance: Random) -> Iterator[Step]:
        seconds = math.inf if self.seconds is None else self.seconds
        yield Step(self._place(chance), StepKind.STALL, seconds)


class Truncate(_Once):
    """End the stream behind its first ``after_bytes`` bytes; what comes later is dropped.

    The other direction goes on. A range of bytes stands for one of its numbers.
    """

    __slots__ = ("after_bytes", "connections", "direction")

    def __init__(
        self,
        after_bytes: int | range,
        *,
        connections: Iterable[int] | None = None,
        direction: Direction | None = None,
    ) -> None:
        self.after_bytes = _places(after_bytes)
        self._limit_to(connections, direction)

    def steps(self, chance: Random) -> Iterator[Step]:
        yield Step(self._place(chance), StepKind.TRUNCATE)


class Reset(_Once):
    """Reset the connection, to both sides, when ``after_bytes`` bytes have been delivered.

    A range of bytes stands for one of its numbers. A unix socket knows no reset: a server
    behind one sees the end of the stream, or a reset if it has sent something unread.
    """

    __slots__ = ("after_bytes", "connections", "direction")

    def __init__(
        self,
        after_bytes: int | range,
        *,
        connections: Iterable[int] | None = None,
        direction: Direction | None = None,
    ) -> None:
        self.after_bytes = _places(after_bytes)
        self._limit_to(connections, direction)

    def steps(self, chance: Random) -> Iterator[Step]:
        yield Step(self._place(chance), StepKind.RESET)


class Chaos(Fault):
    """Splits, glueing, delays and short stalls, by turns, in every stream others.

    In all they take a second or so a megabyte.

    loss
        The share of the streams that are also truncated or reset, somewhere in their first
        64 KiB and mostly early [0: every byte arrives].
    """

    __slots__ = ("connections", "direction", "loss")

    def __init__(
        self,
        loss: float = 0.0,
        *,
        connections: Iterable[int] | None = None,
        direction: Direction | None = None,
    ) -> None:
        self.loss = check_share("loss", loss)
        self._limit_to(connections, direction)

    def steps(self, chance: Random) -> Iterator[Step]:
        loss = []
        if chance.random() < self.loss:
            kind = StepKind.TRUNCATE if chance.random() < 0.5 else StepKind.RESET
            loss.append(Step(_of_any_size(chance, _CHAOS_LOSS) - 1, kind))
        return _in_order([iter(loss), _phases(chance)])


def _phases(chance: Random) -> Iterator[Step]:
    """One kind of fault for a while, then another."""
    offset = 0
    while True:
        kind = chance.random()
        if kind < 0.4:
            most = _of_any_size(chance, _CHAOS_PIECE)
            for _ in range(_of_any_size(chance, _CHAOS_PIECES)):
                offset += _up_to(chance, most)
                yield Step(offset, StepKind.SPLIT)
        elif kind < 0.6:
            size = 1 + _of_any_size(chance, _CHAOS_GLUED)
            yield Step(offset, StepKind.GLUE, _CHAOS_GLUE_SECONDS, size)
            offset += size
        elif kind < 0.75:
            yield Step(offset, StepKind.DELAY, chance.random() * _CHAOS_DELAY)
        elif kind < 0.8:
            yield Step(offset, StepKind.STALL, chance.random() * _CHAOS_STALL)
        offset += _of_any_size(chance, _CHAOS_PLAIN)  # nothing in between


def plan(
    faults: Sequence[Fault], seed: int, connection: int, direction: Direction
) -> Iterator[Step]:
    """The steps of one stream, in the order in which they are done. There may be no last one."""
    return _in_order(
        [
            # A string is hashed by SHA-512, so neighbouring keys have nothing in common.
            fault.steps(Random(f"{seed} {connection} {direction} {place}"))
            for place, fault in enumerate(faults)
            if fault.concerns(connection, direction)
        ]
    )


def _in_order(streams: list[Iterator[Step]]) -> Iterator[Step]:
    """What is done once comes first at its offset: the others may wait for ever for a byte."""
    return heapq.merge(*streams, key=lambda step: (step.offset, not step.kind.once))


def _up_to(chance: Random, most: int) -> int:
    """1 to ``most``, each as likely."""
    return 1 + int(chance.random() * most)


def _of_any_size(chance: Random, most: int) -> int:
    """1 to ``most``, each order of magnitude as likely."""
    return int(most ** chance.random())


def _places(value: object) -> int | range:
    if type(value) is range:
        if not value or min(value[0], value[-1]) < 0:
            raise UsageError(f"after_bytes must be a range of 0 or more bytes, not {value!r}")
        return value
    return check_whole("after_bytes", value, 0)
