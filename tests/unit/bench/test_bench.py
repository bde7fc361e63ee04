"""The bench: its sums are right, and what was not measured is shown as such. How long anything takes is not tested."""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from matrix.bench import __main__ as command
from matrix.bench import from_results, measure, pairs, tables
from matrix.bench.tables import Heading, Measured
from matrix.results.read import CellResult


def line(identifier: str, seconds: float, explored: int, **more: Any) -> dict[str, Any]:
    return {"scenario": identifier, "seconds": seconds, "orders": {"explored": explored}, **more}


def result(*lines: dict[str, Any]) -> CellResult:
    return CellResult(Path("c.jsonl"), {"cell": "postgres-asyncpg", "axes": {}}, lines, {"seconds": 7.5})


def row(*lines: dict[str, Any]) -> dict[str, Any]:
    table = from_results.cells([result(*lines)])
    return dict(zip((column.name for column in table.columns), table.rows[0], strict=True))


def test_a_cell_is_summed_up_over_the_scenarios_that_ran():
    seen = row(line("CON-1", 0.3, 2), line("CON-2", 0.1, 4), line("CON-4", 0.2, 1), line("POOL-1", 0.0, 0))
    assert (seen["run"], seen["scenarios run"], seen["which"]) == (7.5, 3, "CON-1")
    assert seen["median scenario"] == pytest.approx(200)
    assert seen["worst scenario"] == pytest.approx(300)


def test_the_deciding_schedule_counts_twice_and_remedies_do_not_count():
    seen = row(line("CON-1", 0.6, 5), line("FIX-4", 9.0, 50, cures={}), line("CON-2", 5.0, 0))
    assert seen["schedules"] == 6
    assert seen["per schedule"] == pytest.approx(100)


def test_a_cell_over_several_databases_has_no_time_per_schedule():
    seen = row(line("CON-1", 0.6, 5, variants={"postgres": "safe", "sqlite": "safe"}))
    assert (seen["schedules"], seen["per schedule"]) == (None, None)


def test_a_cell_in_which_nothing_ran_has_a_row():
    assert row(line("CON-1", 0.0, 0))["median scenario"] is None


@pytest.mark.parametrize(("share", "value"), [(0.5, 5), (0.95, 10), (0.9, 9), (1, 10), (0, 1)])
def test_percentiles(share, value):
    assert tables.percentile(range(10, 0, -1), share) == value


def test_no_values_have_no_percentile():
    with pytest.raises(ValueError, match="no values"):
        tables.percentile([], 0.5)


def spent(wall: float, processor: float) -> pairs.Spent:
    return pairs.Spent(wall, processor, 0, "")


def test_cells_are_compared_with_the_first_tree_by_medians_and_all_together():
    taken = {
        ("a", "this"): [spent(1, 2), spent(9, 9), spent(3, 4)],
        ("a", "other"): [spent(6, 2)],
        ("b", "this"): [spent(7, 6)],
        ("b", "other"): [spent(14, 6)],
    }
    assert pairs.rows_of(taken, ["this", "other"]) == [
        ("a", "this", 3, 4, 1, 1),
        ("a", "other", 6, 2, 2, 0.5),
        ("b", "this", 7, 6, 1, 1),
        ("b", "other", 14, 6, 2, 1),
        ("all of them", "this", 10, 10, 1, 1),
        ("all of them", "other", 20, 8, 2, 0.8),
    ]
    del taken["b", "this"]  # it did not run: it is not compared, nor is it a part of the whole
    assert ("b", "other", 14, 6, None, None) in pairs.rows_of(taken, ["this", "other"])
    assert not [row for row in pairs.rows_of(taken, ["this", "other"]) if row[0] == "all of them"]


def test_a_process_is_charged_with_what_its_children_use(tmp_path):
    work = "x = 0\nfor n in range(3_000_000): x += n"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {work!r}])\nprint('done')\nsys.exit(3)"
    found = pairs.spent([sys.executable, "-c", child], tmp_path, {})
    alone = pairs.spent([sys.executable, "-c", "pass"], tmp_path, {})
    assert (found.code, found.said) == (3, "done\n")
    assert found.processor > alone.processor


def test_a_cell_without_environment_is_told(tmp_path):
    made = pairs.cells(["sqlite-aiosqlite"], {"this": pairs.ROOT}, tmp_path, 1, False, lambda text: None)
    assert made.rows == ()
    assert "sqlite-aiosqlite has no environment" in made.note


@pytest.mark.parametrize("arguments", [["--against", "/nowhere"], ["--peer", "asyncpg"], ["--peer", "pg=."]])
def test_bad_input_is_told(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert "error: argument" in capsys.readouterr().err


def test_every_number_is_printed_under_its_unit_and_a_gap_as_a_dash(capsys):
    table = Measured("A title", (Heading("what"), Heading("time", "ms")), (("a", 1234.5), ("b", None)))
    tables.show([table], tables.machine())
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[1:3] == [["A", "title"], ["what", "time", "(ms)"]]
    assert lines[-2:] == [["a", "1,234"], ["b", "–"]]


def test_the_file_holds_the_unrounded_numbers(tmp_path):
    table = Measured("A title", (Heading("time", "ms"),), ((1.23456,),))
    tables.write_json(tmp_path / "bench.json", [table], tables.machine())
    read = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert read["tables"][0]["rows"] == [[1.23456]]
    assert read["tables"][0]["columns"] == [{"name": "time", "unit": "ms"}]
    assert read["machine"]["cores"] >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_live_figures_say_why_they_are_missing():
    options = command._parser().parse_args([])
    tables = measure.live(["postgres-nothing"], options, lambda text: None)
    assert all(not table.rows for table in tables)
    assert "unknown cell 'postgres-nothing'" in tables[0].note


def test_schedules_are_measured_of_scenarios_that_are_one_program_each():
    cell: Any = SimpleNamespace(unmet=lambda scenario: "no pool" if scenario.id == "POOL-3" else None)
    names = {scenario.id for scenario in measure.plain_scenarios(cell)}
    assert {"CON-1", "NST-4", "TXN-25"} <= names
    assert not [name for name in names if name.startswith(("FIX-", "GEN-")) or name == "POOL-3"]


def test_the_statements_that_tortoise_keeps_are_not_those_of_another_cell_s_database(monkeypatch):
    kept = {("default", None, "entry"): "INSERT"}
    monkeypatch.setitem(sys.modules, "tortoise.backends.base.executor", SimpleNamespace(EXECUTOR_CACHE=kept))
    measure.forget_statements()
    assert kept == {}


def test_drivers_are_hushed_only_while_something_is_measured():
    before = logging.root.manager.disable, threading.excepthook, list(warnings.filters)
    with pytest.raises(LookupError), measure.hushed():
        assert logging.root.manager.disable == logging.CRITICAL
        raise LookupError
    assert (logging.root.manager.disable, threading.excepthook, list(warnings.filters)) == before
