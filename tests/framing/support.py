"""Streams taken apart: what the tests of all framings share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from threadwire import Codec, Framing, FramingError

Cut: TypeAlias = Callable[[bytes], list[bytes]]

LIMIT = 1000  # bytes a message may have where a test says nothing else


def in_pieces(size: int) -> Cut:
    """Cut a stream into chunks of ``size`` bytes."""
    return lambda data: [data[i : i + size] for i in range(0, len(data), size)]


def whole(data: bytes) -> list[bytes]:
    return [data]


def with_empty_chunks(data: bytes) -> list[bytes]:
    return [part for i in range(len(data)) for part in (b"", data[i : i + 1])] + [b""]


every_cut = pytest.mark.parametrize(
    "cut",
    [
        pytest.param(whole, id="whole"),
        pytest.param(in_pieces(1), id="byte by byte"),
        pytest.param(in_pieces(2), id="by twos"),
        pytest.param(in_pieces(3), id="by threes"),
        pytest.param(with_empty_chunks, id="with empty chunks"),
    ],
)


def take(codec: Codec) -> Iterator[bytes]:
    """The messages that are there; a violation is raised after those before it."""
    while (message := codec.next_message()) is not None:
        yield message


@dataclass
class Decoded:
    """What came of a stream: its messages and, where it broke the framing, the violation."""

    messages: list[bytes]
    error: FramingError | None
    codec: Codec

    @property
    def failure(self) -> FramingError:
        assert self.error is not None, f"nothing was wrong; got {self.messages}"
        return self.error


def decode(
    framing: Framing, chunks: Iterable[bytes], *, limit: int = LIMIT, end: bool = False
) -> Decoded:
    """Feed the chunks, taking every message as soon as it is there, until a violation."""
    codec = framing.codec(limit)
    decoded = Decoded([], None, codec)
    try:
        for chunk in chunks:
            codec.feed(chunk)
            decoded.messages.extend(take(codec))
        if end:
            codec.end()
            decoded.messages.extend(take(codec))
    except FramingError as error:
        decoded.error = error
    return decoded


def messages(
    framing: Framing, chunks: Iterable[bytes], *, limit: int = LIMIT, end: bool = False
) -> list[bytes]:
    """The messages of a stream that breaks no rule."""
    decoded = decode(framing, chunks, limit=limit, end=end)
    if decoded.error is not None:
        raise decoded.error
    return decoded.messages
