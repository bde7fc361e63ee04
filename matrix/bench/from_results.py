"""What the cells took, as their result files say."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from matrix.bench.tables import Heading, Measured
from matrix.lines import ScenarioLine
from matrix.results.read import CellResult

CELL_COLUMNS = (
    Heading("cell"),
    Heading("run", "s"),
    Heading("scenarios run"),
    Heading("median scenario", "ms"),
    Heading("worst scenario", "ms"),
    Heading("which"),
    Heading("schedules"),
    Heading("per schedule", "ms"),
)


def cells(results: Iterable[CellResult]) -> Measured:
    """One row per complete cell."""
    note = (
        "run: from an open server to the last line. A schedule's time is over the scenarios that are no remedies; the "
        "deciding schedule is run twice and counts twice. It is left out where a cell covers several databases."
    )
    return Measured("Cells, from the result files", CELL_COLUMNS, tuple(_cell_row(each) for each in results), note)


def _cell_row(result: CellResult) -> tuple[Any, ...]:
    ran = [line for line in result.scenarios if line.get("seconds")]
    seconds = [line["seconds"] or 0.0 for line in ran]
    whole = result.footer["seconds"] if result.footer else None
    if not ran:
        return (result.cell, whole, 0, None, None, "", None, None)
    slowest = ran[seconds.index(max(seconds))]["scenario"]
    took = (statistics.median(seconds) * 1000, max(seconds) * 1000)
    return (result.cell, whole, len(ran), *took, slowest, *_schedules(ran))


def _schedules(lines: Iterable[ScenarioLine]) -> tuple[int | None, float | None]:
    """How many schedules were run, and the mean time of one in ms; None where the lines do not tell."""
    plain = [line for line in lines if "cures" not in line and len(line.get("variants") or ()) < 2]
    counted = [(orders["explored"], line["seconds"] or 0.0) for line in plain if (orders := line.get("orders"))]
    counted = [each for each in counted if each[0]]
    schedules = sum(explored + 1 for explored, _ in counted)
    if not schedules:
        return None, None
    return schedules, sum(seconds for _, seconds in counted) / schedules * 1000
