"""The command: scripts are executed before they are kept. Run for real on SQLite, in this very environment."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from matrix.__main__ import main
from matrix.harness.sentences import words
from matrix.reproduce import head, loops, run
from matrix.reproduce import script as written
from matrix.reproduce.run import CannotRun, ScriptRun, execute
from matrix.reproduce.script import script
from matrix.results import reproducers
from matrix.runs import registry
from tests.unit.reproduce import recorded
from tests.unit.results.samples import write_cell

CELL = "sqlite-aiosqlite"
STORED = f"{CELL} NST-5"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Scripts wait as long as SQLite in this process's own folder needs, not as long as a server far away may."""
    monkeypatch.setattr(head, "QUIET", 0.01)
    monkeypatch.setattr(written, "SYMPTOM_SECONDS", 1)


def source(name: str = STORED) -> str:
    return script(recorded.line(name), recorded.header(name))


def write(folder: Path, text: str) -> Path:
    path = folder / "repro.py"
    path.write_text(text, encoding="utf-8")
    return path


def executed(folder: Path, text: str, *arguments: str) -> ScriptRun:
    address = arguments[0] if arguments else f"sqlite:///{folder}/x.db"
    return execute(write(folder, text), Path(sys.executable), address)


def test_the_symptom_shows_and_nothing_is_left_behind(tmp_path):
    done = executed(tmp_path, source())
    assert (done.code, done.shown) == (1, True), done.errors
    assert done.output_line("expected") == "row w-2, whose write by child was reported as done, is stored"
    assert "row w-2 was reported as done" in done.output_line("observed")
    with sqlite3.connect(tmp_path / "x.db") as database:
        assert database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'repro%'").fetchall() == []


@pytest.mark.parametrize("name", ["ORM-8", "TXN-20", "ORM-11"])
def test_a_cancelled_task_a_lock_that_is_left_and_a_closed_client_show(tmp_path, name):
    """What is left open does not keep the script from dropping its tables either."""
    done = executed(tmp_path, source(f"{CELL} {name}"))
    assert (done.code, done.errors) == (1, "")
    with sqlite3.connect(tmp_path / "x.db") as database:
        assert database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'repro%'").fetchall() == []


@pytest.mark.parametrize(
    "name", ["CTX-11", "CTX-12", "CTX-13", "ORM-6", "FIX-1a-NST-3", "FIX-3a-NST-3", "FIX-3b-NST-3"]
)
def test_threads_generators_named_connections_and_remedies_show(tmp_path, name):
    done = executed(tmp_path, source(f"{CELL} {name}"))
    assert (done.code, done.errors) == (1, "")


def test_without_the_symptom_it_ends_well(tmp_path):
    """The failing child does its work only when the other one has done all of its own."""
    steps = re.search(r'^ORDER = "(.*)"$', source(), re.MULTILINE)[1].split(".")
    first = steps.index("B")
    alone = [*steps[:first], *(token for _ in range(9) for token in ("B", "1", "1"))]
    ordered = re.sub(r'^ORDER = ".*"$', f'ORDER = "{".".join(alone)}"', source(), flags=re.MULTILINE)
    done = executed(tmp_path, ordered)
    assert done.code == 0, (done.output, done.errors)
    assert "the symptom does not show" in done.output


@pytest.mark.parametrize("address", ["", "mysql://here/x", "nothing"])
def test_wrong_use_is_2(tmp_path, address):
    done = executed(tmp_path, source(), address)
    assert done.code == 2
    assert done.errors.startswith("usage: ")


def test_a_script_that_cannot_go_on_shows_nothing(tmp_path):
    done = executed(tmp_path, source(), f"sqlite:///{tmp_path}/no/such/folder/x.db")
    assert done.code == 3
    assert not done.shown


def test_a_script_that_never_ends_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LIMIT", 2)
    done = executed(tmp_path, "import time\nprint('expected: x', flush=True)\ntime.sleep(60)")
    assert (done.code, done.shown) == (None, False)
    assert done.output_line("expected") == "x"


@pytest.fixture
def here(monkeypatch):
    """Scripts run in the environment of the tests: what is tested is not whether a network is there."""
    monkeypatch.setattr(run, "script_python", lambda pins, python, folder: Path(sys.executable))


def results(folder: Path, *names: str, **changes) -> Path:
    head = {**recorded.header(names[0]), "planned": [name.split()[1] for name in names]}
    head |= {"server_string": None, "platform": None, "commit": None}
    write_cell(folder, head, [{**recorded.line(name), **changes} for name in names])
    return folder


