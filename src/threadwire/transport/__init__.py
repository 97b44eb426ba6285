"""Sockets: everything that touches one is in here, behind :class:`Stream`."""

from .dial import dial
from .listener import Listener, listen
from .stream import Stream

__all__ = ["Listener", "Stream", "dial", "listen"]
