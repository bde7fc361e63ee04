"""The table as Markdown that a README can hold: the short answer first, glyph and word in every cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from matrix.report import headline
from matrix.report.newest_columns import newest_only
from matrix.report.summary import Summary, by_driver
from matrix.report.view import Mark, Row, Table
from matrix.results.text import one_line


def markdown(table: Table) -> str:
    """The whole text; ends with a newline."""
    return "\n".join(_lines(table)) + "\n"


def escape(text: object) -> str:
    """Foreign text as Markdown that is read as written, also inside a table. GitHub looks for people and issues in what
    it has rendered, so what would name one is taken apart by a comment, which is not seen."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_{}\[\]()#!|~])", r"\\\1", line)
    return re.sub(r"(@|#|\bGH-)(?=\w)", r"\1<!-- -->", line)


def _lines(table: Table) -> Iterator[str]:
    yield "<!-- Written by `python -m matrix report`. Do not edit. -->"
    yield ""
    yield from headline_lines(table)
    table, variants = newest_only(table)
    heads = [column.cell for column in table.columns]
    if table.remedies:
        yield "**Which remedy holds?**"
        yield ""
        yield from _grid("remedy", heads, (_row(row) for row in table.remedies))
    rows = [row for family in table.plain for row in family.rows]
    if rows:
        yield "**Every scenario**"
        yield ""
        yield from _grid("scenario", heads, (_row(row) for row in rows))
    if variants:
        yield "**Other releases**"
        yield ""
        yield from (f"- {escape(variant.text)}" for variant in variants)
        yield ""
    for column in (*table.columns, *(variant.column for variant in variants)):
        when = f"{column.date}{f', {column.age}' if column.age else ''}" if column.date else "no complete result"
        problem = f" **Incomplete:** {escape(column.problem)}" if column.problem else ""
        asked = f", {column.asked}" if column.asked else ""
        yield f"- {escape(column.cell)}: {escape(column.versions)} ({when}{asked}){problem}"
    yield ""
    yield from (f"- {_cell(Mark(word))}: {escape(meaning)}" for word, meaning in table.words.items())


def headline_lines(table: Table) -> Iterator[str]:
    """The headline: the answer in words, a row for each question, and below them the misuse."""
    drivers = by_driver(table.groups)
    shown = headline.lines(table, list(drivers.values()))
    if not shown:
        return
    yield headline.CAPTION
    yield ""
    yield f"| | {' | '.join(escape(name) for name in drivers)} |"
    yield f"|---|{'---|' * len(drivers)}"
    for line in shown:
        title = escape(line.title)
        yield f"| {f'**{title}**' if line.kind == 'sharing' else title} | {' | '.join(map(_answer, line.places))} |"
    yield ""


def _answer(place: Summary) -> str:
    detail = place.count or place.detail
    return f"{place.glyph} {place.word}{f' ({escape(detail)})' if detail else ''}"


def _grid(corner: str, heads: Sequence[str], rows: Iterable[tuple[str, Sequence[Mark]]]) -> Iterator[str]:
    yield f"| {corner} | " + " | ".join(escape(head) for head in heads) + " |"
    yield "|---|" + "---|" * len(heads)
    for name, marks in rows:
        yield f"| {name} | " + " | ".join(_cell(mark) for mark in marks) + " |"
    yield ""


def _row(row: Row) -> tuple[str, Sequence[Mark]]:
    return f"**{row.scenario}** {escape(row.title)}", row.marks


def _cell(mark: Mark) -> str:
    races = f" ({mark.racing})" if mark.racing else ""
    return f"{mark.glyph} {mark.word}{races}{' (unexpected)' if mark.note == 'unexpected' else ''}"
