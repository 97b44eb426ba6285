"""``python -m fuzz.drive TARGET [DIRECTORY...] [-LIBFUZZER_FLAG=...]``: one target under atheris.

The first directory is where new inputs are kept; those of the others are read, too. It does
not return: libFuzzer ends the process. :mod:`fuzz.__main__` is the comfortable way.
"""

from __future__ import annotations

import importlib
import shlex
import sys

import atheris

from .registry import TARGETS, fuzzer, load


def main(arguments: list[str]) -> None:
    name, *rest = arguments
    target = TARGETS[name]
    # Also what the target itself tells apart, of what no coverage shows.
    with atheris.instrument_imports(include=[*target.covers, target.module]):
        function = load(name)
        for module in target.covers:  # also what is imported only when it is needed
            importlib.import_module(module)
    # libFuzzer joins its arguments and starts itself anew where it minimises a corpus.
    atheris.Setup([shlex.join(fuzzer(name)), *rest], function)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
