"""Requests, framed before anything is measured, with the replies that must come."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import UsageError
from ..framing import Framing, Raw
from .expect import Expectation
from .messages import Messages

__all__ = ["Request", "make_requests"]


class Request(NamedTuple):
    """``frame`` is what is sent for ``message``.

    ``reply`` is all that must come back, framing included; ``None`` if that is not known.
    """

    frame: bytes
    reply: bytes | None
    message: bytes


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
