"""What is on record of the newest releases: how cells of other releases are asked first (``--brief``).

A cell of the plan's axes answers one question: is it as with the newest releases? The schedule that decided there asks
it at once. Only where the answer is another one, all the orders are run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent.parent / "matrix" / "axes" / "schedules.json"
ORDERS = 1  # beside the schedule on record, where that is of a safe verdict: it says little of other releases
PROGRAMS = 4  # of a line of generated ones, under the same condition


@dataclass(frozen=True)
class Known:
    """One scenario (under a remedy) on record: its verdict, the schedule that decided, a generated line's program."""

    verdict: str
    schedule: str
    program: list[Any] | None = None


class Record:
    """The record of one cell of the newest releases."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = entries

    def of(self, scenario: str, remedy: str = "") -> Known | None:
        """What is known of a scenario; None of a new one."""
        entry = self._entries.get(f"{remedy} {scenario}".strip())
        return Known(**entry) if entry else None


def read(base: str, file: Path = FILE) -> Record:
    """The record of a base cell, such as ``mysql-aiomysql``; an empty one where nobody has measured."""
    try:
        return Record(json.loads(file.read_text(encoding="utf-8")).get(base, {}))
    except FileNotFoundError:
        return Record({})


def entries(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """A cell's result lines as the file has them; what is no verdict is left out."""
    made: dict[str, Any] = {}
    for line in lines:
        for scenario, seen in (line.get("cures") or {"": line}).items():
            if seen["verdict"] in ("n/a", "error", "not run"):
                continue
            known = {"verdict": seen["verdict"], "schedule": seen.get("schedule") or ""}
            if program := (line.get("generated") or {}).get("deciding"):
                known["program"] = program
            made[f"{line['scenario']} {scenario}".strip()] = known
    return made
