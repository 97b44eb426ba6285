"""The kit's place: on top of the library, which does not need it; one file of it needs pytest."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import threadwire
from threadwire import testing

from ..test_layers import MODULES, PACKAGE, imported, part_of

OURS = [path for path in MODULES if part_of(path) == "testing"]


def test_nothing_else_imports_it() -> None:
    others = [path for path in MODULES if path not in OURS]
    assert others
    for path in others:
        assert not any(name.startswith("threadwire.testing") for name in imported(path)), path


def test_only_the_plugin_imports_pytest() -> None:
    needing = [path.name for path in OURS if any("pytest" in name for name in imported(path))]
    assert needing == ["plugin.py"]


def test_it_needs_the_standard_library_alone_and_is_loaded_on_demand() -> None:
    script = (
        "import sys, threadwire; assert 'threadwire.testing' not in sys.modules; "
        "before = set(sys.modules); import threadwire.testing; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "threadwire.testing.proxy" in loaded
    tops = {name.partition(".")[0] for name in loaded}
    assert tops - sys.stdlib_module_names == {"threadwire"}


def test_what_is_public_is_sorted_and_there() -> None:
    names = testing.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    found = {
        name
        for name, value in vars(testing).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert found == set(names)


@pytest.mark.parametrize(
    "name", [name for name in testing.__all__ if not name.isupper() and name != "Script"]
)
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(testing, name)
    assert value.__doc__
    if inspect.isclass(value):
        assert all(value.__doc__ != base.__doc__ for base in value.__mro__[1:])


def test_its_clock_is_one_of_the_library_s() -> None:
    assert issubclass(testing.Clock, threadwire.clock.Clock)
    assert PACKAGE / "testing" / "clock.py" in OURS
