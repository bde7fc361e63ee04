"""Older runs stay: the table of each week, what changed since, and what links to a run lead to."""

from __future__ import annotations

import pytest

from matrix.report import runs, site
from matrix.report.pages import SiteOptions
from matrix.results.read import read_folder
from tests.unit.report.conftest import table_of
from tests.unit.report.test_site import Page, test_every_internal_link_resolves
from tests.unit.results.samples import header, scenario, write_cell

WEEKS = {"2026-11-08": "safe", "2026-11-15": "hangs", "2026-11-22": "lies"}


def write(folder, day, word, reason="a reason"):
    lines = [scenario("NST-3"), scenario("NST-4", word, reason=reason)]
    write_cell(folder, header(started=f"{day}T03:17:00Z"), lines)
    head = {**header(axes={"python": "3.10.1"}, started=f"{day}T03:27:00Z"), "cell": "mysql-aiomysql-py310"}
    write_cell(folder, head, lines)


@pytest.fixture
def built(tmp_path):
    """This week's results with those of three weeks before; one of their cells is not tested any more."""
    write(tmp_path / "now", "2026-11-29", "lies")
    for day, word in WEEKS.items():
        write(tmp_path / day, day, word, f"seen on {day}")
    write_cell(tmp_path / "2026-11-08", header("mysql-asyncmy", started="2026-11-08T03:00:00Z"), [scenario("NST-3")])
    table = table_of(tmp_path / "now", tmp_path)
    older = runs.runs(table, [read_folder(tmp_path / day) for day in WEEKS], tmp_path)
    return site.build(table, tmp_path / "build", SiteOptions(older, "https://example.org/m/")).parent


def text(path):
    return " ".join("".join(Page(path).text).split())


def test_each_week_can_be_chosen(built):
    links = [each["href"] for each in Page(built / "changes.html").all("a")]
    assert [link for link in links if link.endswith("/index.html") and "runs/" in link] == [
        f"runs/{day}/index.html" for day in reversed(WEEKS)
    ]
    for day, word in WEEKS.items():
        page = built / "runs" / day / "index.html"
        assert f"Results of {day}" in text(page)
        assert f'">{word}</a>' in page.read_text("utf-8").partition('id="NST-4"')[2]
        assert "drivers/asyncmy.html" not in page.read_text("utf-8")


def test_changes_since_each_of_them(built):
    newest = text(built / "changes.html")
    assert "Since 2026-11-22 Nothing changed." in newest
    for row in ("2026-11-2220 changes: 0 worse", "2026-11-1522 changes: 0 worse", "2026-11-0822 changes: 2 worse"):
        assert row in newest
    since = text(built / "runs" / "2026-11-08" / "changes.html")
    assert "Changes since 2026-11-08" in since
    assert "NST-4 The title of NST-4mysql-aiomysqlsafeliesworse" in since
    assert "Nothing changed." in text(built / "runs" / "2026-11-22" / "changes.html")


def test_a_link_to_a_run_leads_to_what_it_said(built):
    page = Page(built / "cells" / "mysql-aiomysql" / "NST-4.html")
    assert {f"run-{day.replace('-', '')}T031700Z" for day in (*WEEKS, "2026-11-29")} <= set(page.ids)
    assert "2026-11-15 hangs seen on 2026-11-15" in text(built / "cells" / "mysql-aiomysql" / "NST-4.html")
    cell = built / "cells" / "mysql-aiomysql-py310" / "index.html"  # it has no page of its own for NST-4
    assert "run-20261115T032700Z" in Page(cell).ids
    assert "NST-4 hangs seen on 2026-11-15" in text(cell)


def test_every_link_of_these_pages_resolves(built):
    (built / "404.html").unlink()  # its links begin with the address
    test_every_internal_link_resolves(built)


def test_runs_of_one_moment_are_one_and_of_one_day_are_told_apart(tmp_path):
    write(tmp_path / "now", "2026-11-29", "lies")
    table, states = table_of(tmp_path / "now", tmp_path), []
    for name, moment in (("a", "01:00:00"), ("b", "02:00:00"), ("c", "02:00:00")):
        write_cell(tmp_path / name, header(started=f"2026-11-22T{moment}Z"), [scenario("NST-3")])
        states.append(read_folder(tmp_path / name))
    found = runs.runs(table, [*states, []], tmp_path)
    assert [run.name for run in found] == ["2026-11-22", "2026-11-22T010000"]
