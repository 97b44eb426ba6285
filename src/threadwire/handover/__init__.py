"""Passing the listening sockets from an old process to the new one that replaces it.

The old process offers them at a unix socket, :class:`Offer`; the new one takes them, with
:func:`take`. Both hold the same sockets then, with one queue of clients, so that at no moment
is there nobody to accept: none is refused, and none that waits is lost. A socket's mode
(blocking or not) and options are shared as well, and ``shutdown()`` would end it for both.

The protocol, version 1. The unix socket is of type ``SOCK_SEQPACKET``, so that a message is
either there as a whole or not at all. Each is a JSON object of at most 64 KiB, with the
version as ``handover`` and what it says as ``say``. The new process begins, and then they
take turns::

    new                             old
    take
                                    listeners   some of them, and their descriptors
    more                                        while ``left`` is not 0
                                    listeners
    (it begins to accept)
    serving
                                    (it stops accepting)
                                    stopped

- ``listeners``: a list of objects with ``address`` and ``options``; as many descriptors come
  along (``SCM_RIGHTS``); ``left`` is how many are still to come.
- ``failed``, with a ``reason``, instead of ``serving``: the new process gives up.
- ``refused``, with a word ``why`` and a ``problem`` for people, instead of any answer or when
  a deadline is over; then the old process closes. A refusal is understood whatever its version.

Until it has read ``serving``, and seen that whoever said it is still there, the old process
goes on as if nothing had happened, whatever else it is sent, or not sent in time. Either side
deals only with processes of its own user and of root (``SO_PEERCRED``).
"""

from .offer import Offer
from .taking import Taken, take
from .wire import Handed

__all__ = ["Handed", "Offer", "Taken", "take"]
