"""How the values of settings are written: what is read, what is shown, what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import threadwire
from threadwire import UsageError, limits
from threadwire.kinds import (
    ADDRESS,
    ALPN,
    BOOLEAN,
    FRAMING,
    HANDLER,
    NETWORK,
    PATH,
    REPLY,
    Kind,
    choice,
    of_limit,
)
from threadwire.settings import SETTINGS

from .values_of_settings import values_of

DURATION = of_limit(limits.SWITCH_INTERVAL)
SIZE = of_limit(limits.MAX_MESSAGE)
COUNT = of_limit(limits.MAX_CLIENTS)
RATE = of_limit(limits.ACCEPT_RATE)
WORD = choice("wait", "refuse")

KINDS = {
    "duration": DURATION,
    "size": SIZE,
    "count": COUNT,
    "rate": RATE,
    "word": WORD,
    "boolean": BOOLEAN,
    "handler": HANDLER,
    "path": PATH,
    "reply": REPLY,
    "alpn": ALPN,
    "network": NETWORK,
    "address": ADDRESS,
    "framing": FRAMING,
}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (DURATION, "500ms", 0.5),
        (DURATION, "2 m", 120.0),
        (DURATION, "7", 7.0),
        (SIZE, "64KiB", 65536),
        (SIZE, "100", 100),
        (COUNT, "1000", 1000),
        (COUNT, "10,000", 10_000),
        (COUNT, "2,147,483,647", 2**31 - 1),
        (RATE, "100", 100.0),
        (RATE, "0.5", 0.5),
        (RATE, "20/s", 20.0),
        (WORD, "refuse", "refuse"),
        *((BOOLEAN, text, True) for text in ("true", "yes", "on", "1", "TRUE")),
        *((BOOLEAN, text, False) for text in ("false", "no", "off", "0", "False")),
        (HANDLER, "app:handle", "app:handle"),
        (PATH, "/etc/cert.pem", "/etc/cert.pem"),
        (REPLY, "später", "später".encode()),
        (ALPN, "http/1.1", "http/1.1"),
        (NETWORK, "10.0.0.0/8", "10.0.0.0/8"),
        (NETWORK, "192.0.2.7", "192.0.2.7/32"),
        (NETWORK, "2001:DB8::/32", "2001:db8::/32"),
        (ADDRESS, "tcp://:0", threadwire.Address("tcp", "", 0)),
        (FRAMING, "length:2", threadwire.LengthPrefixed(2)),
    ],
)
def test_what_text_means(kind: Kind, text: str, value: object) -> None:
    found = kind.parse(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (DURATION, 30.0, "30 s"),
        (DURATION, 30, "30 s"),
        (DURATION, 90.0, "90 s"),
        (DURATION, 60.0, "1 m"),
        (DURATION, 7200, "2 h"),
        (DURATION, 0.005, "5 ms"),
        (DURATION, 0.0005, "500 us"),
        (DURATION, 1.23456, "1.23456 s"),
        (DURATION, 1.5e-05, "0.000015 s"),
        (DURATION, 2e-06, "2 us"),
        (DURATION, 1.23456e-05, "0.0000123456 s"),
        (SIZE, 1 << 20, "1 MiB"),
        (SIZE, 1_500_000, "1500000 B"),
        (COUNT, 10_000, "10,000"),
        (RATE, 100.0, "100/s"),
        (RATE, 0.5, "0.5/s"),
        (BOOLEAN, True, "true"),
        (REPLY, b"busy", "busy"),
    ],
)
def test_what_is_shown_is_written_for_people_and_loses_nothing(
    kind: Kind, value: Any, text: str
) -> None:
    assert kind.show(value) == text
    assert kind.parse(text) == value


@pytest.mark.parametrize("name", ["switch_interval", "max_message", "max_clients", "accept_rate"])
@given(data=st.data())
def test_a_limit_that_is_shown_is_read_back(name: str, data: st.DataObject) -> None:
    limit = limits.LIMITS[name]
    kind = of_limit(limit)
    value = data.draw(values_of(SETTINGS[name]).filter(lambda drawn: drawn is not None))
    assert kind.parse(kind.show(value)) == value


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@given(text=st.text())
def test_any_text_is_a_value_or_a_usage_error(kind: Kind, text: str) -> None:
    try:
        value = kind.parse(text)
    except UsageError:
        return
    assert kind.check(value) == value, "what text means, Python may say too"
    assert isinstance(kind.show(value), str)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("value", ["", object(), [], {}, ("a",), 1j])
def test_what_no_kind_takes(kind: Kind, value: object) -> None:
    with pytest.raises(UsageError):
        kind.check(value)


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (COUNT, "many", "'many' is not a whole number; write 1000 or 1,000"),
        (COUNT, "1,00", "'1,00' is not a whole number"),
        (COUNT, "9" * 5000, "is not a whole number"),
        (COUNT, "0", "max_clients must be at least 1"),
        (RATE, "fast", "'fast' is not a number a second; write 100 or 0.5"),
        (RATE, "9" * 400, "is not a number a second"),
        (DURATION, "9" * 400, "is too long a duration"),
        (WORD, "maybe", "'maybe' is not one of wait, refuse"),
        (BOOLEAN, "maybe", "'maybe' is neither true nor false"),
        (PATH, "a\0b", r"'a\x00b' is not a path"),
        (REPLY, "\udcff", "is not UTF-8"),
        (ALPN, "a" * 256, "1 to 255 ASCII characters"),
        (ALPN, "é", "1 to 255 ASCII characters"),
        (NETWORK, "10.0.0.1/8", "10.0.0.1/8"),
        (HANDLER, "", "it is empty; a handler's name, MODULE:HANDLER is wanted"),
    ],
)
def test_what_is_wrong_is_told(kind: Kind, value: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        kind.parse(value)


@pytest.mark.parametrize("value", [1, 0, "true", None])
def test_a_boolean_is_no_number_and_no_text(value: object) -> None:
    with pytest.raises(UsageError, match="neither true nor false"):
        BOOLEAN.check(value)


@pytest.mark.parametrize("name", ["idle_timeout", "max_clients_per_ip", "accept_rate"])
@pytest.mark.parametrize("value", [None, limits.OFF])
def test_a_limit_that_is_off_is_none(name: str, value: object) -> None:
    assert of_limit(limits.LIMITS[name]).check(value) is None


@pytest.mark.parametrize("value", [None, limits.OFF, True, "5", 5.5])
def test_what_no_count_is(value: object) -> None:
    with pytest.raises(UsageError, match="max_clients must be"):
        COUNT.check(value)
