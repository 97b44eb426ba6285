"""The ``threadwire`` command: thin layers of options over the library."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from ..errors import (
    ConnectError,
    ListenError,
    ThreadwireError,
    TlsError,
    UsageError,
    describe_os_error,
)
from .bench import bench
from .check import check
from .client import client
from .options import version_option
from .serve import serve
from .top import top

__all__ = ["main"]

# Exit codes are public: 0 ok, 1 failure, 2 usage, 3 cannot bind or connect,
# 4 connections were cut at the drain's deadline, 130 interrupted.
FAILURE, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Durations: 500ms, 2s, 1m or plain seconds. Sizes: 64KiB, 1MiB or plain bytes. "
    "Exit codes: 0 ok, 1 failure, 2 wrong usage, 3 cannot listen or connect, "
    "4 clients were cut when stopping, 130 interrupted.",
)
@version_option
def command() -> None:
    """TCP servers made of plain blocking functions; a client, a load tester and a live view."""


command.add_command(serve)
command.add_command(client)
command.add_command(bench)
command.add_command(check)
command.add_command(top)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command; whatever goes wrong is one line on standard error and an exit code."""
    _have_standard_streams()
    try:
        code = command.main(arguments, prog_name="threadwire", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help(), err=True)
        sys.exit(USAGE)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except UsageError as error:
        _fail(str(error), USAGE)
    except (ListenError, ConnectError, TlsError) as error:
        _fail(str(error), UNREACHABLE)
    except ThreadwireError as error:
        _fail(str(error), FAILURE)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more at exit.
        _drop_output()
        sys.exit(FAILURE)
    except OSError as error:
        _drop_output()
        _fail(describe_os_error(error), FAILURE)
    sys.exit(code if isinstance(code, int) else 0)


def _have_standard_streams() -> None:
    """Open what was closed when we were started, before another file gets its number."""
    for number, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_WRONLY),
        (2, "stderr", os.O_WRONLY),
    ):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _drop_output() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"threadwire: {' '.join(text.split())}", err=True)
    sys.exit(code)
