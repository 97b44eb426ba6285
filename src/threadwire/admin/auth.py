"""Who may ask, and what: the token, and the browser's word on whose page is asking.

Without a token whoever reaches the endpoint may use it, so it listens where only this machine
does. But a browser on this machine runs other sites' pages, too:

- such a page sends requests here: its ``Origin`` is not this endpoint, and ``Sec-Fetch-Site``
  says so as well (Fetch Metadata Request Headers, W3C);
- or its site's name is made to stand for this machine's address (DNS rebinding): then the
  requests are of the same origin, but ``Host`` has that name. So ``Host`` has to be an address,
  localhost, or the name that the endpoint listens by.

A token takes the place of the second, since no other site's page has it.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import stat
import threading
import time
from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import NamedTuple

from ..address import Address
from ..errors import UsageError, describe_os_error
from . import log
from .http import HttpError, Request

__all__ = ["FixedToken", "Guard", "Token", "TokenFile", "is_local"]

_LARGEST_TOKEN = 4096
_REMINDER = 60.0  # seconds between two log lines about wrong tokens


def is_local(address: Address) -> bool:
    """Whether only this machine can connect to where it listens."""
    if address.scheme == "unix" or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


class Token(ABC):
    """The token that requests have to bear."""

    def matches(self, given: str) -> bool:
        """Whether it is this; how long that takes tells nothing of how much of it is right."""
        return hmac.compare_digest(given.encode("latin-1", "replace"), self.current())

    @abstractmethod
    def current(self) -> bytes:
        """The token as it is now."""


class FixedToken(Token):
    """One that was given as such."""

    def __init__(self, token: str) -> None:
        if not isinstance(token, str):
            raise UsageError(f"token must be a string, not {token!r}")
        self._token = _checked(token.encode(), "token")

    def current(self) -> bytes:
        return self._token


class _Stamp(NamedTuple):
    """What changes when a file is replaced or written."""

    device: int
    inode: int
    size: int
    changed_at: int


class TokenFile(Token):
    """One in a file, which is read anew when it has changed.

    If it cannot be read then, or holds no token, the one before stays, and the log says why.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"token_file must be the path of a file, not {path!r}")
        self._path = os.fspath(path)
        self._lock = threading.Lock()  # guards what follows
        self._stamp: _Stamp | None = None
        try:
            self._token = self._read()
        except OSError as error:
            raise UsageError(f"token_file {self._path}: {describe_os_error(error)}") from error

    def current(self) -> bytes:
        with self._lock:
            try:
                if _stamp(os.stat(self._path)) != self._stamp:
                    self._token = self._read()
            except (OSError, UsageError) as error:
                if self._stamp is not None:  # it is told once
                    self._stamp = None
                    problem = describe_os_error(error) if isinstance(error, OSError) else error
                    log.token_problem(self._path, problem)
            return self._token

    def _read(self) -> bytes:
        with open(self._path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"token_file {self._path} is no regular file")
            token = _checked(file.read(_LARGEST_TOKEN + 2).strip(), f"token_file {self._path}")
        self._stamp = _stamp(found)
        if found.st_mode & (stat.S_IRGRP | stat.S_IROTH):
            mode = f"{stat.S_IMODE(found.st_mode):04o}"
            problem = f"its mode {mode} lets others than its owner read the token"
            log.token_problem(self._path, problem)
        return token


def _open_at_once(path: str, flags: int) -> int:
    """A named pipe would be waited for until somebody writes."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _stamp(found: os.stat_result) -> _Stamp:
    return _Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _checked(token: bytes, what: str) -> bytes:
    if not token:
        raise UsageError(f"{what} is empty; make one as by: openssl rand -hex 32")
    if len(token) > _LARGEST_TOKEN:
        raise UsageError(f"{what} must have at most {_LARGEST_TOKEN} characters")
    if not all(0x21 <= byte <= 0x7E for byte in token):
        raise UsageError(f"{what} must be one line of visible ASCII characters without spaces")
    return token


class Guard:
    """Lets requests through, or raises :class:`HttpError`.

    ``token`` is the one to be borne, ``None`` if none is; ``names`` are those that ``Host`` may
    have besides addresses and localhost.
    """

    def __init__(self, token: Token | None, names: frozenset[str]) -> None:
        self._token = token
        self._names = names
        self._lock = threading.Lock()  # guards what follows
        self._wrong = 0  # tokens since the log last told of them
        self._told_at = -_REMINDER

    def check(self, request: Request, *, public: bool) -> None:
        """Whether it may be answered; ``public``: without a token."""
        self._check_site(request)
        if self._token is None:
            self._check_host(request)
        elif not public:
            self._check_token(self._token, request)

    def still_admits(self, request: Request) -> bool:
        """Whether the token of one that was let through is the right one yet."""
        token = self._token
        return token is None or token.matches(_borne(request))

    def _check_site(self, request: Request) -> None:
        """No page of another site may do more than lead here, by a link."""
        origin, host = request.header("origin"), request.header("host")
        site = request.header("sec-fetch-site")
        leads_here = (
            request.method in ("GET", "HEAD") and request.header("sec-fetch-mode") == "navigate"
        )
        foreign = bool(origin) and origin.lower().partition("://")[2] != host.lower()
        if foreign or (site not in ("", "same-origin", "none") and not leads_here):
            raise HttpError(HTTPStatus.FORBIDDEN, "another site's page may not ask this")

    def _check_host(self, request: Request) -> None:
        host = request.header("host")
        if host and not self._is_known(_without_port(host).lower()):
            raise HttpError(
                HTTPStatus.FORBIDDEN,
                "Host must be an IP address or localhost, unless there is a token",
            )

    def _is_known(self, host: str) -> bool:
        if host in self._names or host == "localhost":
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _check_token(self, token: Token, request: Request) -> None:
        given = _borne(request)
        if not given:
            challenge = 'Bearer realm="threadwire"'
            text = "this needs the header Authorization: Bearer TOKEN"
        elif not token.matches(given):
            self._note_wrong(request)
            challenge = 'Bearer realm="threadwire", error="invalid_token"'
            text = "the token is a wrong one"
        else:
            return
        raise HttpError(HTTPStatus.UNAUTHORIZED, text, (("WWW-Authenticate", challenge),))

    def _note_wrong(self, request: Request) -> None:
        now = time.monotonic()
        with self._lock:
            self._wrong += 1
            if now - self._told_at < _REMINDER:
                return
            count, self._wrong, self._told_at = self._wrong, 0, now
        log.wrong_token(request.peer, count)


def _borne(request: Request) -> str:
    """The token that it bears; empty if it has none."""
    scheme, _, given = request.header("authorization").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _without_port(host: str) -> str:
    """A Host header's name or address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
