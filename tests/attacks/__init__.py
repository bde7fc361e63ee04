"""What strangers, machines and accidents do to the program, done to it on purpose: ``tox -e attacks``.

An attack is a generator of ``Tried``, one for each try. It is given a folder of its own, and looks itself for what is
left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tried:
    """One try: what was done, what came of it that must not (a traceback, a wrong verdict, a lost result), and what was
    left behind (processes, folders, databases)."""

    what: str
    wrong: str = ""
    left: str = ""


Attack = Callable[[Path], Iterator[Tried]]
