"""The options of ``threadwire bench``, and the plan that they make."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import limits
from ..bench.amounts import parse_count, parse_rate, parse_sizes
from ..errors import UsageError
from ..kinds import FRAMING
from ..settings import SETTINGS, setting_of
from ..units import parse_duration
from .options import GroupedOption, Parsed, version_option

if TYPE_CHECKING:
    from ..bench.messages import Messages
    from ..bench.plan import Plan
    from ..bench.thresholds import Threshold

__all__ = ["DEFAULT_URL", "bench_options", "make_plan"]

_F = TypeVar("_F", bound=Callable[..., Any])

DEFAULT_URL = "tcp://127.0.0.1:12345"
_DURATION = 10.0  # seconds that are measured, unless it is said otherwise


def _options(group: str, *options: tuple[tuple[str, ...], dict[str, Any]]) -> Iterator[Any]:
    for names, fields in options:
        yield click.option(*names, cls=GroupedOption, group=group, **fields)


def _option(
    names: str, help: str, parse: Callable[[str], Any] | None = None, **fields: Any
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """``names`` as they are shown, the metavar last; its value is text unless ``parse`` is given.

    ``help`` says the default, since what is parsed has been written in another way.
    """
    *words, metavar = names.split()
    if parse is not None:
        fields["type"] = Parsed(metavar.lower(), parse)
    return tuple(words), {"metavar": metavar, "help": help, **fields}


def _flag(names: str, help: str, **fields: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return tuple(names.split()), {"is_flag": True, "help": help, **fields}


def _threshold(text: str) -> Threshold:
    from ..bench.thresholds import parse_threshold  # with all that a result is

    return parse_threshold(text)


_LOAD = _options(
    "Load",
    _option(
        "-c --clients NUMBER",
        "How many connections there are at once.  [default: 64]",
        parse_count,
        default=64,
    ),
    _option(
        "--pipeline NUMBER",
        "How many messages each may have unanswered.  [default: 1]",
        parse_count,
        default=1,
    ),
    _option(
        "-r --rate RATE",
        "Open loop: so many messages a second are due, over all clients, whatever the service "
        "does, and latency counts from when they are; 500, 20k.  [default: a closed loop, where "
        "a client sends again when it has its reply]",
        parse_rate,
    ),
    _option(
        "--arrivals constant|poisson",
        "With --rate: messages are due evenly, or at random, as from independent users.  "
        "[default: constant]",
        type=click.Choice(["constant", "poisson"]),
    ),
    _flag("--connect-each", "A connection for every message: connect, ask, check, close."),
    _option(
        "--processes NUMBER",
        "Processes that share the load, where one core is not enough for it.  [default: 1]",
        parse_count,
        default=1,
    ),
)

_TIME = _options(
    "Time",
    _option(
        "-d --duration DURATION",
        "How long to measure.  [default: 10s; with --requests, until they are answered]",
        parse_duration,
    ),
    _option("-n --requests NUMBER", "The most messages to measure; 5000, 1M.", parse_count),
    _option(
        "--warmup DURATION",
        "How long to load the service before that is measured.  [default: 1s]",
        parse_duration,
        default=1.0,
    ),
    _option(
        "--ramp DURATION",
        "How long, before that, clients or rate take to come up to their full number.  "
        "[default: 0s]",
        parse_duration,
        default=0.0,
    ),
    _option(
        "--timeout DURATION",
        "How long a connection, or a reply, may take; then it is an error.  [default: 10s]",
        parse_duration,
        default=limits.CLIENT_TIMEOUT.default,
    ),
)

_MESSAGES = _options(
    "Messages",
    _option(
        "-s --size SIZES",
        "Random letters and digits, so many bytes of them: 64, 1KiB, 64..4KiB.  [default: 64]",
        parse_sizes,
    ),
    _option(
        "--distribution uniform|log",
        "Of sizes: each is as likely, or there are as many from 64 to 128 as from 1KiB to 2KiB.  "
        "[default: uniform]",
        type=click.Choice(["uniform", "log"]),
    ),
    _option(
        "--seed NUMBER",
        "What random messages, sizes and arrivals follow from.  [default: 0]",
        type=int,
        default=0,
    ),
    _option("-m --message TEXT", "Send this message, always."),
    _option("--message-file FILE", "Send the lines of FILE, one after the other, over and over."),
    _option(
        "-e --expect REPLY",
        "What a right reply is: reverse, echo, any, regex:PATTERN, or MODULE:FUNCTION, which is "
        "called with message and reply.  [default: reverse, as 'threadwire serve' answers]",
        default="reverse",
    ),
    _option(
        "--framing SPEC",
        f"{SETTINGS['framing'].help}  [default: lines]",
        FRAMING.parse,
        default="lines",
    ),
    _option(
        "--max-message SIZE",
        "The most bytes that a reply may have.  [default: 1 MiB]",
        setting_of(limits.MAX_MESSAGE).parse,
        default=limits.MAX_MESSAGE.whole,
    ),
)

_REPORT = _options(
    "Report",
    _flag(
        "--json as_json",
        "Write the result as one JSON object, and nothing else, to standard output.",
        default=False,
    ),
    _option("--save FILE", "Write the same object to FILE, to compare with later."),
    _option(
        "--compare FILE",
        "Show the result beside one that was saved.  [may be given several times: then beside "
        "their median and range]",
        multiple=True,
    ),
    _option("--html FILE", "Write a report with plots: one file that needs no other."),
    _option(
        "--fail-if CONDITION",
        "Exit with 1 if it holds: 'p99>5ms', 'errors>0', 'error_rate>0.1%', 'rate<10k'.  "
        "[may be given several times]",
        _threshold,
        multiple=True,
    ),
    _flag("-q --quiet", "Do not show how it goes while it does.", default=False),
)

_TLS = _options(
    "TLS, for tls://",
    _option("--ca FILE", "The authorities to trust.  [default: the system's]"),
    _option("--cert FILE", "The certificate to show to the server."),
    _option("--key FILE", "Its key.  [default: in the same file]"),
    _option(
        "--server-name NAME",
        "What the server's certificate has to be for.  [default: the URL's host]",
    ),
    _flag("--no-verify", "Trust whatever certificate the server shows.", default=False),
)

_ALL = (*_LOAD, *_TIME, *_MESSAGES, *_REPORT, *_TLS, version_option)


def bench_options(function: _F) -> _F:
    """All of them, and the argument."""
    for option in reversed(_ALL):
        function = option(function)
    return click.argument("url", metavar="[URL]", default=DEFAULT_URL)(function)


def make_plan(
    *,
    url: str,
    duration: float | None,
    requests: int | None,
    rate: float | None,
    arrivals: str | None,
    expect: str,
    size: tuple[int, int] | None,
    distribution: str | None,
    seed: int,
    message: str | None,
    message_file: str | None,
    ca: str | None,
    cert: str | None,
    key: str | None,
    no_verify: bool,
    **others: Any,
) -> Plan:
    """What the options ask for; raises :class:`~threadwire.UsageError`."""
    from ..bench.expect import parse_expectation
    from ..bench.plan import Plan

    if arrivals is not None and rate is None:
        raise UsageError("--arrivals says how messages are due, and needs a --rate")
    if duration is None and requests is None:
        duration = _DURATION
    _import_from_here()
    return Plan(
        url=url,
        messages=_messages(message, message_file, size, distribution, seed),
        expect=parse_expectation(expect),
        duration=duration,
        requests=requests,
        rate=rate,
        arrivals="poisson" if arrivals == "poisson" else "constant",
        seed=seed,
        tls_ca=ca,
        tls_cert=cert,
        tls_key=key,
        tls_verify=not no_verify,
        **others,
    )


def _messages(
    message: str | None,
    message_file: str | None,
    size: tuple[int, int] | None,
    distribution: str | None,
    seed: int,
) -> Messages:
    from ..bench.messages import Fixed, FromFile, Sizes

    given = {"--message": message, "--message-file": message_file, "--size": size}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} each say what is sent: give one of them")
    low, high = size or (64, 64)
    if distribution is not None and low == high:
        raise UsageError("--distribution is one of sizes, and needs a range, as in --size 64..4KiB")
    if message is not None:
        return Fixed(os.fsencode(message))
    if message_file is not None:
        return FromFile(message_file)
    return Sizes(low, high, "log" if distribution == "log" else "uniform", seed)


def _import_from_here() -> None:
    """A function that checks replies is looked for in the current directory first."""
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
