"""'I got this error': the texts of exceptions that programs were shown, and what was found where they appear.

Read from the evidence of the newest cells; nothing is typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from matrix.report.view import Table, natural
from matrix.results.messages import Known, plain
from matrix.results.read import read_cell
from matrix.words import FAMILIES, rank

FIRST = ("NST", "TXN", "CTX", "ORM")  # what people are in who paste an error
OWN = ("matrix.", "tests.", "asyncio.")  # exceptions of the suite's programs, and cancellation


@dataclass(frozen=True)
class Seen:
    """A scenario in a cell whose deciding order shows the text, with the word of it there and why."""

    scenario: str
    title: str
    cell: str
    driver: str
    word: str
    reason: str


@dataclass(frozen=True)
class ErrorText:
    """One text, the classes that carry it, and where it is seen: what is worst for an application first."""

    key: str
    text: str
    classes: tuple[str, ...]
    seen: tuple[Seen, ...]

    @property
    def drivers(self) -> tuple[str, ...]:
        return tuple(sorted({each.driver for each in self.seen}))

    @property
    def scenarios(self) -> dict[str, tuple[Seen, ...]]:
        """By scenario, in order: where it is seen."""
        names = dict.fromkeys(each.scenario for each in self.seen)
        return {name: tuple(each for each in self.seen if each.scenario == name) for name in names}


def collect(table: Table) -> tuple[ErrorText, ...]:
    """The texts that the newest cell of each group shows, those that most scenarios show first. Raises ResultError when
    a result file has changed since it was read."""
    classes: dict[str, set[str]] = {}
    seen: dict[str, dict[tuple[str, str], Seen]] = {}
    for group in table.groups:
        column = table.columns[group.newest]
        if column.result is None:
            continue
        for line in read_cell(column.result.path).scenarios:
            record = table.expected.get((column.cell, line["scenario"]))
            for word, reason, exception in _exceptions(line):
                text = plain(str(exception.get("message") or ""))
                if not _tells(text, exception):
                    continue
                classes.setdefault(text, set()).add(str(exception["type"]).removeprefix("builtins."))
                why = str((record and record["reason"]) or reason)
                name = line["scenario"]
                found = Seen(name, str(line.get("title") or ""), column.cell, column.driver, word, why)
                seen.setdefault(text, {}).setdefault((name, column.cell), found)
    made = [
        ErrorText(_key(text), text, tuple(sorted(classes[text])), tuple(sorted(own.values(), key=_place)))
        for text, own in seen.items()
    ]
    return tuple(sorted(made, key=lambda each: (-len(each.scenarios), each.text)))


def known(found: Iterable[ErrorText]) -> tuple[Known, ...]:
    """The same as they are kept on record."""
    return tuple(
        Known(
            each.text,
            each.drivers,
            {name: max((seen.word for seen in own), key=rank) for name, own in each.scenarios.items()},
        )
        for each in found
    )


def _exceptions(line: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """What was raised in the deciding order of a line, of a remedy in that of each scenario that it was run over: with
    the word and the reason."""
    parts: Iterable[Mapping[str, Any]] = (line, *(line.get("cures") or {}).values())
    for part in parts:
        for exception in (part.get("evidence") or {}).get("exceptions") or ():
            yield str(part.get("verdict") or ""), str(part.get("reason") or ""), exception


def _tells(text: str, exception: Mapping[str, Any]) -> bool:
    """Whether it is an error of driver, ORM or server that a reader may have: not one made on purpose."""
    own = str(exception.get("type")).startswith(OWN) or "no_such_table" in str(exception.get("message"))
    return len(text) > 7 and not own


def _place(seen: Seen) -> tuple[Any, ...]:
    family = seen.scenario.partition("-")[0]
    families = [*FIRST, *(each for each in FAMILIES if each not in FIRST), family]
    return rank(seen.word) <= 0, families.index(family), natural(seen.scenario), -rank(seen.word), seen.cell


def _key(text: str) -> str:
    return "e-" + "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:60].strip("-")
