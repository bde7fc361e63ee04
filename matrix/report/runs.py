"""Older runs that stay on the site: the table as it was, what changed since, and what each cell said then.

Their results have no evidence. Links to a run (``#run-…``) lead to its word and reason on the page of the newest run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matrix.lines import word_of
from matrix.report import shared, view
from matrix.report.changes import Change, between
from matrix.results.read import CellResult, CellState

Said = dict[str, Any]  # of one earlier run of a cell: stamp, run, scenario, word, reason, schedule


@dataclass(frozen=True)
class OlderRun:
    """Results of before. ``name`` is that of its folder on the site, ``table`` has the cells that there still are."""

    name: str
    table: view.Table
    changes: tuple[Change, ...] = ()

    def counted(self, direction: str) -> int:
        return sum(change.direction == direction for change in self.changes)


def stamp(result: CellResult) -> str:
    """The name of a cell's run in links: its start, without what an id must not hold."""
    return "run-" + re.sub(r"[^0-9TZ]", "", str(result.header["started"]))


def runs(now: view.Table, older: Iterable[Sequence[CellState]], folder: str | os.PathLike[str]) -> tuple[OlderRun, ...]:
    """The runs of several folders of older results, newest first; two of the same moment are one. ``folder`` holds the
    expectations. Raises ExpectationError."""
    complete = [[state for state in states if state.result] for states in older]
    dated = {max(state.result.started for state in states if state.result): states for states in complete if states}
    found: dict[str, OlderRun] = {}
    for moment, states in sorted(dated.items(), reverse=True):
        day = moment.strftime("%Y-%m-%d")
        name = day if day not in found else moment.strftime("%Y-%m-%dT%H%M%S")
        changes = between(states, [column.state for column in now.columns])
        found[name] = OlderRun(name, _then(now, states, folder), changes)
    return tuple(found.values())


def earlier(all_runs: Iterable[OlderRun], now: CellResult) -> Iterator[tuple[OlderRun, CellResult]]:
    """The runs of a cell before the one that is shown, newest first, each once."""
    seen = {stamp(now)}
    for run in all_runs:
        then = next((column.result for column in run.table.columns if column.cell == now.cell), None)
        if then is not None and stamp(then) not in seen:
            seen.add(stamp(then))
            yield run, then


def said_of(all_runs: Iterable[OlderRun], now: CellResult, scenario: str) -> list[Said]:
    """What the earlier runs of a cell said of one scenario."""
    found = earlier(all_runs, now)
    return [_said(run, then, scenario) for run, then in found if scenario in then.by_id]


def otherwise(all_runs: Iterable[OlderRun], now: CellResult) -> list[tuple[OlderRun, CellResult, str, list[Said]]]:
    """For each earlier run of a cell its link's name and what it said that is not said any more."""
    found = []
    for run, then in earlier(all_runs, now):
        kept = {shared.what_it_says(line) for line in now.scenarios}
        gone = [line["scenario"] for line in then.scenarios if shared.what_it_says(line) not in kept]
        found.append((run, then, stamp(then), [_said(run, then, name) for name in gone]))
    return found


def _said(run: OlderRun, then: CellResult, scenario: str) -> Said:
    """What one earlier run of a cell said of a scenario, and which it was."""
    line = then.by_id[scenario]
    said = {key: str(line.get(key) or "") for key in ("reason", "schedule")}
    return {"stamp": stamp(then), "run": run, "scenario": scenario, "word": word_of(line), **said}


def _then(now: view.Table, states: Iterable[CellState], folder: str | os.PathLike[str]) -> view.Table:
    """The table of older results with the cells and rows that there still are; each word leads to that run."""
    cells = {column.cell for column in now.columns if column.result}
    table = view.build([state for state in states if state.result and state.cell in cells], folder)

    def led(row: view.Row) -> view.Row:
        marks = zip(row.marks, table.columns, strict=True)
        return replace(row, marks=tuple(_led(now, mark, column, row.scenario) for mark, column in marks))

    rows = [tuple(led(row) for row in family.rows if row.scenario in now.rows) for family in table.families]
    families = tuple(replace(family, rows=own) for family, own in zip(table.families, rows, strict=True))
    remedies = tuple(row for family in families if family.key == "remedies" for row in family.rows)
    return replace(table, families=families, remedies=remedies)


def _led(now: view.Table, mark: view.Mark, column: view.Column, scenario: str) -> view.Mark:
    if not mark.href or column.result is None:
        return mark
    own = now.pages.get((column.cell, scenario)) == column.cell
    page = view.page_of(column.cell, scenario) if own else f"cells/{column.cell}/index.html"
    return replace(mark, href=f"{page}#{stamp(column.result)}", note="")
