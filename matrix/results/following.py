"""What the process of a cell says while it runs, for the program that started it: facts, one JSON object per line, in
the file that the variable MATRIX_FOLLOW names. What a cell prints is for people, and no program reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypedDict

from matrix.words import GLYPHS, SAFE

FOLLOW = "MATRIX_FOLLOW"


class ScenarioDone(TypedDict):
    """A scenario is through. ``count`` of ``planned`` are; ``before``: its word on record, where all orders follow."""

    scenario: str
    count: int
    planned: int
    verdict: str
    remedy: str | None
    reason: str | None
    before: str | None


class End(TypedDict):
    """The cell could not begin or not go on: why, in one or two lines."""

    ended: str


def word(verdict: str, remedy: str | None) -> str:
    """A verdict with its glyph, and a remedy's word."""
    return f"{GLYPHS.get(verdict, '?')} {verdict}" + (f", {remedy}" if remedy else "")


def shown(fact: ScenarioDone, width: int) -> str:
    """The line of a scenario, of at most about so many characters."""
    own = word(fact["verdict"], fact["remedy"])
    text = f"  {fact['count']:>3}/{fact['planned']} {fact['scenario']:<7} {own:<18} "
    quiet = fact["verdict"] == SAFE and not fact["remedy"]
    reason = "" if quiet else " ".join((fact["reason"] or "").split())
    if fact["before"] is not None:
        reason = "as on record" if fact["before"] == own else f"{fact['before']} on record: {reason}"
    available = width - len(text) - 1
    return text + (reason if len(reason) <= available else reason[: max(available - 1, 20)] + "…")


def tell(fact: ScenarioDone | End) -> None:
    """Add a fact, where somebody follows. A cell runs on where it cannot be followed."""
    if path := os.environ.get(FOLLOW):
        with contextlib.suppress(OSError), Path(path).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(fact) + "\n")


class Follower(AbstractContextManager["Follower"]):
    """Reads a file of facts while it grows."""

    def __init__(self, path: Path) -> None:
        self.variables = {FOLLOW: str(path)}  # of the process that is followed
        self.ended: str | None = None  # why it could not go on, once it has said so
        self._file = path.open("ab+")
        self._rest = b""

    def read(self) -> list[ScenarioDone]:
        """The scenarios that are through since the last look."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")  # the rest is still being written
        facts = [json.loads(line) for line in lines]
        self.ended = next((fact["ended"] for fact in facts if "ended" in fact), self.ended)
        return [fact for fact in facts if "ended" not in fact]

    def __exit__(self, *_: object) -> None:
        self._file.close()
