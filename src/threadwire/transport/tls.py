"""TLS without I/O: one connection's handshake, records and keys, all in memory.

Bytes that were read are given to :meth:`Tls.handshake` and then :meth:`Tls.open`; what is to
be written comes out of :meth:`Tls.seal`. Nothing here waits, and nothing touches a socket.

Which thread may do what
------------------------
The connection's owner calls ``handshake`` and ``open``; whoever holds its send lock calls
``seal``, ``take`` and ``take_end``. These may be two threads at the same moment, for which
OpenSSL is not made. So every use of its object and its two buffers is under ``_lock``, which
is held for work in memory alone. The lock may be taken again by the thread that has it: a
signal handler, or a finalizer that the collector runs, can end a connection from inside.

Why the records go out in their order
-------------------------------------
A record's number goes into its encryption, so the peer must get them in the order they were
made. They are made into one buffer, the last of which is the last made, by ``seal`` and also
by ``open``, which may have to answer the peer (a change of keys, an alert). Only ``seal``,
``take`` and ``take_end`` empty it, always whole, and whoever calls them holds the send lock
until what came out is written. So what is taken out first is written first.

Between two calls no complete record lies in the incoming buffer unread; OpenSSL may be
half-way through one. That is why our end can be announced at any time: OpenSSL would take
application data that it meets while doing so for an error.
"""

from __future__ import annotations

import contextlib
import errno
import ssl
import threading
from typing import Final

from ..errors import TlsError, UsageError
from .client_hello import MOST_HELLO, asked_name
from .tls_info import TlsInfo
from .tls_problem import HUNG_UP, NOT_TLS, explain
from .tls_records import ALERT, HANDSHAKE, RecordBoundaries

__all__ = ["HUNG_UP", "Tls", "TlsInfo"]

# The most that a record can hold. More is fed in and taken out in such pieces, so that neither
# buffer, which keep their greatest size for as long as the connection lives, grows beyond one.
_PIECE: Final = 1 << 14
# Answers that a peer may have us make without reading them; room for two thousand changes of
# keys, or for the tickets of a session with a long chain of certificates.
_MOST_ANSWERS: Final = 1 << 16
# Plaintext that waits for the peer to finish a handshake message it has begun.
_MOST_UNSEALED: Final = 1 << 20


