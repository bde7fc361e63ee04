"""Which tests reach which function, where mutmut cannot see it: it looks while a test runs, and in its own process."""

from __future__ import annotations

import os
import re
from types import ModuleType
from typing import Literal


def is_looking() -> bool:
    """Whether mutmut learns at the moment which tests call what."""
    return os.environ.get("MUTANT_UNDER_TEST") == "stats"


def scope_of_servers(fixture_name: str, config: object) -> Literal["function", "module"]:
    """A server for all tests of a module; for each its own while mutmut looks, else the first alone would reach what
    starts it."""
    return "function" if is_looking() else "module"


def in_another_process(module: ModuleType) -> None:
    """The running test reaches all of this module in processes that it starts."""
    if is_looking():
        from mutmut.state import state

        for name in vars(module):
            if found := re.fullmatch(r"mutants_(x.+)__mutmut", name):
                state()._stats.add(f"{module.__name__}.{found[1]}")
