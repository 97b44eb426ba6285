"""Connecting to a server: to one connection, or to as many as a pool makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack, overload

from . import limits
from .address import Address, parse_address
from .dialled import Client
from .dialling import dialler
from .errors import UsageError
from .framing import Framing, Lines
from .pool import Pool
from .retry import Retry

if TYPE_CHECKING:
    import ssl

__all__ = ["Client", "connect"]


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of :func:`connect` that every client has; it explains them."""

    framing: Framing | None
    timeout: float | None
    max_message: int
    busy_reply: bytes | None
    tls_ca: str | None
    tls_cert: str | None
    tls_key: str | None
    tls_context: ssl.SSLContext | None
    server_name: str | None


@overload
def connect(
    address: str | Address,
    *,
    retry: None = None,
    pool: None = None,
    **options: Unpack[ClientOptions],
) -> Client: ...


@overload
def connect(
    address: str | Address,
    *,
    retry: Retry,
    pool: int | None = None,
    pool_idle: float | None = ...,
    **options: Unpack[ClientOptions],
) -> Pool: ...


@overload
def connect(
    address: str | Address,
    *,
    retry: Retry | None = None,
    pool: int,
    pool_idle: float | None = ...,
    **options: Unpack[ClientOptions],
) -> Pool: ...


def connect(
    address: str | Address,
    *,
    framing: Framing | None = None,
    timeout: float | None = limits.CLIENT_TIMEOUT.default,
    max_message: int = limits.MAX_MESSAGE.whole,
    busy_reply: bytes | None = None,
    retry: Retry | None = None,
    pool: int | None = None,
    pool_idle: float | None = limits.POOL_IDLE.default,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    tls_context: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> Client | Pool:
    """Connect to a server; what is returned is a context manager.

    That is a :class:`Client`, which is one connection and ends with it. With ``retry``,
    ``pool`` or both it is a :class:`Pool`, which makes connections as it needs them.

    address
        ``tcp://host:port``, ``tls://host:port`` or ``unix:///path``. Every address of a host
        is tried.
    framing
        How messages lie in the stream, the same as the server's [``Lines()``].
    timeout
        Seconds to wait to connect, and then for each request, send and receive, unless
        a call says otherwise [10]; ``None`` waits for ever.
    max_message
        Bytes a received message may have [1 MiB].
    busy_reply
        The message with which the server refuses a client, the same as the server's
        [none]. Where it is received, :class:`~threadwire.ServerBusy` is raised.
    retry
        When to try again what has failed, as in ``Retry()`` [never].
    pool
        The most connections that a pool has at once [1].
    pool_idle
        Seconds that a pool keeps a connection which nobody uses [60]; ``None``: as long as
        the server does.
    tls_ca
        With TLS: a PEM file, the authorities that may vouch for the server [the system's].
    tls_cert, tls_key
        PEM files: the certificate to show to the server, and its key [none].
    server_name
        What the server's certificate has to be for [the host of the address].
    tls_context
        An :class:`ssl.SSLContext` in place of the files.

    Raises :class:`~threadwire.ConnectError` if not a single connection can be made,
    :class:`~threadwire.TlsError` if the server is not the one it should be, and
    :class:`~threadwire.UsageError` for a wrong argument.
    """
    target = parse_address(address)
    if framing is None:
        framing = Lines()
    elif not isinstance(framing, Framing):
        raise UsageError(f"framing must be a Framing, as in Lines(), not {framing!r}")
    if timeout is not None:
        limits.CLIENT_TIMEOUT.check(timeout)
    limit = limits.MAX_MESSAGE.check_whole(max_message)
    _check_busy_reply(busy_reply, framing)
    if retry is not None and not isinstance(retry, Retry):
        raise UsageError(f"retry must be a Retry, as in Retry(), not {retry!r}")

    files = {"tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
    dial = dialler(target, files, tls_context, server_name)

    def make(seconds: float | None) -> Client:
        """Where every connection is made; within so many seconds."""
        return Client(dial(seconds), framing, timeout, limit, busy_reply)

    if retry is None and pool is None:
        if pool_idle != limits.POOL_IDLE.default:
            raise UsageError("pool_idle is for a pool; say pool=, too")
        return make(timeout)
    if retry is None or target.scheme in (
        "fd",
        "tls+fd",
    ):  # which nothing can connect to, however often
        retry = Retry(attempts=1)
    size = limits.POOL_SIZE.whole if pool is None else limits.POOL_SIZE.check_whole(pool)
    return Pool(make, target, size, timeout, limits.POOL_IDLE.check(pool_idle), retry).open()


def _check_busy_reply(busy_reply: object, framing: Framing) -> None:
    if busy_reply is None:
        return
    if not isinstance(busy_reply, bytes):
        raise UsageError(f"busy_reply must be bytes, as in b'busy', not {busy_reply!r}")
    try:
        framing.codec().encode(busy_reply)
    except UsageError as error:
        raise UsageError(f"busy_reply would never come: {error}") from error
