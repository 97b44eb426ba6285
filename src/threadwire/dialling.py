"""Making a client's connections: in plain, or with TLS."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .address import Address
from .errors import ConnectError, TimeLimitError, TlsError, UsageError
from .transport import Stream, dial

if TYPE_CHECKING:
    import ssl

__all__ = ["dialler"]


def dialler(
    target: Address,
    files: Mapping[str, str | None],
    context: ssl.SSLContext | None,
    server_name: str | None,
) -> Callable[[float | None], Stream]:
    """What connects to ``target``, within so many seconds, each time it is called.

    ``files`` are ``tls_ca``, ``tls_cert`` and ``tls_key``. They are read now, so that what is
    wrong with them is known at once. Raises UsageError.
    """
    if target.scheme != "tls":
        given = {**files, "tls_context": context, "server_name": server_name}
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"{name} is for tls://, and the address is {target}")
        return functools.partial(dial, target)
    if context is not None:
        for name, value in files.items():
            if value is not None:
                raise UsageError(f"tls_context stands for the files; {name} cannot go with it")
    else:
        from .certificates import client_context

        context = client_context(ca=files["tls_ca"], cert=files["tls_cert"], key=files["tls_key"])
    return functools.partial(_dial_tls, target, context, server_name or target.host or "localhost")


def _dial_tls(
    target: Address, context: ssl.SSLContext, server_name: str, seconds: float | None
) -> Stream:
    """Raises ConnectError if nobody is there to shake hands, and TlsError if that fails."""
    from .transport.tls import HUNG_UP
    from .transport.tls_stream import TlsStream

    begun = time.monotonic()
    plain = dial(target, seconds)
    left = None if seconds is None else max(0.001, seconds - (time.monotonic() - begun))
    try:
        return TlsStream.secure(plain, context, server_name, left)
    except TimeLimitError as error:
        raise ConnectError(str(target), f"no TLS handshake within {seconds:g} s") from error
    except TlsError as error:
        if error.problem == HUNG_UP:  # as a server does that is about to stop
            raise ConnectError(str(target), error.problem) from error
        raise
