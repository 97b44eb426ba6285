"""What the admin endpoint tells the log: one call here, one line there."""

from __future__ import annotations

import logging

from ..address import Address
from ..events import emit

__all__ = ["acted", "closed_client", "failed", "listening", "token_problem", "wrong_token"]


def listening(url: str, token: bool) -> None:
    emit(logging.INFO, "admin-listening", url=url, token=token)


def acted(action: str, peer: Address) -> None:
    emit(logging.INFO, "admin-action", action=action, peer=peer)


def closed_client(connection: int, peer: Address) -> None:
    emit(logging.INFO, "admin-action", action="close-client", peer=peer, connection=connection)


def token_problem(where: object, problem: object) -> None:
    emit(logging.WARNING, "admin-token", where=where, problem=problem)


def wrong_token(peer: Address, count: int) -> None:
    emit(logging.WARNING, "admin-wrong-token", peer=peer, count=count)


def failed(doing: str, error: Exception) -> None:
    """A fault of ours, or of the server that is told of."""
    emit(
        logging.ERROR,
        "admin-failed",
        doing=doing,
        error=type(error).__name__,
        detail=error,
        exception=error,
    )
