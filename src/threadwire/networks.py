"""Lists of networks, such as ``10.0.0.0/8`` or ``2001:db8::/32``, and who is on them."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import NamedTuple

from .errors import UsageError

__all__ = ["Networks", "parse_network", "site_of"]

_SITE_BITS = 64  # of an IPv6 address: what one customer has at least (RFC 6177)
# What an IPv4 address is preceded by to be written as one of IPv6 (RFC 4291, section 2.5.5.2).
_MAPPED_BITS = 96
_MAPPED = 0xFFFF


class _Network(NamedTuple):
    version: int  # 4 or 6
    shift: int  # bits of an address that do not count
    prefix: int  # the others


def parse_network(text: object) -> str:
    """``text`` in its usual form; a single address stands for itself. Raises UsageError.

    An IPv4 network that is written as one of IPv6, ``::ffff:10.0.0.0/104``, is the IPv4 network.
    """
    import ipaddress  # as late as this, because few servers have such lists

    if not isinstance(text, str):
        raise UsageError(f"a network is a string, as in '10.0.0.0/8', not {text!r}")
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a network; write 10.0.0.0/8 or ::1 ({error})") from error
    bits = network.prefixlen - _MAPPED_BITS
    if network.version == 6 and bits >= 0 and network.network_address.ipv4_mapped is not None:
        return f"{network.network_address.ipv4_mapped}/{bits}"
    return str(network)


class Networks:
    """A list of networks, fixed; any thread. ``name`` is the setting it comes from."""

    def __init__(self, name: str, texts: Iterable[str]) -> None:
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise UsageError(f"{name} must be a list of networks, as in ['::1'], not {texts!r}")
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
    version, number = _number(host)
    if version == 4:
        return socket.inet_ntoa(number.to_bytes(4, "big"))
    return number >> (128 - _SITE_BITS)


def _compiled(text: str) -> _Network:
    import ipaddress

    network = ipaddress.ip_network(text)
    shift = network.max_prefixlen - network.prefixlen
    return _Network(network.version, shift, int(network.network_address) >> shift)


def _number(host: str) -> tuple[int, int]:
    """Version and number of an address; 0 for what is none."""
    host = host.partition("%")[0]  # an IPv6 link-local address names its interface
    try:
        if ":" not in host:
            return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, host), "big")
        number = int.from_bytes(socket.inet_pton(socket.AF_INET6, host), "big")
    except (OSError, ValueError):
        return 0, 0  # a name, or a unix socket's peer: in no network
    if number >> 32 == _MAPPED:
        return 4, number & 0xFFFFFFFF
    return 6, number
