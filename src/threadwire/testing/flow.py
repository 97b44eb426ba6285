"""One direction of one connection on its way through a :class:`FaultProxy`: bytes and steps.

No I/O; time is an argument. The owner feeds what it has read, sends what :meth:`Flow.piece`
gives, and reports how much of that the system took. What is done where depends on the bytes
alone: steps are taken one by one, each at its own offset, whatever the chunks that came. Time
decides only when.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator

from .faults import Step, StepKind

__all__ = ["End", "Flow"]

_ROOM = 64 << 10  # bytes held, beside what has to be glued


class End(enum.Enum):
    """How a stream ended for its receiver."""

    FINISHED = "finished"  # its sender had no more
    TRUNCATED = "truncated"
    RESET = "reset"
    LOST = "lost"  # the receiver has gone


class Flow:
    """The stream from one end to the other. Whoever calls owns it.

    delivered
        How many bytes have been sent on.
    taken
        How many steps have been taken; they are the plan's first.
    end
        How it ended for its receiver, ``None`` while it goes on. Then nothing is sent
        any more, and what still comes is dropped.
    """

    def __init__(self, steps: Iterator[Step]) -> None:
        self._steps = steps
        self._next = next(steps, None)
        self.delivered = 0
        self.taken = 0
        self.end: End | None = None
        self.source_ended = False  # nothing comes any more
        self._source_reset = False
        self._held = bytearray()
        self._resume_at = -math.inf  # nothing goes on before
        self._stalled = False
        self._glued_to = 0  # offset: up to there bytes wait for each other
        self._glue_seconds = 0.0
        self._glue_due: float | None = None  # then those that have come go, even so
        self._freed_to = 0  # offset: up to there they wait no longer

    @property
    def room(self) -> int:
        """How many bytes may be fed."""
        if self.end is not None:
            return _ROOM
        return max(_ROOM, self._glued_to - self.delivered) - len(self._held)

    @property
    def stalled(self) -> bool:
        """Whether a stall is under way."""
        return self._stalled

    def feed(self, data: bytes) -> None:
        if self.end is None:
            self._held += data

    def finish(self, *, reset: bool = False) -> None:
        """The sender has ended its stream, or has reset it."""
        self.source_ended = True
        self._source_reset = reset

    def give_up(self, end: End) -> None:
        """Nothing is delivered any more; what is held is dropped."""
        if self.end is None:
            self.end = end
            self._held.clear()

    def release(self) -> None:
        """End a stall that is under way."""
        if self._stalled:
            self._stalled = False
            self._resume_at = -math.inf

    def piece(self, now: float) -> bytes:
        """What is to be sent now, in one call; nothing if it has to wait or is at its end."""
        if not self._take_steps(now):
            return b""
        held = len(self._held)
        if not held:
            if self.source_ended:
                self.end = End.RESET if self._source_reset else End.FINISHED
            return b""
        limit = self.delivered + held
        if self.delivered < self._glued_to:
            limit = min(limit, self._unglued(now))
        if self._next is not None:
            limit = min(limit, self._next.offset)
        return bytes(memoryview(self._held)[: max(0, limit - self.delivered)])

    def sent(self, count: int, now: float) -> None:
        """So much of the last piece has been sent; the rest comes again."""
        del self._held[:count]
        self.delivered += count
        self._take_steps(now)

    def wake_at(self, now: float) -> float | None:
        """When to ask for the next piece, though nothing has come; ``None``: no need to."""
        if self.end is not None:
            return None
        if now < self._resume_at:
            return None if self._resume_at == math.inf else self._resume_at
        return self._glue_due

    # Inner workings.

    def _take_steps(self, now: float) -> bool:
        """Take the steps that stand here; whether the stream goes on now."""
        while self.end is None and now >= self._resume_at:
            self._stalled = False
            step = self._next
            if step is None or step.offset > self.delivered:
                return True
            if not (step.kind.once or self._held):
                return True
            self._next = next(self._steps, None)
            self.taken += 1
            self._take(step, now)
        return False

    def _take(self, step: Step, now: float) -> None:
        if step.kind is StepKind.GLUE:
            self._glued_to = max(self._glued_to, step.offset + step.size)
            self._glue_seconds = step.seconds
            self._glue_due = None
            self._freed_to = step.offset
        elif step.kind is StepKind.DELAY:
            self._resume_at = now + step.seconds
        elif step.kind is StepKind.STALL:
            self._resume_at = now + step.seconds
            self._stalled = True
        elif step.kind is not StepKind.SPLIT:
            self.give_up(End.RESET if step.kind is StepKind.RESET else End.TRUNCATED)

    def _unglued(self, now: float) -> int:
        """The offset up to which bytes that wait for each other may go."""
        come = self.delivered + len(self._held)
        if self._freed_to <= self.delivered:  # those that were let go have gone
            if self._glue_due is None:
                self._glue_due = now + self._glue_seconds
            if come >= self._glued_to or self.source_ended or now >= self._glue_due:
                self._freed_to = min(come, self._glued_to)
                self._glue_due = None
        return self._freed_to
