"""Kinds of settings: how a value is written, checked and shown.

A value comes as text, from the command line or a variable, or as what Python and TOML have
for it: a number of seconds, a list. Either way the same value results, and what
:attr:`Kind.show` writes is read back as that value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .address import Address, parse_address
from .errors import UsageError
from .framing import Framing, parse_framing
from .limits import OFF, Limit
from .networks import parse_network
from .units import format_duration, format_size, parse_duration, parse_size

__all__ = [
    "ADDRESS",
    "ADMIN_ADDRESS",
    "ALPN",
    "BOOLEAN",
    "FRAMING",
    "HANDLER",
    "NETWORK",
    "PATH",
    "REPLY",
    "Kind",
    "choice",
    "of_limit",
]


class Kind(NamedTuple):
    """How the values of a setting are written.

    ``parse`` makes a value of text; ``check`` returns the value for what Python or TOML
    have for it; ``show`` writes a value as text. ``parse`` and ``check`` raise UsageError.
    """

    metavar: str  # stands for a value in help texts
    parse: Callable[[str], Any]
    check: Callable[[object], Any]
    show: Callable[[Any], str] = str
    unit: str | None = None  # of a limit


# Limits.


def of_limit(limit: Limit) -> Kind:
    """Values of ``limit``, in its unit; one that is off is ``None``."""
    metavar, parse, show = _BY_UNIT[limit.unit]
    check_number = limit.check_whole if limit.unit in {"bytes", "count"} else limit.check

    def check(value: object) -> float | None:
        # Asked first: as a whole number, off is a huge one.
        return None if limit.optional and value in (None, OFF) else check_number(value)

    return Kind(metavar, lambda text: check(parse(text)), check, show, limit.unit)


# Compiled when used, which few processes do.
_COUNT = r"[0-9]+|[0-9]{1,3}(,[0-9]{3})+"
_RATE = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:/s)?"
_MOST_DIGITS = 30  # more than any limit allows, and fewer than int() refuses


def _parse_count(text: str) -> int:
    if re.fullmatch(_COUNT, text) is None or len(text) > _MOST_DIGITS:
        raise UsageError(f"{text!r} is not a whole number; write 1000 or 1,000")
    return int(text.replace(",", ""))


def _parse_rate(text: str) -> float:
    match = re.fullmatch(_RATE, text)
    rate = float(match[1]) if match else math.inf
    if rate == math.inf:
        raise UsageError(f"{text!r} is not a number a second; write 100 or 0.5")
    return rate


def _show_count(count: int) -> str:
    return f"{count:,}"


def _show_rate(rate: float) -> str:
    return f"{_plain(rate)}/s"


def _show_size(size: int) -> str:
    text = format_size(size)
    return text if _reads_as(text, parse_size, size) else f"{size} B"


def _show_duration(seconds: float) -> str:
    for unit, factor in (("h", 3600), ("m", 60)):
        if seconds >= factor and seconds % factor == 0:
            return f"{seconds // factor:.0f} {unit}"
    text = format_duration(seconds).replace("µ", "u")
    return text if _reads_as(text, parse_duration, seconds) else f"{_plain(seconds)} s"


def _reads_as(text: str, parse: Callable[[str], float], value: float) -> bool:
    """Whether nothing was lost by rounding ``value`` for people."""
    try:
        return parse(text) == value
    except UsageError:
        return False


def _plain(number: float) -> str:
    """All of its digits, without an exponent."""
    if number == int(number):
        return str(int(number))
    text = repr(number)
    if "e" in text:
        import decimal

        return f"{decimal.Decimal(text):f}"
    return text


_BY_UNIT: dict[str, tuple[str, Callable[[str], float], Callable[[Any], str]]] = {
    "seconds": ("DURATION", parse_duration, _show_duration),
    "bytes": ("SIZE", parse_size, _show_size),
    "count": ("NUMBER", _parse_count, _show_count),
    "a second": ("RATE", _parse_rate, _show_rate),
}


# Words.


def choice(*words: str) -> Kind:
    """One of ``words``."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise UsageError(f"{value!r} is not one of {', '.join(words)}")
        return value

    return Kind("|".join(words), check, check)


_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _parse_boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise UsageError(f"{text!r} is neither true nor false")
    return value


def _check_boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{value!r} is neither true nor false")
    return value


def _show_boolean(value: bool) -> str:
    return "true" if value else "false"


BOOLEAN = Kind("true|false", _parse_boolean, _check_boolean, _show_boolean)


# Text.


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{value!r} is not {what}, which is text")
    if not value:
        raise UsageError(f"it is empty; {what} is wanted")
    return value


def _check_handler(value: object) -> str:
    return _text(value, "a handler's name, MODULE:HANDLER")


def _check_path(value: object) -> str:
    path = _text(value, "a path")
    if "\0" in path:
        raise UsageError(f"{path!r} is not a path")
    return path


def _check_reply(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    text = _text(value, "a reply")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is not UTF-8") from None


def _check_alpn(value: object) -> str:
    """RFC 7301, section 3.1: a protocol's name has 1 to 255 bytes."""
    name = _text(value, "a protocol's name, as in http/1.1")
    if not name.isascii() or len(name) > 255:
        raise UsageError(f"{name!r} is not a protocol's name: 1 to 255 ASCII characters")
    return name


def _check_address(value: object) -> Address:
    return parse_address(value)  # type: ignore[arg-type]  # which refuses what is no text


def _check_admin_address(value: object) -> Address:
    """A browser's way to write it will do as well: HOST:PORT."""
    plain = isinstance(value, str) and value and "://" not in value
    return _check_address(f"tcp://{value}" if plain else value)


def _check_framing(value: object) -> Framing:
    return value if isinstance(value, Framing) else parse_framing(value)  # type: ignore[arg-type]


HANDLER = Kind("MODULE:HANDLER", _check_handler, _check_handler)
PATH = Kind("PATH", _check_path, _check_path)
REPLY = Kind("TEXT", _check_reply, _check_reply, lambda reply: reply.decode(errors="replace"))
ALPN = Kind("NAME", _check_alpn, _check_alpn)
NETWORK = Kind("CIDR", parse_network, parse_network)
ADDRESS = Kind("URL", parse_address, _check_address)
ADMIN_ADDRESS = Kind("ADDRESS", _check_admin_address, _check_admin_address)
FRAMING = Kind("SPEC", parse_framing, _check_framing)
