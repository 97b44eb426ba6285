"""Where connections are made to: sockets that connect without anybody waiting, and TLS."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
from typing import TYPE_CHECKING, Any

from ..errors import ConnectError
from ..transport.stream import set_tcp_options
from .plan import Plan

if TYPE_CHECKING:
    import ssl

    from ..transport.tls import Tls

__all__ = ["Endpoint"]

_LOOPBACKS = 250  # addresses that connections to a loopback address come from, by turns


class Endpoint:
    """The service, resolved once. Raises ConnectError and UsageError."""

    def __init__(self, plan: Plan) -> None:
        address = plan.address
        self.targets: list[tuple[int, Any]]  # family and address; at least one
        self.unix = address.scheme == "unix"
        self._turn = itertools.count(1)
        self._spread = plan.connect_each
        self._server_name = plan.server_name or address.host or "localhost"
        self._context: ssl.SSLContext | None = None
        if self.unix:
            self.targets = [(socket.AF_UNIX, address.path)]
        else:
            self.targets = _resolve(str(address), address.host, address.port)
        if address.scheme == "tls":
            self._context = _context(plan)

    def open(self, target: int) -> tuple[socket.socket, int]:
        """A socket that has begun to connect, and the number of what stands in its way, if any.

        ``EINPROGRESS``, which is none, is given as 0. Raises OSError where there is no socket.
        """
        family, name = self.targets[target % len(self.targets)]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            set_tcp_options(sock)
            if self._spread and family == socket.AF_INET and name[0].startswith("127."):
                self._bind_source(sock)
            number = sock.connect_ex(name)
        except BaseException:
            sock.close()
            raise
        return sock, 0 if number == errno.EINPROGRESS else number

    def tls(self) -> Tls | None:
        """A connection's TLS, before its handshake; ``None`` if there is to be none."""
        if self._context is None:
            return None
        from ..transport.tls import Tls

        return Tls(self._context, server_side=False, server_name=self._server_name)

    def _bind_source(self, sock: socket.socket) -> None:
        """Let a loopback connection come from one of many addresses, each with all ports.

        The side that closes first keeps the port for a minute, and one address has some
        28,000 of them.
        """
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            sock.bind((f"127.0.0.{1 + next(self._turn) % _LOOPBACKS}", 0))


def _resolve(url: str, host: str, port: int) -> list[tuple[int, Any]]:
    try:
        found = socket.getaddrinfo(host or "localhost", port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectError(url, "the host name is not known") from error
    if not found:
        raise ConnectError(url, "the host has no address")
    return [(family, name) for family, _, _, _, name in found]


def _context(plan: Plan) -> ssl.SSLContext:
    import ssl

    from ..certificates import client_context

    context = client_context(ca=plan.tls_ca, cert=plan.tls_cert, key=plan.tls_key)
    if not plan.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
