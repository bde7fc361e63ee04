"""Lines of the user's code: which one is running, and how it is written in a sentence."""

from __future__ import annotations

import contextlib
import os
import site
import sys
import sysconfig
from pathlib import Path
from types import FrameType

import tortoise

from .happened import Place

NOT_OURS = tuple(
    f"{Path(str(path)).resolve()}{os.sep}"
    for path in {
        *site.getsitepackages(),
        site.getusersitepackages(),
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        Path(tortoise.__file__).parent,
        Path(__file__).parent,
    }
)
_ours: dict[str, bool] = {}


def ours(file: str) -> bool:
    """Whether a file is the user's: no installed package, not the standard library."""
    if file not in _ours:
        _ours[file] = not file.startswith("<") and not str(Path(file).resolve()).startswith(NOT_OURS)
    return _ours[file]


def here() -> Place | None:
    """The innermost line of the user's code that is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if ours(frame.f_code.co_filename):
            return Place(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


def at(place: Place) -> str:
    if not place.file:
        return "(a line outside of your code)"
    with contextlib.suppress(ValueError):
        return f"{Path(place.file).relative_to(Path.cwd())}:{place.line}"
    return f"{place.file}:{place.line}"
