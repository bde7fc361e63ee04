"""Finds asyncio tasks that misuse a transaction of Tortoise ORM: in test suites (``-p tortoise_guard.plugin``) and,
with ``watching()``, wherever else. What can come of each finding was measured by the driver compliance matrix."""

from .guard import Guard
from .happened import Finding, Place
from .hooks import watching
from .report import text

__all__ = ["Finding", "Guard", "Place", "text", "watching"]
