"""Lists of networks: what is one, and who is on them.

Judged against the standard library's ``ipaddress``, which is too slow for every client that comes,
and knows nothing of ``::ffff:`` in a list.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from threadwire import UsageError
from threadwire.networks import Networks, parse_network, site_of

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAPPED = int(ipaddress.IPv6Address("::ffff:0:0"))

addresses4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
addresses6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
networks4 = st.builds(
    lambda number, bits: ipaddress.IPv4Network((number, bits), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
networks6 = st.builds(
    lambda number, bits: ipaddress.IPv6Network((number, bits), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
networks: st.SearchStrategy[IpNetwork] = networks4 | networks6


@st.composite
def near(draw: st.DrawFn, found: list[IpNetwork]) -> IpAddress:
    """An address in one of the networks, or just beside it, or anywhere."""
    if not found or draw(st.integers(0, 9)) == 0:
        return draw(addresses4 | addresses6)
    network = draw(st.sampled_from(found))
    first, last = int(network.network_address), int(network.broadcast_address)
    most = 2**network.max_prefixlen - 1
    inside = draw(st.integers(first, last))
    number = draw(st.sampled_from([first, last, max(0, first - 1), min(most, last + 1), inside]))
    return ipaddress.IPv4Address(number) if network.version == 4 else ipaddress.IPv6Address(number)


def as_known(address: IpAddress) -> IpAddress:
    """An IPv4 address that is written as one of IPv6 is the IPv4 address."""
    return getattr(address, "ipv4_mapped", None) or address


@given(st.data())
def test_who_is_on_a_list(data: st.DataObject) -> None:
    """As ipaddress has it, for each form in which an address may come.

    With a network's shift one less: those beside it are on the list.
    """
    found = data.draw(st.lists(networks.filter(lambda n: not _in_mapped(n)), max_size=5))
    made = Networks("allow", map(str, found))
    address = data.draw(near(found))
    known = as_known(address)
    expected = any(known in network for network in found)
    for host in {str(address), address.exploded, address.compressed}:
        assert (host in made) is expected
    if address.version == 4:
        assert (f"::ffff:{address}" in made) is expected
        assert (f"::ffff:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}" in made) is expected
    else:
        assert (f"{address}%eth0" in made) is expected
    assert bool(made) is bool(found)


def _in_mapped(network: IpNetwork) -> bool:
    return network.version == 6 and int(network.network_address) >> 32 == 0xFFFF


@given(networks4, st.data())
def test_an_ipv4_network_that_is_written_as_one_of_ipv6(
    network: ipaddress.IPv4Network, data: st.DataObject
) -> None:
    """With it taken for one of IPv6: nobody is ever on it, though peers have IPv4 addresses."""
    written = f"::ffff:{network.network_address}/{96 + network.prefixlen}"
    assert parse_network(written) == str(network)
    made = Networks("deny", [written])
    address = data.draw(near([network]))
    known = as_known(address)
    assert (str(address) in made) is (known in network)


@given(networks)
@example(ipaddress.IPv6Network("::/0"))
@example(ipaddress.IPv6Network("::ffff:0:0/95", strict=False))
def test_what_a_network_is_shown_as_is_read_back_as_that(network: IpNetwork) -> None:
    shown = parse_network(str(network))
    assert parse_network(shown) == shown
    if not _in_mapped(network):
        assert shown == str(network)
    assert Networks("allow", [str(network)]).texts == (shown,)


@given(addresses4 | addresses6)
def test_a_single_address_stands_for_itself(address: IpAddress) -> None:
    made = Networks("allow", [str(address)])
    assert str(address) in made
    other = type(address)(int(address) ^ 1)
    assert str(other) not in made


@given(st.text(max_size=30) | st.from_regex(r"[0-9a-f.:/%]{1,30}", fullmatch=True))
@example("fe80::1%eth0")
@example("10.0.0.1/8")
@example("::ffff:1.2.3.4/100")
def test_any_text_is_a_network_or_a_usage_error(text: str) -> None:
    """With errors of ipaddress let through: others than the caller's."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        with pytest.raises(UsageError) as caught:
            parse_network(text)
        assert repr(text) in str(caught.value)
        with pytest.raises(UsageError, match=r"^deny: "):
            Networks("deny", [text])
    else:
        shown = parse_network(text)
        assert parse_network(shown) == shown
        network = ipaddress.ip_network(shown)
        assert str(network.network_address).partition("%")[0] in Networks("deny", [text])


@pytest.mark.parametrize(
    ("text", "hint"),
    [("10.0.0.1/8", "host bits set"), ("10.0.0.0/33", "10.0.0.0/33"), ("localhost", "write")],
)
def test_what_is_wrong_is_said(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse_network(text)


@pytest.mark.parametrize("given_", [5, None, "10.0.0.0/8", True, 1.5])
def test_what_is_no_list(given_: Any) -> None:
    """A string has letters, which are no networks; the error says what it is about."""
    with pytest.raises(UsageError, match=r"^allow must be a list of networks"):
        Networks("allow", given_)


@pytest.mark.parametrize("item", [5, None, b"10.0.0.0/8", ("10.0.0.0", 8), 0x0A000000])
def test_what_is_no_text(item: Any) -> None:
    with pytest.raises(UsageError, match=r"^allow: a network is a string, as in '10\.0\.0\.0/8'"):
        Networks("allow", [item])


def test_any_collection_will_do() -> None:
    texts = ["10.0.0.0/8", "::1"]
    for collection in (texts, tuple(texts), iter(texts), dict.fromkeys(texts)):
        assert Networks("allow", collection).texts == ("10.0.0.0/8", "::1/128")


@given(st.text(max_size=20))
@example("")
@example("localhost")
@example("\0")
@example("\0:")
@example("::1:")
def test_a_host_that_is_no_address_is_on_no_list(host: str) -> None:
    """With an error of inet_pton's let through: the acceptor's, and the client's end."""
    made = Networks("allow", ["0.0.0.0/0", "::/0"])
    known = host.partition("%")[0]
    family = socket.AF_INET6 if ":" in known else socket.AF_INET
    try:
        socket.inet_pton(family, known)
    except (OSError, ValueError):
        assert host not in made
    else:
        assert host in made
    assert host not in Networks("allow", [])


# What counts as one place.


@given(addresses4, addresses4)
def test_an_ipv4_address_is_a_place(
    one: ipaddress.IPv4Address, other: ipaddress.IPv4Address
) -> None:
    assert (site_of(str(one)) == site_of(str(other))) is (one == other)
    assert site_of(f"::ffff:{one}") == site_of(str(one))


@given(addresses6, st.integers(0, 127))
def test_of_an_ipv6_address_the_first_64_bits_are(address: ipaddress.IPv6Address, bit: int) -> None:
    """With 48 or 128 bits: two customers are one, or one has as many places as it likes."""
    other = ipaddress.IPv6Address(int(address) ^ (1 << bit))
    if address.ipv4_mapped or other.ipv4_mapped:
        return
    assert (site_of(str(address)) == site_of(other.exploded)) is (bit < 64)
    assert site_of(f"{address}%eth0") == site_of(str(address))


@given(addresses4, addresses6)
def test_places_of_both_kinds_differ(
    one: ipaddress.IPv4Address, other: ipaddress.IPv6Address
) -> None:
    if not other.ipv4_mapped:
        assert site_of(str(one)) != site_of(str(other))
