"""What a server can be told, by name: the keyword arguments of :class:`~threadwire.Server`.

Limits take their defaults and their bounds from :mod:`.limits`; all else is declared here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from . import events, limits
from .clock import SYSTEM, Clock
from .errors import UsageError
from .framing import Framing, Lines
from .limits import OFF
from .networks import Networks
from .rules import Rules, TlsContext

if TYPE_CHECKING:
    import ssl

    from .certificates import Certificates
    from .hooks import Hooks, OnConnection, OnMessage

__all__ = ["Options", "ServerOptions"]


class ServerOptions(TypedDict, total=False):
    """The keyword arguments of :class:`~threadwire.Server`, all optional.

    framing
        How messages lie in the stream [``Lines()``].
    max_message
        Bytes a received message may have [1 MiB].
    max_clients
        Connections served at once [10,000, or what the descriptor limit allows].
    overload
        What becomes of further ones: they ``"wait"`` in the listen backlog [so], or are
        accepted and refused, with ``"refuse"``.
    busy_reply
        A message, as bytes, that those refused are sent [none]. A client with the same
        ``busy_reply`` raises :class:`~threadwire.ServerBusy`, and may try again. Behind
        TLS or a PROXY header they are closed without it.
    max_clients_per_ip
        Connections of one address, or of one IPv6 /64; further ones are refused [no limit].
    accept_rate
        Connections accepted a second; further ones wait [no limit].
    allow, deny
        Networks, as in ``["10.0.0.0/8", "::1"]``: who is denied is refused, and if there is an
        allow list, so is everybody who is not on it [none].
    max_threads
        Clients with slow handlers that have threads of their own [1,000]; further ones wait
        for one. Sessions have one each, and are limited by it only if it is given.
    max_handshakes, max_refusals
        Clients in their TLS handshake [1,000], and being told that the server is busy [64].
    backlog
        Connections that the system holds until they are accepted [1,024].
    handshake_timeout, proxy_timeout
        Seconds for a TLS handshake [10], and for the PROXY header [5].
    message_timeout
        Seconds from a message's first byte to its last, however it drips [30]; ``None`` is
        for ever.
    idle_timeout
        Seconds without anything received, sent or handled [``None``, for ever].
    write_timeout
        Seconds a peer may take to read the next 16 KiB of what waits for it [30].
    drain_timeout
        Seconds that ``close()`` lets begun messages finish, unless told otherwise [30].
    keepalive_idle, keepalive_interval, keepalive_count
        When TCP asks a silent peer whether it is there, how long it waits for the answer,
        in seconds, and how often it asks in vain [60, 15, 4].
    user_timeout
        Seconds that sent bytes may stay unacknowledged (TCP_USER_TIMEOUT) [the system's].
    high_water
        Bytes of replies that a client may have waiting in the shared loop [256 KiB].
    tls_cert, tls_key
        PEM files for ``tls://`` addresses and :meth:`Connection.start_tls`; the key may be in
        the certificate's file.
    tls_client_ca, tls_client_auth
        Authorities, a PEM file, whose certificates clients have to show, or if it is
        ``"optional"`` may show; see :attr:`Connection.tls`.
    tls_alpn
        Names of protocols to agree on, best first.
    tls_context
        An :class:`ssl.SSLContext` in place of all these.
    proxy_protocol, proxy_trust
        Whether a PROXY header (version 1 or 2) is ``"required"`` or ``"optional"`` [none is
        heeded], and the networks of the proxies that are trusted with it.
    handoff_after
        Seconds that a call of the handler may hold up the loop that all clients share; then
        its client gets a thread of its own [0.005].
    slow
        Seconds that a handler may be busy for one client before an event ``slow`` tells so, and
        where it stands [``None``: none does].
    pin
        Whether the threads that serve share one core [no]. With the interpreter's lock
        that is faster where many have a thread of their own, as sessions have; the
        ``threadwire serve`` command does it. What a handler itself starts inherits the
        one core.
    on_connection, on_message
        Called with each connection when it is open, and with the connection and each message
        before it is handled; each returns a context manager, which is left when the connection is
        closed, or the message handled; or ``None``. For tracing, see :mod:`threadwire.hooks`.
    clock
        What the deadlines go by [the system's monotonic clock]; for tests, see
        :mod:`threadwire.testing`.
    """

    framing: Framing | None
    max_message: int
    max_clients: int | None
    overload: Literal["wait", "refuse"]
    busy_reply: bytes | None
    max_clients_per_ip: int | None
    accept_rate: float | None
    max_threads: int | None
    max_handshakes: int
    max_refusals: int
    allow: Sequence[str]
    deny: Sequence[str]
    backlog: int
    handshake_timeout: float
    proxy_timeout: float
    message_timeout: float | None
    idle_timeout: float | None
    write_timeout: float
    drain_timeout: float
    keepalive_idle: float
    keepalive_interval: float
    keepalive_count: int
    user_timeout: float | None
    high_water: int
    tls_cert: str | None
    tls_key: str | None
    tls_client_ca: str | None
    tls_client_auth: Literal["required", "optional"]
    tls_alpn: Sequence[str]
    tls_context: ssl.SSLContext | None
    proxy_protocol: Literal["required", "optional"] | None
    proxy_trust: Sequence[str]
    handoff_after: float
    slow: float | None
    pin: bool
    on_connection: OnConnection | None
    on_message: OnMessage | None
    clock: Clock


_COUNTED = ("bytes", "count")  # units of limits that are whole numbers

# What Linux takes (tcp.h: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT).
_MOST_KEEPALIVE_SECONDS = 32767
_MOST_KEEPALIVE_COUNT = 127

NAMES = frozenset(ServerOptions.__annotations__)

# What can be changed while a server serves.
CHANGEABLE = frozenset(
    (
        "max_clients",
        "overload",
        "max_clients_per_ip",
        "accept_rate",
        "max_threads",
        "max_handshakes",
        "allow",
        "deny",
        "handshake_timeout",
        "proxy_timeout",
        "message_timeout",
        "idle_timeout",
        "write_timeout",
        "drain_timeout",
        "high_water",
        "handoff_after",
        "slow",
    )
)


class Options:
    """A server's options, each checked when this is made; raises UsageError."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        for name in given:
            if name not in NAMES:
                raise UsageError(f"a server has no option {name!r}{_nearest(name)}")
        self._given = given
        # What the engine goes by, by the names that it has in Rules.
        self._ruled = {
            limit.name: self._limit(limit)
            for limit in (
                limits.HANDOFF_AFTER,
                limits.HANDSHAKE_TIMEOUT,
                limits.HIGH_WATER,
                limits.IDLE_TIMEOUT,
                limits.MAX_HANDSHAKES,
                limits.MAX_THREADS,
                limits.MESSAGE_TIMEOUT,
                limits.PROXY_TIMEOUT,
                limits.SLOW,
                limits.WRITE_TIMEOUT,
            )
        }
        self.framing = self._framing()
        self.max_message = self._count(limits.MAX_MESSAGE)
        self.framing.codec(self.max_message)  # a framing that cannot make one fails here
        self.max_clients = self._max_clients()
        self.refuse = self._choice("overload", "wait", "refuse") == "refuse"
        self.busy_reply = self._busy_reply()
        self.max_refusals = self._count(limits.MAX_REFUSALS)
        self.max_clients_per_ip = self._limit(limits.MAX_CLIENTS_PER_IP)
        self.accept_rate = self._limit(limits.ACCEPT_RATE)
        self.allow = Networks("allow", given.get("allow", ()))
        self.deny = Networks("deny", given.get("deny", ()))
        self.backlog = self._count(limits.BACKLOG)
        self.drain_timeout = self._limit(limits.DRAIN_TIMEOUT)
        self.keepalive = (
            self._keepalive(limits.KEEPALIVE_IDLE, _MOST_KEEPALIVE_SECONDS),
            self._keepalive(limits.KEEPALIVE_INTERVAL, _MOST_KEEPALIVE_SECONDS),
            self._keepalive(limits.KEEPALIVE_COUNT, _MOST_KEEPALIVE_COUNT),
        )
        self.user_timeout = self._limit(limits.USER_TIMEOUT)
        self.proxy_protocol = self._proxy_protocol()
        self.proxy_trust = Networks("proxy_trust", given.get("proxy_trust", ()))
        if self.proxy_protocol and not self.proxy_trust:
            raise UsageError(
                "proxy_protocol needs proxy_trust, the networks of the proxies, as in "
                "proxy_trust=['10.0.0.0/8']: who is heeded may say to be anybody"
            )
        if self.proxy_trust and not self.proxy_protocol:
            raise UsageError("proxy_trust needs proxy_protocol='required' or 'optional'")
        self.max_threads = int(self._ruled["max_threads"])
        self.threads_limited = given.get("max_threads") is not None
        self.pin = self._pin()
        self._check_tls()

    def rules(self, certificates: Certificates | None = None) -> Rules:
        """The engine's limits."""
        clock = self._given.get("clock", SYSTEM)
        if not isinstance(clock, Clock):
            raise UsageError(f"clock must be a Clock, not {clock!r}")
        rules = Rules(clock=clock, tls=certificates or self._given_context())
        self.govern(rules)
        return rules

    def hooks(self) -> Hooks | None:
        """What is told of connections and messages, if there is anything."""
        given = self._given.get("on_connection"), self._given.get("on_message")
        if given == (None, None):
            return None
        from .hooks import Hooks

        return Hooks(*given)

    def govern(self, rules: Rules) -> None:
        """Set the limits that can be changed at any time."""
        for name, value in self._ruled.items():
            setattr(rules, name, value)

    def changed(self, changes: Mapping[str, Any]) -> Options:
        """These options with ``changes``, all of which can be made while serving."""
        for name in changes:
            if name not in CHANGEABLE:
                there_is = name in NAMES
                hint = "; a server has to be started anew for it" if there_is else _nearest(name)
                raise UsageError(f"{name!r} cannot be changed while serving{hint}")
        return Options({**self._given, **changes})

    # Each by its kind.

    def _limit(self, limit: limits.Limit) -> float:
        """In the limit's unit; OFF for one that is."""
        value = self._given.get(limit.name, limit.default)
        if limit is limits.MAX_THREADS and value is None:
            value = limit.default
        if limit.unit in _COUNTED and not (limit.optional and value in (None, OFF)):
            return limit.check_whole(value)
        return limit.check(value)

    def _count(self, limit: limits.Limit) -> int:
        return int(self._limit(limit))

    def _keepalive(self, limit: limits.Limit, most: int) -> int:
        value = round(self._limit(limit))
        if value > most:
            raise UsageError(f"{limit.name} must be at most {most} {limit.what}, not {value}")
        return value

    def _pin(self) -> bool:
        value = self._given.get("pin", False)
        if not isinstance(value, bool):
            raise UsageError(f"pin must be True or False, not {value!r}")
        return value

    def _choice(self, name: str, *choices: str) -> str:
        value = self._given.get(name, choices[0])
        if value not in choices:
            raise UsageError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")
        return str(value)

    def _framing(self) -> Framing:
        framing = self._given.get("framing")
        if framing is not None and not isinstance(framing, Framing):
            raise UsageError(f"framing must be a Framing, as in Lines(), not {framing!r}")
        return framing or Lines()

    def _max_clients(self) -> int:
        given = self._given.get("max_clients")
        if given is None:
            given = limits.default_max_clients()
        return limits.MAX_CLIENTS.check_whole(given)

    def _busy_reply(self) -> bytes | None:
        reply = self._given.get("busy_reply")
        if reply is None:
            return None
        if not isinstance(reply, bytes):
            raise UsageError(f"busy_reply must be bytes, as in b'busy', not {reply!r}")
        self.framing.codec(self.max_message).encode(reply)  # raises what cannot be framed
        return reply

    def _proxy_protocol(self) -> str | None:
        value = self._given.get("proxy_protocol")
        if value not in (None, "required", "optional"):
            raise UsageError(f"proxy_protocol must be 'required' or 'optional', not {value!r}")
        return None if value is None else str(value)

    def _check_tls(self) -> None:
        """What the names alone tell; the files are read by :meth:`certificates`."""
        given = self._given
        for name in ("tls_cert", "tls_key", "tls_client_ca"):
            value = given.get(name)
            if value is not None and not isinstance(value, str | os.PathLike):
                raise UsageError(f"{name} must be the path of a PEM file, not {value!r}")
        self._choice("tls_client_auth", "required", "optional")
        alpn = given.get("tls_alpn", ())
        if isinstance(alpn, str) or not isinstance(alpn, Sequence):
            raise UsageError(f"tls_alpn must be a list of names, as in ['h2'], not {alpn!r}")

    def certificates(self) -> Certificates | None:
        """Load those that the options name, if they do."""
        given = self._given
        cert, context = given.get("tls_cert"), given.get("tls_context")
        if cert is None or context is not None:
            for name in ("tls_cert", "tls_key", "tls_client_ca", "tls_alpn"):
                if given.get(name):
                    why = "needs tls_cert" if context is None else "cannot go with tls_context"
                    raise UsageError(f"{name} {why}")
            return None
        from .certificates import Certificates

        return Certificates(
            cert,
            given.get("tls_key"),
            client_ca=given.get("tls_client_ca"),
            client_auth=given.get("tls_client_auth", "required"),
            alpn=given.get("tls_alpn", ()),
            warn=events.certificate_warning,
        )

    def _given_context(self) -> TlsContext | None:
        context = self._given.get("tls_context")
        if context is None:
            return None
        from .certificates import FixedContext

        return FixedContext(context)


def _nearest(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, NAMES, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
