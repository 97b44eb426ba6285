"""Who serves a connection, and when: the loop, and the threads that it lends."""

from .acceptor import Permits
from .engine import Engine
from .loop import Loop
from .placement import loop_count, on_one_core

__all__ = ["Engine", "Loop", "Permits", "loop_count", "on_one_core"]
