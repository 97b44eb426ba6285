"""Who serves a connection, and when: accepting, and the threads that clients are given."""

from .acceptor import Acceptor, Permits
from .own_thread import serve_connection
from .placement import on_one_core
from .spare_threads import SpareThreads

__all__ = ["Acceptor", "Permits", "SpareThreads", "on_one_core", "serve_connection"]
