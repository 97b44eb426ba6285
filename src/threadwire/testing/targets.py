"""Where to connect to, for sockets that threadwire's own client does not make."""

from __future__ import annotations

import socket
from typing import TypeAlias

from ..address import Address
from ..errors import ConnectError, UsageError

__all__ = ["Target", "find_targets"]

Target: TypeAlias = "tuple[int, object]"
"""A socket's family, and a name to connect to."""


def find_targets(address: Address) -> list[Target]:
    """All that ``address`` stands for, in the system's order.

    Raises UsageError for a descriptor, ConnectError for a host that is not known.
    """
    if address.scheme.endswith("fd"):
        raise UsageError(f"{address} can be listened on, not connected to")
    if address.scheme == "unix":
        return [(socket.AF_UNIX, address.path)]
    try:
        found = socket.getaddrinfo(
            address.host or "localhost", address.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise ConnectError(str(address), f"the host name is not known ({error})") from error
    return [(family, name) for family, _, _, _, name in found]