def test_what_shows_is_kept_with_its_sum_and_what_was_seen(tmp_path, here, capsys):
    folder = results(tmp_path, STORED)
    assert main(["reproduce", "--results", str(folder), "--times", "1"]) == 0
    index = reproducers.read_index(folder / "reproducers")
    (entry,) = index["reproducers"]
    assert (entry["cell"], entry["scenario"], entry["shown"], entry["runs"]) == (CELL, "NST-5", 1, 1)
    assert entry["observed"].startswith("child's write of row w-2 was reported as done")
    line, head = recorded.line(STORED), recorded.header(STORED)
    assert reproducers.source_of(folder / "reproducers", line, head) == source()
    out = capsys.readouterr().out
    assert f"1/1 {CELL} NST-5" in out
    assert "left" in out
    assert "1 of 1 findings have a reproducer" in out


def test_what_does_not_show_is_a_defect_and_is_not_kept(tmp_path, here, capsys):
    """The recorded order is replaced by one in which nothing overlaps: the recorded symptom cannot show."""
    kept = tmp_path / "reproducers" / CELL / "CTX-3.py"
    kept.parent.mkdir(parents=True)
    kept.write_text("an earlier one")
    folder = results(tmp_path, f"{CELL} CTX-3", schedule="A")
    assert main(["reproduce", "--results", str(folder), "--times", "2"]) == 1
    index = reproducers.read_index(folder / "reproducers")
    assert index["reproducers"] == []
    (defect,) = index["defects"]
    assert "exit code 0" in defect["why"]
    assert not kept.exists()
    assert "CTX-3 DEFECT" in capsys.readouterr().out


def test_what_cannot_be_written_is_named_with_the_reason(tmp_path, here, capsys):
    folder = results(tmp_path, STORED, finding=words("seen on the wire"), violations=[])
    assert main(["reproduce", "--results", str(folder)]) == 0
    (entry,) = reproducers.read_index(folder / "reproducers")["not_written"]
    assert "seen on the wire" in entry["why"]
    assert "0 of 1 findings" in capsys.readouterr().out


def test_a_history_of_another_shape_is_a_defect_and_the_others_go_on(tmp_path, here):
    folder = results(tmp_path, f"{CELL} CTX-3", STORED)
    path = folder / f"{CELL}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    broken = json.loads(lines[1])
    broken["evidence"]["history"] = [{"event": "invoke"}]
    path.write_text("\n".join([lines[0], json.dumps(broken), *lines[2:], ""]), encoding="utf-8")
    assert main(["reproduce", "--results", str(folder), "--times", "1"]) == 1
    index = reproducers.read_index(folder / "reproducers")
    assert [entry["scenario"] for entry in index["reproducers"]] == ["NST-5"]
    assert index["defects"][0]["why"] == "cannot be unfolded: KeyError: 'fact'"


def remedy_line(**cures) -> dict:
    """The line of FIX-1a, with what it says of these scenarios."""
    base = recorded.line(STORED)
    plain = {"scenario": "FIX-1a", "complies": None, "schedule": None, "evidence": None, "remedy": "worse"}
    return {**base, **plain, "level": "info", "title": "A second connection", "cures": cures}


def test_a_remedy_that_does_not_hold_has_one_script_of_its_worst_scenario(tmp_path, here, capsys):
    """The worst cannot be written, so the next is tried; a third need not be. What complies is no finding."""
    cure = recorded.line(f"{CELL} FIX-1a-NST-3")
    unseen = {**cure, "finding": words("seen on the wire"), "violations": []}
    milder, fine = {**cure, "verdict": "breaks"}, {**cure, "verdict": "safe", "complies": True}
    line = remedy_line(**{"NST-4": milder, "NST-13": unseen, "NST-3": cure, "CTX-1": fine})
    head = {**recorded.header(STORED), "planned": ["FIX-1a"], "server_string": None, "platform": None, "commit": None}
    write_cell(tmp_path, head, [line])
    assert main(["reproduce", "--results", str(tmp_path), "--scenario", "FIX-1a", "--times", "1"]) == 0
    index = reproducers.read_index(tmp_path / "reproducers")
    assert (index["defects"], index["not_written"]) == ([], [])
    (entry,) = index["reproducers"]
    assert (entry["scenario"], entry["remedy"], entry["cured"]) == ("FIX-1a-NST-3", "FIX-1a", "NST-3")
    assert entry["path"] == f"{CELL}/FIX-1a-NST-3.py"
    found = reproducers.source_of(tmp_path / "reproducers", reproducers.line_of_cure(line, "NST-3"), head)
    assert found is not None
    assert "FIX-1a-NST-3: A second connection (NST-3: " in found
    assert reproducers.source_of(tmp_path / "reproducers", reproducers.line_of_cure(line, "NST-4"), head) is None
    assert "1 of 1 findings have a reproducer" in capsys.readouterr().out


