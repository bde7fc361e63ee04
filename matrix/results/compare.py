"""What changed between two sets of results: better, worse, otherwise, new, gone. Pure functions of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from matrix.lines import ScenarioLine, word_of
from matrix.results.read import CellResult
from matrix.results.text import code, one_line
from matrix.words import ERROR, REMEDIES, complies

KINDS = ("worse", "better", "changed", "new", "gone")


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
    """The differences over all cells, worst kind first. Cells are matched by their ids; what is left, such as a release
    and a checkout, by driver and server where each side has one such cell."""
    found: list[Difference] = []
    pairs = matched(before, after)
    for cell, other in pairs.items():
        found += of_cell(before[cell], after[other], cell if cell == other else f"{cell} -> {other}")
    gone, new = sorted(before.keys() - pairs), sorted(after.keys() - set(pairs.values()))
    found += [Difference("gone", cell, None, _whole(before[cell]), None) for cell in gone]
    found += [Difference("new", cell, None, None, _whole(after[cell])) for cell in new]
    return sorted(found, key=lambda each: KINDS.index(each.kind))


def matched(before: Mapping[str, CellResult], after: Mapping[str, CellResult]) -> dict[str, str]:
    """The cells that can be compared: those before, and which of those after each is held against."""
    pairs = {cell: cell for cell in sorted(before) if cell in after}

    def by_base(side: Mapping[str, CellResult], taken: Iterable[str]) -> dict[tuple[Any, Any], list[str]]:
        found: dict[tuple[Any, Any], list[str]] = {}
        for cell in sorted(side.keys() - set(taken)):
            found.setdefault((side[cell].axes.get("driver"), side[cell].axes.get("server")), []).append(cell)
        return found

    left, right = by_base(before, pairs), by_base(after, pairs.values())
    alone = [base for base in left if len(left[base]) == 1 == len(right.get(base, ()))]
    return pairs | {left[base][0]: right[base][0] for base in alone}


def of_cell(before: CellResult, after: CellResult, name: str) -> list[Difference]:
    """The differences between two results of one cell, or of two cells that are to be compared under one name."""
    if before.not_installed or after.not_installed:
        kind = "better" if not after.not_installed else "changed" if before.not_installed else "worse"
        words = _whole(before), _whole(after)
        return [] if words[0] == words[1] else [Difference(kind, name, None, *words)]
    found = []
    for scenario in dict.fromkeys([*before.by_id, *after.by_id]):
        one, other = before.by_id.get(scenario), after.by_id.get(scenario)
        if one is None or other is None:
            if scenario in (before if one is None else after).header.get("catalogue", ()):
                continue  # nobody asked for it there
            was = word_of(one) if one else None
            is_now = word_of(other) if other else None
            found.append(Difference("gone" if one else "new", name, scenario, was, is_now))
        elif became := direction(one, other):
            old, new = word_of(one), word_of(other)
            if old == new:  # of a remedy that does what it did, with another worst verdict
                old, new = one["verdict"], other["verdict"]
            found.append(Difference(became, name, scenario, old, new, one_line(other.get("reason") or "")))
    return found


def direction(one: ScenarioLine, other: ScenarioLine) -> str | None:
    """What became of a line; None if its words are the same. Worse is what complied and does not any more, a remedy
    that does less, and what cannot be measured now. Other words are a change, no judgement: at ``loud`` a refusal
    complies as well as ``safe`` does, and of two words that do not comply a reader may prefer either."""
    if (one.get("remedy"), one["verdict"]) == (other.get("remedy"), other["verdict"]):
        return None
    old, new = one.get("remedy"), other.get("remedy")
    if old != new and old in REMEDIES and new in REMEDIES:
        return "worse" if REMEDIES.index(new) > REMEDIES.index(old) else "better"
    if other["verdict"] == ERROR:
        return "worse"
    was, is_now = (complies(line["level"], line["verdict"]) for line in (one, other))
    if was is None or is_now is None or was == is_now:
        return "changed"
    return "better" if is_now else "worse"


def markdown(found: Sequence[Difference]) -> str:
    """A table of the differences, the harmful characters of foreign text spelled out."""
    if not found:
        return "No verdict changed."
    rows = ["| | cell | scenario | before | after | reason |", "|---|---|---|---|---|---|"]
    for each in found:
        parts = (each.cell, each.scenario, each.before, each.after, each.reason)
        rows.append(f"| {' | '.join(map(code, parts))} |")
    return "\n".join(rows)


def _whole(result: CellResult) -> str:
    return f"n/a, {result.not_installed}" if result.not_installed else f"{len(result.scenarios)} scenarios"
