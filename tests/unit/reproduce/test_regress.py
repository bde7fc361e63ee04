"""Findings as regression tests: written in their project's style, and run for real on SQLite."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from pathlib import Path

import pytest

from matrix.__main__ import main
from matrix.reproduce import NotWritten, run, tried
from matrix.reproduce.regress import regression_test
from tests.unit.reproduce import recorded
from tests.unit.results.samples import write_cell

CELL = "sqlite-aiosqlite"


def source(name: str) -> str:
    return regression_test(recorded.line(name), recorded.header(name))


def results(folder: Path, *, cell: str = CELL) -> Path:
    head = {**recorded.header(f"{CELL} NST-5"), "planned": ["NST-5"], "cell": cell}
    head |= {"server_string": None, "platform": None, "commit": None}
    write_cell(folder, head, [recorded.line(f"{CELL} NST-5")])
    return folder


@pytest.mark.parametrize("name", recorded.names())
def test_a_finding_is_a_whole_test_or_says_why_not(name):
    try:
        text = source(name)
    except NotWritten as why:
        assert str(why)
        return
    compile(text, name, "exec")
    assert len(re.findall(r"^async def test_", text, re.M)) == 1
    assert "@pytest.mark.asyncio" in text
    order = re.search(r'^ORDER = "(.*)"$', text, re.M)[1].split(".")
    assert all(token == "pause" or token.isalpha() for token in order)
    letters = [token for token in str(recorded.line(name)["schedule"]).split(".") if token.isalpha()]
    assert [token for token in order if token != "pause"] == letters
    for word in ("held", "matrix", "quiet()", "is_login"):
        assert word not in text, "a test of theirs has nothing of the gate, and nothing of ours"


def unknown(text: str) -> set[str]:
    """Names that a source uses and nobody gives a value."""
    nodes = list(ast.walk(ast.parse(text)))
    known = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    known |= {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    known |= {node.arg for node in nodes if isinstance(node, ast.arg)} | {*dir(builtins), "__name__"}
    known |= {each.asname or each.name for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for each in n.names}
    known |= {node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name}
    return {node.id for node in nodes if isinstance(node, ast.Name)} - known


@pytest.mark.parametrize("name", recorded.names())
def test_it_brings_whatever_it_uses(name):
    try:
        assert unknown(source(name)) == set()
    except NotWritten:
        return


def test_a_driver_is_tested_alone():
    text = source("mysql-asyncmy CON-1")
    assert re.search(r"^async def read\(connection, nonce", text, re.M)
    assert "async def write(" not in text, "nobody writes"
    assert "def transaction(" in source("postgres-asyncpg CON-4")


def test_tortoise_is_tested_with_its_own_context_and_events():
    text = source(f"{CELL} NST-5")
    for needed in ("tortoise_test_context([__name__]", "asyncio.Event()", 'os.getenv("TORTOISE_TEST_DB"'):
        assert needed in text


@pytest.fixture
def here(monkeypatch):
    """Tests run in the environment of the tests: what is tested is not whether a network is there."""
    monkeypatch.setattr(run, "script_python", lambda pins, python, folder: Path(sys.executable))


def test_it_fails_with_what_has_the_finding(tmp_path, here, capsys):
    given = ("regress", "nst-5", CELL, "--results", str(results(tmp_path)), "--out", str(tmp_path), "--times", "1")
    assert main([*given]) == 0
    out = capsys.readouterr().out
    assert "release: fails 1 of 1 times, passes 0" in out
    assert "expected: row w-2, whose write by child was reported as done, is stored" in out


def test_what_passes_with_the_release_or_fails_otherwise_is_no_regression_test(tmp_path, here, monkeypatch, capsys):
    given = ("regress", "nst-5", CELL, "--results", str(results(tmp_path)), "--out", str(tmp_path), "--times", "1")
    monkeypatch.setattr(tried, "regression_test", lambda line, header: "def test_x():\n    pass\n")
    assert main([*given]) == 1
    assert "release: fails 0 of 1 times, passes 1" in capsys.readouterr().out
    monkeypatch.setattr(tried, "regression_test", lambda line, header: "def test_x():\n    raise OSError('a disk')\n")
    assert main([*given]) == 1
    assert "fails 0 of 1 times, passes 0, cannot be run 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cell", "scenario", "says"),
    [
        (CELL, "NST-4", "NST-4 was not run: there is nothing to test for"),
        (CELL, "NST-99", "there is no scenario NST-99"),
        ("sqlite-aiosqlite-tortoise+some.fix", "NST-5", "was never tested on this machine"),
        ("sqlite-aiosqlite-tortoise1.1.9+refuse", "NST-5", "is no release but a candidate"),
    ],
)
def test_what_cannot_be_tested_for_is_told(tmp_path, monkeypatch, capsys, cell, scenario, says):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path / "state"))
    folder = results(tmp_path / "results", cell=cell)
    assert main(["regress", scenario, cell, "--results", str(folder), "--out", str(tmp_path)]) == 2
    assert says in capsys.readouterr().err


def test_a_cell_of_a_source_that_is_not_here_is_not_reproduced_with_a_release(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path / "state"))
    for cell in ("sqlite-aiosqlite-tortoise+some.fix", "sqlite-aiosqlite-tortoise1.1.9+refuse"):
        folder = results(tmp_path / cell, cell=cell)
        assert main(["reproduce", "--results", str(folder)]) == 2
        assert capsys.readouterr().err.count("\n") == 2


def test_a_checkout_of_something_else_is_refused(tmp_path, here, capsys, monkeypatch):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path / "state"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pyproject.toml").write_text('[project]\nname = "other"\n')
    given = ("regress", "nst-5", CELL, "--results", str(results(tmp_path)), "--out", str(tmp_path))
    assert main([*given, "--checkout", str(tmp_path / "other")]) == 2
    assert "wanted is tortoise-orm or aiosqlite" in capsys.readouterr().err
