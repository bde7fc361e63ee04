"""Cells that found the same share one evidence page; what differs has a page of its own."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from matrix.lines import LONGEST_MESSAGE
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


DEADLOCK = "deadlock detected: process {} waits for a lock of process {}; process {} waits for one of process {}. {}"


def refused(*numbers):
    """As the harness writes it: the message is cut, so that longer numbers leave less of its end."""
    message = DEADLOCK.format(*numbers, "See the server's log for the details of both queries. " * 3)[:LONGEST_MESSAGE]
    error = {"type": "DeadlockDetectedError", "message": message}
    sentence = f"A was refused: DeadlockDetectedError: {message}"
    violation = {"property": "loudness", "sentence": sentence, "fact": {"kind": "refused", "error": error}}
    return scenario("NST-3", "breaks", reason=sentence, violations=[violation])


MARKS = ("matrix_15d7e2ab00c1_7_12_1795971498_0a0b0c", "matrix_0c77c28b1afc_30175_279731_1795971999_ffd1d2")
THE_SAME = [
    [scenario("NST-3", "lies", reason=f"no table in {mark}") for mark in MARKS],
    [scenario("NST-3", "lies", reason=f"its block ended after {seconds} s") for seconds in (1, 0.25)],
    [scenario("NST-3", "lies", reason=f'no savepoint "__savepoint_{name}__"') for name in ("8c1", "f")],
    [refused(7, 8, 8, 7), refused(31284, 31283, 31283, 31284)],
]


@pytest.mark.parametrize("lines", THE_SAME, ids=["database", "seconds", "savepoint", "cut message"])
def test_what_is_another_one_in_every_run_is_no_other_finding(lines):
    one, other = lines
    assert one["reason"] != other["reason"]
    assert shared.what_it_says(one) == shared.what_it_says(other)


def test_what_follows_a_message_that_was_not_cut_counts():
    lines = [scenario("NST-3", "breaks", reason=f"A failed with {'x' * 160}, {end}") for end in ("once", "twice")]
    assert shared.what_it_says(lines[0]) != shared.what_it_says(lines[1])


def test_the_file_of_a_cell_says_once_what_another_one_says_too(built):
    """What is left out is in the other's file; the cell's own is there where it differs."""
    _, folder = built
    cells = {
        name: json.loads((folder / f"cells/mysql-aiomysql{name}.json").read_text("utf-8")) for name in ("", "-py310")
    }
    (line,) = cells["-py310"]["scenarios"]
    assert line == {
        "scenario": "NST-3", "verdict": "lies", "complies": False, "same_as": "mysql-aiomysql", "schedule": "BAA1"
    }  # fmt: skip
    there = {each["scenario"]: each for each in cells[""]["scenarios"]}["NST-3"]
    assert there["reason"] == SAID
    assert there["violations"]
    assert "same_as" not in there
    about = json.loads((folder / "scenarios/NST-3.json").read_text("utf-8"))
    whole = scenario("NST-3")
    assert {key: about[key] for key in ("title", "contract", "level", "family", "links")} == {
        key: whole[key] for key in ("title", "contract", "level", "family", "links")
    }
    assert about["sources"] == {"aiomysql": whole["source"]}
    assert "contract" not in there


def test_a_cell_that_found_what_the_newest_did_costs_four_files(tmp_path):
    """The whole plan has two hundred cells, and a site may have 1 GB: its page, data, JUnit and all evidence packed."""
    lines = [scenario(name, "lies", reason=SAID) for name in ("NST-3", "NST-4")] + [remedy("FIX-1a")]
    files = []
    for suffixes in ([""], ["", "-py310"]):
        results = tmp_path / str(len(suffixes))
        for suffix in suffixes:
            write(results, suffix, lines, python="3.10.1" if suffix else "3.13.1")
        folder = site.build(table_of(results, tmp_path), tmp_path / "build").parent
        files.append({path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()})
    cell = "cells/mysql-aiomysql-py310"
    assert files[1] - files[0] == {f"{cell}/index.html", f"{cell}.json", f"{cell}.xml", f"{cell}.jsonl.xz"}


def test_junit_of_several_cells_has_the_newest_ones(built):
    """Each cell has a file of its own: the others would say all words four times."""
    _, folder = built
    for path in ("junit.xml", "drivers/aiomysql.xml", "scenarios/NST-3.xml"):
        suites = ElementTree.parse(folder / path).getroot()
        assert {suite.get("name") for suite in suites} == {"mysql-aiomysql", "mariadb-aiomysql"}, path
    (suite,) = ElementTree.parse(folder / "cells/mysql-aiomysql-py310.xml").getroot()
    assert suite.get("name") == "mysql-aiomysql-py310"


def test_a_page_of_another_cell_than_the_newest_leads_to_all_that_is_left_out(built):
    _, folder = built
    newest, other = ((folder / f"cells/mysql-aiomysql{name}/NST-3.html").read_text("utf-8") for name in ("", "-py312"))
    for heading in ("On the wire", "Steps of the schedule", "The suite's program", "Text for an issue"):
        assert heading in newest
        assert heading not in other
    assert "Each request and its answer" in other
    assert 'href="../mysql-aiomysql-py312.jsonl.xz">the evidence as JSON</a>' in other
    assert 'href="../../cells/mysql-aiomysql/NST-3.html">NST-3 in mysql-aiomysql</a>' in other


def test_a_scenario_that_the_newest_cell_lacks_has_no_link_there(tmp_path):
    write(tmp_path, "", [scenario("NST-3")])
    write(tmp_path, "-py310", [scenario("NST-3", "lies"), scenario("NST-4")], python="3.10.1")
    folder = site.build(table_of(tmp_path, tmp_path), tmp_path / "build").parent
    pages = [(folder / f"cells/mysql-aiomysql-py310/{name}.html").read_text("utf-8") for name in ("NST-3", "NST-4")]
    assert ["in mysql-aiomysql</a>" in page for page in pages] == [True, False]


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
