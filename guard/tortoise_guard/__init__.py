"""Finds asyncio tasks that misuse a transaction of Tortoise ORM: in test suites (``-p tortoise_guard.plugin``) and,
with ``watching()``, wherever else. What can come of each finding was measured by the driver compliance matrix."""

from typing import Any, NoReturn

from .guard import Guard
from .happened import Finding, Place
from .hooks import watching
from .report import text

__all__ = ["Finding", "Guard", "Place", "text", "watching"]


def pytest_configure(config: Any) -> NoReturn:
    """The package is no plugin: ``-p tortoise_guard`` would be silently no guard. Raises UsageError."""
    import pytest

    raise pytest.UsageError(
        "tortoise_guard is the package: the plugin is tortoise_guard.plugin (-p tortoise_guard.plugin)"
    )
