"""``python -m matrix replay``: runs one schedule again, in its cell's environment."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix import servers
from matrix.harness.cell_name import CellName
from matrix.harness.scenario import one
from matrix.results.read import ResultError, read_cell
from matrix.results.text import clean, refuse, refusing
from matrix.runs import RunError, cells, environments, process
from matrix.runs.inputs import ROOT
from matrix.runs.jobs import add_sources, with_factors
from matrix.runs.sources import Source, of_cell


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
    add_sources(replay)
    replay.set_defaults(handler=_replay, server=None, python=None)


@refusing(2, LookupError, RunError)
def _replay(options: argparse.Namespace) -> int:
    cell, given = with_factors(cells.read(options.cell), options)
    own = dict(given) or of_cell(cell)
    options.cell, options.scenario = str(cell), one(options.scenario)
    options.remedy = one(options.remedy) if options.remedy else None
    schedule = options.schedule
    try:
        file = Path(options.results) / f"{options.cell}.jsonl"
        wanted = options.remedy or options.scenario
        line: Mapping[str, Any] = read_cell(file).by_id.get(wanted, {}) if file.exists() else {}
    except ResultError as problem:
        if schedule is None:
            return refuse(problem)
        line = {}
    if schedule is None:
        schedule = ((line.get("cures") or {}).get(options.scenario, {}) if options.remedy else line).get("schedule")
    if schedule is None:
        none = f"{options.results} has no schedule of {options.scenario} in {options.cell}"
        print(f"{none}; the base order is run", file=sys.stderr)
    arguments = [options.cell, options.scenario, *([schedule] if schedule else [])]
    if program := (line.get("generated") or {}).get("deciding"):
        arguments += ["--program", json.dumps(program)]
    for name in ("remedy", "database"):
        if getattr(options, name):
            arguments += [f"--{name}", getattr(options, name)]
    python = cell_python(cell, own, "replay")
    with process.start(python, *arguments, module="matrix.cell.replay") as replay:
        return replay.wait()


def cell_python(name: CellName, own: Mapping[str, Source], command: str) -> Path:
    """The Python of a cell's environment, made where neither tox nor this program has made it. ``own``: what stands in
    the place of releases. Raises RunError where it cannot be had."""
    made = ROOT / ".tox" / str(name) / "bin" / "python"
    if made.exists():
        return made
    try:
        python = environments.interpreter(name.python)
        wanted = cells.requirements(name, own={package: each.place for package, each in own.items()})
        return cells.environment(name, environments.resolve(wanted, python), python)
    except (RunError, servers.ServerError) as problem:
        raise RunError(clean(f"{command}: the environment of {name} cannot be made: {problem}")) from None
