"""The reversing service: the classic exercise's server, as a handler."""

from __future__ import annotations

from .handler import MessageHandler

__all__ = ["reverse", "reverse_text"]


def reverse(message: bytes) -> bytes:
    """The bytes of ``message`` in reverse order."""
    return message[::-1]


def reverse_text() -> MessageHandler:
    """A handler that reverses UTF-8 by what a reader takes for a character.

    Grapheme clusters (Unicode Annex 29) stay whole: an accent stays on its letter
    and a family stays one emoji. What is not UTF-8 is answered with a line that
    says so. Needs the wcwidth package, which installs with threadwire.
    """
    from wcwidth import iter_graphemes

    def reverse_by_character(message: bytes) -> bytes:
        try:
            text = message.decode()
        except UnicodeDecodeError as error:
            wrong = message[error.start]
            return f"error: not UTF-8: byte 0x{wrong:02x} at position {error.start}".encode()
        return "".join(reversed(list(iter_graphemes(text)))).encode()

    return reverse_by_character
