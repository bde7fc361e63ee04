"""What the report shows, as plain data: columns, rows, marks, the short answers. Pure functions of the results."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from matrix.lines import Expectation, ScenarioLine, word_of
from matrix.report import shared
from matrix.report.marks import glyph, style_class
from matrix.report.summary import Group, group
from matrix.results import expectations, judging
from matrix.results.questions import fault
from matrix.results.read import CellResult, CellState
from matrix.words import (
    ERROR,
    FAMILIES,
    INFO,
    NOT_APPLICABLE,
    NOT_RUN,
    NOT_VERDICTS,
    RECORD,
    REMEDIES,
    REMEDY_MEANS,
    SERVER_NAMES,
    VERDICT_MEANS,
    VERDICTS,
    family_of,
)


@dataclass(frozen=True)
class Column:
    """One cell as the head of a column: what it is made of, how old its result is, what is wrong with it."""

    cell: str
    driver: str
    driver_version: str
    server_kind: str
    server: str
    server_version: str
    tortoise: str
    python: str
    loop: str
    date: str
    age: str
    problem: str | None
    state: CellState

    @property
    def result(self) -> CellResult | None:
        return self.state.result

    @property
    def asked(self) -> str:
        """``93 of 116 scenarios by known schedules only``: how many all orders have not been run of; empty for none."""
        lines = self.result.scenarios if self.result else ()
        asked = sum(line.get("depth") == RECORD for line in lines)
        return f"{asked} of {len(lines)} scenarios by known schedules only" if asked else ""

    @property
    def versions(self) -> str:
        parts = [self.named(self.driver, self.driver_version), self.named(self.server, self.server_version)]
        parts += [self.named("Tortoise", self.tortoise), self.named("Python", self.python)]
        return ", ".join(part for part in parts if part)

    @staticmethod
    def named(name: str, version: str) -> str:
        return f"{name} {version}".strip() if name and (version or name not in ("Tortoise", "Python")) else ""


@dataclass(frozen=True)
class Mark:
    """One word of the table with all that is said of it. ``note``: known, unexpected, info, or nothing; ``fault``:
    whose it is where it does not comply; ``count``: of a question, how many of its scenarios comply; ``racing``: the
    words that runs differ in, where threads race inside the driver, each with in how many runs it was seen."""

    word: str
    href: str | None = None
    complies: bool | None = None
    note: str = ""
    reason: str = ""
    detail: str = ""
    fault: str = ""
    count: str = ""
    racing: str = ""

    @property
    def glyph(self) -> str:
        return glyph(self.word)

    @property
    def style(self) -> str:
        return style_class(self.word)

    @property
    def promise(self) -> str:
        return {True: "complies", False: "does not comply", None: "not judged"}[self.complies]


@dataclass(frozen=True)
class Row:
    """One scenario over all columns."""

    scenario: str
    title: str
    contract: str
    level: str
    marks: tuple[Mark, ...]
    family: str = ""
    programs: tuple[int, ...] = ()  # made at random: by how many it was judged, the fewest and the most of its cells


@dataclass(frozen=True)
class Section:
    """The rows of one family."""

    key: str
    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """Everything that is shown of a folder of results. ``problems`` are the reasons why it is not green."""

    columns: tuple[Column, ...]
    families: tuple[Section, ...]
    drivers: tuple[str, ...]
    remedies: tuple[Row, ...]
    newest: str
    groups: tuple[Group, ...] = ()
    problems: tuple[str, ...] = ()
    expected: dict[tuple[str, str], Expectation] = field(default_factory=dict)
    faults: dict[tuple[str, str], str] = field(default_factory=dict)  # cell, scenario -> whose what does not comply is
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the suite itself (results/documents.py)
    pages: Mapping[tuple[str, str], str] = field(default_factory=dict)  # cell, scenario -> whose page shows it

    @cached_property
    def rows(self) -> dict[str, Row]:
        """All rows by scenario, in order."""
        return {row.scenario: row for family in self.families for row in family.rows}

    @property
    def plain(self) -> list[Section]:
        """The families of scenarios, without the remedies."""
        return [family for family in self.families if family.key != "remedies"]

    @property
    def lines(self) -> Iterator[tuple[str, ScenarioLine]]:
        """All lines of the complete results, each with its cell."""
        for column in self.columns:
            for line in column.result.scenarios if column.result else ():
                yield column.cell, line

    @property
    def words(self) -> dict[str, str]:
        """The words that are in it with what they mean, in order: its legend."""
        found = {mark.word for row in self.rows.values() for mark in row.marks}
        return {word: meaning for word, meaning in {**VERDICT_MEANS, **REMEDY_MEANS}.items() if word in found}

    @property
    def newest_runs(self) -> list[CellResult]:
        """Of the newest cell of each driver on each kind of server."""
        return [run for each in self.groups if (run := self.columns[each.newest].result)]

    def page_of(self, cell: str, scenario: str) -> str:
        """The page that shows the evidence of a cell and scenario, from the root of the site."""
        return page_of(self.pages.get((cell, scenario), cell), scenario)

    def same(self, cell: str, scenario: str) -> list[Column]:
        """The other cells that found what this one's page shows."""
        return [
            column for column in self.columns if column.cell != cell and self.pages.get((column.cell, scenario)) == cell
        ]


