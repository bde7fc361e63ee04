"""``python -m matrix.runs.stability``: do the cells give the same again, at rest and with every core kept busy?

A repeat replays the schedule that decided each verdict on record, with and without remedies, in one process per cell
(matrix/cell/replayer.py); ``--whole`` also repeats whole explorations. What was done is kept, so that a second start
goes on.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matrix.maker import clean_up_when_told_to_end
from matrix.results import documents
from matrix.results.read import CellResult, ResultError, read_folder
from matrix.results.text import clean, refuse
from matrix.results.write import utc_now
from matrix.runs.repeated import Journal, RepeatedCell
from matrix.runs.replaying import StabilityError


def results_of(options: argparse.Namespace) -> list[CellResult]:
    """The results that are repeated. Raises StabilityError or ResultError."""
    states = {state.cell: state for state in read_folder(options.results)}
    asked = [name for name in options.cells.split(",") if name] or list(states)
    found = []
    for name in asked:
        state = states.get(name)
        if state is None or state.result is None:
            raise StabilityError(f"{options.results} has no complete result of {name}; run it first: tox -e {name}")
        found.append(state.result)
    if not found:
        raise StabilityError(f"{options.results} has no complete result; run the cells first (tox)")
    return found


def python_of(cell: str, options: argparse.Namespace) -> Path:
    """The Python of a cell's environment. Raises StabilityError."""
    python = Path(options.envs) / cell / "bin" / "python"
    if not python.exists():
        raise StabilityError(f"{cell} has no environment in {options.envs}; make it first: tox -e {cell} --notest")
    return python.absolute()


def document(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is written (matrix/results/schema/stability-1.schema.json)."""
    from matrix.harness.cell import commit

    return {
        "type": "stability",
        "schema": 1,
        "commit": commit(),
        "finished": utc_now(),
        "platform": platform.platform(),
        "cores": os.cpu_count() or 1,
        "cells": list(cells),
    }


def show(cells: Sequence[dict[str, Any]]) -> None:
    """The table, and every disagreement in a line."""
    from rich.console import Console
    from rich.table import Table

    heads = ("cell", "rule", "repeats that disagreed", "95 %", "with load", "first tries that agreed", "whole runs")
    table = Table(*heads)
    for cell in cells:
        replays, whole = cell["replays"], cell["whole"]
        low, high = replays["interval"]
        table.add_row(
            cell["cell"],
            cell["rule"],
            f"{replays['disagreements']}/{replays['repeats']}",
            f"{100 * low:.1f} to {100 * high:.1f} %",
            f"{replays['loaded_disagreements']}/{replays['loaded']}",
            f"{replays['first_tries']}/{cell['schedules'] * replays['repeats']}",
            f"{whole['disagreements']}/{whole['repeats']}" if whole else "",
        )
    Console(markup=False, highlight=False).print(table)
    for cell in cells:
        for each in cell["disagreeing"]:
            under = f" with {each['remedy']}" if each["remedy"] else ""
            seen = "; ".join(f"{number} × {what}" for what, number in each["seen"].items())
            schedule = each["schedule"] if len(each["schedule"]) <= 60 else f"{each['schedule'][:60]}…"
            where = f"{cell['cell']}: {each['scenario']}{under} by {schedule}"
            print(clean(f"{where} was {each['expected']}, then {seen}"))
        for text, number in (cell["whole"] or {}).get("differing", {}).items():
            print(clean(f"{cell['cell']}: {text} ({number} whole runs)"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix.runs.stability", description=__doc__)
    parser.add_argument("--cells", default="", metavar="NAME,NAME", help="default: all that have a result")
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="replays of all schedules (default: 20)")
    parser.add_argument("--whole", type=int, default=0, metavar="K", help="repeats of whole runs (default: none)")
    parser.add_argument("--load", choices=("half", "none", "all"), default="half", help="repeats with busy cores")
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=cores, help=f"repeats at once (default: one per core, {cores})")
    parser.add_argument("--results", default="results", metavar="FOLDER", help="what is repeated (default: results)")
    parser.add_argument("--envs", default=".tox", metavar="FOLDER", help="the cells' environments (default: .tox)")
    parser.add_argument("--done", default="build/stability/done.jsonl", metavar="FILE", help="kept for a second start")
    options = parser.parse_args(arguments)
    if options.repeats < 0 or options.whole < 0 or options.workers < 1:
        parser.error("--repeats and --whole must not be negative, --workers must be 1 or more")
    cells, failed = [], False
    try:
        done = Journal(Path(options.done))
        runs = [RepeatedCell(each, python_of(each.cell, options), done, options) for each in results_of(options)]
    except (StabilityError, ResultError) as error:
        return refuse(error)
    clean_up_when_told_to_end()
    for run in runs:
        try:
            cells.append(run.run())
        except StabilityError as error:
            print(clean(f"{run.result.cell}: {error}"), file=sys.stderr)
            failed = True
        except KeyboardInterrupt:
            print(f"ended; what is done is kept in {options.done}: the same command goes on", file=sys.stderr)
            return 130
    show(cells)
    if failed or options.cells:
        why = "not all cells could be repeated" if failed else "a selection of cells"
        print(f"{why}: stability.json was not written; a start without --cells takes what is done from {options.done}")
    else:
        documents.write(Path(options.results) / "stability.json", document(cells))
    return 1 if failed or any(_disagrees(cell) for cell in cells) else 0


def _disagrees(cell: dict[str, Any]) -> bool:
    """Whether a cell makes it red: where threads race inside the driver, the table says how often, and no more."""
    repeated = (cell["replays"], cell["whole"] or {"disagreements": 0})
    return cell["rule"] == "each time" and any(each["disagreements"] for each in repeated)


if __name__ == "__main__":
    sys.exit(main())
