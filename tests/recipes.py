"""The recipes of the documentation, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["tracing"]

_DOCS = Path(__file__).parent.parent / "docs"


def _blocks(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (_DOCS / document).read_text(), re.S | re.M)


def tracing(tracer: Any) -> dict[str, Any]:
    """What docs/tracing.md has users write."""
    names: dict[str, Any] = {}
    exec(_blocks("tracing.md")[0], names)
    make: Callable[[Any], dict[str, Any]] = names["tracing"]
    return make(tracer)
