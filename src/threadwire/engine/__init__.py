"""Who serves a connection, and when: the loop, and the threads that it lends."""

from .admission import Admission
from .engine import Engine
from .gate import Gate, Permits
from .here import current_connection
from .loop import Loop
from .opening import Opening
from .placement import loop_count, on_one_core

__all__ = [
    "Admission",
    "Engine",
    "Gate",
    "Loop",
    "Opening",
    "Permits",
    "current_connection",
    "loop_count",
    "on_one_core",
]
