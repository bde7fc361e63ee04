"""What is on record: how cells are asked first, and with ``--brief`` no further.

The schedule that decided when the cell of the newest releases was measured asks at once whether it is so again, there
and in cells of other releases. Where one of those gave another answer before, the schedule that decided then asks
beside it. Where the answer is again another one, all the orders are run.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix.lines import Cure, ScenarioLine
from matrix.words import NOT_APPLICABLE, NOT_VERDICTS, SAFE

FILE = Path(__file__).resolve().parents[1] / "axes" / "schedules.json"
ORDERS = 1  # beside the schedule on record, where that is of a safe verdict: it says little of other releases
MOMENTS = 4  # ... cancelled at so many of its moments, where the cell was asked at every one before
PROGRAMS = 2  # of a line of generated ones, under the same condition


@dataclass(frozen=True)
class KnownResult:
    """One scenario (under a remedy) on record: its verdict, the schedule that decided, a generated line's program, and
    what decided with the newest releases, where that was something else. Without a schedule it does not apply: none
    of its orders came to the situation."""

    verdict: str
    schedule: str
    program: list[Any] | None = None
    newest: KnownResult | None = None

    @property
    def schedules(self) -> list[str]:
        """What to ask with: the one that decided, and that of the newest releases, if it is another one."""
        every = [self.schedule, *([self.newest.schedule] if self.newest else [])]
        return list(dict.fromkeys(schedule for schedule in every if schedule))

    @property
    def programs(self) -> list[list[Any]]:
        """A generated line's programs to ask with."""
        return [known.program for known in (self, self.newest) if known is not None and known.program]


class KnownSchedules:
    """The record of one cell: ``newest`` are the entries of its base cell, ``own`` those in which it differs.
    ``moments``: at how many an order beside the record is cancelled, None for all; ``drawn_by``: which these are, that
    cells of one driver ask other ones together."""

    def __init__(
        self,
        newest: Mapping[str, Any],
        own: Mapping[str, Any] | None = None,
        moments: int | None = None,
        drawn_by: str = "",
    ) -> None:
        self._newest = newest
        self._own = own or {}
        self.moments = moments
        self.drawn_by = drawn_by

    def __bool__(self) -> bool:
        return bool(self._newest or self._own)

    def of(self, scenario: str, remedy: str = "", database: str = "") -> KnownResult | None:
        """What is known of a scenario, in one database of a cell of several; None of a new one."""
        key = f"{remedy} {scenario}".strip()
        there = f"{key}@{database}"
        if there in self._own or (there in self._newest and key not in self._own):
            key = there
        newest = KnownResult(**self._newest[key]) if key in self._newest else None
        return KnownResult(**self._own[key], newest=newest) if key in self._own else newest


def read(cell: str, base: str, file: Path = FILE, python: str = platform.python_version()) -> KnownSchedules:
    """The record of a cell, such as ``mysql-aiomysql-tortoise0.25`` with the base ``mysql-aiomysql``; an empty one
    where nobody has measured."""
    on_record = _all(file)
    own = on_record.get(own_name(cell, base, python))
    if cell == base:  # which goes on to all orders
        return KnownSchedules(on_record.get(base, {}), own, MOMENTS)
    return KnownSchedules(on_record.get(base, {}), own, None if own is None else MOMENTS, cell)


def own_name(cell: str, base: str, python: str) -> str:
    """Under which name the entries of a cell are that differ from its base's: a cell whose name says no Python runs on
    whichever is at hand, which need not be the one that its base was recorded on."""
    return f"{base}-py{''.join(python.split('.')[:2])}" if cell == base else cell


def is_measured(scenario: str, file: Path = FILE) -> bool:
    """Whether anything is known of a scenario, in any cell, under a remedy or without."""
    return any(scenario in key.split() for entries in _all(file).values() for key in entries)


def _all(file: Path) -> dict[str, dict[str, Any]]:
    """By cell what is on record; nothing where nobody has measured."""
    try:
        on_record: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return on_record


def text(on_record: Mapping[str, Mapping[str, Any]]) -> str:
    """The file's content, a line for each entry: a diff then shows which entries changed."""
    return table({c: table({key: json.dumps(entry) for key, entry in own.items()}, 2) for c, own in on_record.items()})


def table(rows: Mapping[str, str], indent: int = 1) -> str:
    """A JSON object of values that are JSON text already, a line for each."""
    lines = ",\n".join(f"{' ' * indent}{json.dumps(key)}: {value}" for key, value in rows.items())
    return f"{{\n{lines}\n{' ' * (indent - 1)}}}" if rows else "{}"


def entries(lines: Iterable[ScenarioLine]) -> dict[str, Any]:
    """A cell's result lines as the file has them; what is no verdict is left out, but for scenarios whose situation no
    order came to."""
    made: dict[str, Any] = {}
    for line in lines:
        cures = line.get("cures")
        found: Mapping[str, Cure | ScenarioLine] = cures if cures else {"": line}
        for scenario, seen in found.items():
            orders = seen.get("orders")
            tried = seen["verdict"] == NOT_APPLICABLE and orders and orders.get("situation_not_met")
            if seen["verdict"] in NOT_VERDICTS and not tried:
                continue
            known: dict[str, Any] = {"verdict": seen["verdict"], "schedule": seen.get("schedule") or ""}
            if (generated := line.get("generated")) and (program := generated.get("deciding")):
                known["program"] = program
            made[f"{line['scenario']} {scenario}".strip()] = known
        databases = {} if line.get("generated") else line.get("schedules") or {}
        for database, schedule in databases.items():
            verdict = (line.get("variants") or {})[database]
            made[f"{line['scenario']}@{database}"] = {"verdict": verdict, "schedule": schedule or ""}
    return made


def differing(made: Mapping[str, Any], newest: Mapping[str, Any]) -> dict[str, Any]:
    """Those entries of a cell that say something else than its base cell's, or the same by another schedule: that of
    the base did not show it there, or a longer one did."""
    return {key: entry for key, entry in made.items() if not _says_the_same(entry, newest.get(key, {}))}


def _says_the_same(entry: Mapping[str, Any], newest: Mapping[str, Any]) -> bool:
    by_another = entry["verdict"] != SAFE and entry["schedule"] != newest.get("schedule")
    return entry["verdict"] == newest.get("verdict") and not by_another
