"""Lists of networks, such as ``10.0.0.0/8`` or ``2001:db8::/32``, and who is on them."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import NamedTuple

from .errors import UsageError

__all__ = ["Networks", "parse_network", "site_of"]

_SITE_BITS = 64  # of an IPv6 address: what one customer has at least (RFC 6177)


class _Network(NamedTuple):
    version: int  # 4 or 6
    shift: int  # bits of an address that do not count
    prefix: int  # the others


def parse_network(text: object) -> str:
    """``text`` in its usual form; a single address stands for itself. Raises UsageError."""
    import ipaddress  # as late as this, because few servers have such lists

    if not isinstance(text, str):
        raise UsageError(f"a network is a string, as in '10.0.0.0/8', not {text!r}")
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise UsageError(f"{text!r} is not a network; write 10.0.0.0/8 or ::1 ({error})") from error


class Networks:
    """A list of networks, fixed; any thread. ``name`` is the setting it comes from."""

    def __init__(self, name: str, texts: Iterable[str]) -> None:
        if isinstance(texts, str):
            raise UsageError(f"{name} must be a list of networks, not the string {texts!r}")
        self.texts = tuple(self._parsed(name, text) for text in texts)
        self._networks = [_compiled(text) for text in self.texts]

    @staticmethod
    def _parsed(name: str, text: object) -> str:
        try:
            return parse_network(text)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, host: str) -> bool:
        """Whether ``host``, an address without a port, lies in one of them."""
        if not self._networks:
            return False
        version, number = _number(host)
        return any(
            network.version == version and number >> network.shift == network.prefix
            for network in self._networks
        )


def site_of(host: str) -> str | int:
    """What counts as one place: an IPv4 address, or the /64 that an IPv6 address lies in."""
    if ":" not in host:
        return host
    return _number(host)[1] >> (128 - _SITE_BITS)


def _compiled(text: str) -> _Network:
    import ipaddress

    network = ipaddress.ip_network(text)
    shift = network.max_prefixlen - network.prefixlen
    return _Network(network.version, shift, int(network.network_address) >> shift)


def _number(host: str) -> tuple[int, int]:
    host = host.partition("%")[0]  # an IPv6 link-local address names its interface
    try:
        if ":" in host:
            return 6, int.from_bytes(socket.inet_pton(socket.AF_INET6, host), "big")
        return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, host), "big")
    except OSError:
        return 0, 0  # a name, or a unix socket's peer: in no network
