"""For tests of what is made with threadwire: servers, hostile peers, bad networks, time.

::

    from threadwire.testing import serving

    def test_reverse():
        with serving(reverse) as served, served.connect() as client:
            assert client.request(b"hello") == b"olleh"

Nothing here needs a test framework. For pytest there are fixtures in
``threadwire.testing.plugin``, which is imported by nobody else.
"""

from .clock import Clock
from .faults import Chaos, Delay, Fault, Glue, Reset, Split, Stall, Step, StepKind, Truncate
from .good_client import GoodClient
from .hostile import LOOK, STEP, Hostile, Script
from .leaks import Leaks, Usage
from .peer import Peer
from .peers import (
    announces,
    connect_and_reset,
    drip,
    flood,
    garbage,
    half_open,
    never_reads,
    reset_after,
    silent,
)
from .proxy import FaultProxy
from .served import Served, serving
from .waiting import eventually

__all__ = [
    "LOOK",
    "STEP",
    "Chaos",
    "Clock",
    "Delay",
    "Fault",
    "FaultProxy",
    "Glue",
    "GoodClient",
    "Hostile",
    "Leaks",
    "Peer",
    "Reset",
    "Script",
    "Served",
    "Split",
    "Stall",
    "Step",
    "StepKind",
    "Truncate",
    "Usage",
    "announces",
    "connect_and_reset",
    "drip",
    "eventually",
    "flood",
    "garbage",
    "half_open",
    "never_reads",
    "reset_after",
    "serving",
    "silent",
]
