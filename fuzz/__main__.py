"""``python -m fuzz [--seconds N] [--keep] [TARGET...]``: fuzz one target after the other.

Each is fuzzed under atheris for so long, from the inputs in ``fuzz/corpus`` and those that were
found here before, which are in ``build/fuzz/TARGET/found``. ``--keep`` then adds to the corpus
the fewest of those that reach more. A failure is shown with the command that replays it, the
exit code is 1 then, and the other targets have their turn all the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .registry import CORPUS, TARGETS, Target, fuzzer

_ROOT = Path(__file__).parent.parent
_WORK = Path("build", "fuzz")  # in the root, with what else can be made again
_SLOWEST = 20  # seconds for one input; more counts as a failure, like too much memory
_MEMORY = 2048  # MiB
# What libFuzzer and atheris write.
_TRACEBACK = re.compile(r"(?ms)=== Uncaught Python exception: ===\n(.*?)^==\d+==")
_STATUS = re.compile(r"(?m)^#\d+\s+[A-Za-z]+\s+cov: (\d+) ft: (\d+)")
_WRITTEN = re.compile(r"Test unit written to (\S+)")
_RUNS = re.compile(r"(?m)^Done (\d+) runs in (\d+) second")


class _Work(NamedTuple):
    """One target's files below ``build``."""

    found: Path
    log: Path
    words: Path
    failures: Path

    @classmethod
    def of(cls, name: str) -> _Work:
        base = _WORK / name
        work = cls(base / "found", base / "log", base / "words", base / "failures")
        for directory in (work.found, work.failures, CORPUS / name):
            directory.mkdir(parents=True, exist_ok=True)
        return work


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz threadwire.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="one of " + ", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target [60]")
    parser.add_argument("--keep", action="store_true", help="add what reaches more to the corpus")
    given = parser.parse_args()
    for name in given.targets:
        if name not in TARGETS:
            parser.error(f"there is no target {name!r}; they are {', '.join(TARGETS)}")
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is missing: pip install --group fuzz, on a Python it is made for")
    os.chdir(_ROOT)
    good = True
    try:
        for name in given.targets or TARGETS:
            if given.seconds:
                good &= _fuzz(name, given.seconds)
            if given.keep:
                good &= _keep(name)
    except KeyboardInterrupt:
        return 130
    return 0 if good else 1


def _fuzz(name: str, seconds: int) -> bool:
    """Whether nothing was found."""
    target, work = TARGETS[name], _Work.of(name)
    with open(work.log, "wb") as log:
        done = subprocess.run(
            [
                *fuzzer(name),
                str(work.found),
                str(CORPUS / name),
                f"-max_total_time={seconds}",
                f"-max_len={target.longest}",
                f"-timeout={_SLOWEST}",
                f"-rss_limit_mb={_MEMORY}",
                f"-artifact_prefix={work.failures}/",
                *_dictionary(target, work),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    text = work.log.read_text(errors="replace")
    print(f"{name}: {_figures(text)}", flush=True)
    if done.returncode == 0:
        return True
    told = _TRACEBACK.search(text)
    print(told[1] if told else text[-2000:])
    for file in _WRITTEN.findall(text):
        print(f"replay it: python -m fuzz.replay {name} {file}", flush=True)
    return False


def _dictionary(target: Target, work: _Work) -> list[str]:
    if not target.words:
        return []
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words]
    work.words.write_text("".join(lines))
    return [f"-dict={work.words}"]


def _figures(log: str) -> str:
    """Executions, and how much of the code was reached at first and in the end."""
    runs = _RUNS.search(log)
    reached = _STATUS.findall(log)
    parts = [f"{int(runs[1]):,} runs in {runs[2]} s" if runs else "it failed"]
    if reached:
        (first, _), (last, features) = reached[0], reached[-1]
        parts.append(f"coverage {first} -> {last} ({features} features)")
    return ", ".join(parts)


def _keep(name: str) -> bool:
    """Add to the corpus the fewest and smallest of what was found that reach more than it does."""
    work = _Work.of(name)
    done = subprocess.run(
        [*fuzzer(name), "-merge=1", str(CORPUS / name), str(work.found)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        print(f"{name}: nothing is kept: {done.stdout[-2000:].decode(errors='replace')}")
        return False
    sizes = [file.stat().st_size for file in (CORPUS / name).iterdir()]
    print(f"{name}: {len(sizes)} inputs, {sum(sizes):,} bytes", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
