"""Configuration files and variables: what is wrong in them is told, and nothing else happens."""

from __future__ import annotations

import os

from threadwire import UsageError
from threadwire.cli.configuration import Configuration, ConfigurationError, Sources
from threadwire.options import Options

__all__ = ["configuration_file", "configuration_variables"]


def configuration_file(data: bytes) -> None:
    """A file given with ``--config``."""
    descriptor = os.memfd_create("threadwire.toml")
    try:
        os.write(descriptor, data)
        _check(Sources(config=f"/proc/self/fd/{descriptor}", environ={}))
    finally:
        os.close(descriptor)


def configuration_variables(data: bytes) -> None:
    """``NAME=value``, with zero bytes between; ``THREADWIRE_`` is left out."""
    environ = {}
    for variable in data.split(b"\0"):
        name, _, value = variable.partition(b"=")
        environ["THREADWIRE_" + os.fsdecode(name)] = os.fsdecode(value)
    _check(Sources(environ=environ))


def _check(sources: Sources) -> None:
    try:
        configuration = sources.load()
    except ConfigurationError as error:
        assert error.problems
        for problem in error.problems:
            assert "\n" not in problem, "a problem is one line"
        return
    _check_values(configuration)


def _check_values(configuration: Configuration) -> None:
    """What is accepted can be asked for, and is understood where it is used."""
    configuration.keywords()
    assert not configuration.changed(configuration)
    try:
        Options(configuration.keywords())
    except UsageError as error:
        str(error)
