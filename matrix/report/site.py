"""The static pages: an index with the tables, a page per cell, a page per cell and scenario, JSON beside them.

Pages refer to each other relatively, so they work from a folder; they hold no script and ask no other host.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from matrix.report import evidence, files, suite, view
from matrix.report.marks import glyph, style_class
from matrix.results import schema
from matrix.results.read import CellState
from matrix.results.text import clean
from matrix.results.words import LEVEL_MEANS, REMEDY_MEANS, SCHEMA, VERDICT_MEANS

HERE = Path(__file__).parent


def build(table: view.Table, out: str | os.PathLike[str]) -> Path:
    """Writes ``<out>/site`` and ``<out>/results.json``; returns the index page. Raises OSError."""
    out, summary = Path(out), files.as_json(summary_of(table))
    with files.replaced_folder(out / "site") as site:
        _pages(table, site)
        files.write(site / "results.json", summary)
        files.write(site / schema.PATH.name, schema.PATH.read_bytes())
        files.write(site / "style.css", (HERE / "style.css").read_bytes())
    files.write(out / "results.json", summary)
    return out / "site" / "index.html"


def environment() -> jinja2.Environment:
    """Templates in which every value is escaped and cleaned; keys that a result line may lack are empty."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    pages.globals |= {
        "glyph": glyph,
        "style_class": style_class,
        "means": {**VERDICT_MEANS, **REMEDY_MEANS},
        "verdict_means": VERDICT_MEANS,
        "remedy_means": REMEDY_MEANS,
        "level_means": LEVEL_MEANS,
        "page_of": view.page_of,
        "counts": view.counts,
        "read_evidence": evidence.read,
        "is_link": is_link,
    }
    return pages


def is_link(text: Any) -> bool:
    """Whether a text from outside may become a link: http and https only."""
    return isinstance(text, str) and text.startswith(("https://", "http://"))


def _finalize(value: Any) -> Any:
    if value is None:
        return ""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _pages(table: view.Table, site: Path) -> None:
    pages = environment()
    _write(
        site / "index.html", pages.get_template("index.html"), root="", table=table, suite=suite.facts(table.documents)
    )
    for kind, document in table.documents.items():
        _write(site / f"{kind}.html", pages.get_template(f"{kind}.html"), root="", **suite.seen(kind, document))
        files.write(site / f"{kind}.json", files.as_json(document))
        files.write(site / schema.DOCUMENTS[kind].name, schema.DOCUMENTS[kind].read_bytes())
    cell_page, scenario_page = pages.get_template("cell.html"), pages.get_template("scenario.html")
    rows = {row.scenario: (family, row) for family in table.families for row in family.rows}
    for column in table.columns:
        folder = site / "cells" / column.cell
        _write(folder / "index.html", cell_page, root="../../", table=table, column=column)
        files.write(site / "cells" / f"{column.cell}.json", files.as_json(cell_json(column.state, column.problem)))
        for line in column.result.scenarios if column.result else ():
            family, row = rows[line["scenario"]]
            about = _about(table, column, line)
            _write(
                folder / f"{row.scenario}.html",
                scenario_page,
                root="../../",
                table=table,
                row=row,
                family=family,
                **about,
            )


def _about(table: view.Table, column: view.Column, line: dict[str, Any]) -> dict[str, Any]:
    """What an evidence page says beyond the table: neighbours in both directions and the record."""
    having = [other for other in table.columns if other.result and line["scenario"] in other.result.by_id]
    at = [other.cell for other in having].index(column.cell)
    return {
        "column": column,
        "line": line,
        "mark": view.mark(column, line["scenario"], table.records),
        "record": table.records.get((column.cell, line["scenario"])),
        "before": having[at - 1] if at else None,
        "after": having[at + 1] if at + 1 < len(having) else None,
    }


def _write(path: Path, template: jinja2.Template, **values: Any) -> None:
    files.write(path, files.encode(template.render(**values)))


# JSON


def summary_of(table: view.Table) -> dict[str, Any]:
    """All cells without their evidence, and why the whole is not green."""
    return {
        "schema": SCHEMA,
        "newest": table.newest,
        "problems": list(table.problems),
        "cells": [
            {**cell_json(column.state, column.problem, with_evidence=False), "page": f"cells/{column.cell}/index.html"}
            for column in table.columns
        ],
    }


def cell_json(state: CellState, problem: str | None, with_evidence: bool = True) -> dict[str, Any]:
    """One cell: its state, the header, the scenario lines and the footer of the result that is shown."""
    result = state.result
    lines = result.scenarios if result else ()
    return {
        "cell": state.cell,
        "complete": state.complete,
        "problem": problem,
        "header": result.header if result else (state.attempt.header if state.attempt else None),
        "scenarios": [line if with_evidence else schema.without_evidence(line) for line in lines],
        "footer": result.footer if result else None,
    }
