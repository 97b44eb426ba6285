"""Value: equality, hashing, immutability, copies."""

from __future__ import annotations

import copy
import pickle

import pytest

from threadwire import Address, LengthPrefixed, Lines, Raw


def test_equal_fields_and_type_make_equal_values() -> None:
    assert Lines() == Lines(b"\n", unterminated=False)
    assert Lines() != Lines(b"\r\n")
    assert Lines() != Raw()
    assert Raw() == Raw()
    assert Raw() != "raw"
    assert len({Address("tcp", "h", 1), Address("tcp", "h", 1), Address("tcp", "h", 2)}) == 2


def test_values_cannot_be_changed() -> None:
    value = LengthPrefixed(2)
    with pytest.raises(AttributeError, match="size"):
        value.size = 4
    with pytest.raises(AttributeError, match="size"):
        del value.size
    with pytest.raises(AttributeError):
        value.other = 1
    assert value == LengthPrefixed(2)


@pytest.mark.parametrize("value", [Address("unix", path="/x"), LengthPrefixed(2, "little"), Raw()])
def test_copies_are_equal(value: object) -> None:
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value


def test_a_value_shows_its_fields() -> None:
    assert repr(Lines()) == r"Lines(newline=b'\n', unterminated=False)"
