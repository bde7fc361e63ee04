"""What changed between two sets of results: better, worse, otherwise, new, gone. Pure functions of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from matrix.lines import ScenarioLine
from matrix.results.read import CellResult
from matrix.results.text import code, one_line
from matrix.words import REMEDIES, VERDICTS

KINDS = ("worse", "better", "changed", "new", "gone")  # "changed": one of both words is no verdict


@dataclass(frozen=True)
class Difference:
    """One scenario in one cell that is not what it was; ``before`` or ``after`` is None where there was or is none."""

    kind: str
    cell: str
    scenario: str | None  # None: the cell as a whole
    before: str | None
    after: str | None
    reason: str = ""

    @property
    def key(self) -> str:
        """The same for the same change, whenever it is seen."""
        return f"{self.cell} {self.scenario or 'all'} {self.before} -> {self.after}"

    def __str__(self) -> str:
        what = f"{self.cell}: {self.scenario}" if self.scenario else self.cell
        if self.kind in ("new", "gone"):
            return f"{what}: {self.kind} ({self.after or self.before})"
        return f"{what}: {self.kind}: {self.before} -> {self.after}{f': {self.reason}' if self.reason else ''}"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "key": self.key}


def compare(before: Mapping[str, CellResult], after: Mapping[str, CellResult]) -> list[Difference]:
    """The differences over all cells, worst kind first. Cells are matched by their ids."""
    found: list[Difference] = []
    for cell in sorted({*before, *after}):
        if cell not in after:
            found.append(Difference("gone", cell, None, _whole(before[cell]), None))
        elif cell not in before:
            found.append(Difference("new", cell, None, None, _whole(after[cell])))
        else:
            found += of_cell(before[cell], after[cell], cell)
    return sorted(found, key=lambda each: KINDS.index(each.kind))


def of_cell(before: CellResult, after: CellResult, name: str) -> list[Difference]:
    """The differences between two results of one cell, or of two cells that are to be compared under one name."""
    if before.not_installed or after.not_installed:
        words = _whole(before), _whole(after)
        kind = "changed" if before.not_installed and after.not_installed else "worse" if after.not_installed else "better"
        return [] if words[0] == words[1] else [Difference(kind, name, None, *words)]
    found = []
    for scenario in dict.fromkeys([*before.by_id, *after.by_id]):
        one, other = before.by_id.get(scenario), after.by_id.get(scenario)
        if one is None or other is None:
            kind, line = ("new", other) if one is None else ("gone", one)
            assert line is not None
            word = _words(line)[0]
            found.append(Difference(kind, name, scenario, *((None, word) if one is None else (word, None))))
            continue
        changed = [pair for pair in _pairs(one, other) if pair[0] != pair[1]]
        for old, new in changed[:1]:
            found.append(Difference(_kind(old, new), name, scenario, old, new, one_line(other.get("reason") or "")))
    return found


def _pairs(one: ScenarioLine, other: ScenarioLine) -> list[tuple[str, str]]:
    """The words to compare: of a remedy what it does before its worst verdict."""
    return list(zip(_words(one), _words(other), strict=False))


def _words(line: ScenarioLine) -> Sequence[str]:
    return [remedy, line["verdict"]] if (remedy := line.get("remedy")) else [line["verdict"]]


def _kind(old: str, new: str) -> str:
    for order in (REMEDIES, VERDICTS):
        if old in order and new in order:
            return "worse" if order.index(new) > order.index(old) else "better"
    return "worse" if new == "error" else "changed"


def markdown(found: Sequence[Difference]) -> str:
    """A table of the differences, the harmful characters of foreign text spelled out."""
    if not found:
        return "No verdict changed."
    rows = [
        "| " + " | ".join(code(part) for part in (each.cell, each.scenario, each.before, each.after, each.reason)) + " |"
        for each in found
    ]
    return "\n".join(["| | cell | scenario | before | after | reason |", "|---|---|---|---|---|---|", *rows])


def _whole(result: CellResult) -> str:
    return f"n/a, {result.not_installed}" if result.not_installed else f"{len(result.scenarios)} scenarios"
