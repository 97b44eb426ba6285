"""What ``threadwire serve`` does around its server, as a service among others.

It takes its listening sockets over from an old process and offers them to the next one, keeps
its supervisor informed, and heeds what it is told while it serves.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import events
from ..address import Address
from ..errors import ListenError, TimeLimitError
from ..notify import Heartbeat, Notifier
from ..reports import CloseReport
from ..server import Server
from ..serving import serve_until_signal
from ..transport import Listener

if TYPE_CHECKING:  # most services are never handed over
    from ..admin import Admin
    from ..handover import Handed, Offer, Taken

__all__ = ["Service"]

# Seconds. When another process accepts, the last clients that this one has accepted have perhaps
# not asked for anything yet; a drain would take them for idle ones.
_FIRST_MESSAGE = 0.5

_ADMIN = "admin+"  # before the URLs of the admin endpoint's sockets, when they are handed over


class Service:
    """Serves with ``server`` until a signal, or until another process has taken over.

    takeover
        Path of the unix socket at which listening sockets are taken over and offered.
    reload
        Rereads the configuration when SIGHUP comes. It must not raise.
    when_listening
        Called once the server listens.
    admin
        What tells of the server while it is there, and is closed after it.

    Used by the main thread, but for what says otherwise.
    """

    def __init__(
        self,
        server: Server,
        takeover: str | None,
        reload: Callable[[], object],
        when_listening: Callable[[Server], None],
        admin: Admin | None = None,
    ) -> None:
        self._server = server
        self._admin = admin
        self._takeover = takeover
        self._reload = reload
        self._when_listening = when_listening
        self._notifier = Notifier(events.notify_failed)
        self._heartbeat = Heartbeat(self._notifier, server.healthy, events.notify_failed)
        self._adopted: list[tuple[Listener, Handed]] = []
        self._offer: Offer | None = None  # set before its thread and the next one are started
        self._leaver = threading.Thread(target=self._leave, name="threadwire-leave", daemon=True)
        self._replaced = threading.Event()  # set by the offer's thread; at the end by ours
        self._ending = False  # another thread may read it: the supervisor knows that it ends

    def run(self) -> CloseReport:
        """Raises ListenError, also if the old process cannot be taken over from.

        The process is about to end then, and heeds no further signals.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._notifier)
            old: Taken | None = None
            if self._takeover is not None:
                from ..handover import take

                old = take(self._takeover)
            if old is not None:
                stack.enter_context(old)
            if self._admin is not None:
                stack.callback(self._admin.close)
            stack.callback(self._stop)
            return serve_until_signal(
                self._server,
                lambda server: self._have_started(server, old),
                start=lambda: self._server.start(None if old is None else self._adopting(old)),
                when_stopping=self._stopping,
                reload=self._reloading,
                at_last=True,
            )

    def _have_started(self, server: Server, old: Taken | None) -> None:
        if self._admin is not None:
            self._admin.start(None if old is None else self._adopting(old, _ADMIN))
        self._when_listening(server)
        if old is not None:
            self._replace(old)
        if self._takeover is not None:
            try:
                self._offer_sockets(self._takeover, replace=old is not None)
            except ListenError as error:
                if old is None:
                    raise
                # There is nobody else any more who could serve.
                events.handover("not-offered", str(error))
        self._notifier.ready(f"listening on {', '.join(map(str, server.addresses))}")
        try:
            self._heartbeat.start()
        except RuntimeError as error:  # no thread is to be had
            events.notify_failed(error)

    # Coming after an old process.

    def _adopting(self, old: Taken, prefix: str = "") -> Callable[[Address], list[Listener]]:
        def adopt(address: Address) -> list[Listener]:
            listeners = []
            for handed in old.adopt(f"{prefix}{address}"):
                # The old process has it as well, for as long as it is not told to stop.
                listener = Listener(handed.socket, secure=address.secure, shared=True)
                listener.wanted = str(address)
                self._adopted.append((listener, handed))
                listeners.append(listener)
            return listeners

        return adopt

    def _replace(self, old: Taken) -> None:
        for unused in old.listeners:
            events.handover("unused", f"{unused.address} is no longer listened on")
        try:
            old.serving()
        except TimeLimitError as error:
            # It may yet go, so that nobody would serve if this one gave up; as long as both
            # accept no client is lost.
            events.handover("no-answer", str(error))
        for listener, handed in self._adopted:
            _inherit(listener, handed)
        for unused in old.listeners:
            listener = Listener(unused.socket)
            _inherit(listener, unused)
            listener.close()
        old.close()
        events.handover("taken-over", f"from process {old.pid}")

    # Going before a new one.

    def _offer_sockets(self, path: str, *, replace: bool) -> None:
        from ..handover import Handed, Offer

        listeners = [("", listener) for listener in self._server.listeners]
        if self._admin is not None:
            listeners += [(_ADMIN, listener) for listener in self._admin.listeners]
        handed = [
            Handed(prefix + listener.wanted, listener.socket, {"shared": listener.shared})
            for prefix, listener in listeners
        ]
        self._offer = Offer(path, handed, self._taken, report=events.handover, replace=replace)
        try:
            self._leaver.start()
        except RuntimeError as error:
            raise ListenError(path, str(error)) from error
        self._offer.start()

    def _taken(self) -> None:
        """The offer's thread: another process accepts now; what is left here is to drain."""
        assert self._offer is not None
        self._server.hand_over()
        if self._admin is not None:
            self._admin.hand_over()
        self._notifier.ready("replaced", mainpid=self._offer.taker)
        self._replaced.set()

    def _leave(self) -> None:
        """A thread that is there before, since later there may be none to be had."""
        self._replaced.wait()
        if not self._server.wait(_FIRST_MESSAGE):
            self._server.close()

    # Being told.

    def _reloading(self) -> None:
        """A thread of its own."""
        if self._ending or self._replaced.is_set():
            self._reload()
            return
        self._notifier.reloading()
        self._reload()
        self._notifier.ready()

    def _stopping(self) -> None:
        self._ending = True
        # Who comes now is no longer offered what is about to be closed, and listens anew.
        if self._offer is not None:
            self._offer.close()
        if not self._replaced.is_set():
            self._notifier.stopping()

    def _stop(self) -> None:
        """The server is closed."""
        if self._offer is not None:
            self._offer.close()
        self._replaced.set()
        if self._leaver.ident is not None:
            self._leaver.join()
        self._heartbeat.stop()


def _inherit(listener: Listener, handed: Handed) -> None:
    """The old process has none of it any more; a supervisor may have, as it had before."""
    listener.shared = bool(handed.options.get("shared"))
    if not listener.shared:
        listener.take_charge()
