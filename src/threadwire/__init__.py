"""TCP servers made of plain blocking functions.

::

    import threadwire

    def reverse(message: bytes) -> bytes:
        return message[::-1]

    threadwire.serve(reverse, "tcp://localhost:12345")
"""

from ._version import __version__
from .address import Address, parse_address
from .client import Client, connect
from .connection import Connection
from .engine import current_connection
from .errors import (
    AddressError,
    Close,
    CloseReason,
    ConnectError,
    ConnectionClosed,
    FramingError,
    HandlerError,
    ListenError,
    MalformedMessage,
    MessageTooLarge,
    ProxyHeaderError,
    ServerBusy,
    TakeoverError,
    ThreadwireError,
    TimeLimitError,
    TlsError,
    TruncatedMessage,
    UnencodableMessage,
    UsageError,
)
from .framing import (
    Auto,
    Codec,
    Delimited,
    Framing,
    LengthPrefixed,
    Lines,
    Netstring,
    Raw,
    parse_framing,
)
from .handler import session
from .options import ServerOptions
from .pool import Pool
from .proxy_protocol import ProxyHeader
from .reports import CloseReport, Cut
from .retry import Retry
from .server import Server
from .serving import serve
from .transport.tls_info import TlsInfo

__all__ = [
    "Address",
    "AddressError",
    "Auto",
    "Client",
    "Close",
    "CloseReason",
    "CloseReport",
    "Codec",
    "ConnectError",
    "Connection",
    "ConnectionClosed",
    "Cut",
    "Delimited",
    "Framing",
    "FramingError",
    "HandlerError",
    "LengthPrefixed",
    "Lines",
    "ListenError",
    "MalformedMessage",
    "MessageTooLarge",
    "Netstring",
    "Pool",
    "ProxyHeader",
    "ProxyHeaderError",
    "Raw",
    "Retry",
    "Server",
    "ServerBusy",
    "ServerOptions",
    "TakeoverError",
    "ThreadwireError",
    "TimeLimitError",
    "TlsError",
    "TlsInfo",
    "TruncatedMessage",
    "UnencodableMessage",
    "UsageError",
    "__version__",
    "connect",
    "current_connection",
    "parse_address",
    "parse_framing",
    "serve",
    "session",
]
