"""The generated tables of docs/findings.md: orders by kind of silent loss, and what was told failed and is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matrix.files import read_toml
from matrix.report.view import Table
from matrix.words import ATOMICITY, CONTAINMENT, DURABILITY, LIES, ROUTING

KINDS = Path(__file__).resolve().parents[2] / "docs" / "kinds.toml"
WRONG_DATA = (ROUTING, DURABILITY, ATOMICITY, CONTAINMENT)


def blocks(table: Table) -> dict[str, str]:
    """By the names of their markers."""
    return {"kinds": "\n".join(_kinds(table)), "told": "\n".join(_told_failed(table))}


def _kinds(table: Table) -> Iterator[str]:
    """A row for each kind: its scenarios, how many orders were run in how many lines, and what was found."""
    yield "| kind | scenarios | orders | found by exploration |"
    yield "|---|---|---|---|"
    for kind in read_toml(KINDS)["kind"]:
        explored = [
            orders["explored"]
            for _, line in table.lines
            if line["scenario"] in kind["scenarios"] and (orders := line.get("orders")) and orders["explored"]
        ]
        ran = f"{sum(explored):,} in {len(explored)} lines"
        yield f"| {kind['title']} | {', '.join(kind['scenarios'])} | {ran} | {kind['found']} |"


def _told_failed(table: Table) -> Iterator[str]:
    """A row for each scenario that ``lies`` only because what was told to have failed is stored, and where."""
    found: dict[str, dict[str, str]] = {}
    for cell, line in table.lines:
        wrong = [each for each in line["violations"] if each["property"] in WRONG_DATA]
        facts = [each.get("fact") or {} for each in wrong]
        failed = [f.get("kind") == "row_stored" and (f.get("error") or f.get("outcome") == "failed") for f in facts]
        if line["verdict"] == LIES and facts and all(failed):
            error = (facts[0].get("error") or {}).get("type", "")
            found.setdefault(line["scenario"], {})[cell] = error or str(facts[0].get("outcome") or "")
    yield "| scenario | cells | what was told |"
    yield "|---|---|---|"
    for name in (name for name in table.rows if name in found):
        told = ", ".join(dict.fromkeys(f"`{each}`" for each in found[name].values()))
        yield f"| {name} | {', '.join(found[name])} | {told} |"
