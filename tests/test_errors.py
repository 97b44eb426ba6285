"""The tree of errors, and each one's text and fields."""

from __future__ import annotations

import copy
import errno
import pickle
import re
import socket
from itertools import pairwise

import pytest

import threadwire
from threadwire import errors
from threadwire.errors import (
    AddressError,
    Close,
    CloseReason,
    ConnectError,
    ConnectionClosed,
    ListenError,
    MalformedMessage,
    MessageTooLarge,
    ThreadwireError,
    TimeLimitError,
    TruncatedMessage,
    UnencodableMessage,
    UsageError,
    describe_os_error,
)


def documented_tree() -> list[tuple[int, str, str | None]]:
    """Depth, name and second base of each class in the module's docstring."""
    assert errors.__doc__ is not None
    tree = errors.__doc__.partition("::")[2].partition("The caller's faults")[0]
    found = []
    for line in tree.splitlines():
        if match := re.match(r"    ([ │├└─]*)([A-Z]\w+)(?: \(also (\w+)\))?", line):
            found.append((len(match[1]) // 4, match[2], match[3]))
    return found


def test_the_documented_tree_is_the_real_one() -> None:
    documented = documented_tree()
    branch: list[str] = []
    for depth, name, also in documented:
        cls = getattr(errors, name)
        bases = {base.__name__ for base in cls.__mro__}
        branch[depth:] = [name]
        parents = {"ThreadwireError"} & bases if depth == 0 else set(branch)
        assert parents <= bases, f"{name} does not descend from {branch}"
        assert also is None or also in bases
        strangers = {other for _, other, _ in documented if other in bases and other not in branch}
        assert not strangers, f"{name} descends from {strangers}, too"


def test_the_documented_second_bases_are_all_there_are() -> None:
    for _, name, also in documented_tree():
        cls = getattr(errors, name)
        own = [base for base in cls.__bases__ if base.__module__ == "builtins"]
        if name in {"ThreadwireError", "Close"}:
            assert own == [Exception]
        elif also is None:
            assert not own


def test_every_error_is_in_the_documented_tree() -> None:
    documented = {name for _, name, _ in documented_tree()}
    assert documented == set(errors.__all__) - {"CloseReason"}
    assert all(getattr(threadwire, name) is getattr(errors, name) for name in errors.__all__)


def test_close_is_not_an_error_of_threadwire() -> None:
    assert not issubclass(Close, ThreadwireError)


def test_the_callers_faults_and_the_peers_share_only_the_root() -> None:
    assert not issubclass(UsageError, errors.FramingError)
    assert not issubclass(errors.FramingError, UsageError)


EXAMPLES: list[tuple[Exception, str, dict[str, object]]] = [
    (
        AddressError("nowhere", "no scheme"),
        "address 'nowhere': no scheme",
        {"address": "nowhere", "problem": "no scheme"},
    ),
    (
        UnencodableMessage("lines", "it contains a newline", 8),
        "lines cannot carry this message of 8 bytes: it contains a newline",
        {"framing": "lines", "problem": "it contains a newline", "size": 8},
    ),
    (
        ListenError("tcp://:80", PermissionError(errno.EACCES, "Permission denied")),
        "cannot listen on tcp://:80: permission denied",
        {"address": "tcp://:80", "problem": "permission denied", "errno": errno.EACCES},
    ),
    (
        ListenError("unix:///x", "the path is too long"),
        "cannot listen on unix:///x: the path is too long",
        {"address": "unix:///x", "problem": "the path is too long", "errno": None},
    ),
    (
        ConnectError("tcp://h:1", ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")),
        "cannot connect to tcp://h:1: connection refused",
        {"address": "tcp://h:1", "problem": "connection refused", "errno": errno.ECONNREFUSED},
    ),
    (
        TimeLimitError("reply", 2.5),
        "no reply within 2.5 s",
        {"waiting_for": "reply", "seconds": 2.5},
    ),
    (
        ConnectionClosed(CloseReason.PEER_RESET),
        "the connection is closed (peer-reset)",
        {"reason": CloseReason.PEER_RESET},
    ),
    (
        MessageTooLarge(10, 11, 5),
        "a message of at least 11 bytes at position 5 exceeds max_message (10 bytes)",
        {"limit": 10, "size": 11, "position": 5, "limit_name": "max_message"},
    ),
    (
        MalformedMessage("no comma", 5),
        "malformed message at position 5: no comma",
        {"problem": "no comma", "position": 5},
    ),
    (
        TruncatedMessage(3, 5),
        "the stream ended 3 bytes into the message at position 5",
        {"size": 3, "position": 5},
    ),
    (Close(b"bye"), "b'bye'", {"reply": b"bye"}),
    (Close(), "None", {"reply": None}),
]
examples = pytest.mark.parametrize(
    ("error", "text", "fields"), EXAMPLES, ids=[type(example[0]).__name__ for example in EXAMPLES]
)


@examples
def test_text_and_fields(error: Exception, text: str, fields: dict[str, object]) -> None:
    assert str(error) == text
    assert {name: getattr(error, name) for name in fields} == fields


@examples
def test_copies_and_pickles_are_whole(
    error: Exception, text: str, fields: dict[str, object]
) -> None:
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert str(twin) == text
        assert {name: getattr(twin, name) for name in fields} == fields


def test_a_time_limit_has_no_error_number() -> None:
    assert TimeLimitError("reply", 1.0).errno is None


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connection refused"),
        (OSError(errno.ENOENT, ""), "no such file or directory"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "name or service not known",
        ),
        (TimeoutError("timed out"), "timed out"),
        (OSError("Something of its own"), "something of its own"),
        (OSError(), ""),
        (
            OSError(
                errno.EADDRINUSE,
                "Address already in use (while attempting to bind on address ('::1', 80))",
            ),
            "address already in use",
        ),
    ],
)
def test_describing_errors_of_the_system(error: OSError, description: str) -> None:
    assert describe_os_error(error) == description


def test_a_close_reason_is_one_word() -> None:
    words = [reason.value for reason in CloseReason]
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", word) for word in words)
    assert all(a != b for a, b in pairwise(sorted(words)))
    assert f"{CloseReason.PEER_CLOSED}" == "peer-closed"
    assert CloseReason("cut") is CloseReason.CUT
