"""Framings: how messages lie in a byte stream. No I/O anywhere in here.

Each is usable alone::

    codec = Lines().codec()
    codec.feed(b"one\\ntwo\\nthr")
    codec.next_message()  # b"one"
    codec.next_message()  # b"two"
    codec.next_message()  # None: more bytes are needed
    codec.encode(b"four")  # b"four\\n"
"""

from .codec import BytesLike, Codec, Framing, require_bytes
from .delimited import Delimited, Lines
from .length import LengthPrefixed, Netstring
from .raw import Auto, Raw
from .spec import SPEC_HELP, parse_framing

__all__ = [
    "SPEC_HELP",
    "Auto",
    "BytesLike",
    "Codec",
    "Delimited",
    "Framing",
    "LengthPrefixed",
    "Lines",
    "Netstring",
    "Raw",
    "parse_framing",
    "require_bytes",
]
