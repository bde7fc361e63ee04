"""What a user allows although no gate owns it: functions in threads, and stubs in the place of what asks elsewhere."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from fnmatch import fnmatchcase
from typing import Any

from .places import UserError

LIMIT = 30.0  # seconds that a function in a thread may take


class StillRunning(Exception):
    """A function did not come to its end."""


class Allowed:
    """What ``--allow`` was given. Raises UserError where that cannot be read."""

    def __init__(self, asked: Sequence[str]) -> None:
        self.stubs: list[tuple[str, str]] = []  # what is replaced, by what; both MODULE:NAME
        self.threads: dict[str, int] = {}  # a pattern -> how often it was met
        for each in asked:
            target, replaced, stub = each.partition("=")
            if not replaced:
                self.threads[target.replace(":", ".")] = 0
            elif ":" in target and ":" in stub:
                self.stubs.append((target, stub))
            else:
                raise UserError(f"--allow {each}: give MODULE:NAME=MODULE:STUB, or the name of a function in a thread")

    def put_in_place(self, imported: Callable[[str], Any]) -> None:
        """Put the stubs where they belong; ``imported`` gives what MODULE:NAME names. Raises UserError."""
        for target, stub in self.stubs:
            imported(target)
            module, _, name = target.partition(":")
            owner, _, last = name.rpartition(".")
            setattr(imported(f"{module}:{owner}") if owner else sys.modules[module], last, imported(stub))

    def in_thread(self, name: str) -> bool:
        """Whether this function may run in a thread."""
        found = next((each for each in self.threads if fnmatchcase(name, each) or name.endswith(f".{each}")), None)
        if found is not None:
            self.threads[found] += 1
        return found is not None

    def told(self) -> list[dict[str, Any]]:
        """For each of them ``name``, and ``stub`` (in its place) or ``times`` (that it ran in a thread)."""
        replaced = [{"name": target, "stub": stub} for target, stub in self.stubs]
        return [*replaced, *({"name": name, "times": times} for name, times in self.threads.items())]


def name_of(function: Any) -> str:
    """``MODULE.NAME`` of what shall run in a thread, behind the wrappers of asyncio and anyio."""
    while isinstance(function, functools.partial):
        runs_in_context = getattr(function.func, "__name__", "") == "run" and function.args
        function = function.args[0] if runs_in_context else function.func
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', None) or 'builtins'}.{name}"


def alone(function: Callable[[], Any]) -> Any:
    """Run it in a thread of its own, and wait for it here: what calls this stands still. Raises what it raises, or
    StillRunning."""
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT)
    if thread.is_alive():
        raise StillRunning(f"has not ended after {LIMIT:g} s (does it ask the database, or wait for the program?)")
    return result.result()