def test_a_remedy_of_which_nothing_shows_is_named_once(tmp_path, here):
    unseen = {**recorded.line(f"{CELL} FIX-1a-NST-3"), "finding": words("seen on the wire"), "violations": []}
    head = {**recorded.header(STORED), "planned": ["FIX-1a"], "server_string": None, "platform": None, "commit": None}
    write_cell(tmp_path, head, [remedy_line(**{"NST-3": unseen, "NST-5": unseen})])
    assert main(["reproduce", "--results", str(tmp_path)]) == 0
    index = reproducers.read_index(tmp_path / "reproducers")
    assert [entry["scenario"] for entry in index["not_written"]] == ["FIX-1a-NST-3"]


def test_an_odbc_script_gets_its_driver_and_what_the_loader_needs(tmp_path):
    text = "import os, sys\nprint('expected: ' + sys.argv[2])\nprint('observed: ' + os.environ['LD_LIBRARY_PATH'])\n"
    done = execute(
        write(tmp_path, text + "sys.exit(1)\n"), Path(sys.executable), "x", ["a driver"], {"LD_LIBRARY_PATH": "/a"}
    )
    assert (done.shown, done.output_line("expected"), done.output_line("observed")) == (True, "a driver", "/a")


PLAYED = """
import asyncio, sys, types
sys.modules["uvloop"] = types.SimpleNamespace(EventLoopPolicy=asyncio.DefaultEventLoopPolicy, __version__="0.22.1")
"""


@pytest.fixture
def uvloop(here, monkeypatch):
    """A uvloop that is asyncio's own loop."""
    monkeypatch.setattr(loops, "LAUNCHER", PLAYED + loops.LAUNCHER)


def kept_with_loops(folder: Path) -> dict:
    (entry,) = reproducers.read_index(folder / "reproducers")["reproducers"]
    return entry["loops"]["uvloop"]


def test_a_kept_script_is_run_under_another_loop_as_it_is(tmp_path, uvloop, capsys):
    folder = results(tmp_path, STORED)
    assert main(["reproduce", "--results", str(folder), "--times", "1"]) == 0
    assert main(["reproduce", "--results", str(folder), "--times", "2", "--loop", "uvloop"]) == 0
    assert kept_with_loops(folder) == {"version": "0.22.1", "runs": 2, "shown": 2}
    said = capsys.readouterr().out
    assert f"{CELL} NST-5    shown 2 of 2 times under uvloop 0.22.1\n" in said
    assert f"{CELL}: shown under uvloop too: 1 of 1\n" in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "import asyncio\nasyncio.run(asyncio.sleep(0))\nprint('observed: nothing')\n",
            "ended with exit code 0: nothing",
        ),
        ("import sys\nsys.exit(1)\n", "ended with exit code 1:"),  # under no loop of uvloop's at all
    ],
)
def test_what_does_not_show_under_the_loop_is_counted_and_named(tmp_path, uvloop, capsys, text, why):
    folder = results(tmp_path, STORED)
    assert main(["reproduce", "--results", str(folder), "--times", "1"]) == 0
    index = reproducers.read_index(folder / "reproducers")
    (folder / "reproducers" / CELL / "NST-5.py").write_text(text)
    index["reproducers"][0]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    reproducers.write_index(folder / "reproducers", index)
    assert main(["reproduce", "--results", str(folder), "--times", "1", "--loop", "uvloop"]) == 0
    found = kept_with_loops(folder)
    assert (found["shown"], found["why"]) == (0, why)
    assert f"{CELL}: shown under uvloop too: 0 of 1; not: NST-5" in capsys.readouterr().out


def test_a_script_that_was_changed_is_not_run_under_the_loop(tmp_path, uvloop, capsys):
    folder = results(tmp_path, STORED)
    assert main(["reproduce", "--results", str(folder), "--loop", "uvloop"]) == 1
    assert "there are no scripts to run: python -m matrix reproduce first" in capsys.readouterr().err
    assert main(["reproduce", "--results", str(folder), "--times", "1"]) == 0
    (folder / "reproducers" / CELL / "NST-5.py").write_text("import evil\n")
    assert main(["reproduce", "--results", str(folder), "--times", "1", "--loop", "uvloop"]) == 1
    assert "NST-5: its script is not the one that was run" in capsys.readouterr().err


