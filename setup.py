"""The one part of the build that pyproject.toml cannot say: the C twin of the poller."""

import sys

from setuptools import Extension, setup

# Optional: without a compiler, and on systems without epoll, the Python twin serves.
here = "src/threadwire/transport"
speedups = Extension(
    "threadwire.transport._speedups",
    [f"{here}/{name}.c" for name in ("speedups", "handling", "poller", "sockets")],
    depends=[
        f"{here}/{name}.h" for name in ("arguments", "buckets", "handling", "poller", "sockets")
    ],
    extra_compile_args=["-fvisibility=hidden"],
    optional=True,
)

setup(
    ext_modules=[speedups] if sys.platform == "linux" else [],
    exclude_package_data={"threadwire.transport": ["*.c", "*.h"]},
)
