"""TLS contexts made from certificate files, and kept up to date with them."""

from .contexts import client_context, server_context
from .reload import Certificates, FixedContext

__all__ = ["Certificates", "FixedContext", "client_context", "server_context"]
