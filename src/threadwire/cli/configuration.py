"""Where settings come from: options, variables, configuration files, defaults.

An option goes before a ``THREADWIRE_*`` variable, that before the file given with
``--config``, that before ``./threadwire.toml``, and that before the default. Each setting is
looked for by itself; lists are not joined.

What is wrong is gathered, so that all of it can be told at once; also what is wrong in a
place that another one overrides.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import UsageError, describe_os_error
from ..events import show
from ..kinds import PATH
from ..settings import OFF, SETTINGS, Setting

__all__ = ["DEFAULT", "DEFAULT_FILE", "Configuration", "ConfigurationError", "Sources"]

DEFAULT = "default"  # the origin of what nobody has given
DEFAULT_FILE = "./threadwire.toml"
_TABLE = "serve"  # a file's table that has the settings

_PREFIX = "THREADWIRE_"
_VARIABLES = {setting.variable: setting for setting in SETTINGS.values()}
# Read elsewhere: by the poller, by the tests and by the build.
_OTHER_VARIABLES = {
    "THREADWIRE_FLOOD",
    "THREADWIRE_PURE",
    "THREADWIRE_SPEEDUPS",
    "THREADWIRE_STRESS",
    "THREADWIRE_STRESS_SEED",
}
# What Kubernetes tells every container about the services whose names begin with "threadwire".
_KUBERNETES = (
    r"(?as)THREADWIRE(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*"
    r"|THREADWIRE(_\w+)?_PORT=(tcp|udp|sctp)://.*"
)


class ConfigurationError(UsageError):
    """Settings that are wrong; ``problems`` has a line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "; ".join(self.problems)


class _Found(NamedTuple):
    """What stands in a place; ``file`` is empty where that is none."""

    setting: Setting
    origin: str
    file: str
    value: object

    def told(self, error: UsageError) -> str:
        """What is wrong here, on one line."""
        if self.file:
            return f"{self.file}: {error}"
        return f"{self.origin}: {str(error).removeprefix(f'{self.setting.name}: ')}"


class Configuration:
    """The value of every setting, and where it came from. Immutable."""

    def __init__(self, given: Mapping[str, tuple[str, Any]]) -> None:
        """``given`` has origin and value of the settings that are not left to their default."""
        self._given = dict(given)

    def __getitem__(self, name: str) -> Any:
        return self._given[name][1] if name in self._given else SETTINGS[name].default

    def origin(self, name: str) -> str:
        """``--max-clients``, ``THREADWIRE_MAX_CLIENTS``, ``FILE:max_clients`` or ``default``."""
        return self._given[name][0] if name in self._given else DEFAULT

    def is_given(self, name: str) -> bool:
        return name in self._given

    def keywords(self) -> dict[str, Any]:
        """What is given of the arguments of a Server."""
        return {name: self[name] for name in self._given if SETTINGS[name].keyword}

    def changed(self, other: Configuration) -> list[Setting]:
        """The settings that have another value in ``other``."""
        return [setting for name, setting in SETTINGS.items() if self[name] != other[name]]


class Sources:
    """The places to look in. They may be read again, as on SIGHUP; immutable.

    ``options`` has what was given on the command line, as text, a list of texts or a bool;
    ``config`` is the path of a file that has to be there.
    """

    def __init__(
        self,
        options: Mapping[str, object] | None = None,
        config: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._options = dict(options or {})
        self._environ = os.environ if environ is None else environ
        self._config = config
        # By the names to show: where they are, also when the process has gone elsewhere.
        self._files: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError):  # the current directory is no more
            self._files[DEFAULT_FILE] = os.path.abspath(DEFAULT_FILE)
        if config is not None:
            path = os.path.abspath(config)
            if os.path.realpath(path) in map(os.path.realpath, self._files.values()):
                self._files.clear()  # it is the same one
            self._files[config] = path

    def load(self) -> Configuration:
        """Read everything. Raises ConfigurationError."""
        configuration, problems = self.read()
        if problems:
            raise ConfigurationError(problems)
        return configuration

    def read(self) -> tuple[Configuration, list[str]]:
        """What is right, and what is wrong."""
        given: dict[str, tuple[str, Any]] = {}
        problems: list[str] = []
        for found in self._found():
            if isinstance(found, str):
                problems.append(found)
                continue
            try:
                given[found.setting.name] = found.origin, found.setting.read(found.value)
            except UsageError as error:
                problems.append(found.told(error))
            except (RecursionError, ValueError):  # so wrong that it cannot even be shown
                problems.append(found.told(UsageError("its value is beyond all bounds")))
        return Configuration(given), problems

    def _found(self) -> Iterator[_Found | str]:
        """What stands in each place, the least important first; or what is wrong with the place."""
        for shown, path in self._files.items():
            yield from _in_file(shown, path, required=shown == self._config)
        yield from _in_variables(self._environ)
        for name, value in self._options.items():
            setting = SETTINGS[name]
            yield _Found(setting, setting.option, "", value)


# Variables.


def _in_variables(environ: Mapping[str, str]) -> Iterator[_Found | str]:
    for name in sorted(name for name in environ if name.startswith(_PREFIX)):
        value = environ[name]
        if (setting := _VARIABLES.get(name)) is not None:
            yield _Found(setting, name, "", value)
        elif name not in _OTHER_VARIABLES and not re.fullmatch(_KUBERNETES, f"{name}={value}"):
            yield f"{show(name)}: there is no such variable{_nearest(name, _VARIABLES)}"


# Files.


def _in_file(shown: str, path: str, *, required: bool) -> Iterator[_Found | str]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        if required or not isinstance(error, FileNotFoundError):
            yield f"{shown}: cannot read it: {describe_os_error(error)}"
        return
    try:
        tables = _parse(data)
    except UsageError as error:
        yield f"{shown}: {error}"
        return
    settings = tables.pop(_TABLE, {})
    for name in tables:
        if name in SETTINGS:
            yield f"{shown}: {name}: it belongs below [{_TABLE}]"
        else:
            yield f"{shown}: {show(name)}: there is no such table; settings stand below [{_TABLE}]"
    if not isinstance(settings, dict):
        yield f"{shown}: {_TABLE} must be a table: [{_TABLE}], and the settings below it"
        return
    for name, value in settings.items():
        if (setting := SETTINGS.get(name)) is None:
            yield f"{shown}: {show(name)}: there is no such setting{_nearest(name, SETTINGS)}"
            continue
        beside = setting.kind is PATH and isinstance(value, str) and value not in ("", OFF)
        # A path in a file is relative to the file.
        found = os.path.join(os.path.dirname(path), value) if beside else value
        yield _Found(setting, f"{shown}:{name}", shown, found)


def _parse(data: bytes) -> dict[str, Any]:
    """The tables of a TOML document. Raises UsageError, which tells the line."""
    import tomllib

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"it is not UTF-8 (at line {line})") from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError("it is nested too deeply") from None
    except ValueError as error:  # also of a number with too many digits
        end = f"(at line {text.count(chr(10)) + 1}, the end)"
        raise UsageError(str(error).replace("(at end of document)", end)) from error


def _nearest(name: str, names: Iterable[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, names, 1)
    return f"; do you mean {found[0]}?" if found else "; threadwire check --show lists all"
