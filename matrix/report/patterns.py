"""The page 'Is my code safe?': patterns that people write, what the results say of them, and the remedies that hold.

Texts and code come from docs/patterns (a test executes the code), every verdict from the results.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from matrix.report.summary import Summary, summarise
from matrix.report.view import Column, Mark, Row, Table
from matrix.results import keeps
from matrix.words import NOT_APPLICABLE, NOT_NEEDED, NOT_RUN, SAFE, rank


class Coded(NamedTuple):
    """A remedy as code, and the words of patterns.toml for what it keeps."""

    code: str = ""
    keeps: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Alternative:
    """A remedy, or a scenario of the safe form, on one pattern: a mark per group, and how many of them comply."""

    scenario: str
    title: str
    marks: tuple[Mark, ...]
    holds: int
    tried: int
    code: str
    keeps: Mapping[str, Any]  # the words of patterns.toml; none of a remedy without code
    meant: tuple[str, ...]  # what the pattern's code as written was to have
    written: bool = True  # the program is to be written otherwise: that has a price

    @property
    def kept(self) -> int:
        """How much it keeps of what was meant."""
        return sum(keeps.has(self.keeps, word) for word in self.meant)

    @property
    def price(self) -> str:
        """What follows its title wherever it is recommended, in the same sentence."""
        return keeps.price(self.keeps, self.meant) if self.written else ""

    @property
    def sentence(self) -> str:
        """What to write instead, with its price."""
        return self.title + self.price


class Sentence(NamedTuple):
    """What goes wrong with some drivers, in one sentence."""

    drivers: str
    word: str
    text: str


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
    per_driver: tuple[Sentence, ...]
    cures: tuple[Alternative, ...]

    @property
    def measured(self) -> bool:
        return any(rank(place.word) >= 0 for place in self.places)

    @property
    def advice(self) -> Alternative | None:
        """The remedy to recommend, if one complies anywhere: the first, rather one with code."""
        holding = [cure for cure in self.cures if cure.holds]
        return next((cure for cure in holding if cure.code), holding[0] if holding else None)


def functions(path: Path) -> dict[str, str]:
    """The source of each function at the top of a file, by name."""
    source = path.read_text("utf-8")
    found = [node for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {node.name: ast.get_source_segment(source, node) or "" for node in found}


def build(table: Table, folder: Path = keeps.FOLDER) -> tuple[Pattern, ...]:
    """All patterns with what the results say of them."""
    data = keeps.patterns(folder)
    shown, cures = functions(folder / "patterns.py"), functions(folder / "remedies.py")
    coded = {name: Coded(cures[code], data["keeps"][code]) for name, code in data["remedies"].items()}
    found = []
    for each in data["pattern"]:
        own = {name: coded[name]._replace(code=cures[code]) for name, code in each.get("code_of", {}).items()}
        found.append(_pattern(table, each, shown, coded | own))
    return tuple(found)


def _pattern(table: Table, raw: Mapping[str, Any], shown: Mapping[str, str], coded: Mapping[str, Coded]) -> Pattern:
    rows, newest = table.rows, [group.newest for group in table.groups]
    columns = [table.columns[place] for place in newest]
    own = [rows[name] for name in raw["scenarios"] if name in rows]
    marks = [_worst([row.marks[place] for row in own]) for place in range(len(table.columns))]
    worst = max(table.groups, key=lambda group: rank(marks[group.newest].word), default=None) if own else None
    seen = marks[worst.newest] if worst and rank(marks[worst.newest].word) > 0 else None
    # A remedy claims the pattern, not each of its scenarios: those that it was run over count.
    meant, found = raw["meant"], []
    for row in table.remedies if raw.get("remedies", True) else ():
        found.append(_cure(row, [cured(column, row.scenario, raw["scenarios"]) for column in columns], meant, coded))
    for row in [rows[name] for name in raw.get("instead", ()) if name in rows]:
        found.append(_cure(row, [row.marks[place] for place in newest], meant, coded, raw.get("advice")))
    tried = [cure for cure in found if cure.tried]
    tried.sort(key=lambda cure: keeps.preference(cure.scenario, cure.kept, cure.holds, cure.tried))
    return Pattern(
        key=raw["code"].replace("_", "-"),
        title=raw["title"],
        code=shown[raw["code"]],
        wrong=raw["wrong"],
        scenarios=tuple(raw["scenarios"]),
        places=tuple(summarise([group], marks) for group in table.groups),
        seen=seen,
        seen_in=table.columns[worst.newest].cell if worst else "",
        per_driver=_per_driver(table, marks),
        cures=tuple(tried),
    )


def _per_driver(table: Table, marks: Sequence[Mark]) -> tuple[Sentence, ...]:
    """A sentence for each driver with which it goes wrong, on the newest releases; of several servers the worst."""
    worst: dict[str, Mark] = {}
    for group in table.groups:
        mark = marks[group.newest] if marks else Mark(NOT_RUN)
        if rank(mark.word) > 0 and rank(mark.word) > rank(worst.get(group.driver, Mark(SAFE)).word):
            worst[group.driver] = mark
    drivers: dict[tuple[str, str], list[str]] = {}
    for driver, mark in worst.items():
        drivers.setdefault((mark.word, (mark.note != "unexpected" and mark.detail) or mark.reason), []).append(driver)
    return tuple(Sentence(", ".join(names), word, text) for (word, text), names in drivers.items())


def _worst(marks: Sequence[Mark]) -> Mark:
    return max(marks, key=lambda mark: rank(mark.word), default=Mark(NOT_RUN, reason="No result has it yet."))


def _cure(
    row: Row, marks: Sequence[Mark], meant: Sequence[str], coded: Mapping[str, Coded], advice: str | None = None
) -> Alternative:
    judged = [mark for mark in marks if rank(mark.word) >= 0]
    holds = sum(mark.complies is True for mark in judged)
    own = coded.get(row.scenario, Coded())
    title = advice or row.title
    return Alternative(
        row.scenario, title, tuple(marks), holds, len(judged), own.code, own.keeps, tuple(meant), written=not advice
    )


def cured(column: Column, remedy: str, scenarios: Sequence[str]) -> Mark:
    """The worst word that some scenarios have under a remedy in one cell."""
    line = column.result.by_id.get(remedy) if column.result else None
    cures = (line.get("cures") if line else None) or {}
    own = [(name, cures[name]) for name in scenarios if name in cures]
    if not own:
        return Mark(NOT_APPLICABLE, reason="The remedy is not run over it here.")
    name, cure = max(own, key=lambda pair: rank(pair[1]["verdict"]))
    complies = cure.get("complies")
    well = complies is True and cure.get("without") == cure["verdict"] == SAFE
    return Mark(
        word=NOT_NEEDED if well else cure["verdict"],
        href=f"cells/{column.cell}/{remedy}.html#{name}",
        complies=complies if isinstance(complies, bool) else cure["verdict"] == "safe",
        reason=str(cure.get("reason") or ""),
    )
