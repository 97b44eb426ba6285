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
from ..notify import Heartbeat, Notifier
from ..reports import CloseReport
from ..server import Server
from ..serving import serve_until_signal
from ..transport import Listener

if TYPE_CHECKING:  # most services are never handed over
    from ..handover import Offer, Taken

__all__ = ["Service"]


class Service:
    """Serves with ``server`` until a signal, or until another process has taken over.

    takeover
        Path of the unix socket at which listening sockets are taken over and offered.
    reload
        Rereads the configuration when SIGHUP comes. It must not raise.
    when_listening
        Called once the server listens.

    Used by the main thread; ``_offer`` is set before another can read it.
    """

    def __init__(
        self,
        server: Server,
        takeover: str | None,
        reload: Callable[[], object],
        when_listening: Callable[[Server], None],
    ) -> None:
        self._server = server
        self._takeover = takeover
        self._reload = reload
        self._when_listening = when_listening
        self._notifier = Notifier(events.notify_failed)
        self._offer: Offer | None = None
        self._heartbeat: Heartbeat | None = None

    def run(self) -> CloseReport:
        """Raises ListenError, also if the old process cannot be taken over from."""
        with contextlib.ExitStack() as stack:
            old: Taken | None = None
            if self._takeover is not None:
                from ..handover import take

                old = take(self._takeover)
            if old is not None:
                stack.enter_context(old)
            stack.callback(self._stop)
            return serve_until_signal(
                self._server,
                lambda server: self._have_started(server, old),
                start=lambda: self._server.start(None if old is None else _adopting(old)),
                when_stopping=self._stopping,
                reload=self._reloading,
            )

    def _have_started(self, server: Server, old: Taken | None) -> None:
        self._when_listening(server)
        if old is not None:
            for unused in old.listeners:
                events.handover("unused", f"{unused.address} is no longer listened on")
            old.serving()
            for listener in server.listeners:
                listener.take_charge()
            events.handover("taken-over", f"from process {old.pid}")
        if self._takeover is not None:
            from ..handover import Handed, Offer

            handed = [Handed(li.wanted, li.socket, {}) for li in server.listeners]
            self._offer = Offer(
                self._takeover,
                handed,
                self._taken,
                report=events.handover,
                replace=old is not None,
            ).start()
        self._notifier.ready(f"listening on {', '.join(map(str, server.addresses))}")
        self._heartbeat = Heartbeat(self._notifier, server.healthy, events.notify_failed).start()

    def _taken(self) -> None:
        """The offer's thread: another process accepts now; what is left here is to drain."""
        assert self._offer is not None
        self._server.hand_over()
        self._notifier.ready("replaced", mainpid=self._offer.taker)
        threading.Thread(target=self._server.close, name="threadwire-closer", daemon=True).start()

    def _reloading(self) -> None:
        self._notifier.reloading()
        self._reload()
        self._notifier.ready()

    def _stopping(self) -> None:
        self._notifier.stopping()

    def _stop(self) -> None:
        if self._offer is not None:
            self._offer.close()
        if self._heartbeat is not None:
            self._heartbeat.stop()


def _adopting(old: Taken) -> Callable[[Address], list[Listener]]:
    def adopt(address: Address) -> list[Listener]:
        listeners = []
        for handed in old.adopt(str(address)):
            listener = Listener(handed.socket, secure=address.secure)
            listener.wanted = str(address)
            listeners.append(listener)
        return listeners

    return adopt
