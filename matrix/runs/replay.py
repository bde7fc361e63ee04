"""``python -m matrix replay``: runs one schedule again, in its cell's tox environment."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix.harness.scenario import one
from matrix.results.read import ResultError, read_cell
from matrix.results.text import clean
from matrix.runs import process
from matrix.runs.inputs import ROOT
from matrix.runs.jobs import RunError, cells_read


def register(commands: Any) -> None:
    """Adds ``replay``."""
    replay = commands.add_parser(
        "replay",
        help="run one schedule of a scenario again, step by step",
        description="Runs one schedule of a scenario again and shows each step, what was in flight after it, and the "
        "outcome. Without a schedule: the one that decided in results/.",
    )
    replay.add_argument("cell", help="such as mysql-aiomysql")
    replay.add_argument("scenario", help="such as NST-4")
    replay.add_argument("schedule", nargs="?", help="such as A.A.B.1.1; where it ends, the harness goes on by itself")
    replay.add_argument("--remedy", metavar="FIX", help="run the scenario with this remedy, such as FIX-1a")
    replay.add_argument("--database", metavar="KIND", help="which of several databases of the cell (ODBC)")
    replay.add_argument("--results", default="results", metavar="FOLDER", help="where a schedule is looked up")
    replay.set_defaults(handler=_replay)


def _replay(options: argparse.Namespace) -> int:
    try:
        name, scenario = str(cells_read(options.cell)), one(options.scenario)
        remedy = one(options.remedy) if options.remedy else None
    except (LookupError, RunError) as problem:
        print(problem.args[0], file=sys.stderr)
        return 2
    options.cell, options.scenario, options.remedy = name, scenario, remedy
    if tox() is None:
        return _needs_tox("replay")
    schedule = options.schedule
    try:
        line = line_of(Path(options.results) / f"{options.cell}.jsonl", options.remedy or options.scenario)
    except ResultError as problem:
        if schedule is None:
            print(clean(problem), file=sys.stderr)
            return 2
        line = {}
    if schedule is None:
        schedule = ((line.get("cures") or {}).get(options.scenario, {}) if options.remedy else line).get("schedule")
    if schedule is None:
        print(
            f"{options.results} has no schedule of {options.scenario} in {options.cell}; the base order is run",
            file=sys.stderr,
        )
    arguments = [options.cell, options.scenario, *([schedule] if schedule else [])]
    if program := (line.get("generated") or {}).get("deciding"):
        arguments += ["--program", json.dumps(program)]
    for name in ("remedy", "database"):
        if getattr(options, name):
            arguments += [f"--{name}", getattr(options, name)]
    python = environment(options.cell, "replay")
    if python is None:
        return 2
    with process.start(python, *arguments, module="matrix.cell.replay") as replay:
        return replay.wait()


def environment(cell: str, command: str) -> Path | None:
    """The Python of a cell's tox environment, made where it is missing; None, and said why, where it cannot be had."""
    found = tox()
    if found is None:
        _needs_tox(command)
        return None
    make = [*found, "run", "--notest", "-e", cell]
    made = subprocess.run(make, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        print(f"the environment {cell} cannot be made:\n{made.stdout.strip()}", file=sys.stderr)
        return None
    return ROOT / ".tox" / cell / "bin" / "python"


def _needs_tox(command: str) -> int:
    print(f"{command} needs tox, which makes the cell's environment: python -m pip install tox", file=sys.stderr)
    return 2


def tox() -> list[str] | None:
    """How tox is started here; None where it is not installed."""
    if importlib.util.find_spec("tox"):
        return [sys.executable, "-m", "tox"]
    found = shutil.which("tox")
    return [found] if found else None


def line_of(file: Path, scenario: str) -> Mapping[str, Any]:
    """A scenario's line in a result file; empty if there is none. Raises ResultError."""
    return read_cell(file).by_id.get(scenario, {}) if file.exists() else {}
