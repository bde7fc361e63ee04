"""The page of a line of generated programs: how many, from which seed, and every anomaly with its program."""

from __future__ import annotations

from matrix.report import site
from tests.unit.report.conftest import table_of
from tests.unit.results.samples import header, scenario, write_cell


def anomaly(**changes):
    return {
        "signature": "lies: routing",
        "verdict": "lies",
        "properties": ["routing"],
        "programs": 3,
        "program": "async def program():\n    await connection.select(<value>)\n",
        "reason": "task 1 got task 2's row.",
        "schedule": "B.A.1",
        "known_by": [],
        "made_of": [],
        "found_by_generation": True,
        **changes,
    }


def page(tmp_path, expectations, anomalies):
    said = {"seed": 1952, "programs": 15, "anomalies": anomalies}
    line = scenario("GEN-4", "lies" if anomalies else "safe", level="loud", generated=said)
    write_cell(tmp_path / "results", header("mysql-aiomysql"), [line])
    built = site.build(table_of(tmp_path / "results", expectations), tmp_path / "build").parent
    return (built / "cells" / "mysql-aiomysql" / "GEN-4.html").read_text("utf-8")


def test_it_counts_what_generation_found(tmp_path, expectations):
    known = anomaly(known_by=["CON-1"], found_by_generation=False, verdict="poisons")
    text = page(tmp_path, expectations, [anomaly(), known, anomaly(made_of=["CAN-1"], found_by_generation=False)])
    assert "15 programs drawn from seed <code>1952</code>" in text
    assert "<b>1 found by generation</b>" in text
    assert "Shown as well by CON-1." in text
    assert "shown one by one by CAN-1." in text
    assert "connection.select(&lt;value&gt;)" in text


def test_it_says_when_all_complied(tmp_path, expectations):
    text = page(tmp_path, expectations, [])
    assert "All of them complied." in text
    assert "found by generation</b>" not in text


def test_other_pages_have_no_such_part(built):
    for path in (built / "cells").rglob("*-*.html"):
        assert "Generated programs" not in path.read_text("utf-8")
