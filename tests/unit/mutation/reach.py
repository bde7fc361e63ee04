"""Which tests reach which function, where that cannot be seen: it is looked for while a test runs, in its own process
and in forks of it."""

from __future__ import annotations

import os
import re
from types import ModuleType


def in_another_process(module: ModuleType) -> None:
    """The running test reaches all of this module in processes that it starts."""
    if os.environ.get("MUTANT_UNDER_TEST") == "stats":
        from mutmut.state import state

        for name in vars(module):
            if found := re.fullmatch(r"mutants_(x.+)__mutmut", name):
                state()._stats.add(f"{module.__name__}.{found[1]}")
