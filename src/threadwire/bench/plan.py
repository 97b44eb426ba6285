"""What is asked for: all that a run of the load generator depends on, checked."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from .. import limits
from ..address import Address, parse_address
from ..errors import UsageError
from ..framing import Auto, Framing, Lines, Raw
from .expect import AnyReply, Expectation
from .messages import Messages, Sizes
from .printable import printable

__all__ = ["Plan"]

_MOST_SECONDS = 1e8
_MOST_CLIENTS = 1_000_000
_MOST_PROCESSES = 1024
_OF_RATE = "messages a second"
_MOST_RATE = 1e6  # messages a second of one process: several times what one can send


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run; immutable, and can be pickled. Raises :class:`~threadwire.UsageError`.

    url
        The service: ``tcp://``, ``tls://`` or ``unix://``.
    framing
        How messages lie in the stream [lines]. ``Auto`` stands for lines: it is for servers.
    clients
        Connections, over all processes [64].
    pipeline
        The most requests that one connection has unanswered [1].
    rate
        Messages a second, over all clients, that are due whatever the service does: an open
        loop. ``None``, the default, is a closed loop: each client sends its next message
        when a reply has come.
    arrivals
        With a rate: ``"constant"`` gaps between messages, or ``"poisson"``, as they are
        between independent events.
    messages, expect
        What is sent [64 random letters and digits], and what is a right reply [any].
    duration
        Seconds that are measured [10]; ``None``: until ``requests`` are answered.
    requests
        Messages that are measured, at most [as many as there are]. When they are fewer than
        could be on their way at once, clients, pipeline and processes are no more than needed.
    warmup
        Seconds before, at full load, that are not measured [1].
    ramp
        Seconds, before the warm-up, in which the load grows from nothing to full [0]: clients
        begin one after the other, or the rate grows evenly.
    connect_each
        Every message has a connection of its own: connect, ask once, check, close. Latency
        counts from the beginning of connecting then, if not from when the message was due.
    processes
        Processes that the load comes from [1].
    timeout
        Seconds within which a connection has to be made, a message to be sent after it was
        due, and a reply to come after that [10].
    max_message
        Bytes that a reply may have [1 MiB, or what is expected if that is more].
    tls_ca, tls_cert, tls_key, server_name
        With ``tls://``, as for :func:`threadwire.connect`.
    tls_verify
        With ``tls://``: whether the server has to prove who it is [yes].
    seed
        What random arrivals follow from [0]; messages have a seed of their own.
    """

    url: str
    framing: Framing = field(default_factory=Lines)
    clients: int = 64
    pipeline: int = 1
    rate: float | None = None
    arrivals: Literal["constant", "poisson"] = "constant"
    messages: Messages = field(default_factory=Sizes)
    expect: Expectation = field(default_factory=AnyReply)
    duration: float | None = 10.0
    requests: int | None = None
    warmup: float = 1.0
    ramp: float = 0.0
    connect_each: bool = False
    processes: int = 1
    timeout: float = limits.CLIENT_TIMEOUT.default
    max_message: int = limits.MAX_MESSAGE.whole
    tls_ca: str | os.PathLike[str] | None = None
    tls_cert: str | os.PathLike[str] | None = None
    tls_key: str | os.PathLike[str] | None = None
    server_name: str | None = None
    tls_verify: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_types()
        _check_count("clients", self.clients, 1, _MOST_CLIENTS)
        _check_count("pipeline", self.pipeline, 1, limits.PIPELINE_WINDOW.whole)
        _check_count("processes", self.processes, 1, _MOST_PROCESSES)
        if self.requests is not None:
            _check_count("requests", self.requests, 1, 10**15)
        if self.rate is not None:
            _check_number("rate", self.rate, 1e-3, _MOST_RATE * _MOST_PROCESSES, _OF_RATE)
        if self.duration is not None:
            _check_number("duration", self.duration, 0.001, _MOST_SECONDS, "seconds")
        _check_number("warmup", self.warmup, 0, _MOST_SECONDS, "seconds")
        _check_number("ramp", self.ramp, 0, _MOST_SECONDS, "seconds")
        limits.CLIENT_TIMEOUT.check(self.timeout)
        limits.MAX_MESSAGE.check_whole(self.max_message)
        self._check_together()
        if self.requests is not None and self.requests < self.clients * self.pipeline:
            self._need_no_more_than(self.requests)
        if isinstance(self.framing, Auto):
            object.__setattr__(self, "framing", Lines())

    def _need_no_more_than(self, requests: int) -> None:
        """More than they are would be sent before the first of them is answered."""
        pipeline = min(self.pipeline, requests)
        clients = max(1, requests // pipeline)
        object.__setattr__(self, "pipeline", pipeline)
        object.__setattr__(self, "clients", clients)
        object.__setattr__(self, "processes", min(self.processes, clients))

    @property
    def address(self) -> Address:
        return parse_address(self.url)

    @property
    def seconds(self) -> float | None:
        """How long it takes in all, from the first message on; ``None`` if nobody knows."""
        return None if self.duration is None else self.ramp + self.warmup + self.duration

    def summary(self) -> dict[str, Any]:
        """What was asked for, for JSON and for people; passwords are never part of it."""
        told = {
            "url": self.url,
            "framing": str(self.framing),
            "loop": "closed" if self.rate is None else "open",
            "clients": self.clients,
            "pipeline": self.pipeline,
            "rate": self.rate,
            "arrivals": None if self.rate is None else self.arrivals,
            "messages": str(self.messages),
            "expect": str(self.expect),
            "duration": self.duration,
            "requests": self.requests,
            "warmup": self.warmup,
            "ramp": self.ramp,
            "connect_each": self.connect_each,
            "processes": self.processes,
            "timeout": self.timeout,
            "seed": self.seed,
        }
        return {
            name: printable(value) if isinstance(value, str) else value
            for name, value in told.items()
        }

    def _check_types(self) -> None:
        for name, kind, example in (
            ("framing", Framing, "Lines()"),
            ("messages", Messages, "Sizes(64)"),
            ("expect", Expectation, "Reverse()"),
            ("connect_each", bool, "True"),
            ("tls_verify", bool, "True"),
            ("seed", int, "0"),
        ):
            given = getattr(self, name)
            if not isinstance(given, kind):
                raise UsageError(
                    f"{name} must be a {kind.__name__}, as in {example}, not {given!r}"
                )

    def _check_together(self) -> None:
        address = self.address
        if address.scheme in ("fd", "tls+fd"):
            raise UsageError(f"{self.url}: a descriptor can be listened on, not connected to")
        if address.scheme != "unix" and address.port == 0:
            raise UsageError(f"{self.url}: no service has port 0")
        tls = (self.tls_ca, self.tls_cert, self.tls_key, self.server_name)
        if address.scheme != "tls" and (any(tls) or not self.tls_verify):
            raise UsageError(f"what is about TLS is for tls://, and the address is {self.url}")
        if self.tls_key is not None and self.tls_cert is None:
            raise UsageError("tls_key needs tls_cert, the certificate that it is for")
        if self.arrivals not in ("constant", "poisson"):
            raise UsageError(f"arrivals must be constant or poisson, not {self.arrivals!r}")
        if self.duration is None and self.requests is None:
            raise UsageError("duration or requests must say when it is over")
        if self.rate is not None and self.rate > _MOST_RATE * self.processes:
            raise UsageError(
                f"rate must be at most {_MOST_RATE:,.0f} messages a second for each process, "
                f"of which there are to be {self.processes}, not {self.rate:,.0f} in all"
            )
        if self.processes > self.clients:
            raise UsageError(f"processes must be at most clients ({self.clients}), one each")
        if self.connect_each and self.pipeline > 1:
            raise UsageError("pipeline is for connections that stay; with connect_each it is 1")
        if isinstance(self.framing, Raw) and self.pipeline > 1 and self.expect.exactly(b"") is None:
            raise UsageError(
                "pipeline must be 1 with raw framing, unless the reply is known, as by echo: "
                "nothing else says where it ends"
            )


def _check_count(name: str, given: object, least: int, most: int) -> None:
    if type(given) is not int or not least <= given <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most}, not {given!r}")


def _check_number(name: str, given: object, least: float, most: float, what: str) -> None:
    if isinstance(given, bool) or not isinstance(given, int | float) or math.isnan(given):
        raise UsageError(f"{name} must be a number of {what}, not {given!r}")
    if not least <= given <= most:
        raise UsageError(f"{name} must be from {least:g} to {most:g} {what}, not {given!r}")
