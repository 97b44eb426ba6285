"""What both sides of a handover share: messages and descriptors on the socket between them."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import UsageError

VERSION = 1
MOST_DESCRIPTORS = 250  # in one message; the kernel passes 253 (SCM_MAX_FD)
LARGEST_MESSAGE = 64 << 10  # bytes; far below what a socket's buffer holds
_LONGEST_PATH = 99  # bytes: sun_path's 107, less a dot and a process's number, see offer.py
_LONGEST_TEXT = 500  # characters, of what another process says


class Handed(NamedTuple):
    """One listening socket: the URL it stands for, and what else the new process should know.

    ``address`` is the one asked for, as in ``tcp://localhost:0``, by which the new process
    finds it again; several sockets may have the same. ``options`` is what JSON can carry.
    """

    address: str
    socket: socket.socket
    options: dict[str, Any]


class Unintelligible(Exception):
    """What the other process sent is not of this protocol; the text says how."""


def check_path(path: object) -> str:
    """``path`` if a handover's socket can be there; else raises UsageError."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise UsageError(f"the path of a handover must be that of a file, not {path!r}")
    size = len(os.fsencode(path))
    if size > _LONGEST_PATH:
        raise UsageError(
            f"the path of a handover must have at most {_LONGEST_PATH} bytes, not {size}"
        )
    return path


def connect(path: str) -> socket.socket | None:
    """Connect to whoever offers at ``path``; ``None`` if nobody does. Raises OSError."""
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # Not to wait for room in a backlog that nobody empties (EAGAIN).
        connecting.setblocking(False)
        connecting.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connecting.close()
        return None
    except OSError:
        connecting.close()
        raise
    return connecting


def other_end(connected: socket.socket) -> tuple[int, int]:
    """The process and the user at the other end, as they were when it connected or listened."""
    size = struct.calcsize("3i")
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, user, _group = struct.unpack("3i", credentials)
    return pid, user


def trusted(user: int) -> bool:
    return user in (0, os.geteuid())


def send(connected: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message, with descriptors; raises OSError. It never waits: there is room."""
    import json

    data = json.dumps({"handover": VERSION, **message}).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connected.sendmsg([data], rights, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)


def receive(connected: socket.socket, most: int = 0) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message, with at most so many descriptors, which the caller then owns.

    ``None`` at the end. Raises :class:`Unintelligible`, or OSError as ``recvmsg`` does.
    """
    fds = array.array("i")
    room = socket.CMSG_SPACE(most * fds.itemsize) if most else 0
    # What comes without room for it the system closes.
    data, ancillary, flags, _ = connected.recvmsg(LARGEST_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    try:
        if flags & socket.MSG_TRUNC:
            raise Unintelligible(f"it sent more than {LARGEST_MESSAGE} bytes at once")
        if most and flags & socket.MSG_CTRUNC:
            raise Unintelligible("descriptors were lost on the way; is there room for them?")
        message = decode(data) if data else None
    except Unintelligible:
        close_all(fds)
        raise
    if message is None:
        close_all(fds)
        return None, []
    return message, list(fds)


def decode(data: bytes) -> dict[str, Any]:
    """The message in one packet: an object that says something. Raises Unintelligible."""
    import json

    try:
        message = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Unintelligible(f"it sent {in_short(data[:40])}, which is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("say"), str):
        raise Unintelligible(f"it sent {in_short(message)}, which says nothing")
    return message


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def in_short(value: object) -> str:
    """What another process sent, for an error or a log."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        text = type(value).__name__
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + "..."
    return "".join(c if c.isprintable() else "?" for c in text)
