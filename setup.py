"""The one part of the build that pyproject.toml cannot say: the C twin of the poller."""

import sys

from setuptools import Extension, setup

# Optional: without a compiler, and on systems without epoll, the Python twin serves.
speedups = Extension(
    "threadwire.transport._speedups", ["src/threadwire/transport/speedups.c"], optional=True
)

setup(
    ext_modules=[speedups] if sys.platform == "linux" else [],
    exclude_package_data={"threadwire.transport": ["*.c"]},
)
