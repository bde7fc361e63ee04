"""The page 'Is my code safe?': patterns that people write, what the results say of them, and the remedies that hold.

Texts and code come from docs/patterns (a test executes the code), every verdict from the results.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix.report.summary import Summary, summarise
from matrix.report.view import Column, Mark, Row, Table
from matrix.words import NOT_APPLICABLE, NOT_RUN, rank

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - pytest brings tomli where Python has no tomllib
    import tomli as tomllib

FOLDER = Path(__file__).parents[2] / "docs" / "patterns"


@dataclass(frozen=True)
class Cure:
    """A remedy, or a scenario of the safe form, on one pattern: a mark per group, and how many of them comply."""

    scenario: str
    title: str
    marks: tuple[Mark, ...]
    holds: int
    tried: int
    code: str


@dataclass(frozen=True)
class Pattern:
    """One pattern: a place per group, what was seen where it is worst, and the remedies, best first."""

    key: str
    title: str
    code: str
    wrong: str
    scenarios: tuple[str, ...]
    places: tuple[Summary, ...]
    seen: Mark | None
    seen_in: str
    cures: tuple[Cure, ...]

    @property
    def measured(self) -> bool:
        return any(rank(place.word) >= 0 for place in self.places)

    @property
    def advice(self) -> Cure | None:
        """The remedy to recommend: the one that complies in most places, if it does anywhere; rather one with code."""
        holding = [cure for cure in self.cures if cure.holds]
        return next((cure for cure in holding if cure.code), holding[0] if holding else None)


def functions(path: Path) -> dict[str, str]:
    """The source of each function at the top of a file, by name."""
    source = path.read_text("utf-8")
    return {
        node.name: ast.get_source_segment(source, node) or ""
        for node in ast.parse(source).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def build(table: Table, folder: Path = FOLDER) -> tuple[Pattern, ...]:
    """All patterns with what the results say of them."""
    data = tomllib.loads((folder / "patterns.toml").read_text("utf-8"))
    shown, cures = functions(folder / "patterns.py"), functions(folder / "remedies.py")
    rows = {row.scenario: row for family in table.families for row in family.rows}
    return tuple(_pattern(table, rows, each, shown, cures, data["remedies"]) for each in data["pattern"])


def _pattern(
    table: Table,
    rows: Mapping[str, Row],
    raw: Mapping[str, Any],
    shown: Mapping[str, str],
    cures: Mapping[str, str],
    remedies: Mapping[str, str],
) -> Pattern:
    own = [rows[name] for name in raw["scenarios"] if name in rows]
    marks = [_worst([row.marks[place] for row in own]) for place in range(len(table.columns))]
    worst = max(table.groups, key=lambda group: rank(marks[group.newest].word), default=None) if own else None
    seen = marks[worst.newest] if worst and rank(marks[worst.newest].word) > 0 else None
    # A remedy claims the pattern, not each of its scenarios: those that it was run over count.
    found = [_remedy(table, row, raw["scenarios"], remedies, cures) for row in table.remedies]
    found += [_instead(table, rows[name], remedies, cures) for name in raw.get("instead", ()) if name in rows]
    order = list(remedies)
    best = sorted(
        (cure for cure in found if cure.tried),
        key=lambda cure: (-cure.holds, order.index(cure.scenario) if cure.scenario in order else len(order)),
    )
    return Pattern(
        key=raw["code"].replace("_", "-"),
        title=raw["title"],
        code=shown[raw["code"]],
        wrong=raw["wrong"],
        scenarios=tuple(raw["scenarios"]),
        places=tuple(summarise([group], marks) for group in table.groups),
        seen=seen,
        seen_in=table.columns[worst.newest].cell if worst else "",
        cures=tuple(best),
    )


def _worst(marks: Sequence[Mark]) -> Mark:
    return max(marks, key=lambda mark: rank(mark.word), default=Mark(NOT_RUN, reason="No result has it yet."))


def _remedy(
    table: Table, row: Row, scenarios: Sequence[str], remedies: Mapping[str, str], cures: Mapping[str, str]
) -> Cure:
    marks = [cured(table.columns[group.newest], row.scenario, scenarios) for group in table.groups]
    return _cure(row, marks, remedies, cures)


def _instead(table: Table, row: Row, remedies: Mapping[str, str], cures: Mapping[str, str]) -> Cure:
    return _cure(row, [row.marks[group.newest] for group in table.groups], remedies, cures)


def _cure(row: Row, marks: Sequence[Mark], remedies: Mapping[str, str], cures: Mapping[str, str]) -> Cure:
    judged = [mark for mark in marks if rank(mark.word) >= 0]
    code = cures[remedies[row.scenario]] if row.scenario in remedies else ""
    holds = sum(mark.complies is True for mark in judged)
    return Cure(row.scenario, row.title, tuple(marks), holds, len(judged), code)


def cured(column: Column, remedy: str, scenarios: Sequence[str]) -> Mark:
    """The worst word that some scenarios have under a remedy in one cell."""
    line = column.result.by_id.get(remedy) if column.result else None
    cures = (line.get("cures") if line else None) or {}
    own = [(name, cures[name]) for name in scenarios if name in cures]
    if not own:
        return Mark(NOT_APPLICABLE, reason="The remedy is not run over it here.")
    name, cure = max(own, key=lambda pair: rank(pair[1]["verdict"]))
    complies = cure.get("complies")
    return Mark(
        word=cure["verdict"],
        href=f"cells/{column.cell}/{remedy}.html#{name}",
        complies=complies if isinstance(complies, bool) else cure["verdict"] == "safe",
        reason=str(cure.get("reason") or ""),
    )
