"""The admin endpoint: metrics, health, clients, threads and a live page, by HTTP."""

from .admin import Admin

__all__ = ["Admin"]
