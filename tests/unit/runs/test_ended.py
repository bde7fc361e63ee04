"""A cell that is ended from outside leaves nothing of its own behind, however often it is told."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from matrix.results.read import read_cell

ROOT = Path(__file__).resolve().parents[3]


def databases_below(parent: int) -> set[Path]:
    """The throw-away folders that a process and its children have files open in."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            stat = (process / "stat").read_text("utf-8", "replace")
            if int(process.name) == parent or int(stat.rpartition(")")[2].split()[1]) == parent:
                found |= {os.readlink(file) for file in (process / "fd").iterdir()}  # noqa: PTH115
        except OSError:
            continue
    return {Path(file).parent for file in found if re.search(r"/matrix-sqlite-[^/]+/", file)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_cell_that_is_ended_takes_its_databases_away(tmp_path, number):
    cell = subprocess.Popen(
        [sys.executable, "-m", "matrix.cell", "sqlite-aiosqlite"],
        cwd=ROOT,
        env={**os.environ, "MATRIX_RESULTS": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # tests may run under nohup, or behind a script's &
    )
    with cell:
        line = next(line for line in cell.stdout if re.match(r" +1/\d+ ", line))
        assert "CON-1" in line
        folders = databases_below(cell.pid)
        assert folders
        assert all(folder.is_dir() for folder in folders)
        for _ in range(6000):  # tox sends three; here one comes at each point of the way to the end
            cell.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                cell.wait(timeout=0.01)
                break
    assert cell.returncode == 2  # pytest's word for interrupted
    assert not any(folder.exists() for folder in folders)
    assert not list(tmp_path.glob("*.jsonl"))


PLUGIN = """
import os
import signal

def pytest_runtest_teardown(item):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        print("raised between pytest's own lines")
        raise
"""


def test_between_two_scenarios_the_end_waits_for_pytest(tmp_path):
    """An exception there left the set-up of a test half undone, and the cell ended with a traceback and 1."""
    (tmp_path / "ending.py").write_text(PLUGIN, "utf-8")
    cell = subprocess.run(
        [sys.executable, "-m", "matrix.cell", "sqlite-aiosqlite", "-k", "CON-1,CON-2"],
        cwd=ROOT,
        env={
            **os.environ,
            "MATRIX_RESULTS": str(tmp_path),
            "PYTEST_ADDOPTS": "-p ending -s",
            "PYTHONPATH": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert cell.returncode == 2, cell.stderr
    assert "ended by SIGTERM" in cell.stdout
    assert re.search(r"^ +1/\d+ CON-1 ", cell.stdout, re.M)
    assert "CON-2" not in cell.stdout
    assert "raised between" not in cell.stdout


def test_after_the_first_part_ctrl_c_leaves_a_whole_result_that_says_what_it_is(tmp_path):
    cell = subprocess.Popen(
        [sys.executable, "-m", "matrix.cell", "sqlite-aiosqlite"],
        cwd=ROOT,
        env={**os.environ, "MATRIX_RESULTS": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with cell:
        assert any("as on record, kept. Now all orders" in line for line in cell.stdout)
        assert re.match(r" +1/\d+ CON-1 .* as on record$", next(cell.stdout))
        cell.send_signal(signal.SIGINT)
        told = cell.stdout.read()
    assert cell.returncode == 2
    assert "by the schedules on record" in told
    found = read_cell(tmp_path / "sqlite-aiosqlite.jsonl")
    assert found.header["depth"] == "record"
    assert found.by_id["CON-1"]["depth"] == "full"
    assert found.scenarios[-1]["depth"] == "record"
    assert not list(tmp_path.glob("*.part"))
