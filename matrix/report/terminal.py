"""The table in the terminal: readable at 80 columns, in a pipe, and without colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.text import Text

from matrix.report import headline
from matrix.report.marks import TERMINAL
from matrix.report.newest_columns import OtherReleases, newest_only
from matrix.report.summary import Summary, by_driver
from matrix.report.view import Mark, Row, Table
from matrix.results.text import one_line

TITLE_LEAST = 24
HEAD_AGAIN_AFTER = 20

Shown = Mark | Summary
Line = tuple[str, str, Sequence[Shown]]


def show(table: Table, file: IO[str] | None = None, width: int | None = None) -> None:
    """Prints the short answer, the remedies and every scenario."""
    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
    drivers = by_driver(table.groups)
    asked = headline.lines(table, list(drivers.values()))
    answers: list[Line] = [(line.short, "", line.places) for line in asked]
    table, variants = newest_only(table)
    heads = [[column.server_kind, column.driver] for column in table.columns]
    flags = [column.problem is not None for column in table.columns]
    everything: list[Line] = [
        line for family in table.plain for line in [(family.name, "", ()), *(_line(row) for row in family.rows)]
    ]
    sections = (
        (headline.SHORT, [[name] for name in drivers], answers),
        ("Which remedy holds?", heads, [_line(row) for row in table.remedies]),
        ("Every scenario", heads, everything),
    )
    as_on_record = any(column.asked for column in table.columns)
    for title, head, rows in sections:
        if rows and head:
            console.print(Text(title, style="bold").append(" (by known schedules)" if as_on_record else ""))
            for line in _grid(head, rows, console.width, flags if head is heads else [False] * len(head)):
                console.print(line)
            console.print()
    questions = [Text("Questions", style="bold"), *(Text(f"{line.short}: {one_line(line.title)}") for line in asked)]
    others = [Text("Other releases", style="bold"), *(Text(one_line(each.text)) for each in variants), Text()]
    told = [*questions, Text(), *(others if variants else ()), *_versions(table, variants), Text(), *_legend(table)]
    for line in told:
        for part in _wrapped(line, console):
            console.print(part)


def tail(problems: Sequence[str], written: Sequence[Path], file: IO[str] | None = None) -> None:
    """The last lines: where the pages are, and each reason why the run is not green."""
    console = Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print()
    for path in written:
        console.print(Text(f"written: {one_line(path)}", style="dim"))
    if not problems:
        console.print(Text("✓ complete and as expected", style="green"))
        return
    console.print(
        Text(f"✗ not as expected, {len(problems)} reason{'s' if len(problems) > 1 else ''}:", style="bold red")
    )
    for problem in problems:
        console.print(Text(f"  {one_line(problem)}"))


def _line(row: Row) -> Line:
    return row.scenario, row.title, row.marks


def _wrapped(line: Text, console: Console) -> Iterator[Text]:
    """The line in pieces of the console's width, the later ones indented."""
    pieces = line.wrap(console, max(console.width - 10, 30))
    for number, piece in enumerate(pieces):
        piece.rstrip()
        yield Text(" " * 10 if number else "").append_text(piece)


def _grid(heads: Sequence[Sequence[str]], rows: Sequence[Line], width: int, flags: Sequence[bool]) -> Iterator[Text]:
    """The rows under their heads; columns that do not fit beside each other follow below."""
    first = max(len(name) for name, _, marks in rows if marks)
    widths = [
        max([len(part) for part in head] + [len(_cell(marks[at])) for _, _, marks in rows if marks])
        for at, head in enumerate(heads)
    ]
    for block in _blocks(widths, width - first):
        used = first + sum(widths[at] + 1 for at in block)
        available = width - used - 2 if len(block) == len(heads) else 0
        head = list(_head(heads, widths, block, first, flags))
        yield from head
        for name, title, marks in rows:
            if marks:
                yield _row(name.ljust(first), [(marks[at], widths[at]) for at in block], one_line(title), available)
            else:
                yield Text(name, style="underline")
        if len(rows) > HEAD_AGAIN_AFTER:
            yield from head


def _head(
    heads: Sequence[Sequence[str]], widths: Sequence[int], block: Sequence[int], first: int, flags: Sequence[bool]
) -> Iterator[Text]:
    """The heads of a block; an exclamation mark stands before the last line of an incomplete cell's head."""
    depths = max(len(heads[at]) for at in block)
    for depth in range(depths):
        gaps = ["!" if flags[at] and depth == depths - 1 else " " for at in block]
        parts = [gap + heads[at][depth].ljust(widths[at]) for gap, at in zip(gaps, block, strict=True)]
        yield Text((" " * first + "".join(parts)).rstrip(), style="dim")


def _row(name: str, marks: Iterable[tuple[Shown, int]], title: str, available: int) -> Text:
    """One row; the star of an unexpected word stands in the gap before it, so that it takes no room."""
    line = Text(name)
    for mark, width in marks:
        line.append("*" if getattr(mark, "note", "") == "unexpected" else " ", style="bold")
        line.append(_cell(mark).ljust(width), style=TERMINAL.get(mark.word, ""))
    if available >= TITLE_LEAST and title:
        line.append("  " + (title if len(title) <= available else title[: available - 1] + "…"), style="dim")
    line.rstrip()
    return line


def _cell(mark: Shown) -> str:
    return f"{mark.glyph}{mark.word}{'~' if mark.racing else ''}{f' {mark.count}' if mark.count else ''}"


def _blocks(widths: Sequence[int], available: int) -> list[list[int]]:
    """The columns in groups that fit beside each other; at least one a group."""
    blocks: list[list[int]] = [[]]
    left = available
    for at, width in enumerate(widths):
        if blocks[-1] and width + 1 > left:
            blocks.append([])
            left = available
        blocks[-1].append(at)
        left -= width + 1
    return blocks


def _versions(table: Table, variants: Sequence[OtherReleases]) -> Iterator[Text]:
    yield Text("Cells", style="bold")
    for column in (*table.columns, *(each.column for each in variants)):
        when = f"{column.date}{f' ({column.age})' if column.age else ''}" if column.date else "no complete result"
        line = Text(one_line(f"{column.cell}: {column.versions}; {when}"))
        if column.asked:
            line.append(f"; {column.asked}", style="bold")
        if column.problem:
            line.append(f"; INCOMPLETE: {one_line(column.problem)}", style="bold red")
        yield line


def _legend(table: Table) -> Iterator[Text]:
    if table.words:
        yield Text("Words", style="bold")
    for word, meaning in table.words.items():
        line = Text(_cell(Mark(word)).ljust(9), style=TERMINAL.get(word, ""))
        line.append(f" {meaning}", style="default")
        yield line
    marks = [mark for row in table.rows.values() for mark in row.marks]
    if any(mark.racing for mark in marks):
        yield Text("~         Threads race inside the driver, and runs differ in the word: the pages say how often.")
    if any(mark.note == "unexpected" for mark in marks):
        yield Text("*         Not as expected; the reasons are below.")
    if any(column.asked for column in table.columns):
        yield Text("By known schedules: those that decided before gave their verdict again; a rare order may be worse.")
    if any(column.problem for column in table.columns):
        yield Text("!         The newest run of the cell is incomplete; an older result is shown where there is one.")
