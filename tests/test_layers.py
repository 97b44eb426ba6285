"""The layers: who may import whom, what importing threadwire costs, what is public."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import threadwire
from threadwire import errors, framing

PACKAGE = Path(threadwire.__file__).parent

# From the lowest up. A module imports from its own layer and those below.
LAYERS = [
    {"errors", "value", "_version", "clock"},
    {"units", "limit"},
    {"limits", "address", "networks", "reports", "rules", "durations", "snapshot"},
    {"framing", "proxy_protocol"},
    {"transport", "activation", "certificates"},
    {"notify", "handover"},
    {"events", "incoming", "outgoing", "ownership", "connection", "handler", "hooks", "engine"},
    {"options"},
    {"reception"},
    {"kinds", "settings", "reversing", "observing", "server", "machine"},
    {"admin"},
    {"serving"},
    {"pipeline", "retry", "dialling"},
    {"dialled"},
    {"pool"},
    {"client"},
    {"bench", "top"},
    {"__init__"},
    {"cli", "testing"},
    {"__main__"},
]
HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer}

CLOCKS_AND_IO = {"asyncio", "select", "selectors", "socket", "ssl", "threading", "time"}

MODULES = sorted(PACKAGE.rglob("*.py"))
every_module = pytest.mark.parametrize(
    "path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES]
)


def part_of(path: Path) -> str:
    """The module or subpackage of threadwire that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import, also those inside functions, but not those for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield from imports(ast.Module([other], []))
        else:
            yield from imports(node)


def imported(path: Path) -> Iterator[str]:
    """The full names of what a file imports: modules, and names from modules."""
    package = ["threadwire", *path.relative_to(PACKAGE).parts[:-1]]
    for node in imports(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def parts_imported(path: Path) -> set[str]:
    names = [name.split(".") for name in imported(path)]
    found = {name[1] if len(name) > 1 else "__init__" for name in names if name[0] == "threadwire"}
    return {part if part in HEIGHT else "__init__" for part in found}


def test_every_module_has_its_layer() -> None:
    assert {part_of(path) for path in MODULES} == set(HEIGHT)


@every_module
def test_a_module_imports_from_its_own_layer_and_those_below(path: Path) -> None:
    height = HEIGHT[part_of(path)]
    above = {part for part in parts_imported(path) if HEIGHT[part] > height}
    assert not above


@every_module
def test_a_module_is_no_longer_than_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


@every_module
def test_a_module_says_what_it_is_for(path: Path) -> None:
    if path.name not in {"_version.py", "__main__.py"}:
        assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", sorted((PACKAGE / "framing").glob("*.py")), ids=lambda p: p.name)
def test_framings_do_no_io_and_know_no_clock(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imported(path)} & CLOCKS_AND_IO


def test_the_imports_that_the_rules_are_about_are_seen() -> None:
    assert {"errors", "limits"} <= parts_imported(PACKAGE / "framing" / "codec.py")
    assert {"limits", "client", "framing"} <= parts_imported(PACKAGE / "cli" / "client.py")
    assert "connection" not in parts_imported(PACKAGE / "handler.py"), "for type checkers alone"
    assert "wcwidth.iter_graphemes" in imported(PACKAGE / "reversing.py"), "inside a function"
    assert "socket" in set(imported(PACKAGE / "transport" / "stream.py"))


def test_importing_threadwire_loads_the_standard_library_alone() -> None:
    pytest.importorskip("click")
    pytest.importorskip("prompt_toolkit")
    script = (
        "import sys; before = set(sys.modules); import threadwire; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    assert loaded.stderr == ""
    modules = loaded.stdout.split()
    assert "threadwire.server" in modules
    tops = {name.partition(".")[0] for name in modules}
    assert tops - sys.stdlib_module_names == {"threadwire"}
    assert "asyncio" not in tops


def test_what_is_public_is_sorted_and_there() -> None:
    names = threadwire.__all__
    assert names == sorted(names)
    assert len(names) == len(set(names))
    assert all(hasattr(threadwire, name) for name in names)


def test_whatever_the_package_imports_is_public() -> None:
    found = {
        name
        for name, value in vars(threadwire).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert found == set(threadwire.__all__) - {"__version__"}


def test_every_error_and_framing_is_public() -> None:
    assert set(errors.__all__) <= set(threadwire.__all__)
    classes = {name for name in framing.__all__ if inspect.isclass(getattr(framing, name))}
    assert {"Framing", "Codec", "Lines"} <= classes <= set(threadwire.__all__)


@pytest.mark.parametrize("name", sorted(set(threadwire.__all__) - {"__version__"}))
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(threadwire, name)
    docstring = value.__doc__
    assert docstring
    assert not docstring.startswith(f"{name}("), "only what dataclass made up"
    if inspect.isclass(value):
        assert all(docstring != base.__doc__ for base in value.__mro__[1:])


def test_the_version_is_one_of_python() -> None:
    packaging = pytest.importorskip("packaging.version")
    assert str(packaging.Version(threadwire.__version__)) == threadwire.__version__
