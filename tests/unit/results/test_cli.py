"""``python -m matrix results``: exit codes and one line per problem."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from matrix.results import cli
from tests.unit.results.samples import header, remedy, scenario, write_cell

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MATRIX_STRICT", raising=False)
    (tmp_path / "expectations").mkdir()

    def call(*arguments):
        parser = argparse.ArgumentParser()
        cli.register(parser.add_subparsers())
        first = [] if arguments[0] == "diff" else ["results"]
        options = parser.parse_args([*first, *map(str, arguments)])
        if hasattr(options, "expectations"):
            options.expectations = tmp_path / "expectations"
        code = options.handler(options)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    write_cell(folder, header(), [scenario("NST-3"), scenario("NST-4")])
    return folder


def test_green(run, results):
    assert run("check", results, "--cells", 1, "--expect-cells", "mysql-aiomysql") == (
        0,
        "1 cells, 2 scenarios: complete, valid and as expected\n",
        "",
    )


def test_fewer_cells_than_planned(run, results):
    assert "1 cells, 8 were planned" in run("check", results, "--cells", 8)[2]
    code, _, errors = run("check", results, "--expect-cells", "mysql-aiomysql,mysql-asyncmy")
    assert code == 1
    assert errors == "mysql-asyncmy: no result in the folder\n"


def test_no_folder_and_an_empty_one(run, tmp_path):
    assert run("check", tmp_path / "none")[0] == 1
    (tmp_path / "empty").mkdir()
    assert "no result file" in run("check", tmp_path / "empty")[2]


def test_an_unmet_expectation_and_an_incomplete_run_have_a_line_each(run, results):
    write_cell(results, header("mysql-asyncmy"), [scenario("NST-3", "lies"), scenario("NST-4")])
    write_cell(results, header("sqlite-aiosqlite"), [], finish=False)
    code, _, errors = run("check", results)
    assert code == 1
    assert len(errors.splitlines()) == 2


def test_strict_fails_for_what_is_on_record_too(run, results, tmp_path, monkeypatch):
    entry = '[[expect]]\nscenarios = ["NST-3"]\nverdict = "lies"\nreason = "r"\ncategory = "orm"\n'
    fix = entry.replace("NST-3", "FIX-1a").replace("verdict =", 'remedy = "fails"\nverdict =')
    (tmp_path / "expectations" / "aiomysql.toml").write_text(entry + fix)
    write_cell(results, header(planned=["NST-3", "FIX-1a"]), [scenario("NST-3", "lies"), remedy()])
    assert run("check", results)[0] == 0
    assert "NST-3 lies, does not comply (strict)" in run("check", results, "--strict")[2]
    monkeypatch.setenv("MATRIX_STRICT", "1")
    assert "FIX-1a fails, does not comply (strict)" in run("check", results)[2]


def test_complete_finds_expectations_for_no_cell(run, results, tmp_path):
    entry = '[[expect]]\nscenarios = ["NST-3"]\nverdict = "lies"\nversions = {aiomysql = ">9"}\nreason = "r"\n'
    (tmp_path / "expectations" / "aiomysql.toml").write_text(entry + 'category = "orm"\n')
    assert run("check", results)[0] == 0
    assert "matches no cell" in run("check", results, "--complete")[2]


def test_a_bad_expectation_file_is_one_line(run, results, tmp_path):
    (tmp_path / "expectations" / "aiomysql.toml").write_text("[[expect]]\n")
    code, _, errors = run("check", results)
    assert code == 1
    assert len(errors.splitlines()) == 1


def test_merge(run, results, tmp_path):
    assert run("merge", tmp_path / "out", results) == (0, f"1 cells in {tmp_path / 'out'}\n", "")
    assert (tmp_path / "out" / "mysql-aiomysql.jsonl").read_bytes() == next(results.iterdir()).read_bytes()
    assert run("merge", tmp_path / "out", tmp_path / "none")[0] == 1


def test_what_is_not_trimmed_is_told(run, results, tmp_path):
    """A result of a newer schema and a run that did not end: the history keeps what it has of these cells."""
    newer = write_cell(results, header("mysql-asyncmy"), [scenario()])
    newer.write_text(newer.read_text("utf-8").replace('"schema": 1', '"schema": 2'), "utf-8")
    write_cell(results, header("sqlite-aiosqlite"), [scenario()], finish=False)
    code, out, told = run("trim", tmp_path / "out", results)
    assert (code, out) == (0, f"1 cells in {tmp_path / 'out'}\n")
    first, second = told.splitlines()
    assert first.startswith("left out: ")
    assert "mysql-asyncmy.jsonl, line 1: schema 2 is unknown" in first
    assert "sqlite-aiosqlite.jsonl.part" in second


def test_a_cell_needs_only_the_standard_library_and_packaging():
    """What a cell imports must not draw in what only the report installs."""
    program = (
        "import sys\n"
        "for name in ('jsonschema', 'rich', 'jinja2'): sys.modules[name] = None\n"
        "import matrix.results.write, matrix.results.expectations, matrix.results.read, matrix.results.cli\n"
        "import matrix.report.cli\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True, timeout=30)


def test_diff_of_a_side_that_cannot_be_read_says_so_and_is_no_success(run, results, tmp_path):
    after = write_cell(tmp_path / "after", header(), [scenario("NST-3"), scenario("NST-4")])
    assert run("diff", results, after.parent)[0] == 0
    lines = after.read_text().splitlines()
    footer = json.loads(lines[-1])
    for content in ("garbage\n", "\n".join([*lines[:-1], json.dumps(footer | {"counts": "many"}), ""])):
        after.write_text(content)
        for sides in ((results, after.parent), (after.parent, results), (results / after.name, after)):
            code, _, said = run("diff", *sides)
            assert code == 2
            assert str(after) in said


def test_diff_of_sides_with_nothing_in_common_is_no_success(run, results, tmp_path):
    after = write_cell(tmp_path / "after", header("postgres-psycopg"), [scenario("NST-3"), scenario("NST-4")])
    code, _, said = run("diff", results / "mysql-aiomysql.jsonl", after)  # two files: as the user says
    assert code in (0, 1), said
    (tmp_path / "before").mkdir()
    (results / "mysql-aiomysql.jsonl").rename(tmp_path / "before" / "mysql-aiomysql.jsonl")
    code, _, said = run("diff", tmp_path / "before", after.parent)
    assert code == 2
    assert "nothing was compared" in said


def test_the_wrong_shape_within_a_line_is_told_in_a_line(run, results, tmp_path):
    after = write_cell(tmp_path / "after", header(), [scenario("NST-3"), scenario("NST-4")])
    first, *others = after.read_text().splitlines()
    for key, value in {"planned": [{}], "axes": {"driver": []}, "packages": 3}.items():
        after.write_text("\n".join([json.dumps(json.loads(first) | {key: value}), *others, ""]))
        code, _, said = run("diff", results / after.name, after)
        assert (code, said.count("\n")) == (2, 1), said
        assert f"{after}, line 1" in said


def test_a_named_pipe_in_the_place_of_a_result_is_told_and_not_waited_for(results, tmp_path):
    after = tmp_path / "after"
    after.mkdir()
    os.mkfifo(after / "mysql-aiomysql.jsonl")
    for sides in ((results, after), (results / "mysql-aiomysql.jsonl", after / "mysql-aiomysql.jsonl")):
        command = [sys.executable, "-m", "matrix", "diff", *map(str, sides)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 2
        assert "no regular file" in done.stderr
        assert "Traceback" not in done.stderr


def test_complete_wants_all_orders_of_the_newest_releases(run, results):
    write_cell(results, header(depth="record"), [scenario("NST-3", depth="record"), scenario("NST-4")])
    assert run("check", results)[0] == 0
    code, _, errors = run("check", results, "--complete")
    assert (code, errors) == (1, "mysql-aiomysql: is as on record only: run all orders (tox -e orders)\n")
