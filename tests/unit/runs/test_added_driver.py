"""A driver is added as anybody would: an adapter file and a table in a folder of one's own, and nothing else."""

import json
from pathlib import Path

import pytest

from matrix.results.read import read_cell

TABLE = """
[drivers.newcomer]
servers = ["sqlite"]
package = "aiosqlite"
imports = ["aiosqlite.core", "tortoise.backends.sqlite"]
"""
ADAPTER = '''
"""A driver that nobody here has heard of; its calls happen to be aiosqlite's."""

from .aiosqlite import AiosqliteAdapter


class Newcomer(AiosqliteAdapter):
    name = "newcomer"


ADAPTER = Newcomer()
'''
ONLY = ("CON-1", "NST-1", "TXN-1")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "mine"
    made.mkdir()
    (made / "drivers.toml").write_text(TABLE)
    (made / "newcomer.py").write_text(ADAPTER)
    return made


def test_a_driver_from_a_folder_is_planned_run_and_read_in_the_report(run, tmp_path, folder):
    own = {"MATRIX_DRIVERS": str(folder)}
    planned = run("plan", "driver:newcomer", "--json", environment=own)
    assert planned.returncode == 0, planned.stderr
    axes = {each["axis"] for each in json.loads(planned.stdout)["cells"]}
    assert {"newest", "tortoise", "loop"} <= axes and "driver" not in axes  # no policy: the newest release only

    results, site = tmp_path / "results", tmp_path / "site"
    done = run("run", "sqlite-newcomer", "--only", ",".join(ONLY), "--results", results, environment=own)
    assert done.returncode == 0, done.stdout + done.stderr
    result = read_cell(results / "sqlite-newcomer.jsonl")
    assert [line["scenario"] for line in result.scenarios] == list(dict.fromkeys(("CON-1", "TXN-1", "NST-1")))
    assert {line["verdict"] for line in result.scenarios} == {"safe"}
    assert result.axes["driver"] == "newcomer"
    assert result.axes["driver_version"] == result.header["packages"]["aiosqlite"]

    assert run("report", "--results", results, "--out", site, environment=own).returncode == 0
    assert "sqlite-newcomer" in (site / "table.md").read_text(encoding="utf-8")
    pages = [path for path in Path(site / "site").rglob("*.html") if "newcomer" in path.name]
    assert pages and all("TXN-1" in path.read_text(encoding="utf-8") for path in pages)


def test_a_package_that_nobody_has_said_anything_of_is_planned_with_its_newest_release(run, folder):
    with (folder / "drivers.toml").open("a") as tables:
        tables.write('[drivers.other]\nservers = ["sqlite"]\npackage = "other-python"\nadapter = "newcomer"\n')
    planned = run("plan", "driver:other", "--json", environment={"MATRIX_DRIVERS": str(folder)})
    assert planned.returncode == 0, planned.stderr
    cells = json.loads(planned.stdout)["cells"]
    assert cells[0]["cell"] == "sqlite-other"
    assert {each["axis"] for each in cells} <= {"newest", "python", "loop"}


def test_a_change_of_the_adapter_runs_the_cell_again(run, tmp_path, folder):
    command = ("run", "sqlite-newcomer", "--only", "CON-1", "--results", tmp_path / "results")
    own = {"MATRIX_DRIVERS": str(folder)}
    assert "(1 ran, 0 unchanged" in run(*command, environment=own).stdout
    assert "(0 ran, 1 unchanged" in run(*command, environment=own).stdout
    with (folder / "newcomer.py").open("a") as adapter:
        adapter.write("# changed\n")
    assert "(1 ran, 0 unchanged" in run(*command, environment=own).stdout


def test_without_its_folder_there_is_no_such_driver(run):
    done = run("plan", "sqlite-newcomer")
    assert done.returncode == 2
    done = run("run", "sqlite-newcomer")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no driver newcomer; there are: aiosqlite, asyncpg" in done.stderr


def test_a_table_that_cannot_be_used_ends_every_command_in_two_lines(run, folder):
    (folder / "drivers.toml").write_text('[drivers.new-comer]\nservers = ["sqlite"]\n')
    for command in (("plan",), ("run", "--all"), ("bisect", "NST-1", "aiosqlite"), ("releases", "list")):
        done = run(*command, environment={"MATRIX_DRIVERS": str(folder)})
        assert (done.returncode, done.stderr.count("\n")) == (2, 2), (command, done.stderr)
        assert "driver new-comer: a cell's name cannot hold this word" in done.stderr
