"""``threadwire client``: talk to a server, by hand or from a script."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

import click

from .. import limits
from ..address import Address, parse_address
from ..client import Client, connect
from ..errors import CloseReason, ConnectionClosed, ThreadwireError, UsageError
from ..framing import Framing, Lines, Raw
from .options import framing_option, limit_option, version_option

DEFAULT_URL = "tcp://127.0.0.1:12345"

# The classic exercise's dialogue, to the letter.
GREETING = b"hello from client"
RECEIVED = "Received from server: "
QUESTION = "Do you want to continue (y/n): "

Show = Callable[[bytes, bytes, float], None]


@click.command(short_help="Talk to a server: a dialogue, messages, a pipe or a prompt.")
@click.argument("words", metavar="[URL] [MESSAGE]...", nargs=-1)
@framing_option("lines; raw for the dialogue")
@limit_option(limits.CLIENT_TIMEOUT)
@limit_option(limits.MAX_MESSAGE)
@click.option(
    "--ca", metavar="FILE", help="tls://: the authorities to trust.  [default: the system's]"
)
@click.option("--cert", metavar="FILE", help="tls://: the certificate to show to the server.")
@click.option("--key", metavar="FILE", help="tls://: its key.  [default: in the same file]")
@click.option(
    "--server-name",
    metavar="NAME",
    help="tls://: what the server's certificate has to be for.  [default: the URL's host]",
)
@click.option("--json", "as_json", is_flag=True, help="Write each reply as a line of JSON.")
@version_option
@click.option("--interactive", "-i", is_flag=True, help="A prompt with history and line editing.")
def client(
    words: tuple[str, ...],
    framing: Framing | None,
    timeout: float | None,
    max_message: int | None,
    ca: str | None,
    cert: str | None,
    key: str | None,
    server_name: str | None,
    as_json: bool,
    interactive: bool,
) -> None:
    """Talk to the server at URL (default tcp://127.0.0.1:12345; recognised by its "://").

    With MESSAGEs, each is sent in turn and its reply printed on a line of its own. With
    none, lines from standard input are sent, many at a time, and the replies come out in
    the same order. On a terminal it holds the classic exercise's dialogue instead: it
    sends "hello from client" and asks whether to go on.

    --json writes {"message", "reply", "seconds"}; what is not UTF-8 is given in base64, as
    "message_base64" or "reply_base64".
    """
    address = parse_address(DEFAULT_URL)
    if words and "://" in words[0]:
        address, words = parse_address(words[0]), words[1:]
    on_terminal = sys.stdin.isatty()
    if interactive and (words or not on_terminal):
        raise UsageError("--interactive takes its messages from a terminal")
    dialogue = on_terminal and not words and not interactive
    framing = framing or (Raw() if dialogue else Lines())
    seconds = limits.CLIENT_TIMEOUT.default if timeout is None else timeout
    limit = limits.MAX_MESSAGE.whole if max_message is None else max_message
    show = _show_json if as_json else _show_plain
    with connect(
        address,
        framing=framing,
        timeout=seconds,
        max_message=limit,
        tls_ca=ca,
        tls_cert=cert,
        tls_key=key,
        server_name=server_name,
    ) as connection:
        try:
            if interactive:
                from .interactive import converse

                converse(connection, show if as_json else _show_text)
            elif words:
                for word in words:
                    _exchange(connection, os.fsencode(word), show)
            elif dialogue:
                _dialogue(connection, show if as_json else _show_received)
            else:
                _pipe(connection, limit, show)
        except ConnectionClosed as error:
            raise Lost(address, error, answer_due=not interactive) from error
        except UsageError:
            raise
        except ThreadwireError as error:
            raise Failed(address, error) from error


class Failed(ThreadwireError):
    """A conversation that went wrong; the text says with whom."""

    def __init__(self, address: Address, error: ThreadwireError) -> None:
        super().__init__(address, error)
        self.address = address
        self.error = error

    def __str__(self) -> str:
        return f"{self.address}: {self.error}"


class Lost(Failed):
    """The server ended the connection; ``answer_due``: while a reply was expected of it."""

    def __init__(self, address: Address, error: ConnectionClosed, *, answer_due: bool) -> None:
        super().__init__(address, error)
        self.answer_due = answer_due

    def __str__(self) -> str:
        assert isinstance(self.error, ConnectionClosed)
        reset = self.error.reason is CloseReason.PEER_RESET
        how = "reset" if reset else "closed"
        when = " before it had answered" if self.answer_due else ""
        return f"{self.address}: the server {how} the connection{when}"


def _exchange(connection: Client, message: bytes, show: Show) -> None:
    begun = time.monotonic()
    reply = connection.request(message)
    show(message, reply, time.monotonic() - begun)
    sys.stdout.flush()


def _dialogue(connection: Client, show: Show) -> None:
    while True:
        _exchange(connection, GREETING, show)
        try:
            answer = input(QUESTION)
        except EOFError:
            print()
            return
        if answer.strip().lower() != "y":
            return


def _pipe(connection: Client, limit: int, show: Show) -> None:
    """Lines from standard input to the server, replies to standard output."""
    sent: deque[tuple[bytes, float]] = deque()  # the feeder appends, this thread takes

    def remembered() -> Iterator[bytes]:
        for line in _lines_of_stdin(limit):
            sent.append((line, time.monotonic()))
            yield line

    if show is _show_plain:
        out = sys.stdout.buffer
        for batch in connection.pipeline_batches(_lines_of_stdin(limit), half_close=True):
            out.write(b"\n".join(batch) + b"\n")
            out.flush()
        return
    for batch in connection.pipeline_batches(remembered(), half_close=True):
        now = time.monotonic()
        for reply in batch:
            message, begun = sent.popleft() if sent else (b"", now)
            show(message, reply, now - begun)
        sys.stdout.flush()


def _lines_of_stdin(limit: int) -> Iterator[bytes]:
    # Read by descriptor: a thread that waits inside sys.stdin holds a lock that the
    # interpreter needs to exit.
    codec = Lines(unterminated=True).codec(limit)
    descriptor = sys.stdin.fileno()
    while data := os.read(descriptor, limits.READ_SIZE.whole):
        codec.feed(data)
        while (line := codec.next_message()) is not None:
            yield line
    codec.end()
    while (line := codec.next_message()) is not None:
        yield line


def _show_plain(_message: bytes, reply: bytes, _seconds: float) -> None:
    sys.stdout.buffer.write(reply + b"\n")


def _show_text(_message: bytes, reply: bytes, _seconds: float) -> None:
    print(reply.decode(errors="backslashreplace"))


def _show_received(_message: bytes, reply: bytes, _seconds: float) -> None:
    print(RECEIVED + reply.decode(errors="replace"))


def _show_json(message: bytes, reply: bytes, seconds: float) -> None:
    entry: dict[str, object] = {}
    for name, value in (("message", message), ("reply", reply)):
        try:
            entry[name] = value.decode()
        except UnicodeDecodeError:
            entry[f"{name}_base64"] = base64.b64encode(value).decode()
    entry["seconds"] = round(seconds, 6)
    print(json.dumps(entry))
