"""``python -m matrix check``: a user's function under owned orders, in its cell's environment, or in this one."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matrix.check.arguments import AGAIN, HERE, add_arguments, words
from matrix.check.told import not_run, refuse
from matrix.harness.cell_name import CellName
from matrix.harness.drivers import bases, drivers
from matrix.runs import RunError, cells, process
from matrix.runs.inputs import ROOT
from matrix.runs.jobs import add_sources, with_factors
from matrix.runs.replay import cell_python
from matrix.runs.sources import Source, of_cell

FROM = "MATRIX_CHECK_FROM"  # the folder in which the caller stands, where that is not this process's


class NotChecked(Exception):
    """A function could not be checked; the message says why."""


def checked(cell: str, function: str, folder: Path, *arguments: str, path: Sequence[Path] = ()) -> dict[str, Any]:
    """The result of the command as data, an ``error`` too; ``path``: more that the function imports from. Raises
    NotChecked."""
    command = [sys.executable, "-m", "matrix", "check", cell, function, "--folder", str(folder), "--json", *arguments]
    variables = {**os.environ, **({"PYTHONPATH": os.pathsep.join(map(str, path))} if path else {})}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise NotChecked(f"{cell} {function}: {done.stderr.strip()}") from None
    return answer


def register(commands: Any) -> None:
    """Adds ``check``."""
    check = commands.add_parser(
        "check",
        help="run your own coroutine function under owned orders",
        description="Runs a coroutine function of yours, with your models, on a real driver and server, under orders "
        "that the harness owns, and judges each of them: which task takes its next step, which answer arrives, which "
        "sleep or time limit ends. Exit code 0: it complies, 1: it does not, 2: it could not be run. Such as: "
        "python -m matrix check mysql-aiomysql shop:checkout --folder ../shop",
    )
    add_arguments(check)
    check.add_argument("--here", action="store_true", help="with the Python that runs this and what is installed there")
    add_sources(check)
    check.set_defaults(handler=_check, server=None, python=None)


def _check(options: argparse.Namespace) -> int:
    try:
        cell, own = _cell(options)
        options.cell = str(cell)
        python = Path(sys.executable) if options.here else cell_python(cell, own, "check")
    except (LookupError, RunError) as problem:
        return refuse(options, not_run(options, problem.args[0]))
    options.folder = str(Path(options.folder).resolve())
    variables = {AGAIN: again(), **({HERE: "1"} if options.here else {})}
    if path := import_path():
        variables["PYTHONPATH"] = path
    with process.start(python, *words(options), module="matrix.check", variables=variables) as check:
        return check.wait()


def _cell(options: argparse.Namespace) -> tuple[CellName, dict[str, Source]]:
    """The cell that is asked for, and its sources. Raises RunError."""
    able = ", ".join(bases(orm=True))
    try:
        named = cells.read(options.cell)
    except RunError as problem:
        raise RunError(f"{problem}\nThe cells are {able}.") from None
    cell, own = with_factors(named, options)
    if not drivers()[cell.driver].orm:
        none = f"{cell}: Tortoise has no client for it, so a function of yours cannot run there"
        raise RunError(f"{none}\ntake one of {able}")
    return cell, dict(own) or of_cell(cell)


def import_path() -> str:
    """``PYTHONPATH`` without places that depend on where one stands: the check stands in the suite's folder."""
    given = os.environ.get("PYTHONPATH")
    places = [os.path.abspath(each) for each in given.split(os.pathsep) if each] if given else []  # noqa: PTH100
    return os.pathsep.join(each for each in dict.fromkeys(places) if each != str(ROOT))


def again() -> str:
    """How the command begins that does this again, as it is pasted where the caller stands: into which folder, what is
    imported from where, and by which Python."""
    stands = Path(os.environ.get(FROM) or Path.cwd())
    path, found = import_path(), shutil.which("python")
    python = "python" if found and Path(found).absolute() == Path(sys.executable).absolute() else sys.executable
    parts = [
        "" if stands == ROOT else f"cd {shlex.quote(str(ROOT))} &&",
        f"PYTHONPATH={shlex.quote(path)}" if path else "",
        f"{shlex.quote(python)} -m matrix",
    ]
    return " ".join(filter(None, parts))
