"""Listening sockets: made from an address, accepted from, closed without leaving traces."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat

from ..address import Address, socket_address
from ..errors import ListenError
from ..limits import OFF
from .poller import accept_now
from .stream import Stream, set_tcp_options

_KEEPALIVE = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
_MOST_MILLISECONDS = (1 << 31) - 1
_PORT_TRIES = 16  # for one free port on both of localhost's families


class Listener:
    """One listening socket, in non-blocking mode. Owned by whoever accepts from it."""

    __slots__ = ("_identity", "_kind", "_local", "address", "secure", "shared", "socket", "wanted")

    def __init__(
        self,
        listening: socket.socket,
        *,
        secure: bool = False,
        shared: bool = False,
        unlink: bool = False,
    ) -> None:
        """``secure``: TLS is spoken there; ``shared``: other processes may have it, too.

        ``unlink``: a unix socket's file is to be removed at the end.
        """
        listening.setblocking(False)
        self.socket = listening
        self.wanted = ""  # the URL that it was asked for by; :func:`listen` sets it
        self.secure = secure
        self.shared = shared
        self.address = socket_address(listening.family, listening.getsockname())
        if secure and self.address.scheme == "tcp":
            self.address = Address("tls", self.address.host, self.address.port)
        self._kind = listening.family, listening.type, listening.proto
        # One that listens on all interfaces has to ask each connection for its own end.
        self._local = None if self.address.host in ("0.0.0.0", "::") else self.address
        # Connections inherit these, which saves a system call each for every one.
        set_tcp_options(listening)
        # Which file is ours to remove: another server may put its own in the same place.
        self._identity = _file_identity(self.address.path) if unlink else None

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self) -> Stream | None:
        """The next connection, or ``None`` if none is waiting; raises OSError as accept does.

        A connection that is gone before it could be set up counts as
        ``ECONNABORTED``.
        """
        accepted = accept_now(self.socket, self.socket.fileno())
        if accepted is None:
            return None
        fd, name = accepted
        # The interpreter's own class, without what the socket module's adds to it.
        connected = socket.SocketType(*self._kind, fd)
        try:
            local = self._local or socket_address(connected.family, connected.getsockname())
            return Stream(connected, socket_address(self._kind[0], name), local)
        except OSError as error:
            connected.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, str(error)) from error

    def set_options(self, keepalive: tuple[int, int, int], user_timeout: float) -> None:
        """When a silent peer is asked for (idle, interval, count), and given up; see limits.

        Connections inherit these, too. Raises OSError.
        """
        if self.socket.family not in (socket.AF_INET, socket.AF_INET6):
            return
        for name, value in zip(_KEEPALIVE, keepalive, strict=True):
            if hasattr(socket, name):
                self.socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if user_timeout < OFF and hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = min(max(1, round(user_timeout * 1000)), _MOST_MILLISECONDS)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def anybody_waits(self) -> bool:
        """Whether there is a connection to accept."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def admit_no_more(self) -> None:
        """Let the system queue nobody any more, except on a socket that others have, too.

        On Linux that makes the queue as short as it can be, which is one place.
        """
        if not self.shared:
            with contextlib.suppress(OSError):
                self.socket.listen(0)

    def leave_in_place(self) -> None:
        """Another process goes on with it: a unix socket's file is not ours to remove."""
        self._identity = None

    def take_charge(self) -> None:
        """It was another process's, and is ours alone now: a unix socket's file, too."""
        if self.address.scheme == "unix":
            self._identity = _file_identity(self.address.path)

    def close(self) -> None:
        try:
            # What can no longer be seen or removed is not ours any more.
            with contextlib.suppress(OSError):
                if self._identity and _file_identity(self.address.path) == self._identity:
                    os.unlink(self.address.path)
        finally:
            self.socket.close()