def test_a_later_run_replaces_only_what_it_tried(tmp_path, here):
    folder = results(tmp_path, STORED)
    other = {"cell": "mysql-asyncmy", "scenario": "CON-1", "why": "so"}
    same = {"cell": CELL, "scenario": "NST-5", "why": "before"}
    reproducers.write_index(folder / "reproducers", {"reproducers": [], "defects": [other, same], "not_written": []})
    assert main(["reproduce", "--results", str(folder), "--times", "1"]) == 0
    index = reproducers.read_index(folder / "reproducers")
    assert index["defects"] == [other]
    assert len(index["reproducers"]) == 1


def test_an_environment_that_cannot_be_made_is_a_defect(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise CannotRun("uv pip: no such version")

    monkeypatch.setattr(run, "script_python", fails)
    folder = results(tmp_path, STORED)
    assert main(["reproduce", "--results", str(folder)]) == 1
    (defect,) = reproducers.read_index(folder / "reproducers")["defects"]
    assert defect["why"] == "could not be run: uv pip: no such version"
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--results", "no-such-folder"], "there is no such folder"), (["--cell", "mysql-none"], "no complete result")],
)
def test_wrong_arguments_are_one_line(tmp_path, here, capsys, arguments, said):
    results(tmp_path, STORED)
    given = arguments if "--results" in arguments else ["--results", str(tmp_path), *arguments]
    assert main(["reproduce", *given]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_selection_without_findings_says_so(tmp_path, here, capsys):
    folder = results(tmp_path, STORED)
    assert main(["reproduce", "--results", str(folder), "--scenario", "CON-1"]) == 0
    assert "nothing to reproduce" in capsys.readouterr().out


def test_a_changed_script_or_another_finding_has_no_source(tmp_path):
    line, head = recorded.line(STORED), recorded.header(STORED)
    entry = {"cell": CELL, "scenario": "NST-5", "verdict": line["verdict"], "schedule": line["schedule"]}
    text = "print('x')\n"
    entry |= {"path": "x.py", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    reproducers.write_index(tmp_path, {"reproducers": [entry]})
    assert reproducers.source_of(tmp_path, line, head) is None
    (tmp_path / "x.py").write_text(text)
    assert reproducers.source_of(tmp_path, line, head) == text
    assert reproducers.source_of(tmp_path, {**line, "schedule": "B"}, head) is None
    assert reproducers.source_of(tmp_path, line, {**head, "cell": "other"}) is None
    (tmp_path / "x.py").write_text("import evil\n")
    assert reproducers.source_of(tmp_path, line, head) is None


def test_an_index_of_another_version_is_passed_over(tmp_path):
    (tmp_path / reproducers.INDEX).write_text(json.dumps({"schema": 99, "reproducers": [{}]}))
    assert reproducers.read_index(tmp_path) == {}
    (tmp_path / reproducers.INDEX).write_text("{")
    assert reproducers.read_index(tmp_path) == {}


def test_an_environment_is_that_of_the_pins_on_the_cells_python(tmp_path, monkeypatch):
    calls, answer = [], subprocess.CompletedProcess([], 0, "a==1\nb==2\n", "")

    def played(command, asked="", variables=None):
        calls.append(command)
        return answer if "compile" in command else subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("MATRIX_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(registry, "run", played)
    monkeypatch.setattr(registry, "uv", lambda: ["uv"])
    header = {"axes": {"python": ".".join(map(str, sys.version_info[:3]))}}
    first = run.script_python(["a==1", "b==2"], header, tmp_path / "kept")
    assert first.is_relative_to(tmp_path / "kept")
    made = len(calls)
    assert run.script_python(["b==2", "a==1"], header, tmp_path / "kept") == first
    assert len(calls) == made
    answer.returncode, answer.stderr = 1, "No solution found when resolving dependencies: there is no a==3"
    with pytest.raises(CannotRun, match="no a==3"):
        run.script_python(["a==3"], header, tmp_path / "kept")
    with pytest.raises(CannotRun, match="is not on this machine"):
        run.script_python(["a==1"], {"axes": {"python": "3.99.1"}}, tmp_path / "kept")


def test_what_a_script_says_of_a_step_that_cannot_be_taken_is_what_is_counted(tmp_path):
    """The one text of a script's that is counted: it stands in every script, and in no other words."""
    order = re.compile(r'^ORDER = "(.*)"$', re.M)
    assert order.search(source())
    done = executed(tmp_path, order.sub(r'ORDER = "\1.Z.Z"', source()))
    assert done.skipped == 2
    assert executed(tmp_path, source()).skipped == 0
