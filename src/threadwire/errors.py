"""Every error threadwire raises, under one root.

::

    ThreadwireError
    ├── UsageError (also ValueError)        the caller's fault: an argument, option or handler
    │   ├── AddressError                    an address that cannot be understood
    │   ├── HandlerError                    a handler that cannot be found or called
    │   └── UnencodableMessage              a message that its framing cannot carry
    ├── ListenError (also OSError)          an address that cannot be listened on
    │   └── TakeoverError                   an old process whose sockets cannot be taken over
    ├── ConnectError (also OSError)         a server that cannot be reached
    ├── TimeLimitError (also TimeoutError)  something took longer than its named limit
    ├── ConnectionClosed                    the connection has ended; its ``reason`` says why
    ├── ServerBusy                          the server has refused, with the word for it
    ├── TlsError                            TLS that failed: a handshake, a certificate, a record
    ├── ProxyHeaderError                    the peer's fault: a PROXY header missing or wrong
    └── FramingError                        the peer's fault: bytes that break the framing
        ├── MessageTooLarge                 larger than ``max_message``
        ├── MalformedMessage                bytes that the format does not allow
        └── TruncatedMessage                the stream ended inside a message

    Close                                   not an error: a handler raises it to end its connection

The caller's faults and the peer's are different classes, so that one ``except``
clause never takes one for the other. Errors carry fields; their text is
composed when it is shown.
"""

from __future__ import annotations

import enum
import os
from typing import Any

__all__ = [
    "AddressError",
    "Close",
    "CloseReason",
    "ConnectError",
    "ConnectionClosed",
    "FramingError",
    "HandlerError",
    "ListenError",
    "MalformedMessage",
    "MessageTooLarge",
    "ProxyHeaderError",
    "ServerBusy",
    "TakeoverError",
    "ThreadwireError",
    "TimeLimitError",
    "TlsError",
    "TruncatedMessage",
    "UnencodableMessage",
    "UsageError",
]


class CloseReason(enum.StrEnum):
    """Why a connection ended: one word for logs, metrics and errors alike."""

    PEER_CLOSED = "peer-closed"  # the peer ended its side in the ordinary way
    PEER_RESET = "peer-reset"  # the peer reset the connection, or vanished
    HANDLER_CLOSED = "handler-closed"  # close() was called, Close raised, or a session returned
    HANDLER_FAILED = "handler-failed"  # the handler raised, or returned what cannot be sent
    FRAMING_ERROR = "framing-error"  # the peer's bytes broke the framing
    MESSAGE_TOO_LARGE = "message-too-large"  # the peer's message exceeded max_message
    MESSAGE_TIMEOUT = "message-timeout"  # the peer began a message and did not finish it in time
    IDLE_TIMEOUT = "idle-timeout"  # nothing was going on for idle_timeout
    WRITE_TIMEOUT = "write-timeout"  # the peer did not read for write_timeout
    PROXY_ERROR = "proxy-error"  # the PROXY header was missing, late or wrong
    TLS_ERROR = "tls-error"  # the TLS handshake failed, or the peer's records were wrong
    HANDSHAKE_TIMEOUT = "handshake-timeout"  # the TLS handshake took longer than allowed
    BUSY = "busy"  # refused: the server has as many clients as it may have
    ADDRESS_BUSY = "address-busy"  # refused: this address has as many clients as it may have
    DENIED = "denied"  # refused: the address is on no allow list, or on a deny list
    NO_CAPACITY = "no-capacity"  # the system had no thread, or memory, to serve it with
    DRAINED = "drained"  # the server is closing; nothing was under way here
    CUT = "cut"  # the server is closing, and the drain's deadline had passed


class ThreadwireError(Exception):
    """The root of all of threadwire's errors."""


class UsageError(ThreadwireError, ValueError):
    """The caller's fault; the text names the argument and what would be right."""


class AddressError(UsageError):
    """An address that is not one of the URLs threadwire understands.

    ``address`` is the text given, ``problem`` what is wrong with it.
    """

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(address, problem)
        self.address = address
        self.problem = problem

    def __str__(self) -> str:
        return f"address {self.address!r}: {self.problem}"


class HandlerError(UsageError):
    """A handler that cannot be found, imported or called as a handler."""


class UnencodableMessage(UsageError):
    """A message that its framing cannot carry so that the peer would read it back.

    ``framing`` describes the framing, ``problem`` what stands in the way,
    ``size`` is the message's length in bytes.
    """

    def __init__(self, framing: str, problem: str, size: int) -> None:
        super().__init__(framing, problem, size)
        self.framing = framing
        self.problem = problem
        self.size = size

    def __str__(self) -> str:
        return f"{self.framing} cannot carry this message of {self.size} bytes: {self.problem}"


