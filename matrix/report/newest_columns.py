"""For a page that cannot scroll sideways: the columns of the newest releases, and what differs elsewhere in lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from matrix.harness.cell_name import parse
from matrix.report.view import Column, Row, Table


@dataclass(frozen=True)
class OtherReleases:
    """A cell of other releases beside the one of the newest: the scenarios whose words differ, as (id, its word, the
    newest one's)."""

    column: Column
    of: str
    differs: tuple[tuple[str, str, str], ...]

    @property
    def text(self) -> str:
        """In one line."""
        if not self.differs:
            return f"{self.column.cell}: as {self.of}"
        differences = ", ".join(f"{scenario} {word} (there {newest})" for scenario, word, newest in self.differs)
        return f"{self.column.cell}: {differences}"


def newest_only(table: Table) -> tuple[Table, list[OtherReleases]]:
    """The table with the columns of the newest releases alone, where there are such, and the other cells."""
    names = [_base(column.cell) for column in table.columns]
    newest = {column.cell: at for at, column in enumerate(table.columns) if names[at] == column.cell}
    others = [at for at, name in enumerate(names) if name in newest and table.columns[at].cell != name]
    kept = [at for at in range(len(names)) if at not in others]
    if not others:
        return table, []
    rows = list(table.rows.values())
    variants = [OtherReleases(table.columns[at], names[at], _differing(rows, at, newest[names[at]])) for at in others]
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


def _differing(rows: list[Row], at: int, newest: int) -> tuple[tuple[str, str, str], ...]:
    words = [(row.scenario, row.marks[at].word, row.marks[newest].word) for row in rows]
    return tuple(each for each in words if each[1] != each[2] and each[1] != "not run")
