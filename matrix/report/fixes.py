"""What a fix would do: each candidate's cells against the release's, as the blocks of docs/fix.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from matrix import files
from matrix.harness.cell_name import parse
from matrix.lines import ScenarioLine
from matrix.report.markdown import escape
from matrix.report.readme import filled
from matrix.results.compare import Difference, of_cell
from matrix.results.read import CellResult, CellState
from matrix.words import ERROR, GLYPHS, HANGS, LIES, NOT_RUN, POISONS, REFUSES, SAFE, family_of

SILENT = (LIES, POISONS, HANGS)
RELEASE = ""
Sides = Mapping[str, CellResult]  # of one cell: by candidate, the release under RELEASE


def update(states: Iterable[CellState], page: Path) -> list[Difference]:
    """Fill the page's blocks; returns what a candidate makes worse. Raises OSError, ValueError where nothing can be
    compared."""
    cells = sides(states)
    worse = [each for differences in compared(cells).values() for each in differences if is_worse(each)]
    files.write(page, filled(page.read_text("utf-8"), blocks(cells)))
    return worse


def sides(states: Iterable[CellState]) -> dict[str, Sides]:
    """The cells of the newest releases that have candidates. Raises ValueError where there is none."""
    found: dict[str, dict[str, CellResult]] = {}
    for state in states:
        name = parse(state.cell)
        if state.result and (name.default or name.candidate):
            found.setdefault(name.base, {})[name.candidate] = state.result
    whole: dict[str, Sides] = {base: own for base, own in found.items() if RELEASE in own and len(own) > 1}
    if not whole:
        raise ValueError("no cell of a release stands beside one of a candidate")
    return whole


def candidates(cells: Mapping[str, Sides]) -> list[str]:
    return sorted({candidate for own in cells.values() for candidate in own if candidate})


def pairs(own: Sides, candidate: str) -> Iterator[tuple[ScenarioLine, ScenarioLine]]:
    """What the release and a candidate say of each scenario that both have run and that is judged."""
    for scenario, after in own[candidate].by_id.items() if candidate in own else ():
        before = own[RELEASE].by_id.get(scenario)
        if before is not None and None not in (before["complies"], after["complies"]) and not before.get("cures"):
            yield before, after


def compared(cells: Mapping[str, Sides]) -> dict[tuple[str, str], list[Difference]]:
    """The differences by cell and candidate, of scenarios that both have run."""
    found = {}
    for base, own in cells.items():
        for candidate in filter(None, own):
            differences = of_cell(own[RELEASE], own[candidate], base)
            found[base, candidate] = [each for each in differences if None not in (each.before, each.after)]
    return found


def blocks(cells: Mapping[str, Sides]) -> dict[str, str]:
    """The blocks by name."""
    made = {"sums": _sums(cells), "cells": _cells(cells), "scenarios": _scenarios(cells), "worse": _worse(cells)}
    return {name: "\n".join(lines) for name, lines in made.items()}


def _failing(lines: Iterable[ScenarioLine]) -> int:
    return sum(line["complies"] is False for line in lines)


def _sums(cells: Mapping[str, Sides]) -> Iterator[str]:
    yield "| candidate | judged lines | do not comply | of these in nested blocks | lies, poisons or hangs |"
    yield "|---|---|---|---|---|"
    for candidate in candidates(cells):
        both = [pair for own in cells.values() for pair in pairs(own, candidate)]
        parts = [str(len(both))]
        for count in (
            _failing,
            lambda lines: _failing(line for line in lines if family_of(line["scenario"]).prefix == "NST"),
            lambda lines: sum(line["verdict"] in SILENT for line in lines),
        ):
            parts.append(" → ".join(str(count([pair[side] for pair in both])) for side in (0, 1)))
        yield f"| `{candidate}` | {' | '.join(parts)} |"


def _cells(cells: Mapping[str, Sides]) -> Iterator[str]:
    names = candidates(cells)
    yield f"| lines that do not comply | {' | '.join(f'`{name}`' for name in names)} |"
    yield f"|---|{'---|' * len(names)}"
    for base, own in cells.items():
        found = [[*pairs(own, name)] for name in names]
        counts = [f"{_failing(b for b, _ in both)} → {_failing(a for _, a in both)}" if both else "" for both in found]
        yield f"| {base} | {' | '.join(counts)} |"


def _scenarios(cells: Mapping[str, Sides]) -> Iterator[str]:
    """A row for each scenario of which a candidate changes something, or leaves something that does not comply."""
    names = candidates(cells)
    yield f"| scenario | {' | '.join(cells)} |"
    yield f"|---|{'---|' * len(cells)}"
    known = {line["scenario"]: line for own in cells.values() for name in names for _, line in pairs(own, name)}
    for scenario, line in known.items():
        row, worth = [], False
        for own in cells.values():
            before = own[RELEASE].by_id.get(scenario)
            after = [own[name].by_id.get(scenario) for name in names if name in own]
            words = [each["verdict"] if each else NOT_RUN for each in (before, *after)]
            worth |= len(set(words)) > 1 or any(each and each["complies"] is False for each in after)
            row.append(f"{GLYPHS[words[0]]} → {' '.join(GLYPHS[word] for word in words[1:])}")
        if worth:
            yield f"| {scenario} {escape(str(line.get('title') or ''))} | {' | '.join(row)} |"


def _worse(cells: Mapping[str, Sides]) -> Iterator[str]:
    """What complied with the release and does not with a candidate; how often a refusal is all that changed; and what
    could not be measured."""
    found = compared(cells)
    for candidate in candidates(cells):
        own = [each for (_, name), differences in found.items() if name == candidate for each in differences]
        worse = [each for each in own if is_worse(each)]
        refused = sum((each.before, each.after) == (SAFE, REFUSES) for each in own)
        yield f"- `{candidate}`: {len(worse)} worse; {refused} times a refusal in the place of `safe`, which complies."
        by_change: dict[tuple[str | None, ...], list[str]] = {}
        for each in worse:
            by_change.setdefault((each.scenario, each.before, each.after), []).append(each.cell)
        for (scenario, before, after), where in by_change.items():
            yield f"  - {scenario}: {before} → {after} ({', '.join(where)})"
        unmeasured = [f"{each.scenario} on {each.cell}" for each in own if each.after == ERROR]
        yield from ([f"  - not measured: {', '.join(unmeasured)}"] if unmeasured else [])


def is_worse(difference: Difference) -> bool:
    """Whether a candidate does worse; an error says nothing of it."""
    return difference.kind == "worse" and difference.after != ERROR
