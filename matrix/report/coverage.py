"""What a folder of results covers and what it leaves out, counted. Pure functions of the table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from matrix.report.view import Table
from matrix.words import NOT_VERDICTS


@dataclass(frozen=True)
class GeneratedAnomaly:
    """One kind of anomaly that only a generated program showed, and the page of its evidence."""

    verdict: str
    properties: str
    cell: str
    page: str


@dataclass(frozen=True)
class Coverage:
    """Counts of the lines of all cells. ``whole``: lines of which every possible order was run; ``gaps``: why lines
    have no verdict, each with how often, most often first; ``found``: anomalies found by generation."""

    cells: int
    scenarios: int
    lines: int
    judged: int
    explored: int
    runs: int
    whole: int
    gaps: tuple[tuple[str, str, int], ...]
    programs: int
    anomalies: int
    found: tuple[GeneratedAnomaly, ...]


def coverage(table: Table) -> Coverage:
    """What the complete runs of a table cover."""
    lines = list(table.lines)
    orders = [each for _, line in lines if (each := line.get("orders")) and each["explored"]]
    unjudged = [line for _, line in lines if line["verdict"] in NOT_VERDICTS]
    absent = [(line["verdict"], str(line.get("reason") or "no reason given")) for line in unjudged]
    made = [(table.page_of(cell, line["scenario"]), cell, line.get("generated")) for cell, line in lines]
    generated = [(page, cell, entry) for page, cell, entry in made if entry]
    anomalies = [(page, cell, each) for page, cell, entry in generated for each in entry.get("anomalies") or () if each]
    found = [(page, cell, each) for page, cell, each in anomalies if each.get("found_by_generation")]
    return Coverage(
        cells=sum(column.result is not None for column in table.columns),
        scenarios=len(table.rows),
        lines=len(lines),
        judged=len(lines) - len(absent),
        explored=len(orders),
        runs=sum(each["explored"] for each in orders),
        whole=sum(each["explored"] == each.get("possible") for each in orders),
        gaps=tuple((*gap, number) for gap, number in sorted(Counter(absent).items(), key=lambda pair: -pair[1])),
        programs=sum(entry.get("programs") or 0 for _, _, entry in generated),
        anomalies=len(anomalies),
        found=tuple(
            GeneratedAnomaly(str(each.get("verdict")), ", ".join(each.get("properties") or ()), cell, page)
            for page, cell, each in found
        ),
    )
