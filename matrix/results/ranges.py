"""From verdicts along an axis of versions to ranges ('lies <= 0.2, refuses >= 0.3'). Pure functions of plain values.

A point is a version and a word. Words that are no verdicts (``n/a``, ``error``, ``not run``) count only where a version
has nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from packaging.version import InvalidVersion, Version

from matrix.words import rank, worst

# The axes along which a verdict may change, and what each is called. The first ones decide what is 'newest' first.
AXES = {
    "driver_version": "driver",
    "tortoise": "tortoise",
    "server_version": "server",
    "python": "python",
    "loop": "loop",
}


@dataclass(frozen=True)
class Range:
    """One word over neighbouring tested versions, ``low`` to ``high``. ``first`` and ``last``: no other range is
    below, or above."""

    word: str
    low: str
    high: str
    first: bool
    last: bool

    @property
    def versions(self) -> str:
        """``''`` for everywhere, ``<= 0.2``, ``>= 0.3``, ``0.2 - 0.3`` or ``0.2``."""
        if self.first and self.last:
            return ""
        if self.first:
            return f"<= {self.high}"
        if self.last:
            return f">= {self.low}"
        return self.low if self.low == self.high else f"{self.low} - {self.high}"

    def __str__(self) -> str:
        return f"{self.word} {self.versions}".rstrip()


@lru_cache(maxsize=4096)
def version_key(version: str) -> tuple[Any, ...]:
    """Orders versions as their makers mean it; a text that is no version comes before all that are."""
    try:
        return (1, Version(version), version)
    except InvalidVersion:
        parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", version)]
        return (0, tuple(parts), version)


def at_versions(points: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """One point per version, the worst word of each, oldest version first."""
    words: dict[str, list[str]] = {}
    for version, word in points:
        words.setdefault(version, []).append(word)
    return [(version, worst(words[version])) for version in sorted(words, key=version_key)]


def ranges(points: Iterable[tuple[str, str]]) -> tuple[Range, ...]:
    """The ranges of these points, oldest first. Versions without a verdict lie in no range, unless all are such."""
    known = at_versions(points)
    judged = [point for point in known if rank(point[1]) >= 0] or known
    runs: list[list[tuple[str, str]]] = []
    for version, word in judged:
        if runs and runs[-1][-1][1] == word:
            runs[-1].append((version, word))
        else:
            runs.append([(version, word)])
    last = len(runs) - 1
    return tuple(Range(run[0][1], run[0][0], run[-1][0], at == 0, at == last) for at, run in enumerate(runs))


def newness(axes: Mapping[str, Any], without: str = "") -> tuple[Any, ...]:
    """Orders cells by how new all that they are made of is. A loop that is not plain asyncio counts as older."""
    key: list[Any] = []
    for axis in AXES:
        value = str(axes.get(axis) or "")
        if axis == "loop":
            key.append((value in ("", "asyncio"), value))
        elif axis != without:
            key.append(version_key(value))
    return tuple(key)


def along(cells: Sequence[Mapping[str, Any]], axis: str) -> list[int]:
    """The places of the cells that show how things change along an axis: for each of its versions the cell in which
    all else is newest. ``cells`` are the axes of cells of one driver and one kind of server. Oldest version first."""
    best: dict[str, int] = {}
    for place, axes in enumerate(cells):
        version = str(axes.get(axis) or "")
        if version not in best or newness(axes, axis) > newness(cells[best[version]], axis):
            best[version] = place
    return [best[version] for version in sorted(best, key=version_key)]


def newest(cells: Sequence[Mapping[str, Any]]) -> int:
    """The place of the cell in which everything is newest. Raises ValueError for no cells."""
    return max(range(len(cells)), key=lambda place: newness(cells[place]))
