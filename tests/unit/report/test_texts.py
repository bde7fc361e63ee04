"""The table in the terminal and as Markdown."""

from __future__ import annotations

import io
import re

from matrix.report import terminal, view
from matrix.report.markdown import markdown
from matrix.report.newest_columns import newest_only
from matrix.results.read import read_folder
from matrix.words import GLYPHS
from tests.unit.results.samples import header, scenario, write_cell


def shown(table, width=80):
    out = io.StringIO()
    terminal.show(table, out, width)
    return out.getvalue()


def test_eight_cells_fit_80_columns_in_a_pipe(table):
    text = shown(table)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("NST-4")]
    assert len(rows) == 1, "all cells stand beside each other"
    assert len(re.findall(r"[a-z]{4,}", rows[0])) == 8


def test_columns_that_do_not_fit_follow_below(table):
    text = shown(table, 40)
    assert text.count("\nNST-4") > 1
    assert max(len(line) for line in text.splitlines() if line.startswith("NST")) <= 40


def test_a_wide_terminal_shows_titles(table):
    assert "The title of NST-4" in shown(table, 130)


def test_glyphs_take_one_column():
    from rich.cells import cell_len

    assert {cell_len(glyph) for glyph in GLYPHS.values()} == {1}


def test_the_tail_has_a_line_for_each_reason():
    out = io.StringIO()
    terminal.tail(["a: [bold]x[/bold]\n\x1b[1mb", "c"], ["build/site/index.html"], out)
    assert out.getvalue().splitlines()[-3:] == [
        "✗ not as expected, 2 reasons:",
        "  a: [bold]x[/bold] \\x1b[1mb",
        "  c",
    ]


def test_hostile_texts_do_not_reach_the_terminal(hostile_table):
    for width in (80, 400):
        text = shown(hostile_table, width)
        assert "[red]x[/red]" in text.replace("\n          ", "").replace("\n", "") or width == 80
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)


def test_markdown_is_a_table_with_the_short_answer_first(table):
    text = markdown(table)
    assert text.index("Coroutine-safe") < text.index("Which remedy") < text.index("Every scenario")
    (row,) = (line for line in text.splitlines() if line.startswith("| **NST-4**"))
    assert row.count("|") == len(table.columns) + 2
    assert "aiomysql 0.3.2, MySQL 9.7.4, Tortoise 1.1.9, Python 3.11.7" in text


def test_hostile_texts_do_not_break_the_markdown(hostile_table):
    text = markdown(hostile_table)
    rows = [line for line in text.splitlines() if line.startswith("| **")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(hostile_table.columns) + 2}
    assert "<script" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)\[red", text)


def test_other_releases_stand_below_in_lines_and_take_no_column(tmp_path):
    for cell, word in (
        ("mysql-aiomysql", "lies"),
        ("mysql-aiomysql-tortoise0.22", "safe"),
        ("mysql-aiomysql0.2", "lies"),
        ("mysql-asyncmy0.2.11", "poisons"),
    ):
        head = header(cell.split("-tortoise")[0].rstrip(".0123456789"), ["NST-3", "NST-4"])
        write_cell(tmp_path, {**head, "cell": cell}, [scenario("NST-3", word), scenario("NST-4")])
    table = view.build(read_folder(tmp_path), tmp_path)
    narrow, variants = newest_only(table)
    # Without its newest release a cell keeps its column: there is nothing to compare it with.
    assert [column.cell for column in narrow.columns] == ["mysql-aiomysql", "mysql-asyncmy0.2.11"]
    assert {len(row.marks) for family in narrow.families for row in family.rows} == {2}
    told = {each.text for each in variants}
    assert told == {
        "mysql-aiomysql-tortoise0.22: NST-3 safe (there lies)",
        "mysql-aiomysql0.2: as mysql-aiomysql",
    }
    for text in (markdown(table).replace("\\", ""), shown(table, 200)):
        assert all(each in text for each in told)
