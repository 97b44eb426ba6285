"""What can be a handler, how it is called, and what is refused when the server is made."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import threadwire
from threadwire import Connection, HandlerError
from threadwire.handler import Handler, as_handler

CONNECTION: Any = object()  # handlers are only handed it


class Service:
    def message(self, message: bytes) -> bytes:
        return b"method " + message

    def both(self, message: bytes, connection: Connection) -> bytes:
        return b"both " + message if connection is CONNECTION else b"?"

    @classmethod
    def of_class(cls, message: bytes) -> bytes:
        return cls.__name__.encode() + b" " + message

    @staticmethod
    def static(message: bytes) -> bytes:
        return b"static " + message

    @threadwire.session
    def talk(self, connection: Connection) -> None:
        assert connection is CONNECTION

    def plain(self, connection: Connection) -> None:
        assert connection is CONNECTION


class Callable1:
    def __call__(self, message: bytes) -> bytes:
        return b"object " + message


class Callable2:
    def __call__(self, message: bytes, connection: Connection) -> bytes:
        return b"object and connection " + message if connection is CONNECTION else b"?"


def one(message: bytes) -> bytes:
    return b"one " + message


def two(message: bytes, connection: Connection) -> bytes:
    return b"two " + message if connection is CONNECTION else b"?"


def with_default(message: bytes, suffix: bytes = b"!") -> bytes:
    return message + suffix


def with_optional_connection(message: bytes, connection: Connection | None = None) -> bytes:
    return b"asked " + message if connection is CONNECTION else b"?"


def with_keyword(message: bytes, *, suffix: bytes = b"!") -> bytes:
    return message + suffix


def with_rest(message: bytes, *rest: object) -> bytes:
    return message + b"%d" % len(rest)


def two_with_rest(message: bytes, connection: Connection, *rest: object) -> bytes:
    return message + b"%d" % len(rest) if connection is CONNECTION else b"?"


def any_arguments(*arguments: bytes, **_options: object) -> bytes:
    return b"%d" % len(arguments)


def positional_only(message: bytes, connection: Connection, /) -> bytes:
    return message if connection is CONNECTION else b"?"


def prefixed(prefix: bytes, message: bytes) -> bytes:
    return prefix + message


@functools.wraps(two)
def wrapper(*arguments: Any) -> bytes:
    return two(*arguments)


@pytest.mark.parametrize(
    ("function", "reply"),
    [
        (one, b"one x"),
        (two, b"two x"),
        (with_default, b"x!"),
        (with_optional_connection, b"asked x"),
        (with_keyword, b"x!"),
        (with_rest, b"x0"),
        (two_with_rest, b"x0"),
        (any_arguments, b"1"),
        (positional_only, b"x"),
        (lambda message: message * 2, b"xx"),
        (lambda message, _connection: message * 3, b"xxx"),
        (Service().message, b"method x"),
        (Service().both, b"both x"),
        (Service.of_class, b"Service x"),
        (Service.static, b"static x"),
        (Callable1(), b"object x"),
        (Callable2(), b"object and connection x"),
        (functools.partial(prefixed, b"partial "), b"partial x"),
        (wrapper, b"two x"),
        (bytes.upper, b"X"),
        (bytes, b"x"),
    ],
)
def test_message_handlers(function: Callable[..., Any], reply: bytes) -> None:
    handler = as_handler(function)
    assert not handler.is_session
    assert handler.call(b"x", CONNECTION) == reply


def test_a_builtin_without_a_signature_is_called_with_the_message() -> None:
    said: list[Any] = []
    handler = as_handler(said.append)
    assert handler.call(b"x", CONNECTION) is None
    assert said == [b"x"]


def nothing() -> bytes:
    return b""


def three(a: bytes, b: object, c: object) -> bytes:
    return b""


def needs_keyword(message: bytes, *, suffix: bytes) -> bytes:
    return message + suffix


def only_keywords(*, message: bytes) -> bytes:
    return message


@pytest.mark.parametrize(
    "function", [nothing, three, needs_keyword, only_keywords, lambda: b"", Service.both]
)
def test_other_arities_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(
        HandlerError, match=r"must take \(message\) or \(message, connection\)"
    ) as e:
        as_handler(function)
    assert function.__qualname__ in str(e.value)
    assert "@threadwire.session" in str(e.value)


async def coroutine(message: bytes) -> bytes:
    return message


async def generator(message: bytes) -> AsyncIterator[bytes]:
    yield message


class AsyncMethod:
    async def handle(self, message: bytes) -> bytes:
        return message


class AsyncCall:
    async def __call__(self, message: bytes) -> bytes:
        return message


@pytest.mark.parametrize(
    "function",
    [
        coroutine,
        generator,
        AsyncMethod().handle,
        functools.partial(coroutine),
        threadwire.session(coroutine),  # type: ignore[arg-type]
        AsyncCall(),
    ],
)
def test_async_functions_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(HandlerError, match=r"is an async function; .* write def instead"):
        as_handler(function)


@pytest.mark.parametrize("thing", [None, b"reverse", "reverse", 3, [one]])
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    with pytest.raises(HandlerError, match="a handler must be a function, not "):
        as_handler(thing)


def test_a_generator_function_is_a_message_handler() -> None:
    def parts(message: bytes) -> Any:
        yield message
        yield message

    assert list(as_handler(parts).call(b"x", CONNECTION) or ()) == [b"x", b"x"]


def test_a_handler_stays_as_it_is() -> None:
    handler = as_handler(one)
    assert as_handler(handler) is handler


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (one, "one"),
        (Service().message, "Service.message"),
        (Callable1(), "Callable1"),
        (functools.partial(prefixed, b""), "partial"),
        (bytes.upper, "bytes.upper"),
    ],
)
def test_names(function: Callable[..., Any], name: str) -> None:
    assert as_handler(function).name == name


def run(handler: Handler) -> None:
    assert handler.is_session
    handler.run_session(CONNECTION)


def test_a_function_marked_as_a_session() -> None:
    met: list[Connection] = []

    @threadwire.session
    def talk(connection: Connection) -> None:
        met.append(connection)

    run(as_handler(talk))
    assert met == [CONNECTION]
    talk(CONNECTION)
    assert len(met) == 2, "it can be called as before"


def test_marking_returns_the_function_itself() -> None:
    def talk(connection: Connection) -> None:
        """Says hello."""

    assert threadwire.session(talk) is talk


def test_a_method_marked_in_its_class() -> None:
    handler = as_handler(Service().talk)
    assert handler.name == "Service.talk"
    run(handler)


def test_a_bound_method_is_marked_without_marking_its_class() -> None:
    service = Service()
    handler = as_handler(threadwire.session(service.plain))
    assert handler.name == "Service.plain"
    run(handler)
    assert not as_handler(service.plain).is_session
    assert not as_handler(Service().plain).is_session


def test_a_builtin_marked_as_a_session() -> None:
    met: list[object] = []
    run(as_handler(threadwire.session(met.append)))
    assert met == [CONNECTION]


def test_an_object_marked_as_a_session() -> None:
    class Talk:
        met: object = None

        def __call__(self, connection: Connection) -> None:
            self.met = connection

    talk = Talk()
    run(as_handler(threadwire.session(talk)))
    assert talk.met is CONNECTION
    assert not as_handler(Talk()).is_session


def test_a_lambda_marked_as_a_session() -> None:
    met: list[object] = []
    run(as_handler(threadwire.session(lambda connection: met.append((connection,)))))
    assert met == [(CONNECTION,)]


@pytest.mark.parametrize("function", [two, nothing, three])
def test_a_session_of_other_arity_is_refused(function: Callable[..., Any]) -> None:
    def copy_of(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def copied(*arguments: Any) -> Any:
            return function(*arguments)

        return copied

    marked = threadwire.session(copy_of(function))
    with pytest.raises(HandlerError, match=r"^session handler \w+ must take \(connection\)$"):
        as_handler(marked)


def test_a_session_is_not_called_with_messages() -> None:
    with pytest.raises(AssertionError):
        as_handler(Service().talk).call(b"x", CONNECTION)


def test_a_session_that_is_a_generator_is_refused() -> None:
    """Calling it would run none of it."""

    @threadwire.session  # type: ignore[arg-type]
    def generator(connection: threadwire.Connection) -> Iterator[bytes]:
        yield connection.receive()

    with pytest.raises(threadwire.HandlerError, match="generator"):
        as_handler(generator)


def test_a_session_may_be_the_call_of_an_object() -> None:
    class Chat:
        @threadwire.session
        def __call__(self, connection: threadwire.Connection) -> None:
            connection.send(b"hello")

    assert as_handler(Chat()).is_session
