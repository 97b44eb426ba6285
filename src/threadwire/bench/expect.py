"""What a right reply is: what it must be, what it must look like, or what a function says."""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..errors import UsageError

__all__ = [
    "EXPECT_HELP",
    "AnyReply",
    "Check",
    "Echo",
    "Expectation",
    "Matches",
    "Reverse",
    "differs",
    "parse_expectation",
    "shown",
]

EXPECT_HELP: Final = "reverse, echo, any, regex:PATTERN or MODULE:FUNCTION"
_SHOWN: Final = 60  # bytes of a message in an example


class Expectation(ABC):
    """What a right reply to a message is; an immutable value that can be pickled."""

    def exactly(self, message: bytes) -> bytes | None:
        """The one right reply to ``message``; ``None`` if there may be others."""
        return None

    @abstractmethod
    def problem(self, message: bytes, reply: bytes) -> str:
        """What is wrong with ``reply``; nothing if it is right."""

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Find what is needed; raises :class:`~threadwire.UsageError`."""

    @abstractmethod
    def __str__(self) -> str:
        """As :func:`parse_expectation` takes it."""


class _Exact(Expectation):
    def problem(self, message: bytes, reply: bytes) -> str:
        expected = self.exactly(message)
        if expected is None or reply == expected:
            return ""
        return differs(expected, reply)


@dataclass(frozen=True)
class Reverse(_Exact):
    """The message with its bytes in reverse order."""

    def exactly(self, message: bytes) -> bytes:
        return message[::-1]

    def __str__(self) -> str:
        return "reverse"


@dataclass(frozen=True)
class Echo(_Exact):
    """The message itself."""

    def exactly(self, message: bytes) -> bytes:
        return message

    def __str__(self) -> str:
        return "echo"


@dataclass(frozen=True)
class AnyReply(Expectation):
    """Whatever it is."""

    def problem(self, message: bytes, reply: bytes) -> str:
        return ""

    def __str__(self) -> str:
        return "any"


@dataclass(frozen=True)
class Matches(Expectation):
    """All of the reply matches a regular expression, which is about bytes."""

    pattern: bytes

    def __post_init__(self) -> None:
        given: object = self.pattern
        if not isinstance(given, bytes):
            raise UsageError(f"pattern must be bytes, not {given!r}")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise UsageError(f"not a regular expression: {error}") from error

    def problem(self, message: bytes, reply: bytes) -> str:
        if re.fullmatch(self.pattern, reply, re.DOTALL):
            return ""
        return f"{shown(reply)} does not match {shown(self.pattern)}"

    def __str__(self) -> str:
        return f"regex:{self.pattern.decode(errors='surrogateescape')}"


@dataclass(frozen=True)
class Check(Expectation):
    """A function is called with the message and the reply, and says whether that is right.

    ``function`` is named as in ``checks:polite``. It returns something true if the reply is
    right, and something false if not; or it raises an exception, whose text is told.
    """

    function: str

    def __post_init__(self) -> None:
        self.prepare()

    def prepare(self) -> None:
        object.__setattr__(self, "_call", _load(self.function))

    def __getstate__(self) -> dict[str, Any]:
        return {"function": self.function}

    def problem(self, message: bytes, reply: bytes) -> str:
        call: Callable[[bytes, bytes], object] = vars(self).get("_call") or _load(self.function)
        try:
            right = call(message, reply)
        except Exception as error:  # noqa: BLE001 - it is the way in which it says no
            return f"{shown(reply)}: {type(error).__name__}: {error}"
        return "" if right else f"{self.function} refuses {shown(reply)}"

    def __str__(self) -> str:
        return self.function


def parse_expectation(text: str) -> Expectation:
    """The expectation that ``text`` names; raises :class:`~threadwire.UsageError`.

    ``reverse``, ``echo``, ``any``, ``regex:PATTERN``, or ``MODULE:FUNCTION``, which is
    imported.
    """
    simple: dict[str, Expectation] = {"reverse": Reverse(), "echo": Echo(), "any": AnyReply()}
    if text in simple:
        return simple[text]
    name, colon, rest = text.partition(":")
    if name == "regex" and colon:
        return Matches(rest.encode(errors="surrogateescape"))
    if name and rest:
        return Check(text)
    raise UsageError(f"expectation {text!r} is not known; write {EXPECT_HELP}")


def shown(data: bytes) -> str:
    """``data`` for an example: its beginning, if it is long."""
    if len(data) <= _SHOWN:
        return repr(data)
    return f"{data[:_SHOWN]!r}... ({len(data)} bytes)"


def differs(expected: bytes, reply: bytes) -> str:
    """In which way; where both are long, what they look like from the first difference on."""
    if len(expected) <= _SHOWN and len(reply) <= _SHOWN:
        return f"expected {expected!r}, got {reply!r}"
    pairs = zip(expected, reply, strict=False)
    at = next((n for n, (one, other) in enumerate(pairs) if one != other), None)
    if at is None:
        return f"expected {len(expected)} bytes, got {len(reply)} of them" + (
            "" if len(reply) < len(expected) else " and more"
        )
    start = max(0, at - 8)
    return (
        f"at byte {at} of {len(expected)}: expected {shown(expected[start : start + _SHOWN])}, "
        f"got {shown(reply[start : start + _SHOWN])}"
    )


def _load(spec: str) -> Callable[[bytes, bytes], object]:
    module, colon, path = spec.partition(":")
    if not (module and colon and path):
        raise UsageError(f"function {spec!r}: write MODULE:FUNCTION, as in checks:polite")
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"function {spec!r}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UsageError(f"{spec!r} is not a function, but {type(found).__name__}")
    function: Callable[[bytes, bytes], object] = found
    return function
