"""What the table says, as data."""

from __future__ import annotations

from matrix.report import evidence, view
from matrix.results.read import read_folder
from matrix.words import FAMILIES
from tests.unit.results import samples


def of(table, cell, scenario):
    at = [column.cell for column in table.columns].index(cell)
    rows = {row.scenario: row for family in table.families for row in family.rows}
    return rows[scenario].marks[at]


def test_families_and_scenarios_are_in_the_published_order(table):
    named = [family.name for family in FAMILIES.values() if family.prefix != "GEN"]  # of which the samples have none
    assert [family.name for family in table.families] == named
    transactions = next(family for family in table.families if family.key == "transaction")
    assert [row.scenario for row in transactions.rows] == ["TXN-2", "TXN-10"]


def test_notes_tell_known_from_unexpected(table):
    known = of(table, "mysql-aiomysql", "CON-2")
    assert (known.word, known.note, known.detail) == ("poisons", "known", "On <record>.")
    assert of(table, "mariadb-aiomysql", "CON-2").note == "unexpected"
    assert of(table, "mysql-aiomysql", "CON-1").note == ""
    assert of(table, "mysql-aiomysql", "CTX-7").word == "n/a"


def test_an_older_result_says_its_age_and_an_incomplete_cell_says_so(table):
    columns = {column.cell: column for column in table.columns}
    assert columns["odbc-asyncodbc"].age == "3 days older than the newest run"
    assert columns["mysql-aiomysql"].age == ""
    assert columns["mysql-asyncmy"].problem.startswith("mysql-asyncmy.jsonl.part: the run of 2026-11-23T19:00:00Z")


def test_a_result_of_a_machine_whose_clock_was_wrong_makes_no_other_one_old(tmp_path):
    lines = [samples.scenario("NST-3"), samples.scenario("NST-4")]
    samples.write_cell(tmp_path, samples.header("mysql-aiomysql", started="2099-01-01T00:00:00Z"), lines)
    samples.write_cell(tmp_path, samples.header("mysql-asyncmy"), lines)
    ahead, other = view.build(read_folder(tmp_path), tmp_path).columns
    assert (ahead.age, other.age) == ("its machine's clock was wrong", "")


def test_a_cell_without_any_complete_run_is_an_error(tmp_path):
    samples.write_cell(tmp_path, samples.header(), [samples.scenario("NST-3", "lies")], finish=False)
    table = view.build(read_folder(tmp_path), tmp_path)
    assert of(table, "mysql-aiomysql", "NST-3").word == "error"


def test_an_unreadable_file_is_a_column_too(tmp_path):
    (tmp_path / "mysql-aiomysql.jsonl").write_text("nonsense\n")
    samples.write_cell(tmp_path, samples.header("mysql-asyncmy"), [samples.scenario("NST-3")])
    table = view.build(read_folder(tmp_path), tmp_path)
    assert of(table, "mysql-aiomysql", "NST-3").word == "error"
    assert table.drivers == ("asyncmy",)


def test_the_history_knows_who_waits():
    (seen,) = evidence.read(samples.evidence()).history
    assert seen.sessions == ("parent", "child")
    asked = seen.events[2]
    assert asked.waiting == (True, True)
    assert seen.events[-1].waiting == (False, False)


def test_the_history_says_nothing_twice():
    told = samples.event(3, "a", "told", None, "", "a's transaction 1: committed")
    raw = [
        samples.event(1, "a", "invoke", 1, "rollback", "S1", block="T1", fact={"kind": "rollback", "block": "T1"}),
        samples.event(2, "a", "ok", 1, "read", "S2", result="n-1", fact={"kind": "read", "row": "n-1"}),
        told,
        samples.event(4, "a", "end", None, "", "ends with an error"),
    ]
    seen = [(one.verb, one.what, one.block) for one in evidence.read({"history": raw}).history[0].events]
    assert seen == [("asks", "", ""), ("done:", "", ""), ("is told:", "", "T1"), ("", "", "T1")]


def test_what_comes_after_all_others_stands_below():
    raw = [samples.event(n, name, "invoke", n, "read", "read") for n, name in enumerate(("a", "b", "a", "c"), start=1)]
    raw.insert(2, samples.event(9, "event loop", "note", None, "", "grumbles"))
    first, then = evidence.read({"history": raw}).history
    assert (first.sessions, then.sessions) == (("a", "b"), ("c",))
    assert [one.lane for one in first.events] == [0, 1, None, 0]
    assert sum(len(part.events) for part in (first, then)) == len(raw)


def test_rows_that_only_one_side_has_are_marked():
    seen = evidence.read({"witness": {"rows": [1, 2, 2], "expected": [2, 3]}})
    assert [(row.text, row.alone) for row in seen.rows] == [("1", True), ("2", False), ("2", True)]
    assert [row.alone for row in seen.expected] == [False, True]


def test_every_part_of_the_evidence_may_be_missing_or_odd():
    for odd in (None, [], "text", {}, {"history": "no"}, {"history": [1, {}], "witness": [], "hang": 3, "frames": {}}):
        evidence.read(odd)
