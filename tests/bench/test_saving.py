"""Results in files: whole or not at all, and read back as they were."""

from __future__ import annotations

import json
import os
import resource
import stat
from pathlib import Path

import pytest

import threadwire
from threadwire.bench import saving

from .samples import result, stalled


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    path = str(tmp_path / "result.json")
    saving.save(path, saving.json_of(stalled()))
    assert saving.load(path).to_json() == stalled().to_json()


def test_json_is_one_line_and_has_the_figures_that_are_promised() -> None:
    text = saving.json_of(result(errors={"closed": 2}))
    assert "\n" not in text
    told = json.loads(text)
    assert told["schema"] == 1
    assert told["messages_per_second"] == 100.0
    assert told["latency"]["p99"] == pytest.approx(0.00199, rel=0.01)
    assert told["errors"] == {"closed": {"count": 2, "example": "an example of closed"}}


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    path.chmod(0o640)
    with path.open() as reader:
        saving.save(str(path), "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_new_file_has_the_mode_that_others_have(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    other = tmp_path / "other"
    other.touch()
    saving.save(str(path), "new")
    assert path.stat().st_mode == other.stat().st_mode


def test_a_link_stays_one(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("old")
    link.symlink_to(there)
    saving.save(str(link), "new")
    assert link.is_symlink()
    assert there.read_text() == "new"


def test_what_cannot_be_replaced_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            saving.save(str(path), "more than there is room for")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_what_is_no_text_is_spelled_out(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    saving.save(str(path), "a lone surrogate: \udc80")
    assert path.read_text() == "a lone surrogate: \\udc80"


def test_a_device_is_written_to() -> None:
    saving.save("/dev/null", "text")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_where_nothing_can_be_written_is_known_before(tmp_path: Path) -> None:
    saving.require_writable(str(tmp_path / "result.json"))
    with pytest.raises(threadwire.UsageError, match="'' is not the name of a file"):
        saving.require_writable("")
    with pytest.raises(threadwire.UsageError, match="is a directory; a file is wanted"):
        saving.require_writable(str(tmp_path))
    with pytest.raises(threadwire.UsageError, match="there is no directory"):
        saving.require_writable(str(tmp_path / "none" / "result.json"))


def test_where_one_may_not_write_is_known_before(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(threadwire.UsageError, match="nothing can be written to"):
        saving.require_writable(str(tmp_path / "result.json"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[]", "it has no schema"),
        (b"{}", "it has no schema"),
        (b'{"schema": 99}', "schema 99"),
        (b'{"schema": 1}', "not a result"),
        (b"\xff", "it is not UTF-8"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "not a saved result"),
    ],
)
def test_what_is_no_result_is_refused_with_its_name(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(threadwire.UsageError, match=problem) as caught:
        saving.load(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(threadwire.UsageError, match=r"none\.json: no such file or directory"):
        saving.load(str(tmp_path / "none.json"))


def test_a_result_with_a_field_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for name in ("latency", "errors", "intervals", "generator", "messages", "plan"):
        data = result().to_json()
        data[name] = "wrong"
        path.write_text(json.dumps(data))
        with pytest.raises(threadwire.UsageError, match=r"result\.json: not a saved result"):
            saving.load(str(path))
