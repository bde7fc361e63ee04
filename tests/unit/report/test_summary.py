"""Many cells in few columns: the newest word, ranges, what changes, and what is worse elsewhere."""

from __future__ import annotations

import re

import pytest

from matrix.report import pages, site, view
from matrix.report.summary import summarise
from matrix.results.read import read_folder
from tests.unit.results.samples import header, scenario, write_cell


def add(folder, cell, word, name, driver="0.3.2", tortoise="1.1.9", python="3.11.7", **lines):
    head = header(cell, ["NST-4"], axes={"driver_version": driver, "tortoise": tortoise, "python": python})
    head["cell"] = f"{cell}-{name}"
    write_cell(folder, head, [scenario("NST-4", word, **lines)])


def place(folder, *drivers):
    table = view.build(read_folder(folder), folder)
    (row,) = [row for family in table.families for row in family.rows]
    return summarise([each for each in table.groups if each.driver in drivers], row.marks)


def spans(found):
    return [(span.word, span.versions, span.axis) for span in found.spans]


def test_older_drivers_stand_below_with_their_versions(tmp_path):
    for version, word in (("0.1.1", "lies"), ("0.2.0", "lies"), ("0.3.0", "refuses"), ("0.3.2", "refuses")):
        add(tmp_path, "mysql-aiomysql", word, version, driver=version)
    found = place(tmp_path, "aiomysql")
    assert (found.word, found.versions, spans(found)) == ("refuses", ">= 0.3.0", [("lies", "<= 0.2.0", "")])
    assert found.href == "cells/mysql-aiomysql-0.3.2/NST-4.html"
    assert found.spans[0].href == "cells/mysql-aiomysql-0.2.0/NST-4.html"
    assert (found.changed, found.elsewhere) == (("driver",), None)
    assert found.words == ("refuses", "lies")


def test_releases_of_tortoise_are_an_axis_of_their_own(tmp_path):
    for release, word in (("0.25.4", "breaks"), ("1.0.0", "safe"), ("1.1.9", "safe")):
        add(tmp_path, "mysql-aiomysql", word, release, tortoise=release)
    add(tmp_path, "mysql-aiomysql", "safe", "old", driver="0.2.0")
    found = place(tmp_path, "aiomysql")
    assert (found.word, found.versions, spans(found)) == ("safe", "", [("breaks", "<= 0.25.4", "tortoise")])
    assert found.changed == ("tortoise",)


def test_what_is_worse_in_another_combination_is_said(tmp_path):
    add(tmp_path, "mysql-aiomysql", "safe", "new")
    add(tmp_path, "mysql-aiomysql", "safe", "driver", driver="0.2.0")
    add(tmp_path, "mysql-aiomysql", "safe", "tortoise", tortoise="0.25.4")
    add(tmp_path, "mysql-aiomysql", "lies", "both", driver="0.2.0", tortoise="0.25.4")
    found = place(tmp_path, "aiomysql")
    assert (found.word, spans(found)) == ("safe", [])
    assert found.elsewhere == ("lies", 1, "cells/mysql-aiomysql-both/NST-4.html")
    assert "lies" in found.words


def test_two_kinds_of_servers_give_the_worst_of_their_newest(tmp_path):
    add(tmp_path, "mysql-aiomysql", "safe", "a")
    add(tmp_path, "mariadb-aiomysql", "hangs", "b")
    found = place(tmp_path, "aiomysql")
    assert (found.word, spans(found), found.changed) == ("hangs", [], ())


def test_a_cell_that_did_not_run_it_changes_nothing(tmp_path):
    add(tmp_path, "mysql-aiomysql", "lies", "new")
    add(tmp_path, "mysql-aiomysql", "n/a", "old", driver="0.2.0")
    assert spans(place(tmp_path, "aiomysql")) == []


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """110 cells of 95 scenarios, verdicts changing with Tortoise, without evidence."""
    folder = tmp_path_factory.mktemp("many")
    names = [f"{prefix}-{number}" for prefix in ("CON", "CAN", "TXN", "NST", "CTX") for number in range(1, 20)]
    kinds = ("mysql-aiomysql", "mysql-asyncmy", "mariadb-aiomysql", "mariadb-asyncmy", "postgres-asyncpg")
    for at in range(110):
        kind, turn = kinds[at % len(kinds)], at // len(kinds)
        axes = {"tortoise": f"0.{turn % 11}.0", "driver_version": f"1.{turn // 11}"}
        head = header(kind, names, axes=axes)
        head["cell"] = f"{kind}-{turn}"
        words = ["lies" if (turn % 11 + row) % 5 < 2 and row % 3 == 0 else "safe" for row in range(len(names))]
        write_cell(folder, head, [scenario(name, word, evidence=None) for name, word in zip(names, words, strict=True)])
    return view.build(read_folder(folder), folder)


def test_110_cells_make_a_home_page_that_is_small_and_has_a_column_per_driver_and_server(many, tmp_path):
    shared = pages.Site(many, tmp_path, pages.SiteOptions(), site.file_names(many.drivers))
    html = pages.render(shared, "index.html", "home.html", tortoise="", **site.home_tables(shared, range(110)))
    assert len(html.encode()) < 300 * 1024
    heads = re.search(r'<table class="matrix full">.*?</thead>', html, re.S).group()
    assert heads.count("data-s=") == 5
    assert html.count('data-c="tortoise') > 100
    assert re.search(r"lies</a> <span class=\"n\">tortoise &lt;= 0\.", html)
