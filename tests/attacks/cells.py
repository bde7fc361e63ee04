"""A cell's process as an attack sees it: its lines, what it said, and what it left running."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matrix.results.read import ResultError, read_cell, read_part
from matrix.runs import cells, environments, process, releases
from matrix.servers import odbc

MARK = "MATRIX_ATTACK"  # a variable that is another in each run, so that its processes are known
LONGEST = 240.0  # seconds that a run may take
ENDS = 10.0  # seconds in which what a run started must be gone


@dataclass(frozen=True)
class Ran:
    """What a run came to: verdicts and reasons by scenario, its exit code (None: it did not end), what it printed, and
    how many of its processes were left."""

    verdicts: Mapping[str, str]
    reasons: Mapping[str, str]
    code: int | None
    said: str
    left: int


def python_of(cell: str) -> Path:
    """The interpreter of the cell's environment, made if need be."""
    name = cells.read(cell)
    python = environments.interpreter(name.python)
    locked = environments.resolve(cells.requirements(name, releases.load(), {}), python)
    needs = odbc().env if name.server == "odbc" else {}
    return environments.environment(locked, python, cells.imports(name), needs).python


def run(
    cell: str,
    scenarios: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    meanwhile: Callable[[str], None] = lambda mark: None,
) -> Ran:
    """Run a cell. ``meanwhile`` is called when its first line is there, with the mark of its processes; the cell
    waits until it is done."""
    mark = uuid.uuid4().hex
    child = process.start(
        python_of(cell), cell, "--only", ",".join(scenarios), "--results", str(folder),
        variables={**variables, MARK: mark}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    said: list[str] = []
    code: int | None = None
    guard = threading.Timer(LONGEST, lambda: os.killpg(child.pid, signal.SIGKILL))
    guard.start()
    with child:
        for line in child.stdout:
            said.append(line)
            if re.match(r" +1/\d+ ", line):
                os.killpg(child.pid, signal.SIGSTOP)
                meanwhile(mark)
                os.killpg(child.pid, signal.SIGCONT)
        code = child.wait()
    late = not guard.is_alive()
    guard.cancel()
    lines = lines_of(folder / f"{cell}.jsonl")
    return Ran(
        {name: line["verdict"] for name, line in lines.items()},
        {name: str(line.get("reason")) for name, line in lines.items()},
        None if late else code,
        "".join(said),
        len(left_of(mark)),
    )


def lines_of(path: Path) -> Mapping[str, Mapping[str, object]]:
    """The lines of a result or, if there is none, of what an incomplete run left."""
    with contextlib.suppress(ResultError):
        return read_cell(path).by_id
    with contextlib.suppress(ResultError):
        return read_part(path.with_name(path.name + ".part")).by_id
    return {}


def running(mark: str) -> list[int]:
    """The processes that have this mark in their environment."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (each / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
            if state != "Z" and f"{MARK}={mark}".encode() in (each / "environ").read_bytes().split(b"\0"):
                found.append(int(each.name))
    return found


def left_of(mark: str) -> list[int]:
    """Those that are not gone within ENDS."""
    until = time.monotonic() + ENDS
    while (found := running(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    return found
