"""The JSON that stands beside the pages, as plain data; each kind has a schema in ``matrix/results/schema``."""

from __future__ import annotations

from typing import Any

from matrix.report import files, view
from matrix.report.pages import Site
from matrix.report.summary import axis_ranges
from matrix.results.ranges import AXES
from matrix.results.read import without_evidence
from matrix.words import SCHEMA


def lines(table: view.Table) -> dict[str, dict[str, files.Json]]:
    """The scenario lines of each cell without their evidence; they stand in four files."""
    return {
        column.cell: {line["scenario"]: files.json_text(without_evidence(line)) for line in column.result.scenarios}
        for column in table.columns
        if column.result
    }


def summary(site: Site) -> dict[str, Any]:
    """All cells without their evidence, and why the whole is not green."""
    return {
        "schema": SCHEMA,
        "newest": site.table.newest,
        "problems": list(site.table.problems),
        "cells": [
            files.json_object({**cell(site, column), "page": f"cells/{column.cell}/index.html"})
            for column in site.table.columns
        ],
    }


def cell(site: Site, column: view.Column) -> dict[str, Any]:
    """One cell: its state, the header, the scenario lines without evidence, and the footer of the result shown."""
    state, result = column.state, column.state.result
    return {
        "cell": state.cell,
        "complete": state.complete,
        "problem": column.problem,
        "header": result.header if result else (state.attempt.header if state.attempt else None),
        "scenarios": list(site.lines.get(column.cell, {}).values()),
        "footer": result.footer if result else None,
    }


def driver(site: Site, name: str) -> dict[str, Any]:
    """All cells of a driver without their evidence."""
    cells = [files.json_object(cell(site, column)) for column in site.table.columns if column.driver == name]
    return {"schema": SCHEMA, "driver": name, "cells": cells}


def scenario(site: Site, row: view.Row) -> dict[str, Any]:
    """One scenario: its line in every cell, without evidence, and its ranges."""
    name = row.scenario
    cells = {cell: own[name] for cell, own in site.lines.items() if name in own}
    return {"schema": SCHEMA, "scenario": name, "title": row.title, "cells": cells, "ranges": _ranges(site.table, row)}


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
