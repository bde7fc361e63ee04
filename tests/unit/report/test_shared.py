"""Cells that found the same share one evidence page; what differs has a page of its own."""

from __future__ import annotations

import pytest

from matrix.report import shared, site
from tests.unit.report.conftest import table_of
from tests.unit.results.samples import header, remedy, scenario, write_cell

SAID = "writer's row w-3b2a69x1-1 of matrix_1000d8bddd53 is stored, at 0x7f3a10"


def write(folder, suffix, lines, base="mysql-aiomysql", **axes):
    head = header(base, [line["scenario"] for line in lines], axes=axes)
    head["cell"] = base + suffix
    write_cell(folder, head, lines)


@pytest.fixture
def built(tmp_path):
    """The newest cell, one of another Python that found the same in other rows, one that did not."""
    write(tmp_path, "", [scenario("NST-3", "lies", reason=SAID), scenario("NST-4"), remedy("FIX-1a")])
    same = SAID.replace("3b2a69x1-1", "e6e6f0x11-2").replace("d8b", "ccc").replace("7f3a10", "7eb")
    write(tmp_path, "-py310", [scenario("NST-3", "lies", reason=same, schedule="BAA1")], python="3.10.1")
    write(tmp_path, "-py312", [scenario("NST-3", "lies", reason="another row"), scenario("NST-4")], python="3.9.1")
    write(tmp_path, "", [scenario("NST-3", "lies", reason=SAID)], base="mariadb-aiomysql")
    table = table_of(tmp_path, tmp_path)
    return table, site.build(table, tmp_path / "build").parent


def test_what_is_the_same_is_one_page_and_what_differs_another(built):
    table, folder = built
    found = {path.relative_to(folder / "cells").as_posix() for path in folder.glob("cells/*/*-*.html")}
    assert found == {
        "mysql-aiomysql/NST-3.html",
        "mysql-aiomysql/NST-4.html",
        "mysql-aiomysql/FIX-1a.html",
        "mysql-aiomysql-py312/NST-3.html",
        "mariadb-aiomysql/NST-3.html",
    }
    at = [column.cell for column in table.columns].index("mysql-aiomysql-py310")
    (row,) = [row for family in table.families for row in family.rows if row.scenario == "NST-3"]
    assert row.marks[at].href == "cells/mysql-aiomysql/NST-3.html"


def test_the_page_names_who_shares_it_and_the_cell_says_whose_it_is(built):
    _, folder = built
    shown = (folder / "cells/mysql-aiomysql/NST-3.html").read_text("utf-8")
    assert 'href="../mysql-aiomysql-py310/index.html#NST-3"' in shown
    assert "What is shown here was recorded in mysql-aiomysql." in shown
    assert "-py312" not in shown
    cell = (folder / "cells/mysql-aiomysql-py310/index.html").read_text("utf-8")
    assert "evidence of mysql-aiomysql, which found the same" in cell
    assert "w-e6e6f0x11-2" in cell  # its own words
    assert (folder / "cells/mysql-aiomysql-py310.jsonl.xz").is_file()


CURE = {"verdict": "lies", "complies": False, "reason": "so", "violations": []}
DIFFERENT = [
    {"verdict": "breaks"},
    {"reason": "another reason"},
    {"complies": None},
    {"proof": "deadline"},
    {"violations": [{"property": "durability", "sentence": "A got B's row."}]},
    {"violations": [{"property": "routing", "sentence": "B got A's row."}]},
    {"remedy": "holds"},
    {"cures": {"NST-4": CURE}},
    {"cures": {"NST-3": {**CURE, "reason": "else"}}},
]


@pytest.mark.parametrize("change", DIFFERENT, ids=lambda change: str(change)[:60])
def test_other_words_are_another_finding(change):
    line = scenario("NST-3", "lies", cures={"NST-3": CURE})
    assert shared.what_it_says(line) == shared.what_it_says({**line, "seconds": 9.0, "schedule": "B", "evidence": None})
    assert shared.what_it_says(line) != shared.what_it_says({**line, **change})
