"""Reading the configuration anew while the server serves, as SIGHUP asks for."""

from __future__ import annotations

import logging
import threading

from .. import events
from ..errors import UsageError
from ..options import CHANGEABLE
from ..server import Server
from .capacity import make_room
from .configuration import Configuration, Sources

__all__ = ["Reloader"]


class Reloader:
    """Keeps a server to its configuration. Any thread; they take turns, by ``_lock``."""

    def __init__(self, server: Server, sources: Sources, configuration: Configuration) -> None:
        self._server = server
        self._sources = sources
        self._lock = threading.Lock()
        self._current = configuration  # under the lock

    def reload(self) -> None:
        """Read everything anew, certificates too. If anything is wrong, nothing is changed.

        Raises nothing; the log says how it went, and what would need a restart.
        """
        with self._lock:
            try:
                wanted = self._sources.load()
                changed = self._current.changed(wanted)
                now = [s.name for s in changed if s.name in CHANGEABLE or s.name == "log_level"]
                later = [s.name for s in changed if s.name not in now]
                self._server.reconfigure(**self._changes(wanted, now))
            except UsageError as error:
                events.reload_failed(error)
                return
            if "log_level" in now:
                level = logging.getLevelNamesMapping()[wanted["log_level"].upper()]
                events.logger.setLevel(level)
            self._current = wanted
            events.reloaded(", ".join(now), ", ".join(later))
            self._server.reload_certificates()

    @staticmethod
    def _changes(wanted: Configuration, names: list[str]) -> dict[str, object]:
        changes: dict[str, object] = {n: wanted[n] for n in names if n in CHANGEABLE}
        if "max_clients" in changes:
            changes["max_clients"] = make_room(wanted["max_clients"]).max_clients
        return changes
