"""Framings as the command line and configuration files write them."""

from __future__ import annotations

import re

from ..errors import UsageError
from .codec import Framing
from .delimited import Delimited, Lines
from .length import LengthPrefixed, Netstring
from .raw import Auto, Raw

__all__ = ["SPEC_HELP", "parse_framing"]

SPEC_HELP = (
    "auto, lines, lines:crlf, raw, netstring, delimited:BYTES (escapes as in \\x03), "
    "length:SIZE[:big|little][:offset=N][:inclusive]"
)

_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.?)", re.DOTALL)
_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0", "\\": b"\\", "'": b"'", '"': b'"'}


def parse_framing(spec: str) -> Framing:
    r"""The framing that ``spec`` names; raises :class:`~threadwire.UsageError`.

    ``auto``, ``lines``, ``lines:crlf``, ``raw``, ``netstring``,
    ``delimited:\x03`` (bytes with Python's escapes),
    ``length:4``, ``length:2:little``, ``length:2:big:offset=4:inclusive``.
    """
    given: object = spec
    if not isinstance(given, str):
        raise UsageError(f"a framing's spec is a string, not {given!r}; write one of: {SPEC_HELP}")
    try:
        spec.encode()
    except UnicodeEncodeError:
        raise UsageError(rf"framing {spec!r} is not text; write bytes as in \x03") from None
    name, _, rest = spec.partition(":")
    simple: dict[str, Framing] = {
        "auto": Auto(),
        "lines": Lines(),
        "lines:lf": Lines(),
        "lines:crlf": Lines(newline=b"\r\n"),
        "raw": Raw(),
        "netstring": Netstring(),
    }
    if spec in simple:
        return simple[spec]
    if name == "delimited" and rest:
        return Delimited(_unescape(rest, spec))
    if name == "length" and rest:
        return _parse_length(rest, spec)
    raise UsageError(f"framing {spec!r} is not known; write one of: {SPEC_HELP}")


def _unescape(text: str, spec: str) -> bytes:
    parts = []
    end = 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[end : match.start()].encode())
        end = match.end()
        code = match[1]
        if len(code) == 3:
            parts.append(bytes.fromhex(code[1:]))
        elif code in _ESCAPES:
            parts.append(_ESCAPES[code])
        else:
            raise UsageError(
                f"framing {spec!r}: unknown escape {match[0]!r}; "
                r"write \xHH, \n, \r, \t, \0 or a doubled backslash"
            )
    parts.append(text[end:].encode())
    return b"".join(parts)


def _parse_length(rest: str, spec: str) -> Framing:
    size, *words = rest.split(":")
    framing = LengthPrefixed(size=_whole(size, "SIZE", spec))
    seen: set[str] = set()
    byteorder, offset, inclusive = framing.byteorder, framing.offset, framing.inclusive
    for word in words:
        kind = {"big": "order", "little": "order"}.get(word, word.partition("=")[0])
        if kind in seen:
            raise UsageError(f"framing {spec!r}: {word!r} says again what was said before it")
        seen.add(kind)
        if word == "big":
            byteorder = "big"
        elif word == "little":
            byteorder = "little"
        elif word == "inclusive":
            inclusive = True
        elif word.startswith("offset="):
            offset = _whole(word.removeprefix("offset="), "offset", spec)
        else:
            raise UsageError(
                f"framing {spec!r}: {word!r} is not one of big, little, offset=N, inclusive"
            )
    return LengthPrefixed(framing.size, byteorder, offset, inclusive)


def _whole(text: str, what: str, spec: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"framing {spec!r}: {what} must be a whole number, not {text!r}")
    return int(text)
