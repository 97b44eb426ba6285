"""The page's files, as they are in the package."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from importlib import resources
from typing import NamedTuple

from .http import HttpError, Request, Response

__all__ = ["Assets"]

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}

# Nothing but these files and this endpoint; nobody frames the page to have its buttons pressed.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Asset(NamedTuple):
    data: bytes
    content_type: str
    tag: str  # of the content, for If-None-Match


class Assets:
    """All of them, read once. Immutable."""

    def __init__(self) -> None:
        self._files = {
            file.name: _asset(file.name, file.read_bytes())
            for file in resources.files(__package__).joinpath("page").iterdir()
            if file.name.rpartition(".")[2] in _TYPES
        }

    def page(self, request: Request) -> Response:
        return self.file(request, "index.html")

    def file(self, request: Request, name: str) -> Response:
        """Kept by browsers, who ask each time whether it is still the same."""
        asset = self._files.get(name)
        if asset is None:
            raise HttpError(HTTPStatus.NOT_FOUND, f"the page has no file {name!r}")
        headers = (("ETag", asset.tag), ("Content-Security-Policy", _POLICY))
        if asset.tag in request.header("if-none-match"):
            return Response(b"", asset.content_type, HTTPStatus.NOT_MODIFIED, headers, "no-cache")
        return Response(asset.data, asset.content_type, HTTPStatus.OK, headers, "no-cache")


def _asset(name: str, data: bytes) -> _Asset:
    tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    return _Asset(data, _TYPES[name.rpartition(".")[2]], tag)