def page_of(cell: str, scenario: str) -> str:
    """The evidence page that a cell has of its own for a scenario, from the root of the site."""
    return f"cells/{cell}/{scenario}.html"


def natural(text: str) -> list[tuple[int, str]]:
    """A key that orders ``NST-2`` before ``NST-10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def build(states: Sequence[CellState], folder: str | os.PathLike[str], problems: Iterable[str] = ()) -> Table:
    """The table of these states. ``folder`` holds the expectations. Raises ExpectationError."""
    runs = [run for state in states if (run := state.result or state.attempt)]
    newest = max((run.started for run in runs if not run.ahead), default=None)
    columns = tuple(_column(state, newest) for state in sorted(states, key=_column_order))
    expected = _expected(columns, folder)
    groups = group(columns, range(len(columns)))
    pages, faults = shared.pages(columns, groups), _faults(columns, expected)
    families = _families(columns, expected, pages, faults)
    drivers = tuple(sorted({column.driver for column in columns if column.result}))
    remedies = tuple(row for family in families if family.key == "remedies" for row in family.rows)
    about = (_day(newest), groups, tuple(problems), expected, faults)
    return Table(columns, families, drivers, remedies, *about, pages=pages)


# Columns


def _column_order(state: CellState) -> tuple[Any, ...]:
    run = state.result or state.attempt
    server, order = run.axes.get("server", "") if run else "", list(SERVER_NAMES)
    return (order.index(server) if server in order else len(order), natural(state.cell))


def _column(state: CellState, newest: datetime | None) -> Column:
    run = state.result or state.attempt
    axes: Mapping[str, Any] = run.axes if run else {}
    shown = state.result.started if state.result else None
    server = str(axes.get("server") or "")
    versions = ("driver_version", "server_version", "tortoise", "python", "loop")
    return Column(
        cell=state.cell,
        driver=str(axes.get("driver") or state.cell),
        server_kind=server,
        server=SERVER_NAMES.get(server, server),
        **{name: str(axes.get(name) or "") for name in versions},
        date=_day(shown),
        age=_age(shown, newest),
        problem=state.problem.without_folder if state.problem else None,  # a page does not depend on its folder
        state=state,
    )


def _day(when: datetime | None) -> str:
    return when.strftime("%Y-%m-%d") if when else ""


def _age(shown: datetime | None, newest: datetime | None) -> str:
    """How much older than the newest run of the folder; nothing when it is of the same day."""
    if shown is None or newest is None:
        return ""
    days = (newest.date() - shown.date()).days
    if days < 0:
        return "its machine's clock was wrong"
    return f"{days} day{'s' if days > 1 else ''} older than the newest run" if days else ""


# Rows


def _expected(columns: Iterable[Column], folder: str | os.PathLike[str]) -> dict[tuple[str, str], Expectation]:
    expected = {}
    for column in columns:
        if column.result is not None:
            entries = expectations.load_driver(column.driver, folder)
            for line in column.result.scenarios:
                if expectation := judging.expectation_of(line, entries, column.result.header):
                    expected[column.cell, line["scenario"]] = expectation
    return expected


def _faults(columns: Sequence[Column], expected: Mapping[tuple[str, str], Expectation]) -> dict[tuple[str, str], str]:
    """Whose each finding is that does not comply; a remedy is nobody's conduct."""
    lines = [(column, line) for column in columns for line in (column.result.scenarios if column.result else ())]
    judged = [(column, line) for column, line in lines if line["complies"] is not None and not line.get("remedy")]
    ran: dict[str, set[str]] = {}
    failing: dict[str, set[str]] = {}
    for column, line in judged:
        ran.setdefault(line["scenario"], set()).add(column.driver)
        if not line["complies"]:
            failing.setdefault(line["scenario"], set()).add(column.driver)
    found = {}
    for column, line in judged:
        name = line["scenario"]
        if not line["complies"]:
            expectation = expected.get((column.cell, name))
            category = expectation["category"] if expectation else None
            found[column.cell, name] = fault(name, category, ran[name], failing[name])
    return found


