"""The header of the PROXY protocol, which anybody who can connect may send."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from threadwire import Address, ProxyHeaderError, UsageError
from threadwire.proxy_protocol import (
    MOST_V1,
    MOST_V2,
    NO_HEADER,
    ProxyHeader,
    ProxyParser,
    ProxySsl,
    encode_v1,
    encode_v2,
)

from .inputs import BYTE_BY_BYTE, PLAN, Input, chunks

__all__ = ["proxy_header"]

_V1 = re.compile(
    rb"PROXY (UNKNOWN( [^\r\n]*)?|TCP4( [0-9.]+){2}( [0-9]{1,5}){2}"
    rb"|TCP6( [0-9A-Fa-f:.]+){2}( [0-9]{1,5}){2})\r\n"
)
_V2_BEGIN = b"\r\n\r\n\0\r\nQUIT\n"
_ADDRESS_SIZES = {0: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
_CRC32C, _NOOP = 3, 4  # TLVs
_FEW = 300  # bytes, that are fed one by one, too


class _Outcome(NamedTuple):
    """What came of a connection's first bytes: header, NO_HEADER, error, or None for more."""

    found: object
    rest: bytes = b""


def proxy_header(data: bytes) -> None:
    given = Input(data)
    plan, stream = given.take(PLAN), given.rest()
    required = _parse(b"", stream, optional=False)
    optional = _parse(b"", stream, optional=True)
    for mode, whole in ((False, required), (True, optional)):
        assert _parse(plan, stream, optional=mode) == whole, "the pieces matter"
        if len(stream) < _FEW:
            assert _parse(BYTE_BY_BYTE, stream, optional=mode) == whole, "the pieces matter"
    if optional.found is NO_HEADER:
        assert required.found is ProxyHeaderError
        assert optional.rest == stream
    else:
        assert optional == required, f"{optional!r}, but {required!r} where there must be one"
    if isinstance(required.found, ProxyHeader):
        _check_header(required.found, stream[: len(stream) - len(required.rest)])


def _parse(plan: bytes, stream: bytes, *, optional: bool) -> _Outcome:
    parser = ProxyParser(optional=optional)
    fed = 0
    for chunk, _ in chunks(plan, stream):
        fed += len(chunk)
        try:
            found = parser.feed(chunk)
        except ProxyHeaderError as error:
            _check_refused(parser, error)
            return _Outcome(ProxyHeaderError)
        if found is not None:
            _check_decided(parser)
            return _Outcome(found, parser.rest + stream[fed:])
        most = MOST_V1 if stream.startswith(b"P") else MOST_V2
        assert parser.unread == fed < most, "more is held than a header may have"
        assert not parser.rest
    _check_incomplete(stream)
    _check_settled(parser, stream, optional=optional)
    return _Outcome(None)


def _check_incomplete(stream: bytes) -> None:
    """More was asked for, so this is no header yet, and can become one."""
    if stream.startswith(b"PROXY "):
        assert b"\r\n" not in stream
        assert len(stream) < MOST_V1
    elif len(stream) >= 16:
        assert len(stream) < 16 + int.from_bytes(stream[14:16], "big") <= MOST_V2
    else:
        assert b"PROXY ".startswith(stream) or _V2_BEGIN.startswith(stream[:12])


def _check_refused(parser: ProxyParser, error: ProxyHeaderError) -> None:
    assert parser.unread == 0
    assert str(error).isprintable()
    calls: list[Callable[[], object]] = [
        lambda: parser.feed(b"PROXY UNKNOWN\r\n"),
        lambda: parser.settle("it ended"),
    ]
    for call in calls:
        try:
            call()
        except ProxyHeaderError as repeated:
            assert repeated.problem == error.problem
        else:
            raise AssertionError("a refused header is accepted later")


def _check_decided(parser: ProxyParser) -> None:
    assert parser.unread == 0
    try:
        parser.feed(b"")
    except UsageError:
        return
    raise AssertionError("a parser reads a second header")


def _check_settled(parser: ProxyParser, stream: bytes, *, optional: bool) -> None:
    """Nothing more came."""
    try:
        found = parser.settle("the stream ended")
    except ProxyHeaderError:
        return
    assert optional
    assert (found, parser.rest) == (NO_HEADER, stream)


def _check_header(found: ProxyHeader, raw: bytes) -> None:
    """The header that was found in ``raw`` is one, and says what it can say again."""
    if found.version == 1:
        assert len(raw) <= MOST_V1
        assert _V1.fullmatch(raw), f"{raw!r} is no line of version 1"
    else:
        assert len(raw) <= MOST_V2
        assert raw.startswith((_V2_BEGIN + b"\x20", _V2_BEGIN + b"\x21"))
        assert len(raw) == 16 + int.from_bytes(raw[14:16], "big")
        assert found.local == (raw[12] == 0x20)
        assert found.local or list(found.tlvs) == list(_tlvs(raw))
    for address in (found.source, found.destination):
        _check_address(address)
    assert (found.source is None) == (found.destination is None)
    for text in (found.authority, *_texts(found.ssl)):
        assert text is None or isinstance(text.encode(), bytes), "text that nobody can write"
    assert len(found.unique_id or b"") <= 128
    again = _again(found)
    assert _without_crc(again) == _without_crc(found), f"{again!r} is written for {found!r}"


def _tlvs(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """All that a client's header has behind its addresses, but for padding."""
    at = 16 + _ADDRESS_SIZES[raw[13]]
    assert at <= len(raw)
    while at < len(raw):
        end = at + 3 + int.from_bytes(raw[at + 1 : at + 3], "big")
        assert end <= len(raw), "a TLV is cut short"
        if raw[at] != _NOOP:
            yield raw[at], raw[at + 3 : end]
        at = end


def _check_address(address: Address | None) -> None:
    if address is None:
        return
    if address.scheme == "unix":
        assert len(address.path) <= 108
        return
    assert address.scheme == "tcp"
    assert 0 <= address.port <= 65535
    ip = ipaddress.ip_address(address.host)
    assert str(ip) == address.host, "not as a socket's peer is written"
    assert getattr(ip, "ipv4_mapped", None) is None


def _texts(ssl: ProxySsl | None) -> tuple[str | None, ...]:
    if ssl is None:
        return ()
    assert ssl.used or not ssl.verified
    return (
        ssl.version,
        ssl.common_name,
        ssl.cipher,
        ssl.signature_algorithm,
        ssl.key_algorithm,
    )


def _again(found: ProxyHeader) -> object:
    """The header, written and read anew."""
    if found.version == 1:
        written = encode_v1(found.source, found.destination)
    else:
        tlvs = [(kind, value) for kind, value in found.tlvs if kind != _CRC32C]
        assert all(kind != _NOOP for kind, _ in tlvs)
        written = encode_v2(
            found.source,
            found.destination,
            local=found.local,
            tlvs=tlvs,
            crc=len(tlvs) < len(found.tlvs),
        )
    return ProxyParser().feed(written)


def _without_crc(found: object) -> object:
    assert isinstance(found, ProxyHeader)
    tlvs = [(kind, value if kind != _CRC32C else b"") for kind, value in found.tlvs]
    tlvs.sort(key=lambda tlv: tlv[0] == _CRC32C)  # the checksum is written last
    return found.version, found.local, found.source, found.destination, tlvs
