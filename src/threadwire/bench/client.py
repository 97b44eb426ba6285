"""One client: its connection, what it has asked, and whether what comes is the right answer.

How replies are checked
-----------------------
Where the right reply is known beforehand, the bytes that come are compared with the bytes
that must come, and nothing is decoded. If they differ, or the reply is not known, a codec
takes over for the rest of the connection: a reply that is framed in another lawful way, as a
line may be, is right, and of a wrong one the example is a message instead of bytes.

Replies to what was sent at once, a :class:`~.requests.Burst`, are compared at once, and how
many have come follows from how many bytes have. When a byte differs, they are checked one by
one from there.
"""

from __future__ import annotations

import enum
import math
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ..errors import FramingError
from ..framing import Codec, Framing, Raw
from .expect import Expectation, differs, shown
from .requests import Burst, Request

if TYPE_CHECKING:
    from ..transport.tls import Tls

__all__ = ["Asked", "Blocked", "Broken", "Checker", "Client", "State"]


class Asked:
    """A request that is unanswered.

    ``due`` is when it was to be sent, ``sent`` when it was, by the monotonic clock: infinity
    until then. Without a schedule it is due when connecting for it begins, or, on a connection
    that stays, when it is sent, and ``due`` is nothing.
    """

    __slots__ = ("due", "request", "sent")

    def __init__(self, request: Request, due: float = 0.0) -> None:
        self.request = request
        self.due = due
        self.sent = math.inf


Answered: TypeAlias = Callable[[Asked, float], None]


class State(enum.Enum):
    """What a client's connection is."""

    DOWN = "down"
    CONNECTING = "connecting"
    SECURING = "securing"  # shaking hands
    UP = "up"


class Broken(Exception):
    """A connection that is of no more use; ``kind`` and ``example`` are told as an error."""

    def __init__(self, kind: str, example: str) -> None:
        super().__init__(kind, example)
        self.kind = kind
        self.example = example


