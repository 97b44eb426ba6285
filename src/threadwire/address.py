"""Addresses, which are URLs: ``tcp://host:port``, ``tls://host:port``, ``unix:///path``, ``fd://3``."""

from __future__ import annotations

import os
import socket
from typing import Any, Literal, TypeAlias

from .errors import AddressError
from .value import Value

__all__ = ["Address", "parse_address", "socket_address"]

_FORMS = (
    "write tcp://HOST:PORT, tcp://:PORT (all interfaces), tls://HOST:PORT, unix:///PATH, "
    "fd://NUMBER or fd://NAME"
)

Scheme: TypeAlias = Literal["tcp", "tls", "unix", "fd", "tls+fd"]


_TCP: dict[str, Scheme] = {"tcp": "tcp", "tls": "tls"}
_FD: dict[str, Scheme] = {"fd": "fd", "tls+fd": "tls+fd"}


class Address(Value):
    """One end of a connection, or a place to listen; ``str()`` gives its URL.

    ``tcp``
        ``host`` and ``port``. An empty host means all interfaces; port 0, when
        listening, any free port. An IPv4 peer of a dual-stack listener has its
        IPv4 form, never ``::ffff:``.
    ``tls``
        The same, with TLS.
    ``unix``
        ``path``; empty for a peer that has not bound its end.
    ``fd``, ``tls+fd``
        ``port`` is the number of a listening socket's descriptor that this
        process was started with; or ``host`` is the name that the service
        manager has given it, and ``port`` 0.
    """

    __slots__ = ("host", "path", "port", "scheme")

    scheme: Scheme
    host: str
    port: int
    path: str

    def __init__(self, scheme: Scheme, host: str = "", port: int = 0, path: str = "") -> None:
        # Straight to the fields: this is made for every client that comes.
        fix = object.__setattr__
        fix(self, "scheme", scheme)
        fix(self, "host", host)
        fix(self, "port", port)
        fix(self, "path", path)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        if self.scheme in ("fd", "tls+fd"):
            return f"{self.scheme}://{self.host or self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken there."""
        return self.scheme in ("tls", "tls+fd")


def parse_address(text: str | Address) -> Address:
    """The address that the URL ``text`` names; raises :class:`~threadwire.AddressError`."""
    if isinstance(text, Address):
        return text
    if not isinstance(text, str):
        raise AddressError(repr(text), f"an address is a string; {_FORMS}")
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise AddressError(text, f"no scheme; {_FORMS}")
    if scheme in _TCP:
        return _parse_tcp(text, rest, _TCP[scheme])
    if scheme == "unix":
        if not rest.startswith("/") or "\0" in rest:
            raise AddressError(text, "the path must be absolute, as in unix:///run/app.sock")
        return Address("unix", path=rest)
    if scheme in _FD:
        if rest.isascii() and rest.isdigit() and len(rest) < 10:
            return Address(_FD[scheme], port=int(rest))
        # What systemd lets a socket's name be (sd_listen_fds(3)).
        if not rest[:1].isalpha() or not rest.isascii() or not rest.isprintable() or "/" in rest:
            raise AddressError(text, "the descriptor must be a number or a name, as in fd://3")
        return Address(_FD[scheme], host=rest)
    raise AddressError(text, f"unknown scheme {scheme!r}; {_FORMS}")


def _parse_tcp(text: str, rest: str, scheme: Scheme) -> Address:
    host, colon, port = rest.removesuffix("/").rpartition(":")
    if not colon or not port:
        raise AddressError(text, f"no port; write {scheme}://HOST:PORT")
    if not (port.isascii() and port.isdigit() and len(port) < 10) or int(port) > 65535:
        raise AddressError(text, f"the port must be 0 to 65535, not {port!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(text, "an IPv6 address stands in brackets, as in tcp://[::1]:12345")
    if not host.isprintable() or any(character in host for character in "/@?#[] "):
        raise AddressError(text, f"{host!r} is not a host")
    return Address(scheme, host, int(port))


def socket_address(family: int, name: Any) -> Address:
    """The address for what ``getsockname()``, ``getpeername()`` or ``accept()`` returned."""
    if family == socket.AF_INET6:
        host, port = name[0], name[1]
        if host.startswith("::ffff:") and "." in host:
            host = host.removeprefix("::ffff:")
        return Address("tcp", host, port)
    if family == socket.AF_INET:
        return Address("tcp", name[0], name[1])
    return Address("unix", path=os.fsdecode(name or ""))
