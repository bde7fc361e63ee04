"""What a run knows of its cells comes as facts: what a cell prints is for people, and may say anything."""

import json
import re

import pytest

from matrix.results.following import FOLLOW, Follower, tell
from matrix.runs import process

# A cell that prints no word of what it would.
REWORDED = """
from _pytest.terminal import TerminalReporter

TerminalReporter.write_line = lambda self, line, **markup: self._tw.line("S")
"""
# One whose server is gone when it is opened.
ENDED = """
from matrix.harness import cell


def gone(self, meanwhile):
    raise cell.CellError("no server is here, on purpose")


cell.Cell.open = gone
"""


@pytest.fixture
def plugged(run, tmp_path):
    """``plugged(CODE)`` -> what a run of a cell does whose process begins with this code."""

    def plugged(code):
        (tmp_path / "reworded.py").write_text(code, "utf-8")
        variables = {"PYTEST_ADDOPTS": "-p reworded", "PYTHONPATH": str(tmp_path)}
        words = ("run", "sqlite-aiosqlite", "--only", "CON-1,CON-2,NST-1", "--full-first", "--fresh")
        return run(*words, "--results", tmp_path / "results", environment=variables)

    return plugged


def printed(tmp_path):
    (log,) = (tmp_path / "state" / "logs").glob("*.txt")
    return log.read_text("utf-8")


def test_a_run_follows_a_cell_that_prints_other_words(plugged, tmp_path):
    done = plugged(REWORDED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("CON-|NST-", printed(tmp_path))
    through = re.findall(r"^sqlite-aiosqlite +(\d/\d) (\S+) +(\S+ \w+)", done.stdout, re.MULTILINE)
    assert through == [("1/3", "CON-1", "✔ safe"), ("2/3", "CON-2", "✔ safe"), ("3/3", "NST-1", "✔ safe")]
    assert "✔3" in done.stdout


def test_why_a_cell_ended_is_a_fact_too(plugged, tmp_path):
    done = plugged(REWORDED + ENDED)
    assert done.returncode == 1
    assert "on purpose" in done.stdout
    assert "no result: sqlite-aiosqlite: no server is here, on purpose (all of it: " in done.stdout


def test_half_a_line_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "facts"
    monkeypatch.setenv(FOLLOW, str(path))
    fact = {"scenario": "NST-4", "count": 1, "planned": 2, "verdict": "lies", "reason": "two\nlines \ud800"}
    with Follower(path) as follower:
        tell(fact)
        with path.open("a") as file:
            file.write(json.dumps(fact)[:9])
            file.flush()
            assert follower.read() == [fact]
            assert follower.read() == []
            file.write(json.dumps(fact)[9:] + "\n")
        assert follower.read() == [fact]
        assert follower.ended is None
        tell({"ended": "the server is gone"})
        assert follower.read() == []
        assert follower.ended == "the server is gone"


def test_a_cell_that_nobody_can_follow_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLLOW, str(tmp_path / "no" / "folder"))
    tell({"ended": "x"})
    monkeypatch.delenv(FOLLOW)
    tell({"ended": "x"})
    assert not list(tmp_path.iterdir())


def test_one_cell_does_not_write_into_the_facts_of_another(monkeypatch, tmp_path):
    """A run inside of a run, as the tests of this project are: the inner cell's facts are its own run's."""
    started = {}
    monkeypatch.setenv(FOLLOW, "the facts of another run")
    monkeypatch.setattr(process.subprocess, "Popen", lambda command, **how: started.update(how["env"]))
    process.start(tmp_path / "python", "sqlite-aiosqlite")
    assert FOLLOW not in started
    process.start(tmp_path / "python", "sqlite-aiosqlite", variables={FOLLOW: "own"})
    assert started[FOLLOW] == "own"
