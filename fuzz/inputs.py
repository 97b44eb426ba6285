"""Choices made from a fuzzer's bytes: where few of them change, little else does."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["BYTE_BY_BYTE", "PLAN", "Input", "chunks"]

T = TypeVar("T")

PLAN = 6  # bytes of a plan, see chunks()
BYTE_BY_BYTE = b"\1"
_MOST_CHUNKS = 300  # about; so that a long stream in small pieces does not take for ever


class Input:
    """The bytes that a target was given, used up from the front; behind the end all is zero."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not used yet."""
        return max(0, len(self._data) - self._at)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``; the first at the end."""
        return options[self.byte() % len(options)]

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end."""
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        return self.take(self.left)


def chunks(plan: bytes, stream: bytes, marks: Sequence[int] = ()) -> Iterator[tuple[bytes, int]]:
    """``stream`` cut as ``plan`` says, and with each piece the byte of the plan that made it.

    The plan is gone through again and again; the three lowest bits of its bytes tell sizes.
    ``marks``, in rising order, are places in the stream where a peer would stop writing.
    """
    scale = 1 + len(stream) // _MOST_CHUNKS
    at = 0
    for code in itertools.cycle(plan or b"\7"):
        if at >= len(stream):
            return
        kind = code & 7
        if kind == 0:
            yield b"", code  # and then one byte, so that it goes on
        if kind == 7:
            end = len(stream)
        elif kind == 6:
            next_mark = bisect.bisect_right(marks, at)
            end = marks[next_mark] if next_mark < len(marks) else len(stream)
        else:
            end = at + (1, 1, 2, 3, 17, 200)[kind] * scale
        yield stream[at:end], code
        at = end
