"""What users write: addresses, framings, durations, sizes, networks, and every setting."""

from __future__ import annotations

import ipaddress
import math
import re

from threadwire import Delimited, UsageError, parse_address, parse_framing
from threadwire.networks import Networks, parse_network, site_of
from threadwire.settings import SETTINGS
from threadwire.units import format_duration, format_size, parse_duration, parse_size

__all__ = ["address", "framing_spec", "network", "setting", "units"]

_DELIMITED = re.compile(r"""(?s)delimited:([^\\]|\\(x[0-9A-Fa-f]{2}|[nrt0\\'"]))+""")


def _text(data: bytes) -> str:
    """As an argument or a variable arrives."""
    return data.decode(errors="surrogateescape")


def address(data: bytes) -> None:
    try:
        parsed = parse_address(_text(data))
    except UsageError as error:
        str(error)
        return
    assert 0 <= parsed.port <= (65535 if parsed.scheme in ("tcp", "tls") else 999_999_999)
    assert parse_address(str(parsed)) == parsed, f"{parsed!r} is shown as {parsed}"
    if parsed.scheme in ("tcp", "tls"):
        host = _text(data).partition("://")[2].removesuffix("/").rpartition(":")[0]
        assert host in (parsed.host, f"[{parsed.host}]")


def framing_spec(data: bytes) -> None:
    try:
        framing = parse_framing(_text(data))
    except UsageError:
        return
    assert parse_framing(str(framing)) == framing, f"{framing!r} is shown as {framing}"
    if isinstance(framing, Delimited):
        assert _DELIMITED.fullmatch(_text(data))
    codec = framing.codec(1 << 10)
    codec.feed(bytes(4))
    codec.settle()


def units(data: bytes) -> None:
    """A duration, a size, or both."""
    text = _text(data)
    try:
        seconds = parse_duration(text)
    except UsageError:
        pass
    else:
        assert 0 <= seconds < math.inf
        assert format_duration(seconds)
    try:
        size = parse_size(text)
    except UsageError:
        pass
    else:
        assert type(size) is int
        assert size >= 0
        assert format_size(size)


def network(data: bytes) -> None:
    """A network, a space, and a host that may lie in it."""
    text, _, host = _text(data).partition(" ")
    site_of(host)
    try:
        parsed = parse_network(text)
    except UsageError:
        return
    assert parse_network(parsed) == parsed
    networks = Networks("allow", [text])
    assert networks.texts == (parsed,)
    assert parsed.partition("/")[0] in networks, "its first address"
    assert (host in networks) == _lies_in(host, parsed)


def _lies_in(host: str, network: str) -> bool:
    """The same by the standard library, with IPv4 addresses as such however they are written."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    found = ipaddress.ip_network(network)
    return ip.version == found.version and ip in found


def setting(data: bytes) -> None:
    """``name=value``."""
    name, _, text = _text(data).partition("=")
    found = SETTINGS.get(name)
    if found is None:
        return
    try:
        value = found.read(text)
    except UsageError as error:
        assert name in str(error)
        return
    shown = found.show(value)
    assert found.read(shown) == value, f"{value!r} is shown as {shown!r}"
