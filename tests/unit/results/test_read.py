"""Every way in which a result file can be wrong has a name, a line number and one line of text."""

from __future__ import annotations

import json

import pytest

from matrix.results import read, schema
from matrix.results.read import read_cell, read_folder
from tests.unit.results.samples import header, remedy, scenario, write_cell, write_folder


@pytest.fixture
def path(tmp_path):
    return write_cell(tmp_path, header(), [scenario("NST-3"), scenario("NST-4")])


def spoil(path, number, change):
    """Replaces a line (from 1) by what ``change`` makes of it; None drops it."""
    lines = path.read_text("utf-8").splitlines()
    changed = change(json.loads(lines[number - 1]))
    lines[number - 1 : number] = (
        [] if changed is None else [changed if isinstance(changed, str) else json.dumps(changed)]
    )
    path.write_text("".join(line + "\n" for line in lines), "utf-8")


@pytest.mark.parametrize(
    ("number", "change", "error", "text"),
    [
        (4, lambda line: None, read.ResultError, "run the cell again"),
        (1, lambda line: None, read.ResultError, "line 1"),
        (3, lambda line: {**line, "scenario": "NST-3"}, read.ResultError, "line 3: NST-3"),
        (2, lambda line: "{not json", read.BadLine, "line 2: not a line of JSON"),
        (2, lambda line: "[" * 100_000, read.BadLine, "line 2"),
        (2, lambda line: '{"type": "scenario", "schema": NaN}', read.BadLine, "NaN"),
        (2, lambda line: "[]", read.BadLine, "line 2: neither header"),
        (2, lambda line: {**line, "verdict": "fine"}, read.BadLine, "'fine' is not a verdict"),
        (2, lambda line: {**line, "scenario": "../../etc/x"}, read.BadLine, "is not a scenario id"),
        (2, lambda line: {key: line[key] for key in line if key != "level"}, read.BadLine, "lacks 'level'"),
        (2, lambda line: {**header(), "type": "header", "schema": 1}, read.BadLine, "second header"),
        (3, lambda line: {**line, "schema": 2}, read.ResultError, "line 3: schema 2 is unknown"),
        (1, lambda line: {**line, "cell": "mysql-asyncmy"}, read.ResultError, "mysql-asyncmy"),
        (1, lambda line: {**line, "cell": "../x"}, read.BadLine, "is not a cell id"),
        (1, lambda line: {**line, "started": "yesterday"}, read.BadLine, "'started'"),
        (4, lambda line: {**line, "scenarios": 3}, read.ResultError, "counts 3 scenarios"),
        (4, lambda line: {**line, "counts": {"lies": 2}}, read.ResultError, "verdicts differ"),
    ],
)
def test_a_wrong_file_is_named(path, number, change, error, text):
    spoil(path, number, change)
    with pytest.raises(error, match=text) as caught:
        read_cell(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(read.CannotRead, match="No such file"):
        read_cell(tmp_path / "x.jsonl")
    with pytest.raises(read.CannotRead, match="run the cells first"):
        read_folder(tmp_path / "none")


@pytest.mark.parametrize("ending", ["", ".part"])
def test_a_link_to_nothing_is_a_problem_of_its_cell(tmp_path, ending):
    """It was passed over as if the cell had never run."""
    (tmp_path / f"mysql-aiomysql.jsonl{ending}").symlink_to(tmp_path / "elsewhere")
    (state,) = read_folder(tmp_path)
    assert state.result is None
    assert "is a link to a file that is not there: remove it, and run the cell again" in str(state.problem)


def test_a_line_that_is_too_long_is_refused(path):
    """Whole pages are made of a line's texts: a reason of 60 MB would stand on each of them."""

    def spoiled(more):
        bare = {**scenario("NST-3"), "reason": ""}
        spoil(path, 2, lambda _: {**bare, "reason": "x" * (read.LONGEST - len(json.dumps(bare) + "\n") + more)})

    spoiled(0)
    assert len(read_cell(path).scenarios) == 2
    spoiled(1)
    with pytest.raises(read.BadLine, match="line 2: longer than 8 MiB: run the cell again"):
        read_cell(path)


def test_something_after_the_footer_is_refused(path):
    path.write_text(path.read_text() + json.dumps({**scenario("CON-1")}) + "\n")
    with pytest.raises(read.BadLine, match="line 5: something follows"):
        read_cell(path)


def test_all_samples_fit_the_schema(tmp_path):
    write_folder(tmp_path)
    check = schema.checker()
    for state in read_folder(tmp_path, check):
        assert state.complete, state.problem


def test_the_schema_itself_is_valid():
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(schema.load())
    validator = jsonschema.Draft202012Validator(schema.load())
    assert validator.is_valid({"type": "scenario", "schema": 1, **remedy()})
    assert not validator.is_valid({"type": "scenario", "schema": 1, **remedy(), "level": "should"})


@pytest.mark.parametrize(
    "change",
    [
        {"level": "should"},
        {"complies": "yes"},
        {"violations": [{"property": "routing"}]},
        {"remedy": "cures"},
        {"cures": {"<script>": {"verdict": "safe"}}},
        {"evidence": {"history": ["text"]}},
        {"evidence": {"history": [{"event": "shouts"}]}},
        {"proof": "gut feeling"},
    ],
)
def test_the_schema_refuses(tmp_path, change):
    path = write_cell(tmp_path, header(), [scenario("NST-3", **change)])
    with pytest.raises(read.BadLine, match="line 2"):
        read_cell(path, schema.checker())


def test_a_newer_part_marks_the_cell_and_keeps_the_older_result(tmp_path):
    write_cell(tmp_path, header(started="2026-11-20T18:00:00Z"), [scenario("NST-3"), scenario("NST-4")])
    write_cell(tmp_path, header(), [scenario("NST-3")], finish=False)
    (state,) = read_folder(tmp_path)
    assert not state.complete
    assert "1 of 2 scenarios done" in str(state.problem)
    assert state.result.header["started"] == "2026-11-20T18:00:00Z"
    assert len(state.attempt.scenarios) == 1


def test_a_part_that_is_older_than_the_result_is_passed_over(tmp_path):
    part = write_cell(tmp_path, header(started="2026-11-20T18:00:00Z"), [], finish=False)
    content = part.read_bytes()
    write_cell(tmp_path, header(), [scenario("NST-3"), scenario("NST-4")])
    part.write_bytes(content)
    (state,) = read_folder(tmp_path)
    assert state.complete
    assert state.attempt is None


@pytest.mark.parametrize("content", ["", '{"type": "head'])
def test_a_part_that_died_at_once_marks_the_cell(tmp_path, content):
    (tmp_path / "mysql-aiomysql.jsonl.part").write_text(content)
    (state,) = read_folder(tmp_path)
    assert state.result is None
    assert "the run ended before it began" in str(state.problem)


def test_a_part_cut_in_mid_line_is_read_up_to_there(tmp_path):
    part = write_cell(tmp_path, header(), [scenario("NST-3"), scenario("NST-4")], finish=False)
    part.write_bytes(part.read_bytes()[:-20])
    (state,) = read_folder(tmp_path)
    assert list(state.attempt.by_id) == ["NST-3"]


def test_a_broken_result_is_a_problem_of_its_cell_only(tmp_path):
    write_cell(tmp_path, header(), [scenario()])
    (tmp_path / "mysql-asyncmy.jsonl").write_text("{}\n")
    good, bad = read_folder(tmp_path)
    assert good.complete
    assert bad.result is None
    assert "line 1" in str(bad.problem)


def test_evidence_need_not_be_checked(tmp_path):
    path = write_cell(tmp_path, header(), [scenario("NST-3", evidence={"history": 1}), scenario("NST-4")])
    assert len(read_cell(path, schema.checker(evidence=False)).scenarios) == 2
    with pytest.raises(read.BadLine):
        read_cell(path, schema.checker())
