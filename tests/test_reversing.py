"""The reversing service: bytes, and what a reader takes for characters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire.handler import as_handler
from threadwire.reversing import reverse, reverse_text


def reverse_string(text: str) -> str:
    handler = as_handler(reverse_text())
    reply = handler.call(text.encode(), None)  # type: ignore[arg-type]
    assert isinstance(reply, bytes)
    return reply.decode()


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (b"", b""),
        (b"a", b"a"),
        (b"hello", b"olleh"),
        (b"\0\x01\xff", b"\xff\x01\0"),
        ("é".encode(), b"\xa9\xc3"),
    ],
)
def test_bytes(message: bytes, reply: bytes) -> None:
    assert reverse(message) == reply


E_ACUTE = "e\N{COMBINING ACUTE ACCENT}"
FAMILY = "\N{ZERO WIDTH JOINER}".join("👨👩👧👦")
GERMANY = "\N{REGIONAL INDICATOR SYMBOL LETTER D}\N{REGIONAL INDICATOR SYMBOL LETTER E}"
FRANCE = "\N{REGIONAL INDICATOR SYMBOL LETTER F}\N{REGIONAL INDICATOR SYMBOL LETTER R}"
THUMB = "👍\N{EMOJI MODIFIER FITZPATRICK TYPE-4}"
HEART = "❤\N{VARIATION SELECTOR-16}"
HANGUL = unicodedata.normalize("NFD", "한")


@pytest.mark.parametrize(
    ("text", "reversed_"),
    [
        ("", ""),
        ("hello", "olleh"),
        ("naïve", "evïan"),
        ("日本語", "語本日"),
        (f"caf{E_ACUTE}s", f"s{E_ACUTE}fac"),
        (f"a{FAMILY}b", f"b{FAMILY}a"),
        (f"{GERMANY}{FRANCE}", f"{FRANCE}{GERMANY}"),
        (f"{THUMB}{HEART}!", f"!{HEART}{THUMB}"),
        (f"{HANGUL}x", f"x{HANGUL}"),
        ("one\r\ntwo", "owt\r\neno"),
        ("a\r", "\ra"),
    ],
)
def test_text(text: str, reversed_: str) -> None:
    assert reverse_string(text) == reversed_


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (b"\xff", b"error: not UTF-8: byte 0xff at position 0"),
        (b"abc\x80def", b"error: not UTF-8: byte 0x80 at position 3"),
        (b"ab\xc3", b"error: not UTF-8: byte 0xc3 at position 2"),
        (b"\xed\xa0\x80", b"error: not UTF-8: byte 0xed at position 0"),  # a surrogate
    ],
)
def test_what_is_not_text_is_answered_with_what_is_wrong(message: bytes, reply: bytes) -> None:
    assert as_handler(reverse_text()).call(message, None) == reply  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.text())
def test_no_character_is_lost(text: str) -> None:
    assert sorted(reverse_string(text)) == sorted(text)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_characters="\r\n")))
def test_ascii_is_reversed_as_bytes_are(text: str) -> None:
    assert reverse_string(text).encode() == reverse(text.encode())


@settings(deadline=None)
@given(st.binary())
def test_any_message_is_answered(message: bytes) -> None:
    assert isinstance(as_handler(reverse_text()).call(message, None), bytes)  # type: ignore[arg-type]
