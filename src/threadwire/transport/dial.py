"""Making a connection to an address."""

from __future__ import annotations

import socket
import struct
import time

from ..address import Address, socket_address
from ..errors import ConnectError
from .stream import Stream, set_tcp_options


def dial(address: Address, timeout: float | None) -> Stream:
    """Connect to ``address`` within ``timeout`` seconds (``None``: as long as it takes).

    Every address that a host name has is tried, in the system's order. Raises
    :class:`~threadwire.ConnectError`.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    url = str(address)
    if address.scheme in ("fd", "tls+fd"):
        raise ConnectError(url, "a descriptor can be listened on, not connected to")
    if address.scheme == "unix":
        targets: list[tuple[int, object]] = [(socket.AF_UNIX, address.path)]
    else:
        try:
            found = socket.getaddrinfo(
                address.host or "localhost", address.port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            raise ConnectError(url, _host_problem(error)) from error
        targets = [(family, name) for family, _, _, _, name in found]
    failure = ConnectError(url, "the host has no address")
    for family, name in targets:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        try:
            connected = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            failure = ConnectError(url, error)
            continue
        try:
            if family == socket.AF_UNIX:
                _limit_unix_connect(connected, left)
            else:
                connected.settimeout(left)
            connected.connect(name)  # type: ignore[arg-type]
            connected.settimeout(None)
            set_tcp_options(connected)
            local = socket_address(family, connected.getsockname())
            if family == socket.AF_UNIX:
                return Stream(connected, address, local)
            return Stream(connected, socket_address(family, connected.getpeername()), local)
        except (TimeoutError, BlockingIOError):
            connected.close()
            failure = ConnectError(url, f"no answer within {timeout:g} s")
        except OSError as error:
            connected.close()
            failure = ConnectError(url, error)
    raise failure


def _limit_unix_connect(connecting: socket.socket, seconds: float | None) -> None:
    """Let the system wait, so long, for room in the listener's backlog.

    A socket in Python's timeout mode would be refused at once.
    """
    if seconds is not None:
        whole, rest = divmod(max(seconds, 1e-6), 1)  # zero would mean for ever
        limit = struct.pack("@ll", int(whole), int(rest * 1e6))
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _host_problem(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    return f"not a host name ({error})"
