"""The machine, and the interpreter and packages that the servers use."""

import json
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

# Run by the servers' interpreter.
DESCRIBE = """
import contextlib, importlib.metadata, json, platform
versions = []
for package in ("uvloop", "gevent", "twisted"):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions.append(f"{package} {importlib.metadata.version(package)}")
python = f"{platform.python_implementation()} {platform.python_version()}"
print(json.dumps({"python": python, "packages": ", ".join(versions) or "none"}))
"""


def machine(python: str) -> dict[str, str]:
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    described = subprocess.run([python, "-c", DESCRIBE], stdout=subprocess.PIPE, check=True)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{model[1] if model else platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()}",
        **json.loads(described.stdout),
    }