def _families(
    columns: Sequence[Column],
    expected: Mapping[tuple[str, str], Expectation],
    pages: Mapping[tuple[str, str], str],
    faults: Mapping[tuple[str, str], str],
) -> tuple[Section, ...]:
    lines: dict[str, ScenarioLine] = {}
    for column in columns:
        run = column.result or column.state.attempt
        for line in run.scenarios if run else ():
            lines.setdefault(line["scenario"], line)
    grouped: dict[str, list[Row]] = {}
    for name in sorted(lines, key=natural):
        marks = tuple(mark(column, name, expected, pages, faults) for column in columns)
        line, prefix = lines[name], name.split("-")[0]
        made = _programs(columns, name)
        title = line.get("title", "") + (f" ({span(made)} programs a cell)" if made else "")
        row = Row(name, title, line.get("contract", ""), line["level"], marks, family_of(name).key, made)
        grouped.setdefault(prefix, []).append(row)
    order = list(dict.fromkeys([*FAMILIES, *sorted(grouped)]))
    return tuple(Section(*family_of(prefix)[1:], tuple(grouped[prefix])) for prefix in order if prefix in grouped)


def _programs(columns: Sequence[Column], scenario: str) -> tuple[int, ...]:
    """How many programs a line of those that were made at random was judged by in its cells; empty for other lines."""
    lines = (column.result.by_id.get(scenario) for column in columns if column.result)
    return fewest_and_most(made["programs"] for line in lines if line and (made := line.get("generated")))


def fewest_and_most(counts: Iterable[int]) -> tuple[int, ...]:
    """The ends of some counts: two, one where they are all the same, none of none."""
    found = sorted(set(counts))
    return tuple(dict.fromkeys((found[0], found[-1]))) if found else ()


def span(ends: Iterable[int]) -> str:
    """What ``fewest_and_most`` gives in words: ``4 to 15``."""
    return " to ".join(map(str, ends))


def mark(
    column: Column,
    scenario: str,
    expected: Mapping[tuple[str, str], Expectation],
    pages: Mapping[tuple[str, str], str],
    faults: Mapping[tuple[str, str], str],
) -> Mark:
    """The word of one scenario in one cell."""
    if column.result is None:
        return Mark(ERROR, f"cells/{column.cell}/index.html", reason=column.problem or "", detail="incomplete run")
    line = column.result.by_id.get(scenario)
    if line is None:
        absent = column.result.not_installed
        word, why = (NOT_APPLICABLE, absent) if absent else (NOT_RUN, "This cell has no result for it.")
        return Mark(word, reason=why)
    expectation = expected.get((column.cell, scenario))
    return Mark(
        word=word_of(line),
        href=page_of(pages.get((column.cell, scenario), column.cell), scenario),
        complies=line["complies"],
        note=_note(line, expectation),
        reason=line.get("reason") or "",
        detail=(expectation["reason"] or "") if expectation else "",
        fault=faults.get((column.cell, scenario), ""),
        racing=_racing(expectation),
    )


def _racing(expectation: Expectation | None) -> str:
    also = (expectation.get("also") if expectation else None) or {}
    times = [count for count in also.values() if count is not None]
    if len(times) < len(also):
        return f"races: {', '.join(also)}"
    counted = ", ".join(f"{word} in {count}" for word, count in also.items())
    return f"races: {counted} of {sum(times)} runs" if counted else ""


def _note(line: ScenarioLine, expectation: Expectation | None) -> str:
    if expectation and not expectation["met"]:
        return "unexpected"
    if line["level"] == INFO and line["verdict"] in VERDICTS and not line.get("remedy"):
        return "info"
    return "known" if expectation and line["complies"] is False else ""


def counts(result: CellResult) -> list[tuple[str, int]]:
    """How many scenarios of a cell have each word, from good to bad."""
    words = [word_of(line) for line in result.scenarios]
    order = [*VERDICTS, *REMEDIES, *NOT_VERDICTS]
    return [(word, words.count(word)) for word in order if word in words]
