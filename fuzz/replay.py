"""``python -m fuzz.replay TARGET FILE``: give one input to one target, without any fuzzer.

What the target raises is shown with its traceback, and the exit code is 1; it is 0 if the
target has nothing against the input, and 2 for a wrong command.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .registry import TARGETS, load


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in TARGETS:
        print("usage: python -m fuzz.replay TARGET FILE", file=sys.stderr)
        print("targets:", *TARGETS, file=sys.stderr)
        return 2
    name, file = arguments
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    load(name)(data)  # what it raises is the report
    print(f"{name}: nothing against these {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
