"""Hostile peers, each a context manager: what a server meets on an open network.

::

    with silent(address, 500), drip(address, b"a message\\n"), GoodClient(address) as good:
        good.wait_for(100)

They go on until their block ends, the server has thrown them out, or ``at_most`` seconds
are over [60]; :class:`Hostile` says what can be asked of them meanwhile. To make another one,
write its script.

A machine that vanishes without a word cannot be had on one machine; to the server it is
like one that says nothing, or like a :class:`FaultProxy` that stalls.
"""

from __future__ import annotations

from random import Random

from ..address import Address
from ..errors import UsageError
from ..framing import Framing, LengthPrefixed, Netstring
from .arguments import check_seconds, check_whole
from .hostile import AT_MOST, LOOK, STEP, Hostile, Script

__all__ = [
    "announces",
    "connect_and_reset",
    "drip",
    "flood",
    "garbage",
    "half_open",
    "never_reads",
    "reset_after",
    "silent",
]

_BLOCK = 64 << 10  # bytes offered to the system at a time
_SMALL_BUFFER = 4096  # bytes; what a peer that never reads lets arrive
_FULL_SECONDS = 0.2  # without room for a byte, after which a connection counts as full
_ENOUGH = 64 << 20  # bytes, after which it will never be full


def silent(address: str | Address, count: int = 1, *, at_most: float = AT_MOST) -> Hostile:
    """``count`` connections that say nothing, and do not go away."""
    check_whole("count", count, 1)

    def script(run: Hostile) -> Script:
        peers = [run.connect(address) for _ in range(count)]
        yield 0
        yield from run.stay(peers)

    return Hostile(script, at_most=at_most)


def half_open(
    address: str | Address, data: bytes = b"", count: int = 1, *, at_most: float = AT_MOST
) -> Hostile:
    """Say ``data``, end the sending side, and then neither read nor close."""
    check_whole("count", count, 1)

    def script(run: Hostile) -> Script:
        peers = [run.connect(address) for _ in range(count)]
        for peer in peers:
            peer.say(data)
            run.bytes_sent += len(data)
            peer.finish()
        yield 0
        yield from run.stay(peers)

    return Hostile(script, at_most=at_most)


def announces(
    address: str | Address,
    size: int,
    framing: Framing | None = None,
    count: int = 1,
    *,
    at_most: float = AT_MOST,
) -> Hostile:
    """Announce a message of ``size`` bytes, and send none of it.

    framing
        A :class:`~threadwire.LengthPrefixed` [of four bytes] or
        :class:`~threadwire.Netstring`; others announce nothing.
    """
    check_whole("count", count, 1)
    header = _header(framing or LengthPrefixed(), size)

    def script(run: Hostile) -> Script:
        peers = [run.connect(address) for _ in range(count)]
        for peer in peers:
            run.say(peer, header)
        yield 0
        yield from run.stay(peers)

    return Hostile(script, at_most=at_most)


def drip(
    address: str | Address,
    data: bytes,
    *,
    seconds_per_byte: float | None = 0.05,
    at_most: float = AT_MOST,
) -> Hostile:
    """Say ``data`` byte by byte, and then wait for the server to end the connection.

    seconds_per_byte
        From one byte to the next [0.05]; ``None``: a byte for each
        :meth:`Hostile.step`. What the server says is read.
    """
    pause = (
        STEP if seconds_per_byte is None else check_seconds("seconds_per_byte", seconds_per_byte)
    )

    def script(run: Hostile) -> Script:
        peer = run.connect(address)
        yield 0
        for place in range(len(data)):
            yield pause
            if not run.keeps(peer):
                return
            yield from run.say_all(peer, data[place : place + 1])
            run.drop_replies(peer)
        yield from run.stay([peer])

    return Hostile(script, at_most=at_most)


