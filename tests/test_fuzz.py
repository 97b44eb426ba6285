"""The targets of ``fuzz/``: inputs that were kept, changes of them, and that they find anything.

A fuzzer led by coverage is run by hand, as fuzz/README.md says. What it has found worth keeping
is given to every target here; and, from there, a little more that differs.
"""

from __future__ import annotations

import operator
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import registry
from fuzz.inputs import Input, chunks
from fuzz.registry import CORPUS, TARGETS
from threadwire import Codec
from threadwire.framing import delimited, length, raw

ROOT = CORPUS.parent.parent
EXAMPLES = 400  # of a target, in about a second
SLOW = {
    "tls_conversation": 200,
    "tls_forged": 80,
    "tls_peer_certificate": 200,
    "handover_offer": 200,
    "handover_taking": 200,
}

every_target = pytest.mark.parametrize("name", TARGETS)


@every_target
def test_inputs_that_were_kept(name: str) -> None:
    function = registry.load(name)
    for file in registry.saved(name):
        try:
            function(file.read_bytes())
        except Exception as error:
            error.add_note(f"replay it: python -m fuzz.replay {name} {file}")
            raise


@st.composite
def changed(draw: st.DrawFn, inputs: list[bytes], words: tuple[bytes, ...]) -> bytes:
    """One of ``inputs`` after a few changes like those that a fuzzer makes."""
    data = draw(st.sampled_from(inputs))
    for _ in range(draw(st.integers(0, 4))):
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        part = draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from([b"", data[begin:end] * 2, *words]),
                st.sampled_from(inputs).map(operator.itemgetter(slice(begin, None))),
            )
        )
        data = data[:begin] + part + data[end if draw(st.booleans()) else begin :]
    return data


@every_target
def test_changes_of_them(name: str) -> None:
    function, target = registry.load(name), TARGETS[name]
    inputs = [file.read_bytes() for file in registry.saved(name)]

    @settings(
        max_examples=SLOW.get(name, EXAMPLES),
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(changed(inputs, target.words))
    def holds(data: bytes) -> None:
        function(data)

    holds()


@every_target
def test_what_is_kept_is_little_and_named_by_its_hash(name: str) -> None:
    files = registry.saved(name)
    assert files, "a target begins with a few good inputs"
    for file in files:
        assert file.name == registry.hash_of(file.read_bytes())
    assert sum(file.stat().st_size for file in files) < 100_000


def test_every_folder_of_inputs_belongs_to_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


@every_target
def test_every_target_is_explained(name: str) -> None:
    assert f"`{name}`" in (CORPUS.parent / "README.md").read_text()


# Replaying.


def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fuzz.replay", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_input_is_replayed(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"tcp://localhost:1")
    done = replay("address", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing against these 17 bytes" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("address",), ("no-such", "x"), ("address", "/none")])
def test_a_wrong_command_is_told(arguments: tuple[str, ...]) -> None:
    done = replay(*arguments)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


# Choices made from an input.


def test_an_input_is_used_up_from_the_front() -> None:
    found = Input(b"\3ab\1rest")
    assert found.pick("xyz") == "x"
    assert found.take(2) == b"ab"
    assert found.byte() == 1
    assert found.left == 4
    assert found.rest() == b"rest"
    assert (found.left, found.byte(), found.take(3), found.rest()) == (0, 0, b"", b"")


@given(st.binary(max_size=8), st.binary(max_size=3000), st.lists(st.integers(0, 3000)).map(sorted))
def test_chunks_are_the_stream(plan: bytes, stream: bytes, marks: list[int]) -> None:
    found = [chunk for chunk, _ in chunks(plan, stream, marks)]
    assert b"".join(found) == stream
    assert len(found) <= 2 * len(stream) + 1


def test_chunks_end_where_a_peer_would_stop() -> None:
    assert [chunk for chunk, _ in chunks(b"\6", b"abcdef", [2, 5])] == [b"ab", b"cde", b"f"]
    assert [chunk for chunk, _ in chunks(b"\0\7", b"abcdef")] == [b"", b"a", b"bcdef"]


# Framings with a fault each, as somebody might make one.


class LosesASecondCr(delimited.LineCodec):
    def only_message(self, data: bytes) -> bytes | None:
        message = super().only_message(data)
        return None if message is None else message.removesuffix(b"\r")


class ForgetsTheLimit(delimited.LineCodec):
    def next_message(self) -> bytes | None:
        self._limit += 1
        return super().next_message()


class HoldsBack(delimited.LineCodec):
    """The last message, until more comes."""

    def next_message(self) -> bytes | None:
        if self.unread and self._buffer[-1:] == b"\n" and not self._ended:
            return None
        return super().next_message()


class SearchesTooFar(delimited._DelimiterCodec):
    """A delimiter that was cut is overlooked."""

    def next_message(self) -> bytes | None:
        message = super().next_message()
        if message is None:
            self._searched = self.unread
        return message


class CountsWrongly(length._LengthCodec):
    """A message of exactly the limit is refused."""

    def _read_header(self, start: int) -> int:
        self._limit -= 1
        try:
            return super()._read_header(start)
        finally:
            self._limit += 1


class RaisesSomethingElse(length._NetstringCodec):
    def _read_header(self, start: int) -> bool:
        return bool(int(self._buffer[start : start + 1])) and super()._read_header(start)


class AllowsLeadingZeros(length._NetstringCodec):
    def _read_header(self, start: int) -> bool:
        while self._buffer[start : start + 1] == b"0":
            self._buffer = self._buffer[:start] + self._buffer[start + 1 :]
        return super()._read_header(start)


class StopsShort(raw._RawCodec):
    """A read larger than allowed is passed on whole."""

    def feed(self, data: bytes) -> None:
        limit, self._limit = self._limit, max(self._limit, len(data))
        super().feed(data)
        self._limit = limit


FAULTS = [
    ("lines", delimited, "LineCodec", LosesASecondCr),
    ("lines", delimited, "LineCodec", ForgetsTheLimit),
    ("lines", delimited, "LineCodec", HoldsBack),
    ("delimited", delimited, "_DelimiterCodec", SearchesTooFar),
    ("length_prefixed", length, "_LengthCodec", CountsWrongly),
    ("netstring", length, "_NetstringCodec", RaisesSomethingElse),
    ("netstring", length, "_NetstringCodec", AllowsLeadingZeros),
    ("raw", raw, "_RawCodec", StopsShort),
    ("auto", raw, "_RawCodec", StopsShort),
]


@pytest.mark.parametrize(
    ("name", "module", "replaced", "faulty"),
    FAULTS,
    ids=[f"{name}-{faulty.__name__}" for name, _, _, faulty in FAULTS],
)
def test_a_fault_is_found_by_what_was_kept(
    name: str, module: Any, replaced: str, faulty: type[Codec], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [file.read_bytes() for file in registry.saved(name)]
    function = registry.load(name)
    monkeypatch.setattr(module, replaced, faulty)
    found = 0
    for data in inputs:
        try:
            function(data)
        except Exception:  # noqa: BLE001 - whatever it is, it was found
            found += 1
    assert found
