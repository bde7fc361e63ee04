"""The JSON that stands beside the pages, as plain data; each kind has a schema in ``matrix/results/schema``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matrix.lines import ScenarioLine, word_of
from matrix.report import view
from matrix.report.pages import Site
from matrix.report.summary import axis_ranges
from matrix.results.ranges import AXES
from matrix.results.read import without_evidence
from matrix.words import SCHEMA


def summary(site: Site) -> dict[str, Any]:
    """All cells with a word for each scenario, and why the whole is not green."""
    table = site.table
    cells = [cell_summary(column) for column in table.columns]
    return {"schema": SCHEMA, "newest": table.newest, "problems": list(table.problems), "cells": cells}


def cell_summary(column: view.Column) -> dict[str, Any]:
    """One cell: its state, the header, a word for each scenario, the footer of the result shown, and its page."""
    state, result = column.state, column.state.result
    return {
        "cell": state.cell,
        "complete": state.complete,
        "problem": column.problem,
        "header": result.header if result else (state.attempt.header if state.attempt else None),
        "words": {name: word_of(line) for name, line in result.by_id.items()} if result else {},
        "footer": result.footer if result else None,
        "page": f"cells/{column.cell}/index.html",
    }


# Of a scenario's line: what its own file says for all cells; what a cell with the same words says just so, but for
# numbers, addresses and names of rows.
OF_SCENARIO = ("type", "schema", "family", "title", "contract", "source", "links")
OF_FINDING = ("reason", "violations", "finding", "proof", "cures")


def cell(table: view.Table, column: view.Column) -> dict[str, Any]:
    """The same with what it says of each scenario in the words' place, without evidence."""
    results = {each.cell: each.result.by_id for each in table.columns if each.result}
    lines = [_line(table, column.cell, line, results) for line in column.result.scenarios] if column.result else []
    return {**{key: value for key, value in cell_summary(column).items() if key != "words"}, "scenarios": lines}


def _line(
    table: view.Table, cell: str, line: ScenarioLine, results: Mapping[str, Mapping[str, ScenarioLine]]
) -> dict[str, Any]:
    """What a cell says of a scenario; where another one says the same, its name and what differs from there."""
    own: dict[str, Any] = {key: value for key, value in without_evidence(line).items() if key not in OF_SCENARIO}
    if isinstance(cures := own.get("cures"), dict):
        own["cures"] = {name: {k: v for k, v in cure.items() if k != "title"} for name, cure in cures.items()}
    name = line["scenario"]
    same_as = table.pages.get((cell, name), cell)
    there = results[same_as][name]
    if same_as == cell or there.keys() - line.keys():
        return own
    differs = {key: value for key, value in own.items() if key not in OF_FINDING and value != there.get(key)}
    return {"scenario": name, "verdict": line["verdict"], "complies": line["complies"], "same_as": same_as, **differs}


def driver(site: Site, name: str) -> dict[str, Any]:
    """All cells of a driver with a word for each scenario."""
    cells = [cell_summary(column) for column in site.table.columns if column.driver == name]
    return {"schema": SCHEMA, "driver": name, "cells": cells}


def scenario(site: Site, row: view.Row) -> dict[str, Any]:
    """One scenario: what it promises, what every cell says of it, and its ranges."""
    cells = {
        column.cell: {
            "word": word_of(line),
            "complies": line["complies"],
            "reason": line.get("reason") or "",
            "schedule": line.get("schedule"),
            "page": site.table.page_of(column.cell, row.scenario),
        }
        for column in site.table.columns
        if column.result and (line := column.result.by_id.get(row.scenario))
    }
    about = {"title": row.title, "family": row.family, "level": row.level, "contract": row.contract}
    about |= _links(site.table, row)
    ranges = _ranges(site.table, row)
    return {"schema": SCHEMA, "scenario": row.scenario, **about, "cells": cells, "ranges": ranges}


def _links(table: view.Table, row: view.Row) -> dict[str, Any]:
    """What is quoted for each driver, and the issues that are linked, by the newest cells."""
    runs = reversed(table.newest_runs)
    lines = [(run.axes["driver"], run.by_id[row.scenario]) for run in runs if row.scenario in run.by_id]
    links = [link for _, line in lines for link in line.get("links") or ()]
    return {"sources": {driver: line.get("source") for driver, line in lines}, "links": list(dict.fromkeys(links))}


def _ranges(table: view.Table, row: view.Row) -> dict[str, dict[str, list[dict[str, str]]]]:
    """The ranges of a row for programs: per group and axis."""
    return {
        each_group.key: {
            name: [{"word": one.word, "from": one.low, "to": one.high} for one in found]
            for axis, name in AXES.items()
            if (found := axis_ranges([each_group], axis, row.marks))
        }
        for each_group in table.groups
    }
