"""A server's certificates as they are in their files now, not as they were when it started.

Certificates are renewed every few weeks, while the server goes on. What is in the files then
is made into a whole new context, looked at, and put in the old one's place in one step, or
not at all. Connections keep the context that they began with.

When reloading, a certificate that has expired is refused: the one in use can hardly be worse,
and somebody has put an old file in its place. At the start there is none in use, and no
service at all would be worse than one of which clients can see for themselves that its
certificate has expired; so it is used, with a warning. One that is not valid yet is
treated in the same way, and is tried again when its time has come.
"""

from __future__ import annotations

import math
import os
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import UsageError
from .contexts import ClientAuth, Path, build_server_context
from .fields import CertificateFields

__all__ = ["Certificates", "FixedContext"]


class _Loaded(NamedTuple):
    """What is in use; replaced as a whole."""

    context: ssl.SSLContext
    fields: CertificateFields


class _Tried(NamedTuple):
    """The files' states at the last attempt, good or not, and when to try them once more."""

    states: tuple[object, ...]
    again_at: float  # seconds since the epoch


class Certificates:
    """A server's context, made from files as by :func:`server_context`, which explains them.

    ``now`` gives the seconds since the epoch [the system's clock]. Raises
    :class:`~threadwire.UsageError`.

    Any thread may read the properties, at any time, and call ``changed``; ``reload`` is for
    any thread, too, and they take turns.
    """

    def __init__(
        self,
        cert: Path,
        key: Path | None = None,
        *,
        client_ca: Path | None = None,
        client_auth: ClientAuth = "required",
        alpn: Sequence[str] = (),
        warn: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cert = cert  # constant, like all up to the lock
        self._key = key
        self._client_ca = client_ca
        self._client_auth = client_auth
        self._alpn = tuple(alpn) if not isinstance(alpn, str) else alpn
        self._warn = warn
        self._now = now
        self._files = [path for path in (cert, key, client_ca) if path is not None]
        self._reloading = threading.Lock()
        # Both are set by the lock's holder; read by any thread.
        self._tried = _Tried(self._states(), math.inf)
        self._loaded = self._load()
        problem, _ = self._untimely(self._loaded.fields)
        if problem:
            warn(problem)

    @property
    def context(self) -> ssl.SSLContext:
        """For new connections."""
        return self._loaded.context

    @property
    def expires_at(self) -> float:
        """When the certificate in use does, in seconds since the epoch."""
        return self._loaded.fields.not_after

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names and IP addresses that it is for."""
        return self._loaded.fields.names

    def changed(self) -> bool:
        """Whether the files are no longer those of the last attempt, so that another is due.

        Costs a look at each file's date, number and size. Files that were refused are not
        tried again until they change.
        """
        tried = self._tried
        return self._states() != tried.states or self._now() >= tried.again_at

    def reload(self) -> None:
        """Put what the files hold now in the place of what is in use.

        Raises :class:`~threadwire.UsageError`, with everything left as it was, if they cannot be
        used; as when only one of a certificate and its key has been replaced so far.
        """
        with self._reloading:
            # Taken before they are read, so that a change meanwhile is seen the next time.
            states = self._states()
            self._tried = _Tried(states, math.inf)
            loaded = self._load()
            problem, again_at = self._untimely(loaded.fields)
            if problem:
                self._tried = _Tried(states, again_at)
                raise UsageError(f"{problem}; the one in use is kept")
            self._loaded = loaded

    def _load(self) -> _Loaded:
        context, fields = build_server_context(
            self._cert, self._key, self._client_ca, self._client_auth, self._alpn, self._warn
        )
        return _Loaded(context, fields)

    def _untimely(self, fields: CertificateFields) -> tuple[str, float]:
        """What is wrong with a certificate's dates, and when that will be over."""
        now = self._now()
        if now > fields.not_after:
            return f"certificate {self._cert}: expired on {_date(fields.not_after)}", math.inf
        if now < fields.not_before:
            begins = fields.not_before
            return f"certificate {self._cert}: not valid until {_date(begins)}", begins
        return "", math.inf

    def _states(self) -> tuple[object, ...]:
        return tuple(map(_state, self._files))


class FixedContext:
    """A context that somebody else has made and looks after, in :class:`Certificates`' place."""

    def __init__(self, context: ssl.SSLContext) -> None:
        if not isinstance(context, ssl.SSLContext):
            raise UsageError(f"tls_context must be an ssl.SSLContext, not {context!r}")
        if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
            raise UsageError("tls_context is for clients; a server's is PROTOCOL_TLS_SERVER")
        self.context = context  # constant
        self.expires_at: float | None = None  # not to be known
        self.names: tuple[str, ...] = ()

    def changed(self) -> bool:
        return False

    def reload(self) -> None:
        """There is nothing to read anew."""


def _state(path: Path) -> object:
    """What changes with a file's content; also with its mode, which may have been in the way."""
    try:
        found = os.stat(path)
    except (OSError, TypeError, ValueError):  # reading it will tell why
        return None
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino, found.st_size)


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
