"""Which code is the user's, and where in it something is asked for."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from matrix.harness import hang

ROOT = Path(__file__).resolve().parents[2]
# Where code is that is nobody's function: the suite, the standard library, installed packages (and a checkout of
# Tortoise, where it is installed from one).
INSTALLED = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
TORTOISE = importlib.util.find_spec("tortoise")
PACKAGES = (TORTOISE.submodule_search_locations or []) if TORTOISE is not None else []
NOT_THE_USERS = tuple(f"{Path(folder).resolve()}/" for folder in (str(ROOT / "matrix"), *INSTALLED, *PACKAGES))


class UserError(Exception):
    """What the user asked for cannot be run: one or two lines, what and what to do."""


@functools.cache  # asked for each frame of each step: of a few files, which stay where they are
def is_the_users(file: str | None) -> bool:
    """Whether a source file is neither the suite's nor an installed package's."""
    if not file or not Path(file).is_absolute():  # "<string>", or what an extension says of its source
        return False
    path = str(Path(file).resolve())
    return not path.startswith(NOT_THE_USERS) and "/site-packages/" not in path


def here() -> str:
    """``file.py:12``: the innermost line of the user's that runs now; empty when there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_the_users(frame.f_code.co_filename):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def raised_at(trace: TracebackType | None) -> str:
    """The user's innermost line in a traceback; empty when there is none."""
    found = ""
    while trace is not None:
        if is_the_users(file := trace.tb_frame.f_code.co_filename):
            found = f"{Path(file).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def waits_at(task: asyncio.Task[Any] | None) -> str:
    """The user's innermost line in which a task waits; empty when there is none."""
    lines = [frame for frame in hang.frames(task) if is_the_users(frame.f_code.co_filename)]
    return f"{Path(lines[-1].f_code.co_filename).name}:{lines[-1].f_lineno}" if lines else ""
