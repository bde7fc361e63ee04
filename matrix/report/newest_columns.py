"""For a page that cannot scroll sideways: the columns of the newest releases, and what differs elsewhere in lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from matrix.harness.cell_name import parse
from matrix.report.view import Column, Row, Table
from matrix.words import NOT_RUN


class OtherReleases(NamedTuple):
    """A cell of other releases beside the one of the newest: in one line, in which words it differs."""

    column: Column
    text: str


def newest_only(table: Table) -> tuple[Table, list[OtherReleases]]:
    """The table with the columns of the newest releases alone, where there are such, and the other cells."""
    names = [_base(column.cell) for column in table.columns]
    newest = {column.cell: at for at, column in enumerate(table.columns) if names[at] == column.cell}
    others = [at for at, name in enumerate(names) if name in newest and table.columns[at].cell != name]
    kept = [at for at in range(len(names)) if at not in others]
    if not others:
        return table, []
    rows = list(table.rows.values())
    variants = []
    for at in others:
        words = [(row.scenario, row.marks[at].word, row.marks[newest[names[at]]].word) for row in rows]
        differs = [f"{name} {word} (there {its})" for name, word, its in words if word not in (its, NOT_RUN)]
        text = f"{table.columns[at].cell}: {', '.join(differs) or f'as {names[at]}'}"
        variants.append(OtherReleases(table.columns[at], text))
    columns, remedies = tuple(table.columns[at] for at in kept), _of(table.remedies, kept)
    families = tuple(replace(each, rows=_of(each.rows, kept)) for each in table.families)
    return replace(table, columns=columns, families=families, remedies=remedies), variants


def _base(cell: str) -> str:
    """The cell of the newest releases: server and driver, without versions and factors."""
    try:
        return parse(cell).base
    except ValueError:  # of another version of this program
        return cell


def _of(rows: Iterable[Row], columns: list[int]) -> tuple[Row, ...]:
    return tuple(replace(row, marks=tuple(row.marks[at] for at in columns)) for row in rows)