class _AddressFailure(ThreadwireError, OSError):
    """What ListenError and ConnectError share: an address and the system's reason."""

    _doing = ""

    def __init__(self, address: str, cause: OSError | str) -> None:
        if isinstance(cause, OSError):
            self.problem = describe_os_error(cause)
            number = cause.errno
        else:
            self.problem, number = cause, None
        super().__init__(number, self.problem)
        self.address = address

    def __reduce__(self) -> tuple[Any, ...]:
        cause = self.problem if self.errno is None else OSError(self.errno, self.problem)
        return type(self), (self.address, cause)

    def __str__(self) -> str:
        return f"cannot {self._doing} {self.address}: {self.problem}"


class ListenError(_AddressFailure):
    """An ``address`` that cannot be listened on; ``errno`` and ``problem`` say why."""

    _doing = "listen on"


class TakeoverError(ListenError):
    """An old process at the path ``address`` whose listening sockets cannot be taken over."""

    _doing = "take over from"


class ConnectError(_AddressFailure):
    """An ``address`` that no connection could be made to; ``errno`` and ``problem`` say why."""

    _doing = "connect to"


class TimeLimitError(ThreadwireError, TimeoutError):
    """Something took longer than its limit.

    ``waiting_for`` says for what, ``seconds`` is the limit.
    """

    def __init__(self, waiting_for: str, seconds: float) -> None:
        super().__init__()
        self.args = (waiting_for, seconds)
        self.waiting_for = waiting_for
        self.seconds = seconds

    def __str__(self) -> str:
        return f"no {self.waiting_for} within {self.seconds:g} s"


class ConnectionClosed(ThreadwireError):
    """The connection has ended: no more can be received, or nothing can be sent.

    ``reason`` is a :class:`CloseReason`; ``connection`` the server's connection that
    ended, ``None`` where it was a client's.
    """

    def __init__(self, reason: CloseReason) -> None:
        super().__init__(reason)
        self.reason = reason
        self.connection: object = None

    def __str__(self) -> str:
        return f"the connection is closed ({self.reason.value})"


class ServerBusy(ThreadwireError):
    """The server has refused to serve this client: it answered with its busy reply.

    ``reply`` is what it said.
    """

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply)
        self.reply = reply

    def __str__(self) -> str:
        return f"the server is busy; it said {self.reply!r}"


class TlsError(ThreadwireError):
    """TLS that failed: a handshake, a certificate or a record; ``problem`` says how."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"TLS failed: {self.problem}"


class ProxyHeaderError(ThreadwireError):
    """A connection that did not begin with a right PROXY header; ``problem`` says why."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"PROXY header: {self.problem}"


class FramingError(ThreadwireError):
    """Bytes from the peer that break the framing; the stream is of no more use.

    ``position`` counts the stream's bytes from 0 and says where the message at
    fault begins.
    """

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class MessageTooLarge(FramingError):
    """A message larger than allowed, refused before it was buffered.

    ``limit`` is ``max_message`` in bytes; ``size`` the bytes announced, or, in a
    framing that announces none, those seen when the limit was passed.
    """

    limit_name = "max_message"

    def __init__(self, limit: int, size: int, position: int) -> None:
        super().__init__(position)
        self.args = (limit, size, position)
        self.limit = limit
        self.size = size

    def __str__(self) -> str:
        return (
            f"a message of at least {self.size} bytes at position {self.position} "
            f"exceeds {self.limit_name} ({self.limit} bytes)"
        )


class MalformedMessage(FramingError):
    """Bytes that the format does not allow; ``problem`` says which."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(position)
        self.args = (problem, position)
        self.problem = problem

    def __str__(self) -> str:
        return f"malformed message at position {self.position}: {self.problem}"


class TruncatedMessage(FramingError):
    """The stream ended inside a message of which ``size`` bytes had come."""

    def __init__(self, size: int, position: int) -> None:
        super().__init__(position)
        self.args = (size, position)
        self.size = size

    def __str__(self) -> str:
        return f"the stream ended {self.size} bytes into the message at position {self.position}"


class Close(Exception):
    """Raised by a handler to end its connection, after ``reply`` if one is given.

    Replies sent before are delivered first. In a message handler and in a
    session alike.
    """

    def __init__(self, reply: bytes | None = None) -> None:
        super().__init__(reply)
        self.reply = reply


def describe_os_error(error: OSError) -> str:
    """The system's words for ``error``, in lower case, without its number."""
    text = error.strerror or (os.strerror(error.errno) if error.errno else "") or str(error)
    text = text.partition(" (while attempting to bind")[0]  # what socket.create_server adds
    return text[:1].lower() + text[1:]
