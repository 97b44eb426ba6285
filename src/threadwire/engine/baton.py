"""The baton: the right to run a loop, and how it is taken from a thread that is stuck.

Exactly one thread of a loop holds its baton. Before the holder calls a handler it puts the
client's connection into the baton's one place (:attr:`enter`); afterwards it takes the
connection out again (:attr:`leave`). :attr:`call` does both around a single call. A watchdog
that finds one and the same call in that place for too long takes it out itself (:meth:`take`).
Both remove the same single item from the same place, which is one step, with the interpreter's
lock and without. So exactly one of them gets it, and *whoever removed it owns what follows*:

- the holder got it: it still has the baton and goes on with the turn;
- the watchdog got it: the loop, with all that is left of the turn, is the watchdog's to give
  to another thread, with a new baton; the connection, and nothing else, belongs to the thread
  whose handler is stuck.

While the place is empty nobody can take the baton: a holder that polls, decodes or writes is
never interrupted in it.

A baton is used once. The successor has one of its own, so that the thread that was stuck,
when it comes back, looks into a place that nobody fills any more.

Between taking the item and having noted down whose the connection is now, the watchdog may be
delayed for any time. The thread that comes back meanwhile waits for it, in :meth:`lost`:
otherwise it could serve the client, return it to the loop, and only then be noted as its owner.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from ..transport.poller import Place, Tally

__all__ = ["Baton"]

T = TypeVar("T")

NOBODYS_TALLY = Tally()


class Baton(Generic[T]):
    """One thread's right to run a loop, until it is taken."""

    __slots__ = (
        "_lost",
        "_noted",
        "_taking",
        "call",
        "enter",
        "leader",
        "leave",
        "place",
        "tally",
    )

    def __init__(self) -> None:
        # Read by anybody. While it is empty, its holder has been taken it away or is busy with
        # nothing; changed by the calls below alone.
        self.place = Place()
        self._noted = threading.Lock()
        self._noted.acquire()
        self._taking = threading.Lock()  # held by the watchdog while it takes
        self._lost: T | None = None  # under ``_taking``: what was taken with it
        self.leader: int | None = None  # the holder's thread ident; set by the holder, once
        # Where that thread counts how long handlers take, also when it has lost the baton.
        self.tally = NOBODYS_TALLY  # set by the holder, once

        self.enter = self.place.enter  # holder: a handler is about to be called for this
        # Holder: the handler has returned. IndexError if the baton was taken meanwhile: then
        # the next thing to call is lost(), and nothing else of the loop may be touched.
        self.leave = self.place.leave
        # Holder: both around a call that is counted. Taken, with what it returned, if the baton
        # was: as above. If the function raises, the holder has still to leave.
        self.call = self.place.call

    def busy_with(self) -> T | None:
        """Any thread: for what a handler is being called at this moment."""
        busy: T | None = self.place.held()
        return busy

    def held_for(self) -> T | None:
        """The thread that holds it, or did: for what it is calling a handler.

        That may be what the baton was taken with; the lock makes this wait until that is noted.
        """
        busy = self.busy_with()
        if busy is None:
            with self._taking:
                return self._lost
        return busy

    def take(self) -> T | None:
        """The watchdog: take the baton away; returns for what its holder is busy.

        ``None``: the holder was quicker, or busy with nothing, and keeps the baton.
        Who gets something notes down the new owners and then calls :meth:`note_taken`.
        """
        with self._taking:
            try:
                self._lost = self.place.leave()
            except IndexError:
                return None
            return self._lost

    @property
    def taken(self) -> bool:
        """Any thread: whether it has been taken; one that is being taken is waited for."""
        with self._taking:
            return self._lost is not None

    def note_taken(self) -> None:
        """Whoever took it: the new owners are known."""
        self._noted.release()

    def lost(self) -> None:
        """The former holder: wait until the new owners are known."""
        self._noted.acquire()
