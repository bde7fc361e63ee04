"""``python -m matrix run``: the command. What is run is in jobs.py, how in runner.py, what is shown in progress.py."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matrix.harness.drivers import TableError
from matrix.maker import clean_up_when_told_to_end
from matrix.results import expectations, judging
from matrix.results.cli import unmet_of
from matrix.results.read import CellState
from matrix.results.text import clean
from matrix.runs import registry, releases
from matrix.runs.jobs import Done, RunError, jobs_of
from matrix.runs.plan import NoCell, PlanError, add_choice
from matrix.runs.progress import Progress
from matrix.runs.runner import Runner

SHOWN = 20  # of what is not as expected


def register(commands: Any) -> None:
    """Adds ``run``."""
    parser = commands.add_parser(
        "run",
        help="run cells: the whole plan, a part of it, or any versions",
        description="Runs cells and writes results/<cell>.jsonl. Names of cells may have factors "
        "(mysql-aiomysql0.2-tortoise0.23-mysql9.7-py312); names with * and key:value choose from the plan.",
    )
    add_choice(parser)
    parser.add_argument("--all", action="store_true", help="the whole plan")
    parser.add_argument("--tortoise", metavar="V", help="a release, a folder with a checkout, or git+https://…@branch")
    parser.add_argument("--driver", metavar="V", help="the same for the driver")
    parser.add_argument("--server", metavar="S", help="a version (10.11) or a server (mariadb-10.11)")
    parser.add_argument("--python", metavar="P", help="such as 3.12")
    parser.add_argument("--only", metavar="ID,ID", help="these scenarios or families only (NST-4,CON)")
    parser.add_argument("--orders", type=int, help="how many orders of a scenario are run at most")
    parser.add_argument(
        "--full",
        action="store_true",
        help="all orders in cells of other releases too; a plan runs the schedules on record of the newest releases "
        "there, and all orders where these give another verdict",
    )
    parser.add_argument(
        "--results", metavar="FOLDER", help="where results go (default: results; with --only: build/selection)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cells at a time (default: the cores)")
    parser.add_argument("--allow-none", action="store_true", help="it is all right when no cell of the plan matches")
    parser.add_argument("--fresh", action="store_true", help="run cells that the store has as well")
    parser.add_argument("--resolve", action="store_true", help="ask the registry again which versions are newest")
    parser.set_defaults(handler=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        jobs = jobs_of(options, lambda text: print(text, file=sys.stderr))
        results = Path(options.results or ("build/selection" if options.only else "results"))
        registry.uv()  # said once, before a whole plan, not by each of its cells
        runner = Runner(jobs, results, fresh=options.fresh, resolve_again=options.resolve)
    except (RunError, TableError, PlanError, releases.ReleasesError, registry.RegistryError) as problem:
        print(problem, file=sys.stderr)
        return 0 if options.allow_none and isinstance(problem, NoCell) else 2
    clean_up_when_told_to_end()
    done: list[Done] = []
    with Progress(jobs, max(1, options.jobs)) as progress:

        def told(each: Done) -> None:
            done.append(each)
            progress.done(each)

        try:
            runner.run(max(1, options.jobs), told, progress.began)
        except KeyboardInterrupt:
            progress.say(f"interrupted: {len(done)} of {len(jobs)} cells are done and kept; the same command goes on")
            return 130
        runner.store.forget()
        progress.summary(done)
        try:
            unmet = [str(each) for each in not_as_expected(done)]
        except expectations.ExpectationError as problem:
            print(problem, file=sys.stderr)
            return 2
        for each in unmet[:SHOWN]:
            progress.say(clean(each))
        if unmet[SHOWN:]:
            progress.say(f"and {len(unmet) - SHOWN} more: python -m matrix results check {results}")
    return 1 if unmet or any(each.how == "failed" for each in done) else 0


def not_as_expected(done: Sequence[Done]) -> list[judging.Unmet]:
    """In what the results differ from what is on record, errors among it. Raises ExpectationError."""
    states = [CellState(each.job.cell, each.result) for each in done if each.result]
    return unmet_of(sorted(states, key=lambda state: state.cell), expectations.FOLDER)
