"""Text from elsewhere, made fit for terminals and files: what is not to be seen is written out.

A service that is measured says what it likes, and a user's function may pass it on. Escape
sequences would be obeyed by a terminal, and lone surrogates, which stand for bytes that are no
text, cannot be written at all.
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, most: int | None = None) -> str:
    """``text`` with ``\\x1b`` and the like spelled out, and at most so many characters of it.

    Once more changes nothing.
    """
    told = text[:most]
    if not told.isprintable():
        told = "".join(c if c.isprintable() else _spelled(c) for c in told)
    if most is None or max(len(text), len(told)) <= most:
        return told
    return f"{told[:most]}…"


def _spelled(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte, as os.fsdecode() hides it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
