"""The JSON that stands beside the pages, as plain data; each kind has a schema in ``matrix/results/schema``."""

from __future__ import annotations

from typing import Any

from matrix.lines import word_of
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


def cell(column: view.Column) -> dict[str, Any]:
    """The same with the scenario lines in the words' place, without evidence."""
    lines = [without_evidence(line) for line in column.result.scenarios] if column.result else []
    return {**{key: value for key, value in cell_summary(column).items() if key != "words"}, "scenarios": lines}


def driver(site: Site, name: str) -> dict[str, Any]:
    """All cells of a driver with a word for each scenario."""
    cells = [cell_summary(column) for column in site.table.columns if column.driver == name]
    return {"schema": SCHEMA, "driver": name, "cells": cells}


def scenario(site: Site, row: view.Row) -> dict[str, Any]:
    """One scenario: what every cell says of it, and its ranges."""
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
    ranges = _ranges(site.table, row)
    return {"schema": SCHEMA, "scenario": row.scenario, "title": row.title, "cells": cells, "ranges": ranges}


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