def listen(address: Address, backlog: int) -> list[Listener]:
    """Listen on ``address``; several sockets where a host name has several addresses.

    Raises :class:`~threadwire.ListenError`, having closed what was opened.
    """
    try:
        listeners = _listen(address, backlog)
        for listener in listeners:
            listener.wanted = str(address)
        return listeners
    except (OSError, UnicodeError) as error:
        if isinstance(error, ListenError):
            raise
        if isinstance(error, socket.gaierror):
            raise ListenError(str(address), "the host name is not known") from error
        cause = error if isinstance(error, OSError) else f"not a host name ({error})"
        raise ListenError(str(address), cause) from error


def _listen(address: Address, backlog: int) -> list[Listener]:
    if address.scheme == "unix":
        return [_listen_unix(address.path, backlog)]
    if address.scheme in ("fd", "tls+fd"):
        return _adopt(address)
    if not address.host:
        return [_listen_everywhere(address, backlog)]
    return _listen_tcp(address, backlog)


def _listen_everywhere(address: Address, backlog: int) -> Listener:
    if socket.has_dualstack_ipv6():
        listening = socket.create_server(
            ("::", address.port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True
        )
    else:
        listening = socket.create_server(("0.0.0.0", address.port), backlog=backlog)
    return Listener(listening, secure=address.secure)


def _listen_tcp(address: Address, backlog: int) -> list[Listener]:
    targets = _targets(address)
    for attempt in range(_PORT_TRIES):
        try:
            return _listen_all(targets, backlog, address.secure)
        except OSError as error:
            # A port free in one family may be taken in the other: draw another.
            drawn = address.port == 0 and len(targets) > 1
            if not (drawn and error.errno == errno.EADDRINUSE) or attempt == _PORT_TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _targets(address: Address) -> list[tuple[int, tuple[object, ...]]]:
    if address.host.lower() == "localhost":
        # Both loopback addresses, whatever the hosts file says (RFC 6761, section 6.3).
        return [
            (socket.AF_INET, ("127.0.0.1", address.port)),
            (socket.AF_INET6, ("::1", address.port)),
        ]
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # A name may be listed twice for one address; order is kept.
    return list(dict.fromkeys((family, name[:2]) for family, _, _, _, name in found))


def _listen_all(
    targets: list[tuple[int, tuple[object, ...]]], backlog: int, secure: bool
) -> list[Listener]:
    """One listener a target, all on one port; families that the machine lacks are left out."""
    listeners: list[Listener] = []
    missing: OSError | None = None
    port = None
    try:
        for family, (host, wanted) in targets:
            try:
                listening = socket.create_server(
                    (host, port or wanted),
                    family=family,
                    backlog=backlog,
                )
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error
                continue
            listeners.append(Listener(listening, secure=secure))
            port = listeners[0].address.port
        if not listeners and missing is not None:
            raise missing
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen_unix(path: str, backlog: int) -> Listener:
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)
        listening.listen(backlog)
        return Listener(listening, unlink=True)
    except OSError:
        listening.close()
        raise


def _remove_stale(path: str) -> None:
    """Remove a socket file that a dead server left; raise if somebody lives behind it."""
    before = _file_identity(path)
    if before is None:
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EEXIST, "a file that is not a socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            pass
        except BlockingIOError:  # its backlog is full: somebody lives there
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    # Another server may have replaced it since; its file is not ours to remove.
    if _file_identity(path) == before:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _file_identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _adopt(address: Address) -> list[Listener]:
    """Listening sockets that this process was started with; one name may be that of several."""
    numbers = [address.port]
    if address.host:
        from ..activation import named

        numbers = named(address.host)
    sockets = [socket.socket(fileno=number) for number in numbers]
    try:
        for listening in sockets:
            if listening.type != socket.SOCK_STREAM or not listening.getsockopt(
                socket.SOL_SOCKET, socket.SO_ACCEPTCONN
            ):
                raise OSError(errno.EINVAL, "not a listening stream socket")
        return [Listener(s, secure=address.secure, shared=True) for s in sockets]
    except OSError:
        for listening in sockets:
            listening.close()
        raise