def flood(
    address: str | Address, data: bytes = b"flood\n", count: int = 1, *, at_most: float = AT_MOST
) -> Hostile:
    """Say ``data`` again and again, as fast as the server takes it, and read what comes."""
    check_whole("count", count, 1)
    block = memoryview(_block(data))

    def script(run: Hostile) -> Script:
        peers = dict.fromkeys([run.connect(address) for _ in range(count)], 0)
        yield 0
        while peers:
            before = run.bytes_sent
            for peer, place in list(peers.items()):
                if not run.keeps(peer):
                    del peers[peer]
                    continue
                try:
                    run.drop_replies(peer)
                    peers[peer] = (place + run.say(peer, block[place:])) % len(block)
                except ConnectionError:
                    continue  # it will be counted as ended
            yield 0 if run.bytes_sent > before else LOOK

    return Hostile(script, at_most=at_most)


def never_reads(
    address: str | Address, data: bytes = b"more\n", *, at_most: float = AT_MOST
) -> Hostile:
    """Say ``data`` again and again and never read, with a small buffer for what comes.

    The block begins when the server has taken nothing for a fifth of a second: then its replies
    wait for a peer that does not come for them. Or it has ended the connection, or has
    taken 64 MiB, as one does that has nothing to reply.
    """
    block = memoryview(_block(data))

    def script(run: Hostile) -> Script:
        peer = run.connect(address, receive_buffer=_SMALL_BUFFER)
        place = 0
        while run.bytes_sent < _ENOUGH and not peer.ended and peer.wait_room(_FULL_SECONDS):
            place = (place + run.say(peer, block[place:])) % len(block)
        yield 0
        while run.keeps(peer):
            sent = run.say(peer, block[place:])
            place = (place + sent) % len(block)
            yield 0 if sent else LOOK

    return Hostile(script, at_most=at_most)


def reset_after(
    address: str | Address, data: bytes, times: int = 1, *, at_most: float = AT_MOST
) -> Hostile:
    """Connect, say ``data``, and reset; ``times`` times, one after the other."""
    check_whole("times", times, 1)

    def script(run: Hostile) -> Script:
        for _ in range(times):
            peer = run.connect(address)
            yield 0
            try:
                yield from run.say_all(peer, data)
            except ConnectionError:
                run.thrown_out += 1
            run.leave(peer, reset=True)

    return Hostile(script, at_most=at_most)


def connect_and_reset(
    address: str | Address, times: int = 100, *, at_most: float = AT_MOST
) -> Hostile:
    """Connect and reset at once; ``times`` times, one after the other."""
    return reset_after(address, b"", times, at_most=at_most)


def garbage(
    address: str | Address,
    seed: int,
    times: int = 1,
    *,
    size: int = 16 << 10,
    at_most: float = AT_MOST,
) -> Hostile:
    """Connect, say ``size`` random bytes [16 KiB] in pieces of any size, and close.

    ``times`` times, one after the other, until the server ends each. The same seed says the
    same.
    """
    check_whole("times", times, 1)
    check_whole("size", size, 1)

    def script(run: Hostile) -> Script:
        for number in range(times):
            chance = Random(f"{seed} {number}")
            peer = run.connect(address)
            yield 0
            left = size
            try:
                while left and run.keeps(peer):
                    piece = chance.randbytes(min(left, 1 + int(chance.random() * 512)))
                    left -= len(piece)
                    yield from run.say_all(peer, piece)
                    run.drop_replies(peer)
                    yield 0
            except ConnectionError:
                run.thrown_out += 1
            run.leave(peer)

    return Hostile(script, at_most=at_most)


def _block(data: bytes) -> bytes:
    """``data`` so many times that sending it is worth a call."""
    if not data:
        raise UsageError("data must not be empty")
    return data * max(1, _BLOCK // len(data))


def _header(framing: Framing, size: int) -> bytes:
    """What precedes a message of ``size`` bytes."""
    check_whole("size", size, 1)
    if isinstance(framing, Netstring):
        return b"%d:" % size
    if not isinstance(framing, LengthPrefixed):
        raise UsageError(f"framing must be LengthPrefixed or Netstring, not {framing!r}")
    length = size + (framing.size if framing.inclusive else -framing.offset)
    try:
        field = length.to_bytes(framing.size, framing.byteorder)
    except OverflowError:
        raise UsageError(f"size {size} does not fit the field of {framing}") from None
    return bytes(framing.offset) + field
