"""The page about testing: tests/test_docs.py runs its programs; its test files are run here.

A block whose first line is a comment with the name of a file is that file, in one directory
with the others.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from threadwire import testing

from ..test_docs import _blocks, _in_code, _rows

PAGE = Path(__file__).parent.parent.parent / "docs" / "testing.md"


def files() -> dict[str, str]:
    found = {}
    for block in _blocks():
        name = re.match(r"# (\w+\.py)\n", block.text)
        if block.page == PAGE and name:
            found[name[1]] = block.text
    return found


def test_the_page_s_test_files_pass(tmp_path: Path) -> None:
    assert set(files()) == {"conftest.py", "test_reverse.py", "test_framing.py"}
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert "19 passed" in done.stdout


def test_the_page_has_every_program_run() -> None:
    programs = [block for block in _blocks() if block.page == PAGE and block.words[0] == "python"]
    assert len(programs) > 12
    assert all(block.kind == "run" for block in programs)


def test_the_page_has_all_faults_and_peers() -> None:
    told = {_in_code(row[0])[0].partition("(")[0] for row in _rows(PAGE.read_text())}
    faults = {
        name
        for name, value in vars(testing).items()
        if isinstance(value, type) and issubclass(value, testing.Fault)
    } - {"Fault"}
    peers = {
        name
        for name, value in vars(testing).items()
        if getattr(value, "__module__", "") == "threadwire.testing.peers"
    }
    assert told == faults | peers


def test_the_page_shows_a_history_as_it_is() -> None:
    shown = re.search(r"(?m)^fault proxy, .*\n(.*) \.\.\.\n(.*) \.\.\.$", PAGE.read_text())
    assert shown is not None
    faults = testing.Split(3), testing.Delay(0.002, every=5)
    with testing.serving(lambda message: message[::-1]) as served:
        with testing.FaultProxy(served.address, *faults, seed=7) as proxy:
            assert served.connect(proxy.address).request(b"hello, world") == b"dlrow ,olleh"
            up, down = proxy.history.splitlines()[1:]
    assert shown[0].splitlines()[0] == proxy.history.splitlines()[0]
    assert up.startswith(shown[1])
    assert down.startswith(shown[2])
