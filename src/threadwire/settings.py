"""Every setting of a server, declared once.

Options, variables, configuration files, help texts and documentation derive from these
declarations. :data:`SETTINGS` has them by name, in the order in which they are shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from . import limits
from .address import Address
from .errors import UsageError
from .framing import SPEC_HELP
from .kinds import (
    ADDRESS,
    ADMIN_ADDRESS,
    ALPN,
    BOOLEAN,
    FRAMING,
    HANDLER,
    NETWORK,
    PATH,
    REPLY,
    Kind,
    choice,
    of_limit,
)
from .limits import Limit

__all__ = ["OFF", "SETTINGS", "Setting", "setting_of"]

OFF = "off"  # how it is written that there is no value


class Setting(NamedTuple):
    """One setting.

    ``help`` says what it is, ``reason`` why it is by default as it is. The value of one with
    ``many`` is a tuple. One that is ``optional`` may be off: ``None``, or the empty tuple.
    """

    name: str
    group: str
    kind: Kind
    default: Any
    help: str
    reason: str
    many: bool = False
    optional: bool = False
    reloadable: bool = False  # may be changed while the server runs
    keyword: bool = True  # an argument of Server; the others are the command's
    argument: bool = False  # on the command line, without the option's name before it
    short: str = ""  # a short form of the option
    shown: str = ""  # the default, for people, where it depends on something

    @property
    def option(self) -> str:
        """How it is called on the command line."""
        return self.kind.metavar if self.argument else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return f"THREADWIRE_{self.name.upper()}"

    @property
    def metavar(self) -> str:
        """What stands for a value in help texts."""
        words = "|" in self.kind.metavar and self.kind is not BOOLEAN
        return f"{self.kind.metavar}|{OFF}" if words and self.optional else self.kind.metavar

    def parse(self, text: str) -> Any:
        """The value that ``text`` stands for; in a list, commas or spaces stand between.

        Raises UsageError, which begins with the setting's name.
        """
        if self.optional and text == OFF:
            return self._none
        if self.many:
            return self._checked(re.split(r"[,\s]+", text.strip(", \t\n")), self.kind.parse)
        return self._checked(text, self.kind.parse)

    def check(self, value: object) -> Any:
        """The value for what Python or TOML have for it. Raises UsageError, like :meth:`parse`."""
        if self.optional and value in (None, ()):
            return self._none
        return self._checked(value, self.kind.check)

    def read(self, given: object) -> Any:
        """The value for what somebody wrote: text, or a value. Raises UsageError."""
        try:
            if isinstance(given, str):
                return self.parse(given)
            return self.parse(OFF) if given == [OFF] else self.check(given)
        except UsageError as error:
            if not self.optional:
                raise
            raise UsageError(f"{error}; or write off") from error

    def show(self, value: Any) -> str:
        """``value`` as text; whether it is the default or not."""
        if value is None or value == ():
            return OFF
        return ", ".join(map(self.kind.show, value)) if self.many else self.kind.show(value)

    @property
    def default_text(self) -> str:
        return self.shown or self.show(self.default)

    @property
    def _none(self) -> Any:
        return () if self.many else None

    def _checked(self, value: Any, check: Callable[[Any], Any]) -> Any:
        try:
            if not self.many:
                return check(value)
            if not isinstance(value, list | tuple):
                raise UsageError(f"{value!r} is not a list")
            if not value and not self.optional:
                raise UsageError("the list is empty")
            return tuple(check(item) for item in value)
        except UsageError as error:
            if str(error).startswith(f"{self.name} "):
                raise
            raise UsageError(f"{self.name}: {error}") from error


def setting_of(limit: Limit, group: str = "", **fields: Any) -> Setting:
    """The setting that a limit is."""
    return Setting(
        limit.name,
        group,
        of_limit(limit),
        of_limit(limit).check(limit.default),
        limit.help,
        limit.reason,
        optional=limit.optional,
        **fields,
    )


_SERVICE = "Service"
_LISTENING = "Listening"
_CLIENTS = "Clients"
_DEADLINES = "Deadlines"
_TLS = "TLS"
_PROXY = "PROXY protocol"
_ENGINE = "Engine"
_LOGGING = "Logging"
_ADMIN = "Admin endpoint"

_DECLARED = (
    # Service.
    Setting(
        "handler",
        _SERVICE,
        HANDLER,
        None,
        "The function that serves: HANDLER of the module MODULE, found from the current directory.",
        "serves the classic exercise at once",
        keyword=False,
        argument=True,
        shown="the reversing one",
    ),
    Setting(
        "framing",
        _SERVICE,
        FRAMING,
        None,
        f"How messages lie in the stream: {SPEC_HELP}.",
        "lines are what most clients send, and auto serves the exercise's as well",
        shown="lines; auto for the reversing handler",
    ),
    Setting(
        "text",
        _SERVICE,
        BOOLEAN,
        False,
        "Whether the reversing handler reverses UTF-8 by character instead of bytes.",
        "the exercise reverses bytes",
        keyword=False,
    ),
    setting_of(limits.MAX_MESSAGE, _SERVICE),
    # Listening.
    Setting(
        "listen",
        _LISTENING,
        ADDRESS,
        (Address("tcp", "localhost", 12345),),
        "Where to listen: tcp://HOST:PORT, tcp://:PORT for all interfaces, tls://HOST:PORT, "
        "unix:///PATH, fd://NUMBER or fd://NAME; port 0 takes a free one, which is printed.",
        "the exercise's port, for clients on this machine alone",
        many=True,
        keyword=False,
        short="-l",
    ),
    setting_of(limits.BACKLOG, _LISTENING),
    Setting(
        "takeover",
        _LISTENING,
        PATH,
        None,
        "A unix socket at which the next process of this service takes over its listening sockets.",
        "a supervisor that restarts the service gives it a new socket as well",
        optional=True,
        keyword=False,
    ),
    # Clients.
    setting_of(
        limits.MAX_CLIENTS,
        _CLIENTS,
        reloadable=True,
        shown=f"{limits.MAX_CLIENTS.whole:,}, or what the descriptor limit allows",
    ),
    Setting(
        "overload",
        _CLIENTS,
        choice("wait", "refuse"),
        "wait",
        "What happens to clients beyond max_clients: they wait in the backlog, or are refused.",
        "the end of a burst is served late rather than not at all",
        reloadable=True,
    ),
    Setting(
        "busy_reply",
        _CLIENTS,
        REPLY,
        None,
        "The message that a refused client gets before it is closed.",
        "only who knows the protocol knows how to say it in it",
        optional=True,
    ),
    setting_of(limits.MAX_REFUSALS, _CLIENTS),
    setting_of(limits.MAX_CLIENTS_PER_IP, _CLIENTS, reloadable=True),
    setting_of(limits.ACCEPT_RATE, _CLIENTS, reloadable=True),
    Setting(
        "allow",
        _CLIENTS,
        NETWORK,
        (),
        "The only networks from which clients are served.",
        "who may connect is mostly decided in front of the server",
        many=True,
        optional=True,
        reloadable=True,
    ),
    Setting(
        "deny",
        _CLIENTS,
        NETWORK,
        (),
        "Networks from which clients are refused, also where allow names them.",
        "who may connect is mostly decided in front of the server",
        many=True,
        optional=True,
        reloadable=True,
    ),
    # Deadlines.
    setting_of(limits.MESSAGE_TIMEOUT, _DEADLINES, reloadable=True),
    setting_of(limits.IDLE_TIMEOUT, _DEADLINES, reloadable=True),
    setting_of(limits.WRITE_TIMEOUT, _DEADLINES, reloadable=True),
    setting_of(limits.DRAIN_TIMEOUT, _DEADLINES, reloadable=True),
    setting_of(limits.KEEPALIVE_IDLE, _DEADLINES),
    setting_of(limits.KEEPALIVE_INTERVAL, _DEADLINES),
    setting_of(limits.KEEPALIVE_COUNT, _DEADLINES),
    setting_of(limits.USER_TIMEOUT, _DEADLINES),
    # TLS.
    Setting(
        "tls_cert",
        _TLS,
        PATH,
        None,
        "The server's certificate and those above it, as a PEM file.",
        "plain TCP needs none",
        optional=True,
        reloadable=True,
    ),
    Setting(
        "tls_key",
        _TLS,
        PATH,
        None,
        "The certificate's private key, as a PEM file; off if it is in the certificate's file.",
        "plain TCP needs none",
        optional=True,
        reloadable=True,
    ),
    Setting(
        "tls_client_ca",
        _TLS,
        PATH,
        None,
        "The authorities whose certificates clients have to show, as a PEM file.",
        "most services know their clients by other means",
        optional=True,
        reloadable=True,
    ),
    Setting(
        "tls_client_auth",
        _TLS,
        choice("required", "optional"),
        "required",
        "Whether clients have to show a certificate where tls_client_ca is given.",
        "whoever names authorities wants to be sure",
    ),
    Setting(
        "tls_alpn",
        _TLS,
        ALPN,
        (),
        "The protocols that are offered to clients (ALPN), the preferred one first.",
        "a port of one protocol has nothing to negotiate",
        many=True,
        optional=True,
    ),
    setting_of(limits.MAX_HANDSHAKES, _TLS, reloadable=True),
    setting_of(limits.HANDSHAKE_TIMEOUT, _TLS, reloadable=True),
    # PROXY protocol.
    Setting(
        "proxy_protocol",
        _PROXY,
        choice("required", "optional"),
        None,
        "Whether connections begin with a PROXY header that names the real client.",
        "only proxies send one, and who is not behind one could claim any address",
        optional=True,
    ),
    Setting(
        "proxy_trust",
        _PROXY,
        NETWORK,
        (),
        "The networks whose PROXY headers are believed.",
        "only who runs the server knows its proxies",
        many=True,
        optional=True,
    ),
    setting_of(limits.PROXY_TIMEOUT, _PROXY, reloadable=True),
    # Engine.
    setting_of(limits.MAX_THREADS, _ENGINE, reloadable=True),
    setting_of(limits.HIGH_WATER, _ENGINE, reloadable=True),
    setting_of(limits.HANDOFF_AFTER, _ENGINE, reloadable=True),
    setting_of(limits.SWITCH_INTERVAL, _ENGINE, keyword=False),
    Setting(
        "pin",
        _ENGINE,
        BOOLEAN,
        True,
        "Whether the serving threads share one core; what a handler starts inherits it.",
        "with the interpreter's lock that is faster by far",
    ),
    # Logging.
    Setting(
        "log_format",
        _LOGGING,
        choice("human", "json"),
        "human",
        "How log lines, on standard error, are written.",
        "people try it out before programs read it",
        keyword=False,
    ),
    Setting(
        "log_level",
        _LOGGING,
        choice("debug", "info", "warning", "error"),
        "info",
        "The least that is logged; debug has a line for every message as well.",
        "each connection leaves two lines, each message none",
        reloadable=True,
        keyword=False,
    ),
    setting_of(limits.SLOW, _LOGGING, reloadable=True),
    # Admin endpoint.
    Setting(
        "admin",
        _ADMIN,
        ADMIN_ADDRESS,
        None,
        "Where to answer with metrics, health and a live page, by HTTP: HOST:PORT, "
        "tls://HOST:PORT with the service's certificate, or unix:///PATH.",
        "nobody sees into a service who was not asked to",
        optional=True,
        keyword=False,
    ),
    Setting(
        "admin_token_file",
        _ADMIN,
        PATH,
        None,
        "A file with the token that requests must bear, as in Authorization: Bearer TOKEN; "
        "required where admin is not this machine's loopback or a unix socket.",
        "this machine's own users are trusted",
        optional=True,
        keyword=False,
    ),
)

SETTINGS: dict[str, Setting] = {setting.name: setting for setting in _DECLARED}
