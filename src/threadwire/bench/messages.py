"""What is sent: one message, messages of many sizes, or the lines of a file.

Whichever it is, a run goes through a list of messages, again and again. It is made once,
before anything is measured, and depends on nothing but what was asked for.
"""

from __future__ import annotations

import math
import os
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ..errors import UsageError, describe_os_error
from ..framing import Delimited, Framing

__all__ = ["Distribution", "Fixed", "FromFile", "Messages", "Sizes"]

Distribution: TypeAlias = Literal["uniform", "log"]

_ALPHABET: Final = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
_MOST_MADE: Final = 4096  # messages; so that their sizes are spread as they should be
_MOST_BYTES: Final = 32 << 20  # of all messages that are made, unless a single one is larger
_LARGEST: Final = 1 << 30
_LARGEST_FILE: Final = 256 << 20


class Messages(ABC):
    """What is sent; an immutable value that can be pickled."""

    @abstractmethod
    def make(self, framing: Framing) -> list[bytes]:
        """The messages, one or more; raises :class:`~threadwire.UsageError`."""

    @abstractmethod
    def __str__(self) -> str:
        """What they are, in a few words."""


@dataclass(frozen=True)
class Fixed(Messages):
    """The same message every time."""

    message: bytes

    def __post_init__(self) -> None:
        given: object = self.message
        if not isinstance(given, bytes):
            raise UsageError(f"message must be bytes, not {given!r}")

    def make(self, framing: Framing) -> list[bytes]:
        return [self.message]

    def __str__(self) -> str:
        return f"one message of {_bytes(len(self.message))}"


@dataclass(frozen=True)
class Sizes(Messages):
    """Random letters and digits, ``low`` to ``high`` bytes of them without the framing.

    low, high
        The smallest and the largest size in bytes; ``high`` is ``low`` unless it is given.
    distribution
        ``"uniform"``: every size is as likely as every other; ``"log"``: a size is as likely
        to be between 64 and 128 as between 2,048 and 4,096.
    seed
        What the sizes and the letters follow from [0].
    """

    low: int = 64
    high: int | None = None
    distribution: Distribution = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, given in (("low", self.low), ("high", self.largest)):
            if type(given) is not int or not 0 <= given <= _LARGEST:
                raise UsageError(f"{name} must be a size from 0 to {_LARGEST} bytes, not {given!r}")
        if self.largest < self.low:
            raise UsageError(f"high must be at least low ({self.low}), not {self.high!r}")
        if self.distribution not in ("uniform", "log"):
            raise UsageError(f"distribution must be uniform or log, not {self.distribution!r}")
        if type(self.seed) is not int:
            raise UsageError(f"seed must be a whole number, not {self.seed!r}")

    @property
    def largest(self) -> int:
        return self.low if self.high is None else self.high

    def make(self, framing: Framing) -> list[bytes]:
        alphabet = _alphabet(framing)
        chance = random.Random(self.seed)
        sizes: list[int] = []
        total = 0
        while len(sizes) < _MOST_MADE and (not sizes or total + self.largest <= _MOST_BYTES):
            sizes.append(self._size(chance))
            total += sizes[-1]
        # Every message begins elsewhere in one random text, so that neighbours differ.
        text = bytes(chance.choices(alphabet, k=max(sizes) + _MOST_MADE))
        starts = [chance.randrange(_MOST_MADE) for _ in sizes]
        return [text[start : start + size] for start, size in zip(starts, sizes, strict=True)]

    def _size(self, chance: random.Random) -> int:
        if self.distribution == "uniform":
            return chance.randint(self.low, self.largest)
        low, high = math.log(self.low + 1), math.log(self.largest + 2)
        return min(self.largest, max(self.low, int(math.exp(chance.uniform(low, high))) - 1))

    def __str__(self) -> str:
        if self.largest == self.low:
            return f"random messages of {_bytes(self.low)}"
        return f"random messages of {self.low} to {_bytes(self.largest)}, {self.distribution}"


@dataclass(frozen=True)
class FromFile(Messages):
    """The lines of a file, without their ends, one after the other and then from the start.

    Reads the file when it is made; raises :class:`~threadwire.UsageError` if it cannot be
    read, is larger than 256 MiB or has no line.
    """

    path: str | os.PathLike[str]
    lines: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.lines:
            return
        path = Path(self.path)
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise UsageError(f"{path}: larger than {_LARGEST_FILE >> 20} MiB")
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: {describe_os_error(error)}") from error
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        if not lines:
            raise UsageError(f"{path}: there is no line in it to send")
        object.__setattr__(self, "lines", tuple(line.removesuffix(b"\r") for line in lines))

    def make(self, framing: Framing) -> list[bytes]:
        return list(self.lines)

    def __str__(self) -> str:
        return f"{len(self.lines)} lines of {self.path}"


def _alphabet(framing: Framing) -> bytes:
    """Characters of which no message can be one that ``framing`` does not carry."""
    if not isinstance(framing, Delimited):
        return _ALPHABET
    allowed = bytes(set(_ALPHABET) - set(framing.delimiter))
    if not allowed:
        raise UsageError("the delimiter leaves no letter for random messages; give a message")
    return bytes(sorted(allowed))


def _bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size} bytes"
