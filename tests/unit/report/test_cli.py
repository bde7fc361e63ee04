"""``python -m matrix report``: what it writes, what it says, when it fails."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import pytest

from matrix.report import cli
from matrix.results import documents
from tests.unit.results.samples import faults, header, scenario, write_cell, write_folder


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MATRIX_STRICT", raising=False)
    (tmp_path / "expectations").mkdir()

    def call(*arguments):
        parser = argparse.ArgumentParser()
        cli.register(parser.add_subparsers())
        places = {"results": tmp_path / "results", "out": tmp_path / "build", "expectations": tmp_path / "expectations"}
        given = [part for name, place in places.items() for part in (f"--{name}", str(place))]
        options = parser.parse_args(["report", *given, *arguments])
        code = options.handler(options)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def results(tmp_path):
    write_cell(tmp_path / "results", header(), [scenario(name) for name in ("CON-1", "NST-3", "NST-4")])
    return tmp_path / "results"


def test_a_green_report(run, results, tmp_path):
    code, out, _ = run()
    assert code == 0
    assert out.splitlines()[-1] == "✓ complete and as expected"
    for name in ("site/index.html", "site/style.css", "table.md", "results.json", "site/cells/mysql-aiomysql.json"):
        assert (tmp_path / "build" / name).is_file()


def test_unmet_incomplete_and_missing_have_a_line_each(run, results):
    write_cell(results, header("mysql-asyncmy", ["NST-3"]), [scenario("NST-3", "lies", reason="rows are swapped")])
    write_cell(results, header("sqlite-aiosqlite"), [], finish=False)
    code, out, _ = run("--expect-cells", "mysql-aiomysql,postgres-asyncpg")
    assert code == 1
    tail = out.splitlines()[out.splitlines().index("✗ not as expected, 3 reasons:") + 1 :]
    assert tail[1:] == [
        "  postgres-asyncpg: no result in the folder",
        "  mysql-asyncmy: NST-3 lies, expected to comply: rows are swapped",
    ]
    assert "is incomplete: 0 of 2 scenarios done" in tail[0]


@pytest.mark.skipif(sys.platform != "linux", reason="how many files are open before differs")
def test_twelve_open_files_are_enough(tmp_path):
    """Too few for processes that help: then it takes longer. It said 'cannot write', of a folder that is all right."""
    write_folder(tmp_path / "results")
    command = [sys.executable, "-m", "matrix", "report", "--out", str(tmp_path / "build")]
    done = subprocess.run(
        [*command, "--results", str(tmp_path / "results")], cwd=cli.ROOT, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12)),
    )  # fmt: skip
    assert done.stderr == ""
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["results.json", "site", "table.md"]


def test_strict(run, results, tmp_path):
    entry = '[[expect]]\nscenarios = ["NST-3"]\nverdict = "lies"\nreason = "r"\ncategory = "orm"\n'
    (tmp_path / "expectations" / "aiomysql.toml").write_text(entry)
    write_cell(results, header(planned=["NST-3"]), [scenario("NST-3", "lies")])
    assert run()[0] == 0
    code, out, _ = run("--strict")
    assert code == 1
    assert "NST-3 lies, does not comply (strict)" in out


def test_without_results_nothing_is_written(run, tmp_path):
    code, _, errors = run()
    assert code == 1
    assert errors.count("\n") == 1
    assert not (tmp_path / "build").exists()
    (tmp_path / "results").mkdir()
    assert "no result file" in run()[2]


def test_a_folder_that_cannot_be_written_is_one_line(run, results, tmp_path):
    (tmp_path / "build").write_text("a file")
    code, _, errors = run()
    assert code == 1
    assert errors.count("\n") == 1
    assert "cannot write to" in errors


def test_the_terminal_has_a_line_for_each(run, results):
    assert "seeded" not in run()[1]
    documents.write(results / "faults.json", faults())
    code, out, _ = run()
    assert code == 0
    assert "1 seeded faults, 1 caught" in out.splitlines()


@pytest.mark.parametrize("kind", documents.KINDS)
def test_a_broken_document_is_one_line(run, results, kind):
    (results / f"{kind}.json").write_text("{}")
    code, _, errors = run()
    assert code == 1
    assert errors.count("\n") == 1
    assert f"{kind}.json: not a document" in errors


def test_older_results_make_changes_and_a_feed(run, results, tmp_path):
    write_cell(tmp_path / "older", header(), [scenario("NST-3", "lies"), scenario("NST-4")])
    code, _, _ = run("--older", str(tmp_path / "older"), "--address", "https://example.org/m")
    assert code == 0
    page = (tmp_path / "build" / "site" / "changes.html").read_text("utf-8")
    assert "better" in page
    assert "https://example.org/m/cells/mysql-aiomysql/NST-3.html" in (tmp_path / "build/site/feed.xml").read_text()
    assert "(https://example.org/m/badges/" in (tmp_path / "build/site/drivers/aiomysql.html").read_text("utf-8")


def test_bad_options_are_one_line(run, results, tmp_path):
    for arguments in (("--older", str(tmp_path / "nowhere")), ("--address", "javascript:alert(1)")):
        code, _, errors = run(*arguments)
        assert code == 1
        assert errors.count("\n") == 1
    assert not (tmp_path / "build").exists()
