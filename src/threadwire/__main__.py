"""``python -m threadwire`` is the ``threadwire`` command."""

from .cli import main

if __name__ == "__main__":
    main()
