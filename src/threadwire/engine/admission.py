"""Who is let in: lists of networks, how many of one address, and the account of refusals.

A client is judged by its address as soon as that is known: when it is accepted, or, behind a
proxy, when the PROXY header has been read. A unix socket's client has no address, and is let in.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

from .. import events
from ..address import Address
from ..connection import Connection
from ..errors import CloseReason
from ..limits import OFF
from ..networks import Networks, site_of

__all__ = ["Admission"]

_EPISODE = 10.0  # seconds without a refusal after which the next one is news
_REMINDER = 60.0  # seconds after which a long episode is told of again


class Admission:
    """Judges addresses and counts clients; any thread, every field but the rules under ``_lock``.

    allow, deny
        Who may come: nobody who is denied, and if there is an allow list, who is on it.
    most
        Clients that one address (of IPv6: one /64) may have at once.
    """

    def __init__(self, allow: Networks, deny: Networks, most: float) -> None:
        self._lock = threading.Lock()
        self._sites: dict[str | int, int] = {}
        self._refused: Counter[CloseReason] = Counter()
        self._episodes: dict[CloseReason, _Episode] = {}
        self.rule(allow, deny, most)

    def rule(self, allow: Networks, deny: Networks, most: float) -> None:
        """Judge so from now on; who reconfigures the server."""
        self.allow = allow
        self.deny = deny
        self.most = most
        self.open = not allow and not deny and most == OFF  # anybody may come

    def judge(self, connection: Connection) -> CloseReason | None:
        """Let its peer in and count it, or say why not; :meth:`leave` when it has gone."""
        host = connection.peer.host
        if not host:
            return None
        if host in self.deny or (self.allow and host not in self.allow):
            return CloseReason.DENIED
        if self.most == OFF:
            return None
        site = site_of(host)
        with self._lock:
            count = self._sites.get(site, 0)
            if count >= self.most:
                return CloseReason.ADDRESS_BUSY
            self._sites[site] = count + 1
        connection._site = site
        return None

    def leave(self, connection: Connection) -> None:
        """A client that was let in has gone."""
        site, connection._site = connection._site, None
        if site is None:
            return
        with self._lock:
            count = self._sites[site] - 1
            if count:
                self._sites[site] = count
            else:
                del self._sites[site]

    # The account.

    def note_refused(self, reason: CloseReason, peer: Address) -> None:
        """Count it, and say so: once an episode, and once a minute while that lasts."""
        now = time.monotonic()
        with self._lock:
            self._refused[reason] += 1
            episode = self._episodes.get(reason)
            if episode is None or now - episode.last > _EPISODE:
                episode = self._episodes[reason] = _Episode(now)
            episode.last = now
            episode.count += 1
            if episode.count > 1 and now - episode.told < _REMINDER:
                return
            episode.told = now
            count = episode.count
        events.refused(reason, peer, count)

    @property
    def refused(self) -> dict[CloseReason, int]:
        """How many clients have been refused, by the reason."""
        with self._lock:
            return dict(self._refused)


class _Episode:
    """A time of refusals for one reason, under the Admission's lock."""

    __slots__ = ("count", "last", "told")

    def __init__(self, now: float) -> None:
        self.count = 0
        self.last = now
        self.told = now