class Tls:
    """One connection's TLS.

    context
        What certificates, authorities and versions to use.
    server_side
        Whether the peer is the client.
    server_name
        For a client: the host name, or IP address, that the server's certificate has to be
        for, and that the server is asked for.

    A wrong argument raises :class:`~threadwire.UsageError`.

    Any thread may look at these, which change with the calls below:

    pending
        There is something to be written that nobody has taken.
    begun
        A record has begun to arrive and is not complete; or a handshake message that has to
        be complete before anything can be sent; or what arrived can never be.
    ended
        The peer has said that it will send no more.
    closing
        We have: :meth:`take_end` was called.
    failure
        The :class:`~threadwire.TlsError` after which nothing can be received or sent. Look
        at it after each ``open`` that has returned something, as at ``ended``.
    info
        The :class:`TlsInfo`; ``None`` until the handshake is complete.
    """

    __slots__ = (
        "_early",
        "_hello",
        "_incoming",
        "_lock",
        "_object",
        "_outgoing",
        "_records",
        "_unsealed",
        "_unsealed_bytes",
        "begun",
        "closing",
        "ended",
        "failure",
        "info",
        "pending",
    )

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None
    ) -> None:
        _check(context, server_side, server_name)
        self._lock = threading.RLock()
        # All under the lock.
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._object = context.wrap_bio(
                self._incoming, self._outgoing, server_side, server_name
            )
        except (ssl.SSLError, ValueError, TypeError) as error:
            raise UsageError(f"server_name {server_name!r} is not a host name: {error}") from error
        self._records = RecordBoundaries()
        self._hello = bytearray()  # what came first; until the handshake is complete
        self._early = b""  # plaintext that came right behind the handshake
        self._unsealed: list[bytes | memoryview] = []  # what cannot be encrypted yet
        self._unsealed_bytes = 0

        # Set under the lock; read by any thread without it.
        self.pending = False
        self.begun = False
        self.ended = False
        self.closing = False
        self.failure: TlsError | None = None
        self.info: TlsInfo | None = None

    # The owner.

    def handshake(self, data: bytes = b"") -> bool:
        """Take ``data``, which was read, and go on; whether the handshake is complete.

        When it is, call :meth:`open` for what may have come right behind it. Raises
        :class:`~threadwire.TlsError`. In any case there may be something to be sent: our
        part of the handshake, or the alert that tells the peer what is wrong.
        """
        with self._lock:
            if self.failure is not None:
                raise self._failed()
            try:
                for start in range(0, len(data) or 1, _PIECE):
                    self._advance(data[start : start + _PIECE])
            finally:
                self._take_note()
            return self.info is not None

    def _advance(self, data: bytes) -> None:
        """Lock held: go on with the handshake; what comes after it is read."""
        if self.info is not None:
            self._early += self._read(data)
            return
        if data and not self._hello and data[0] not in (ALERT, HANDSHAKE):
            raise self._fail(f"{NOT_TLS}: it began with {data[:16]!r}", None)
        if len(self._hello) < MOST_HELLO:
            self._hello += data[: MOST_HELLO - len(self._hello)]
        self._take_in(data)
        try:
            self._object.do_handshake()
            self.info = self._describe()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError as error:
            raise self._fail(HUNG_UP, error) from error
        except ssl.SSLError as error:
            raise self._fail(explain(error), error) from error
        self._early = self._read()

    def open(self, data: bytes) -> bytes:
        """Take ``data``, which was read, and return the plaintext of all complete records.

        Raises :class:`~threadwire.TlsError`, after the plaintext before it has been
        returned; :attr:`failure` is set already then. Data after the peer's end is ignored.
        """
        with self._lock:
            if self.info is None:
                raise UsageError("open() before the handshake is complete")
            plain, self._early = self._early, b""
            if not self._deaf():
                try:
                    if plain or len(data) > _PIECE:
                        parts = [plain]
                        for start in range(0, len(data), _PIECE):
                            if not self._deaf():
                                parts.append(self._read(data[start : start + _PIECE]))
                        plain = b"".join(parts)
                    else:
                        plain = self._read(data)
                    if self._unsealed:
                        self._seal_again()
                finally:
                    self._take_note()
            if self.failure is not None and not plain:
                raise self._failed()
            return plain

    # Send lock held.

    def seal(self, data: bytes | memoryview = b"") -> bytes:
        """Encrypt ``data``; returns everything that is to be written by now, ending in it.

        Never blocks. What comes back is somewhat longer, and has to be written whole before
        anything else. It may also be empty: if the peer has sent half a handshake message
        (which TLS lets nobody interrupt), ``data`` is kept, and encrypted when the rest has
        come; that is bounded. All of it is in memory twice meanwhile, so give very much
        data in several calls.

        Raises :class:`BrokenPipeError`, as a socket would, after :meth:`take_end` or a
        :attr:`failure`, and :class:`~threadwire.TlsError` if it fails here; without
        ``data``, nothing.
        """
        size = len(data)
        if size <= _PIECE:
            with self._lock:
                if size:
                    self._seal(data)
                return self._drain()
        parts = []
        with memoryview(data) as view:
            for start in range(0, size, _PIECE):
                # The owner gets its turn between two pieces.
                with self._lock:
                    self._seal(view[start : start + _PIECE])
                    parts.append(self._drain())
        return b"".join(parts)

    def take(self) -> bytes:
        """Everything that is to be written by now; also after a failure, when it is the alert."""
        with self._lock:
            return self._drain()

    def take_end(self) -> bytes:
        """Everything that is to be written, ending in the word that there will be no more.

        That word is left out after a failure, or if there has been no handshake. The peer
        may go on sending.
        """
        with self._lock:
            if self.info is not None and self.failure is None and not self.closing:
                # It does not wait for the peer's own end, which is what it complains about;
                # nor can the word be said within half a handshake message.
                with contextlib.suppress(ssl.SSLError):
                    self._object.unwrap()
            self.closing = True
            self._unsealed.clear()
            self._take_note()
            return self._drain()

    # Lock held.

    def _take_in(self, data: bytes) -> None:
        self._records.follow(data)
        self._incoming.write(data)

    def _read(self, data: bytes = b"") -> bytes:
        """Decrypt what is complete; notes the peer's end, and what is wrong."""
        self._take_in(data)
        read, waiting = self._object.read, self._incoming
        parts: list[bytes] = []
        while True:
            try:
                part = read(_PIECE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                part = b""
            except ssl.SSLError as error:
                self._fail(explain(error), error)
                break
            if not part:
                self.ended = True
                break
            parts.append(part)
            # To ask in vain would cost more than all the rest.
            if not waiting.pending and not self._object.pending():
                break
        if self._outgoing.pending > _MOST_ANSWERS:
            self._fail("the peer asks for more answers than it reads", None)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _deaf(self) -> bool:
        return self.ended or self.failure is not None

    def _seal(self, piece: bytes | memoryview) -> None:
        if self.closing or self.failure is not None:
            raise BrokenPipeError(errno.EPIPE, "TLS has ended, nothing more can be sent")
        if self.info is None:
            raise UsageError("seal() before the handshake is complete")
        if self._unsealed:
            self._keep(piece)
            return
        try:
            while piece:
                piece = piece[self._object.write(piece) :]
        except ssl.SSLWantReadError:
            self._keep(piece)
        except ssl.SSLError as error:
            raise self._fail(explain(error), error) from error

    def _keep(self, piece: bytes | memoryview) -> None:
        """Until the peer has finished its handshake message."""
        if self._unsealed_bytes > _MOST_UNSEALED:
            raise self._fail("the peer has begun a handshake message and does not end it", None)
        self._unsealed.append(bytes(piece))
        self._unsealed_bytes += len(piece)
        self._take_note()

    def _seal_again(self) -> None:
        waiting, self._unsealed, self._unsealed_bytes = self._unsealed, [], 0
        with contextlib.suppress(TlsError, BrokenPipeError):  # open() tells of a failure
            for piece in waiting:
                self._seal(piece)

    def _drain(self) -> bytes:
        self.pending = False
        return self._outgoing.read()

    def _take_note(self) -> None:
        """Of what has changed, for those who look without the lock."""
        self.pending = self._outgoing.pending > 0
        self.begun = not self.ended and (
            self._records.inside or bool(self._unsealed) or self.failure is not None
        )

    def _describe(self) -> TlsInfo:
        """What the handshake has come to."""
        tls, hello, self._hello = self._object, bytes(self._hello), bytearray()
        cipher = tls.cipher()
        try:
            certificate = tls.getpeercert() or None
        except (ValueError, ssl.SSLError) as error:
            raise ssl.SSLError("the peer's certificate cannot be understood") from error
        return TlsInfo(
            tls.version() or "",
            cipher[0] if cipher else "",
            alpn=tls.selected_alpn_protocol(),
            server_name=asked_name(hello) if tls.server_side else tls.server_hostname,
            peer_certificate=certificate,
            peer_certificate_der=tls.getpeercert(True),
        )

    def _fail(self, problem: str, cause: BaseException | None) -> TlsError:
        self.failure = TlsError(problem)
        self.failure.__cause__ = cause
        self._take_note()
        return self.failure

    def _failed(self) -> TlsError:
        """The failure, once more: an error of its own, since any thread may meet it."""
        assert self.failure is not None
        error = TlsError(self.failure.problem)
        error.__cause__ = self.failure.__cause__
        return error


def _check(context: ssl.SSLContext, server_side: bool, server_name: object) -> None:
    """Raise UsageError for arguments that do not go together."""
    if not isinstance(context, ssl.SSLContext):
        raise UsageError(f"context must be an ssl.SSLContext, not {context!r}")
    if context.protocol is (ssl.PROTOCOL_TLS_CLIENT if server_side else ssl.PROTOCOL_TLS_SERVER):
        raise UsageError(f"context is for {'clients' if server_side else 'servers'}")
    if server_side and server_name is not None:
        raise UsageError("server_name is for clients; a server is told it")
    if not server_side and server_name is None and context.check_hostname:
        # OpenSSL would check nothing then.
        raise UsageError("server_name is needed, to check the server's certificate")
    if server_name is not None and not isinstance(server_name, str):
        raise UsageError(f"server_name {server_name!r} is not a host name: it must be a str")
