"""Prints which scenario catches which seeded fault; exit 1 if a fault is caught by none and no gap says so."""

from __future__ import annotations

import sys

from .table import Row, table

HEADINGS = ("seeded fault", "expected", "caught as expected by", "also caught by")


def cells(row: Row) -> tuple[str, str, str, str]:
    """One line of the printed table."""
    property, verdict = row.expects or ("", "")
    expected = row.as_expected
    others = [f"{each.scenario} ({each.verdict})" for each in row.catches if each not in expected]
    caught = " ".join(each.scenario for each in expected) or (f"nothing: {row.gap}" if row.gap else "NOTHING")
    return f"{row.fault}: {row.sentence}", f"{verdict}, {property}", caught, " ".join(others)


def show(rows: list[Row]) -> None:
    """As a table where rich can be imported, as plain lines otherwise."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for row in rows:
            fault, expected, caught, others = cells(row)
            print(f"{fault}\n    expected: {expected}\n    caught by: {caught}" + f"; also {others}" * bool(others))
        return
    made = Table(*HEADINGS, title="Seeded fault x scenario that caught it", show_lines=True)
    for row in rows:
        made.add_row(*cells(row))
    Console().print(made)


def main() -> int:
    rows = table()
    show(rows)
    missed = [row for row in rows if not row.as_expected]
    print(f"{len(rows)} faults, {len(rows) - len(missed)} caught, {len(missed)} not: ", end="")
    print(", ".join(row.fault for row in missed) or "none")
    return 1 if any(not row.gap for row in missed) else 0


if __name__ == "__main__":
    sys.exit(main())
