"""Requests, framed before anything is measured, with the replies that must come."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from typing import NamedTuple

from ..errors import UsageError
from ..framing import Framing, Raw
from .expect import Expectation
from .messages import Messages

__all__ = ["Burst", "Request", "make_requests"]


class Request(NamedTuple):
    """``frame`` is what is sent for ``message``.

    ``reply`` is all that must come back, framing included; ``None`` if that is not known.
    """

    frame: bytes
    reply: bytes | None
    message: bytes


class Burst:
    """Requests that are sent at once, without a schedule, and whose replies are known.

    ``replies`` is all that must come back for them. So much of it has come: the replies to the
    first ``answered`` requests, and ``begun`` bytes of the next one. ``sent`` is when they were
    sent, by the monotonic clock: infinity until then.
    """

    __slots__ = ("_ends", "_got", "answered", "begun", "replies", "requests", "sent")

    def __init__(self, requests: list[Request]) -> None:
        self.requests = requests
        self.replies = b"".join([request.reply or b"" for request in requests])
        self.answered = self.begun = 0
        self.sent = math.inf
        self._got = 0  # bytes of ``replies``
        self._ends: list[int] = []  # 0, and of each reply; made when they come in pieces

    def take(self, data: bytes, at: int) -> int:
        """Check what comes, from ``at`` on; returns how many bytes are right, 0 if one is not."""
        piece = data[at : at + len(self.replies) - self._got]
        if not self.replies.startswith(piece, self._got):
            return 0
        self._got += len(piece)
        if self._got == len(self.replies):
            self.answered, self.begun = len(self.requests), 0
        else:
            if not self._ends:
                sizes = (len(request.reply or b"") for request in self.requests)
                self._ends = list(itertools.accumulate(sizes, initial=0))
            self.answered = bisect_right(self._ends, self._got) - 1
            self.begun = self._got - self._ends[self.answered]
        return len(piece)


def make_requests(messages: Messages, framing: Framing, expect: Expectation) -> list[Request]:
    """What a run sends, one after the other and then from the start.

    Raises :class:`~threadwire.UsageError` for what the framing cannot carry.
    """
    codec = framing.codec()
    raw = isinstance(framing, Raw)
    requests = []
    for message in messages.make(framing):
        reply = expect.exactly(message)
        if raw and (not message or reply == b""):
            raise UsageError("raw framing cannot carry an empty message; nothing would be sent")
        frame = codec.encode(message)
        requests.append(Request(frame, None if reply is None else codec.encode(reply), message))
    return requests
