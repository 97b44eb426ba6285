"""The PROXY protocol: how a proxy tells a server whom it speaks for.

A proxy that relays a connection begins it with a header that holds the addresses of the
client's own connection. Version 1 is a line of text; version 2 is binary and may carry more,
in TLVs (type, length, value). The specification is HAProxy's ``proxy-protocol.txt``
(https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt, of 2020/03/05).

:class:`ProxyParser` reads the header of one connection, in whatever pieces it comes.
:func:`encode_v1` and :func:`encode_v2` are the other direction. No I/O, no clock.

Who may say where a connection comes from decides who is let in. So whatever the
specification does not plainly allow is refused, as soon as that can be known. Where it
leaves a choice:

- *A line ends with CRLF, and has no other CR or LF in it*, not even behind ``UNKNOWN``, where
  all else is ignored: a sender that ends its line otherwise would lose its client's first one.
- *Datagrams* (families ``0x12``, ``0x22``, ``0x32``): who does not support them has to treat
  them as the unspecified family, which here means a client of unknown address. The address of
  another kind of socket is none that this connection could have.
- *A family without a transport, or the reverse*, is refused: nobody says how long its addresses
  are, so they cannot be told from what stands behind them.
- *LOCAL connections* must be accepted whatever their family and addresses say. What stands
  behind the addresses is kept if it is TLVs, and dropped if not. A checksum is checked.
- *TLVs may repeat*, but for the checksum: two say nothing.
"""

from __future__ import annotations

from .encode import encode_v1, encode_v2
from .header import ProxyHeader, ProxySsl, Tlv
from .parser import MOST_V1, MOST_V2, NO_HEADER, NoHeader, ProxyParser

__all__ = [
    "MOST_V1",
    "MOST_V2",
    "NO_HEADER",
    "NoHeader",
    "ProxyHeader",
    "ProxyParser",
    "ProxySsl",
    "Tlv",
    "encode_v1",
    "encode_v2",
]
