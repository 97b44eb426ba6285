"""Handlers of every kind, as a type checker sees them; mypy --strict reads this file."""

from __future__ import annotations

from collections.abc import Iterator

import threadwire

HERE = "tcp://127.0.0.1:0"


def message(message: bytes) -> bytes:
    return message


def with_connection(message: bytes, connection: threadwire.Connection) -> bytes | None:
    return message if connection.id else None


def several(message: bytes) -> Iterator[bytes]:
    yield message


@threadwire.session
def session(connection: threadwire.Connection) -> None:
    connection.send(b"hello")


class Service:
    def handle(self, message: bytes) -> list[bytes]:
        return [message]

    def __call__(self, message: bytes) -> bytes:
        return message

    @threadwire.session
    def converse(self, connection: threadwire.Connection) -> None:
        connection.close()


def test_every_kind_of_handler_is_taken() -> None:
    service = Service()
    for server in (
        threadwire.Server(message, HERE),
        threadwire.Server(with_connection, HERE),
        threadwire.Server(several, HERE),
        threadwire.Server(session, HERE),
        threadwire.Server(service.handle, HERE),
        threadwire.Server(service, HERE),
        threadwire.Server(service.converse, HERE),
        threadwire.Server(lambda m: m[::-1], HERE),
        threadwire.Server(bytes.upper, HERE),
    ):
        with server:
            assert server.address.port


def wrong_keywords_are_seen() -> None:
    threadwire.serve(message, HERE, max_message=1, pin=True)
    threadwire.serve(message, HERE, framming=None)  # type: ignore[call-arg]
    threadwire.Server(Service, HERE, max_massage=1)  # type: ignore[call-arg,arg-type]
