"""Runs one scenario in a cell: over each of its databases, in a child process where the driver asks for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from matrix.lines import ScenarioLine
from matrix.words import ERROR, FULL, NOT_APPLICABLE, RECORD, SAFE, VERDICTS, badness, complies

from .isolated import once_in_child
from .result_lines import because, line_of, remedy_line, without_verdict
from .runner import Runner

if TYPE_CHECKING:
    from .cell import Backing, Cell
    from .known_schedules import KnownSchedules
    from .scenario import Scenario


async def run(
    cell: Cell,
    scenario: Scenario,
    catalogue: dict[str, Scenario],
    plain: dict[str, str],
    bound: int,
    known_schedules: KnownSchedules | None = None,
    depth: str = FULL,
) -> ScenarioLine:
    """The result line of a scenario in a cell. ``plain`` remembers verdicts without remedy; ``known_schedules``
    are asked first, and at the ``depth`` of record nothing else, where the verdict is the same again."""
    reason = cell.unmet(scenario)
    if reason is not None:
        return without_verdict(scenario, NOT_APPLICABLE, reason)
    lines = {}
    for backing in cell.backings:
        if "server" in scenario.needs and backing.server_address is None and len(cell.backings) > 1:
            continue  # a cell of several databases, this one a library
        lines[backing.kind] = await _run(
            runner(cell, backing, bound, known_schedules, depth), scenario, catalogue, plain
        )
    line = lines[cell.backings[0].kind] if len(lines) == 1 else merge(lines)
    plain[scenario.id] = line["verdict"]
    return line


def runner(
    cell: Cell, backing: Backing, bound: int, known_schedules: KnownSchedules | None = None, depth: str = FULL
) -> Runner:
    """What runs scenarios in one database of a cell, at most ``bound`` orders of each."""
    once = once_in_child if cell.adapter.isolated else None
    made = Runner(backing, min(bound, cell.adapter.orders), once, cell.adapter.steps)
    made.known_schedules, made.depth = known_schedules, depth
    made.database = backing.kind if len(cell.backings) > 1 else ""
    return made


async def _run(
    runner: Runner, scenario: Scenario, catalogue: dict[str, Scenario], plain: dict[str, str]
) -> ScenarioLine:
    if scenario.cures:
        return await remedy_line(runner, scenario, catalogue, plain)
    started = time.monotonic()
    exploration = await runner.explore(scenario)
    return line_of(scenario, exploration, time.monotonic() - started)


def merge(lines: dict[str, ScenarioLine]) -> ScenarioLine:
    """One line for several databases: the worst verdict's, with every database's word in ``variants``, and what decided
    there in ``schedules``."""
    errors = [kind for kind, line in lines.items() if line["verdict"] not in VERDICTS]
    deciding = errors[0] if errors else max(lines, key=lambda kind: badness(lines[kind]["verdict"]))
    line = lines[deciding].copy()
    line["variants"] = {kind: each["verdict"] for kind, each in lines.items()}
    line["schedules"] = {
        kind: each["schedule"]
        for kind, each in lines.items()
        if each["verdict"] in VERDICTS or (each["orders"] and each["orders"].get("situation_not_met"))
    }
    ran = [(kind, each["orders"]) for kind, each in lines.items() if each["orders"]]
    again = [f"{kind}: {failed}" for kind, orders in ran for failed in orders.get("made_again", [])]
    if again and line["orders"]:
        line["orders"] = {**line["orders"], "made_again": again}
    line["seconds"] = round(sum(each["seconds"] or 0.0 for each in lines.values()), 4)
    if line["verdict"] != SAFE:
        found = because({"kind": "in_database", "database": deciding, "finding": line["finding"]})
        line["finding"], line["reason"] = found["finding"], found["reason"]
    line["depth"] = RECORD if any(each["depth"] == RECORD for each in lines.values()) else FULL
    if line["verdict"] != ERROR:
        line["complies"] = complies(line["level"], line["verdict"])
    return line
