"""The batching poller and handlers' calls: the twins in C, or else those in Python.

Both do the same, as :mod:`.portable` and :mod:`.handling` say. The environment variable
``THREADWIRE_PURE`` chooses Python, if it is set to anything but nothing or ``0``; so does a
system or an installation that has no C twin. ``TWIN`` says which it is, ``"c"`` or ``"python"``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .portable import ACCEPT, END, READ, READY, WRITE

if TYPE_CHECKING:
    from ._speedups import (
        Place,
        Poller,
        Taken,
        Tally,
        accept_now,
        call_each,
        hang_up,
        send_now,
        timed,
    )

    TWIN: str
else:
    try:
        if os.environ.get("THREADWIRE_PURE", "") not in ("", "0"):
            raise ImportError
        from ._speedups import (
            Place,
            Poller,
            Taken,
            Tally,
            accept_now,
            call_each,
            hang_up,
            send_now,
            timed,
        )

        TWIN = "c"
    except ImportError:
        from .handling import Place, Taken, Tally, call_each, timed
        from .portable import Poller, accept_now, hang_up, send_now

        TWIN = "python"

__all__ = [
    "ACCEPT",
    "END",
    "READ",
    "READY",
    "TWIN",
    "WRITE",
    "Place",
    "Poller",
    "Taken",
    "Tally",
    "accept_now",
    "call_each",
    "hang_up",
    "send_now",
    "timed",
]
