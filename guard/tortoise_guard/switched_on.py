"""Whether conftest.py switches on what it names: a second ``pytest_plugins = [...]`` takes the first one's place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest


def in_one_list(config: pytest.Config) -> None:
    """Raises UsageError where a plugin of this distribution is named and, without a word, not loaded."""
    for module in config.pluginmanager.get_plugins():
        file = getattr(module, "__file__", None)
        if file is None or Path(file).name != "conftest.py":
            continue
        loaded = getattr(module, "pytest_plugins", ())
        kept = [loaded] if isinstance(loaded, str) else list(loaded)
        if lost := [name for name in dict.fromkeys(_named(Path(file))) if name not in kept]:
            raise pytest.UsageError(
                f"{file}: pytest_plugins is set more than once, so that {', '.join(lost)} is not loaded\n"
                f"Name all plugins in one list: pytest_plugins = {[*lost, *kept]}"
            )


def _named(file: Path) -> Iterator[str]:
    """The plugins of this distribution that the file's top level gives to ``pytest_plugins``."""
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "pytest_plugins" for target in statement.targets
        ):
            texts = [each.value for each in ast.walk(statement.value) if isinstance(each, ast.Constant)]
            yield from (text for text in texts if isinstance(text, str) and text.startswith("tortoise_guard"))
