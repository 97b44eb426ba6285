"""Every target by its name, which is its function's and that of its folder in ``corpus``."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

__all__ = ["CORPUS", "TARGETS", "Function", "Target", "fuzzer", "hash_of", "load", "saved"]

Function: TypeAlias = Callable[[bytes], None]

CORPUS = Path(__file__).parent / "corpus"


class Target(NamedTuple):
    """Where a target is, and how it is best fuzzed.

    ``module`` is imported only when it is wanted, because a fuzzer that is led by coverage
    has to be there before what it looks at, ``covers``: modules, or packages as a whole.
    ``longest`` is how many bytes an input may have, ``words`` what is likely in one.
    """

    module: str
    covers: tuple[str, ...]
    longest: int = 1024
    words: tuple[bytes, ...] = ()


_FRAMING = ("threadwire.framing",)
_LINE_WORDS = (b"\n", b"\r", b"\r\n", b"a\r\n", b"\n\r")
_DIGITS = ("²".encode(), "٣".encode())  # as Unicode has it, not as a parser should
_PROXY_WORDS = (
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b"PROXY UNKNOWN",
    b"\r\n",
    b"127.0.0.1 ",
    b"::1 ",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
    b"\x20\0\x05",
    b"\x03\0\x04",
)
_HANDOVER_WORDS = (
    b'{"handover": 1, "say": "listeners", "left": 0, "listeners": [',
    b'{"address": "tcp://:1", "options": {}}',
    b'{"handover": 1, "say": "take"}',
    b'{"handover": 1, "say": "more"}',
    b'{"handover": 1, "say": "serving"}',
    b'{"handover": 1, "say": "stopped"}',
    b'{"say": "refused", "why": "busy", "problem": "',
    b'"reason": "',
    b"\\n\\ud800",
    b"]}",
    b"\xff",
)
_SETTING_WORDS = (
    b"max_clients",
    b"max_message",
    b"listen",
    b"framing",
    b"allow",
    b"tls_cert",
    b"idle_timeout",
    b"off",
    b"1MiB",
    b"500ms",
    b"tcp://",
    b"10.0.0.0/8",
    b"length:2:big:offset=4:inclusive",
    b"delimited:\\x03",
    *_DIGITS,
)

TARGETS = {
    "lines": Target("fuzz.framings", _FRAMING, words=_LINE_WORDS),
    "delimited": Target("fuzz.framings", _FRAMING, words=(b"aa", b"aba", b"\0", b"ab")),
    "length_prefixed": Target("fuzz.framings", _FRAMING, words=(b"\0\1", b"\1\0", b"\0\0\0")),
    "netstring": Target("fuzz.framings", _FRAMING, words=(b"0:,", b"1:a,", b"10:", b"5:hello,")),
    "raw": Target("fuzz.framings", _FRAMING),
    "auto": Target("fuzz.framings", _FRAMING, words=_LINE_WORDS),
    "proxy_header": Target(
        "fuzz.proxy", ("threadwire.proxy_protocol", "ipaddress"), 4500, _PROXY_WORDS
    ),
    "tls_records": Target("fuzz.tls", ("threadwire.transport.tls_records",)),
    "client_hello": Target(
        "fuzz.tls", ("threadwire.transport.client_hello",), 2048, (b"\x16\3\1", b"\0\0\0\x0b\0\t")
    ),
    "tls_conversation": Target("fuzz.tls", ("threadwire.transport",)),
    "tls_forged": Target("fuzz.tls", ("threadwire.transport",)),
    "tls_peer_certificate": Target("fuzz.peer_certificate", ("threadwire.transport",), 512),
    "certificate_fields": Target("fuzz.certificates", ("threadwire.certificates",)),
    "certificate_files": Target(
        "fuzz.certificates",
        ("threadwire.certificates", "threadwire.transport.tls_problem"),
        4096,
        (b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n", b"PRIVATE KEY-----"),
    ),
    "handover_message": Target("fuzz.handover", ("threadwire.handover",), 4096, _HANDOVER_WORDS),
    "handover_taking": Target("fuzz.handover", ("threadwire.handover",), 4096, _HANDOVER_WORDS),
    "handover_offer": Target("fuzz.handover", ("threadwire.handover",), 4096, _HANDOVER_WORDS),
    "environment": Target(
        "fuzz.environment",
        ("threadwire.activation", "threadwire.notify"),
        512,
        (b"me", b"-", *_DIGITS),
    ),
    "address": Target(
        "fuzz.texts",
        ("threadwire.address",),
        256,
        (b"tcp://", b"tls://", b"unix:///", b"fd://", b"tls+fd://", b"[::1]:", b":65535", *_DIGITS),
    ),
    "framing_spec": Target(
        "fuzz.texts",
        _FRAMING,
        256,
        (
            b"lines:crlf",
            b"delimited:",
            b"\\x0a",
            b"length:",
            b":little",
            b":offset=",
            b":inclusive",
            *_DIGITS,
        ),
    ),
    "units": Target(
        "fuzz.texts", ("threadwire.units",), 256, (b"us", b"min", b"KiB", b"MB", b"GiB", *_DIGITS)
    ),
    "network": Target(
        "fuzz.texts",
        ("threadwire.networks", "ipaddress"),
        256,
        (
            b"10.0.0.0/8",
            b"2001:db8::/32",
            b"::1",
            b"/255.255.0.0",
            b"::ffff:10.0.0.1",
            b" fe80::1%eth0",
        ),
    ),
    "setting": Target(
        "fuzz.texts",
        ("threadwire.settings", "threadwire.kinds", "threadwire.limits", "threadwire.units"),
        512,
        _SETTING_WORDS,
    ),
    "configuration_file": Target(
        "fuzz.configuration",
        ("threadwire.cli.configuration", "threadwire.kinds", "threadwire.options", "tomllib"),
        2048,
        (b"[serve]\n", b" = ", b"\n", b'"', b"'''", b"[[serve]]", b"0x", *_SETTING_WORDS),
    ),
    "configuration_variables": Target(
        "fuzz.configuration",
        ("threadwire.cli.configuration", "threadwire.kinds", "threadwire.options"),
        1024,
        _SETTING_WORDS,
    ),
}


def load(name: str) -> Function:
    """The target of that name; raises KeyError if there is none."""
    function: Function = getattr(importlib.import_module(TARGETS[name].module), name)
    return function


def fuzzer(name: str) -> list[str]:
    """The command that fuzzes a target; to be run in the project's root."""
    return [sys.executable, "-m", "fuzz.drive", name]


def saved(name: str) -> list[Path]:
    """The inputs that are kept for the target ``name``, always in the same order."""
    return sorted((CORPUS / name).iterdir())


def hash_of(data: bytes) -> str:
    """What an input is called, in the corpus and by libFuzzer."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