class Client:
    """Owned by the process's load.

    The requests that are unanswered are either in ``flight``, one by one, or in ``bursts``.
    ``awaited`` is the reply to the only one in ``flight``, if the next read may bring it whole
    and nothing has to be decrypted or decoded.
    """

    __slots__ = (
        "awaited",
        "began",
        "begun",
        "blocked",
        "burst_count",
        "bursts",
        "codec",
        "failures",
        "fd",
        "flight",
        "free_since",
        "full",
        "got",
        "idle",
        "number",
        "out",
        "sock",
        "state",
        "target",
        "tls",
        "tries",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = State.DOWN
        self.sock: socket.socket | None = None
        self.fd = -1
        self.tls: Tls | None = None
        self.codec: Codec | None = None
        self.flight: deque[Asked] = deque()
        self.bursts: deque[Burst] = deque()
        self.burst_count = 0  # requests in ``bursts`` that are unanswered
        self.awaited: bytes | None = None
        self.got = 0  # bytes of the next reply that have come, and are right
        self.out: list[bytes | memoryview] = []  # to be sent, before anything else
        self.blocked: Blocked | None = None  # the system takes no more of it for now
        self.began = 0.0  # when connecting began
        self.begun = False  # it is to send
        self.failures = 0  # in a row
        self.target = 0  # which of the service's addresses
        self.tries = 0  # of them, for this connection
        self.idle = False  # it is among those that have nothing to do
        self.full = False  # nothing more may be sent
        self.free_since = 0.0

    @property
    def unanswered(self) -> int:
        """How many requests are."""
        return len(self.flight) + self.burst_count

    @property
    def waits_since(self) -> float:
        """When the first of them was sent; infinity if there is none."""
        waiting: deque[Asked] | deque[Burst] = self.flight or self.bursts
        return waiting[0].sent if waiting else math.inf

    def scatter(self) -> None:
        """From now on the requests in bursts are looked at one by one."""
        for burst in self.bursts:
            for request in burst.requests[burst.answered :]:
                asked = Asked(request)
                asked.sent = burst.sent
                self.flight.append(asked)
        self.bursts.clear()
        self.burst_count = 0


class Blocked:
    """Waits for room to write, on a descriptor of its own: the client's own is read from."""

    __slots__ = ("client", "sock")

    def __init__(self, client: Client, sock: socket.socket) -> None:
        self.client = client
        self.sock = sock


class Checker:
    """Checks what comes. ``answered`` is called for each right reply, ``wrong``, with what is
    wrong, for each other one; ``counted`` instead for right replies to a burst, with the seconds
    they took and how many they are.
    """

    def __init__(
        self,
        framing: Framing,
        max_message: int,
        expect: Expectation,
        answered: Answered,
        counted: Callable[[float, int], None],
        wrong: Callable[[str], None],
    ) -> None:
        self._framing = framing
        self._raw = isinstance(framing, Raw)
        self._limit = max_message
        self._expect = expect
        self._answered = answered
        self._counted = counted
        self._wrong = wrong

    def take(self, client: Client, data: bytes, now: float) -> None:
        """Check ``data``, which has come; raises Broken."""
        flight = client.flight
        if client.codec is not None:
            self._decode(client, client.codec, data, now)
            return
        if client.bursts:
            data = self._take_bursts(client, data, now)
            if not data:
                return
        answered = self._answered
        at, size = 0, len(data)
        while flight and flight[0].sent <= now:
            reply, got = flight[0].request.reply, client.got
            if reply is None:
                self._begin_decoding(client, b"", data[at:], now)
                return
            if not got and data.startswith(reply, at):
                answered(flight.popleft(), now)
                at += len(reply)
            else:
                piece = data[at : at + len(reply) - got]
                at += len(piece)
                if not reply.startswith(piece, got):
                    self._begin_decoding(client, reply[:got], data[at - len(piece) :], now)
                    return
                client.got += len(piece)
                if client.got < len(reply):
                    return
                client.got = 0
                answered(flight.popleft(), now)
            if at == size:
                return
        raise _too_much(data[at:])

    def _take_bursts(self, client: Client, data: bytes, now: float) -> bytes:
        """Check ``data`` as far as it is right; returns the rest."""
        bursts = client.bursts
        at, size = 0, len(data)
        while bursts and at < size and bursts[0].sent <= now:
            burst = bursts[0]
            before = burst.answered
            taken = burst.take(data, at)
            if not taken:
                client.scatter()
                break
            at += taken
            client.got = burst.begun
            count = burst.answered - before
            if count:
                client.burst_count -= count
                self._counted(now - burst.sent, count)
            if burst.answered == len(burst.requests):
                bursts.popleft()
        return data[at:]

    def ended(self, client: Client) -> str:
        """What is to be told of a service that has ended the connection."""
        incomplete = client.got + (client.codec.unread if client.codec is not None else 0)
        if incomplete:
            return f"the service closed the connection {incomplete} bytes into a reply"
        if client.unanswered:
            return "the service closed the connection before it had replied"
        return "the service closed the connection"

    def silence(self, client: Client, seconds: float) -> str:
        """What is to be told of a service that has not replied within so long."""
        if client.got:
            return f"{client.got} bytes of a reply, and not the rest within {seconds:g} s"
        return f"no reply within {seconds:g} s"

    def _begin_decoding(self, client: Client, before: bytes, data: bytes, now: float) -> None:
        """``before``, of the same reply, has come already and was right."""
        client.got = 0
        expected = client.flight[0].request.reply
        if self._raw and expected is not None:
            # Nothing says where the wrong reply ends, and the next one begins.
            raise Broken("wrong-reply", differs(expected, before + data))
        client.codec = self._framing.codec(self._limit)
        self._decode(client, client.codec, before + data, now)

    def _decode(self, client: Client, codec: Codec, data: bytes, now: float) -> None:
        flight = client.flight
        try:
            message = codec.only_message(data)
            for reply in codec.messages(data) if message is None else (message,):
                if not flight or flight[0].sent > now:
                    raise _too_much(reply)
                asked = flight.popleft()
                problem = self._expect.problem(asked.request.message, reply)
                if problem:
                    self._wrong(problem)
                else:
                    self._answered(asked, now)
            if codec.unread:
                codec.next_message()  # raises what is wrong with the rest, if anything is
                if not flight:
                    raise Broken("too-much", f"{codec.unread} bytes that nobody asked for")
        except FramingError as error:
            raise Broken("framing", str(error)) from error


def _too_much(data: bytes) -> Broken:
    return Broken("too-much", f"{shown(data)} came, and nobody had asked for it")
