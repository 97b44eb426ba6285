"""The one part of the build that pyproject.toml cannot say: the C twin of the poller."""

import sys

from setuptools import Extension, setup

# Optional: without a compiler, and on systems without epoll, the Python twin serves.
here = "src/threadwire/transport"
speedups = Extension(
    "threadwire.transport._speedups",
    [f"{here}/speedups.c", f"{here}/handling.c"],
    depends=[f"{here}/buckets.h", f"{here}/handling.h"],
    optional=True,
)

setup(
    ext_modules=[speedups] if sys.platform == "linux" else [],
    exclude_package_data={"threadwire.transport": ["*.c", "*.h"]},
)
