"""Reading the configuration anew while the server serves, as SIGHUP asks for."""

from __future__ import annotations

import logging
import threading

from .. import events
from ..errors import UsageError
from ..options import CHANGEABLE
from ..server import Server
from ..settings import Setting
from .capacity import make_room
from .configuration import Configuration, Sources

__all__ = ["Reloader"]


class Reloader:
    """Keeps a server to its configuration. Any thread; they take turns, by ``_lock``."""

    def __init__(self, server: Server, sources: Sources, configuration: Configuration) -> None:
        self._server = server
        self._sources = sources
        self._first = configuration  # what else is in force until a restart
        self._lock = threading.Lock()
        self._current = configuration  # under the lock: where what may change stands now

    def reload(self) -> None:
        """Read everything anew, certificates too. If anything is wrong, nothing is changed.

        Raises nothing; the log says how it went, and what would need a restart.
        """
        with self._lock:
            try:
                wanted = self._sources.load()
                now = [s.name for s in self._current.changed(wanted) if _may_change(s)]
                later = [s.name for s in self._first.changed(wanted) if not _may_change(s)]
                changes = {name: wanted[name] for name in now if name in CHANGEABLE}
                room = None
                if "max_clients" in now:
                    room = make_room(wanted["max_clients"], admin=self._first["admin"])
                if room is not None:
                    changes["max_clients"] = room.max_clients
                self._server.reconfigure(**changes)
            except UsageError as error:
                events.reload_failed(error)
                return
            if "log_level" in now:
                level = logging.getLevelNamesMapping()[wanted["log_level"].upper()]
                events.logger.setLevel(level)
            self._current = wanted
            if (
                room is not None
                and wanted.is_given("max_clients")
                and room.max_clients < room.wanted
            ):
                events.capacity_short(room.max_clients, room.descriptors, room.wanted)
            events.reloaded(", ".join(now), ", ".join(later))
            self._server.reload_certificates()


def _may_change(setting: Setting) -> bool:
    return setting.name in CHANGEABLE or setting.name == "log_level"
