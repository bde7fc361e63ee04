"""Which page shows the evidence of a cell's scenario: cells of one driver and server that found the same share one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matrix.lines import LONGEST_MESSAGE, ScenarioLine
from matrix.maker import MARK
from matrix.report.loose import objects
from matrix.report.summary import Group

# What is another one in every run: addresses in memory, names of rows, databases and savepoints, numbers of all kinds.
CHANGING = re.compile(
    rf"0x[0-9a-f]*|\b[0-9a-f]{{6}}x\d+|{MARK.pattern}_[0-9a-f]+|\bmatrix_[0-9a-f]+|(?<=savepoint_)[0-9a-f]+|\d+(\.\d+)?"
)
SURE = 150  # characters of a message that was cut: where that is depends on how long the numbers in it are


def pages(columns: Sequence[Any], groups: Iterable[Group]) -> dict[tuple[str, str], str]:
    """For each cell and scenario the cell whose page shows it: the newest of its group where that one found the same,
    else the last one in the order of the columns that did. ``columns`` and ``groups`` are those of the table."""
    found: dict[tuple[str, str], str] = {}
    for group in groups:
        homes: dict[tuple[Any, ...], str] = {}
        for place in (group.newest, *reversed(group.places)):
            cell = columns[place].cell
            for line in columns[place].result.scenarios:
                found[cell, line["scenario"]] = homes.setdefault(what_it_says(line), cell)
    return found


def what_it_says(line: ScenarioLine) -> tuple[Any, ...]:
    """Equal for lines that say the same of a scenario: the words, what was violated and how, under each remedy too.
    Schedules, times and the evidence itself may differ."""
    cures = sorted((line.get("cures") or {}).items())
    return (line["scenario"], *_said(line), *((name, *_said(cure)) for name, cure in cures))


def _said(line: Mapping[str, Any]) -> tuple[Any, ...]:
    cut = sorted(_cut_messages([line.get("finding"), line.get("violations")]))
    sentences = tuple(
        (each.get("property"), _steady(each.get("sentence"), cut)) for each in objects(line.get("violations"))
    )
    words = tuple(line.get(key) for key in ("verdict", "remedy", "level", "complies", "proof"))
    return (*words, _steady(line.get("reason"), cut), sentences)


def _cut_messages(value: Any) -> set[str]:
    """Those of the messages in facts that were cut, or would have been with longer numbers in them."""
    if isinstance(value, Mapping):
        message = value.get("message")
        own = {message} if isinstance(message, str) and len(message) > LONGEST_MESSAGE - 20 else set()
        return own.union(*map(_cut_messages, value.values()))
    return set().union(*map(_cut_messages, value)) if isinstance(value, list) else set()


def _steady(text: Any, cut: Iterable[str] = ()) -> str:
    told = str(text or "")
    for message in cut:
        told = told.replace(message, CHANGING.sub("#", message)[:SURE])
    return CHANGING.sub("#", told)
