"""Certificates: their dates and names in DER, and whole PEM files."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable

from threadwire import UsageError
from threadwire.certificates import client_context, server_context
from threadwire.certificates.fields import CertificateFields, decode_pem, read_fields

__all__ = ["certificate_fields", "certificate_files"]


def certificate_fields(data: bytes) -> None:
    """DER, or a PEM file with it."""
    _fields(data)
    try:
        der = decode_pem(data)
    except ValueError:
        return
    if der is not None:
        _fields(der)


def _fields(der: bytes) -> CertificateFields | None:
    try:
        fields = read_fields(der)
    except ValueError:
        return None
    for moment in (fields.not_before, fields.not_after):
        assert math.isfinite(moment)
        time.gmtime(moment)  # it is shown to people
    for name in fields.names:
        assert name.isascii()
    return fields


def certificate_files(data: bytes) -> None:
    """A file that somebody names as a server's certificate, or as his authorities."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "cert.pem")
        with open(path, "wb", opener=_private) as file:
            file.write(data)
        calls: list[Callable[[], object]] = [
            lambda: server_context(path, warn=said.append),
            lambda: client_context(ca=path),
        ]
        for call in calls:
            try:
                call()
            except UsageError as error:
                assert path in str(error)
    assert not said


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
