"""A cell that is ended from outside leaves nothing of its own behind, however often it is told."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cell_that_is_ended_takes_its_databases_away(tmp_path, number):
    cell = subprocess.Popen(
        [sys.executable, "-m", "matrix.cell", "sqlite-aiosqlite"],
        cwd=ROOT,
        env={**os.environ, "MATRIX_RESULTS": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
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
