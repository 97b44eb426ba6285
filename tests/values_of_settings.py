"""Values of settings, drawn by hypothesis, and how each place has them."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from hypothesis import strategies as st

import threadwire
from threadwire import kinds
from threadwire.kinds import Kind
from threadwire.limits import LIMITS, Limit
from threadwire.settings import Setting

_LARGEST = {"bytes": 2**62, "seconds": 1e9, "count": 2**31 - 1, "a second": 1e9}

# Neither NUL, which no variable may have, nor what is no text.
_WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
_NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","))


def _limits(limit: Limit) -> st.SearchStrategy[Any]:
    largest = _LARGEST[limit.unit]
    if limit.unit in {"bytes", "count"}:
        return st.integers(int(limit.smallest), int(largest))
    round_ones = st.integers(1, 100_000) | st.integers(1, 100_000).map(lambda n: n / 1000)
    # Below a nanosecond nobody can write all the digits.
    return round_ones.filter(lambda n: n >= limit.smallest) | st.floats(
        max(limit.smallest, 1e-9), largest
    )


def _networks() -> st.SearchStrategy[str]:
    hosts = st.builds(ipaddress.IPv4Network, st.integers(0, 2**32 - 1))
    sites = st.builds(
        ipaddress.IPv6Network, st.tuples(st.just(0x2001 << 112), st.integers(16, 128))
    )
    return (hosts | sites).map(str)


_FRAMINGS = ["auto", "lines", "lines:crlf", "raw", r"delimited:\x03", "length:2:offset=4"]
_URLS = ["tcp://:0", "tls://[::1]:12345", "tcp://example.org:80", "unix:///a/b", "fd://3"]

_OTHERS: dict[Kind, st.SearchStrategy[Any]] = {
    kinds.BOOLEAN: st.booleans(),
    kinds.FRAMING: st.sampled_from(_FRAMINGS).map(threadwire.parse_framing),
    kinds.ADDRESS: st.sampled_from(_URLS).map(threadwire.parse_address),
    kinds.ADMIN_ADDRESS: st.sampled_from(_URLS).map(threadwire.parse_address),
    kinds.NETWORK: _networks(),
    kinds.ALPN: _NAMES.filter(lambda name: 0 < len(name) < 256 and name != "off"),
    kinds.PATH: _WORDS.map(lambda text: f"/{text}"),
    kinds.REPLY: _WORDS.filter(lambda text: text != "off").map(str.encode),
    kinds.HANDLER: _WORDS,
}


def _one_of(setting: Setting) -> st.SearchStrategy[Any]:
    if setting.kind.unit is not None:
        return _limits(LIMITS[setting.name])
    return _OTHERS.get(setting.kind, st.sampled_from(setting.kind.metavar.split("|")))


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    """Any value that ``setting`` may have."""
    one = _one_of(setting)
    if setting.many:
        return st.lists(one, min_size=0 if setting.optional else 1, max_size=3).map(tuple)
    return st.none() | one if setting.optional else one


def on_command_line(setting: Setting, value: Any) -> list[str]:
    """The arguments of ``threadwire serve`` that say it."""
    if setting.argument:
        return ["--", value]
    if isinstance(value, bool):
        return [setting.option if value else f"--no-{setting.option[2:]}"]
    if setting.many and value:
        return [f"{setting.option}={setting.kind.show(item)}" for item in value]
    return [f"{setting.option}={setting.show(value)}"]


def in_toml(setting: Setting, value: Any) -> str:
    """What stands after the key: numbers, booleans and arrays where there are such."""
    if setting.many:
        return f"[{', '.join(_toml(setting.kind.show(item)) for item in value)}]"
    if isinstance(value, bool | int | float):
        return _toml(value)
    return _toml(setting.show(value))


def _toml(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")
    return repr(value).lower()
