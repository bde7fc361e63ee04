"""What a folder of results covers and what it leaves out, counted. Pure functions of the table."""

from __future__ import annotations

from collections import Counter
from typing import Any

from matrix.report.view import Table
from matrix.words import NOT_VERDICTS


def coverage(table: Table) -> dict[str, Any]:
    """What the complete runs of a table cover: counts of the lines of all cells. ``whole``: lines of which every
    possible order was run; ``gaps``: why lines have no verdict, each with how often, most often first; ``found``: the
    anomalies that only a generated program showed, with ``page``, that of their evidence."""
    lines = list(table.lines)
    orders = [each for _, line in lines if (each := line.get("orders")) and each["explored"]]
    unjudged = [line for _, line in lines if line["verdict"] in NOT_VERDICTS]
    absent = [(line["verdict"], str(line.get("reason") or "no reason given")) for line in unjudged]
    made = [(table.page_of(cell, line["scenario"]), cell, line.get("generated")) for cell, line in lines]
    generated = [(page, cell, entry) for page, cell, entry in made if entry]
    anomalies = [(page, cell, each) for page, cell, entry in generated for each in entry.get("anomalies") or () if each]
    found = [
        {
            "verdict": each.get("verdict"),
            "properties": ", ".join(each.get("properties") or ()),
            "cell": cell,
            "page": page,
        }
        for page, cell, each in anomalies
        if each.get("found_by_generation")
    ]
    return {
        "cells": sum(column.result is not None for column in table.columns),
        "scenarios": len(table.rows),
        "lines": len(lines),
        "judged": len(lines) - len(absent),
        "explored": len(orders),
        "runs": sum(each["explored"] for each in orders),
        "whole": sum(each["explored"] == each.get("possible") for each in orders),
        "gaps": [(*gap, number) for gap, number in Counter(absent).most_common()],
        "programs": sum(entry.get("programs") or 0 for _, _, entry in generated),
        "anomalies": len(anomalies),
        "found": found,
    }
