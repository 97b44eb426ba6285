"""Descriptors for the clients: how many the process may have, and raising that limit.

Every process may raise its soft limit up to the hard one. Many systems have a soft limit of
1,024, for the sake of programs that use ``select``, and a hard one far above it.
"""

from __future__ import annotations

import contextlib
import math
import resource
from typing import NamedTuple

from ..address import Address
from ..limits import ADMIN_DESCRIPTORS, ADMIN_TLS_DESCRIPTORS, DESCRIPTOR_RESERVE, clients_for

__all__ = ["Capacity", "capacity", "make_room"]


class Capacity(NamedTuple):
    """How many clients of those ``wanted`` are served at once, with so many ``descriptors``."""

    wanted: int
    max_clients: int
    descriptors: float  # the soft limit; OFF if there is none


def capacity(wanted: int, *, admin: Address | None = None) -> Capacity:
    """What :func:`make_room` would come to, as far as can be seen."""
    soft, hard = _limits()
    others = _for_admin(admin)
    return _capacity(wanted, max(soft, min(wanted + DESCRIPTOR_RESERVE + others, hard)), others)


def make_room(wanted: int, *, admin: Address | None = None) -> Capacity:
    """Raise the limit of descriptors as far as ``wanted`` clients need it and the system lets us.

    For the whole process, and for those that it starts later. ``admin``: the address
    of the admin endpoint, if there is one, which has descriptors of its own.
    """
    soft, hard = _limits()
    others = _for_admin(admin)
    if (needed := min(wanted + DESCRIPTOR_RESERVE + others, hard)) > soft:
        # Refused where the hard limit is above what the kernel has for any process.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(
                resource.RLIMIT_NOFILE,
                (int(needed), resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
            )
    return _capacity(wanted, _limits()[0], others)


def _for_admin(address: Address | None) -> int:
    if address is None:
        return 0
    return ADMIN_TLS_DESCRIPTORS if address.secure else ADMIN_DESCRIPTORS


def _capacity(wanted: int, descriptors: float, others: int) -> Capacity:
    return Capacity(wanted, int(min(wanted, clients_for(descriptors - others))), descriptors)


def _limits() -> tuple[float, float]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _amount(soft), _amount(hard)


def _amount(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit
