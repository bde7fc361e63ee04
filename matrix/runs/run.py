"""``python -m matrix run``: the command. What is run is in jobs.py, how in runner.py, what is shown in progress.py."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix.harness.drivers import TableError
from matrix.lines import word_of
from matrix.maker import clean_up_when_told_to_end
from matrix.results import compare, expectations, judging
from matrix.results.cli import unmet_of
from matrix.results.read import CellState, read_state
from matrix.results.text import clean, refuse
from matrix.runs import RunError, registry
from matrix.runs.jobs import BRIEF, DEEPEN, FULL_FIRST, Done, Job, add_sources, jobs_of, parts
from matrix.runs.plan import NoCell, add_choice
from matrix.runs.progress import Progress
from matrix.runs.runner import JobRunner
from matrix.words import FULL, GLYPHS, SAFE

SHOWN = 20  # of what is not as expected


def register(commands: Any) -> None:
    """Adds ``run``."""
    parser = commands.add_parser(
        "run",
        help="run cells: the whole plan, a part of it, or any versions",
        description="Runs cells and writes results/<cell>.jsonl. Names of cells may have factors "
        "(mysql-aiomysql0.2-tortoise0.23-mysql9.7-py312); names with * and key:value choose from the plan. First each "
        "scenario is asked the schedules on record, and the table is printed; then all orders are run, and what they "
        "show stands in its place. Ctrl-C keeps what is done; such results say that they are as on record.",
    )
    add_choice(parser)
    parser.add_argument("--all", action="store_true", help="the whole plan")
    add_sources(parser)
    parser.add_argument("--server", metavar="S", help="a version (10.11) or a server (mariadb-10.11)")
    parser.add_argument("--python", metavar="P", help="such as 3.12")
    parser.add_argument("--only", metavar="ID,ID", help="these scenarios, families or patterns only (NST-4,CON,TXN-2*)")
    parser.add_argument("--orders", type=int, help="how many orders of a scenario are run at most")
    parser.add_argument("--programs", type=int, help="how many programs a line of generated ones judges (15)")
    parser.add_argument("--seed", type=int, help="from which they are drawn")
    parser.add_argument(
        "--full",
        action="store_true",
        help="all orders in cells of other releases too; a plan runs the schedules on record of the newest releases "
        "there, and all orders where these give another verdict",
    )
    parser.add_argument(BRIEF, action="store_true", help="ask the schedules on record, print the table, and stop there")
    parser.add_argument(FULL_FIRST, action="store_true", help="run all orders at once, not what is on record before")
    parser.add_argument(DEEPEN, action="store_true", help="go on from the results of a run with --brief to all orders")
    parser.add_argument("--envs", metavar="FOLDER", help="environments of these cells that tox has made (.tox)")
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
        if not options.envs:
            registry.uv()  # said once, before a whole plan, not by each of its cells
        jobs_in_parts = parts(jobs, options)
        every = [job for part in jobs_in_parts for job in part]
        places = Path(options.envs) if options.envs else None
        runner = JobRunner(every, results, fresh=options.fresh, resolve_again=options.resolve, environments_at=places)
    except (RunError, TableError) as problem:
        print(problem, file=sys.stderr)
        return 0 if options.allow_none and isinstance(problem, NoCell) else 2
    clean_up_when_told_to_end()
    try:
        at_hand = _at_hand(jobs, results) if options.deepen else {}
        done = [*_all(runner, jobs_in_parts, max(1, options.jobs), at_hand).values()]
        runner.store.forget()
        unmet = [str(each) for each in not_as_expected(done)]
    except KeyboardInterrupt:
        return 130
    except expectations.ExpectationError as problem:
        return refuse(problem)
    named = options.tortoise or options.driver or options.server or options.python
    if named and (absent := [each for each in done if each.how == "absent" and not each.job.own]):
        return _not_to_be_had(absent, results)
    if options.only:
        _tell_each(done, results)
    for text in unmet[:SHOWN]:
        print(clean(text), flush=True)
    if unmet[SHOWN:]:
        print(f"and {len(unmet) - SHOWN} more: python -m matrix results check {results}")
    return 1 if unmet or any(each.how == "failed" for each in done) else 0


def _not_to_be_had(absent: Sequence[Done], results: Path) -> int:
    """Versions that were asked for by name and do not exist are a mistake of who asked, not a result."""
    for each in absent:
        (results / f"{each.job.cell}.jsonl").unlink(missing_ok=True)
        print(clean(f"{each.job.cell}: {each.said}; nothing was run"), file=sys.stderr)
    print("python -m matrix plan lists the versions that are tested", file=sys.stderr)
    return 2


def _tell_each(done: Sequence[Done], results: Path) -> None:
    """What was asked for scenario by scenario: the word and why, where the evidence is, and how to go on."""
    for each in done:
        lines = each.result.scenarios if each.result else ()
        for line in lines:
            word = word_of(line)
            why = "" if word == SAFE else f": {line.get('reason') or ''}"
            print(clean(f"  {line['scenario']:<7} {GLYPHS.get(word, '?')} {word}{why}"))
        if lines:
            file, first = results / f"{each.job.cell}.jsonl", lines[0]["scenario"]
            print(clean(f"  evidence: {file}; as pages: python -m matrix report --results {results}"))
            again = f"python -m matrix replay {each.job.cell} {first} --results {results}"
            print(clean(f"  step by step: {again}"), flush=True)


def _at_hand(jobs: Sequence[Job], results: Path) -> dict[str, Done]:
    """What the folder of results has of the cells already."""
    found = {}
    for job in jobs:
        state = read_state(results / f"{job.cell}.jsonl")
        if state.result and state.complete:
            found[job.cell] = Done(job, "kept", state.result.without_evidence())
    return found


def _all(
    runner: JobRunner, jobs_in_parts: Sequence[Sequence[Job]], workers: int, at_hand: Mapping[str, Done]
) -> dict[str, Done]:
    """What became of each cell at last. Raises KeyboardInterrupt, having said what is kept, and ExpectationError."""
    done = dict(at_hand)
    try:
        for part in jobs_in_parts:
            before = dict(done)
            jobs = [job for job in part if not _is_through(before.get(job.cell), job)]
            for job in part:
                if job not in jobs:
                    runner.servers.through(runner.specs(job))
            done |= _one_part(runner, jobs, workers, {job.cell for job in jobs} <= set(before))
            _tell_differences(before, done)
            if not before and any(BRIEF in job.arguments for job in part):
                _show([each for each in done.values() if each.result])
    finally:
        runner.servers.stop()
    return done


def _one_part(runner: JobRunner, jobs: Sequence[Job], workers: int, recorded: bool) -> dict[str, Done]:
    """Run these; ``recorded``: each has a result of the schedules on record, which stays while it runs."""
    done: dict[str, Done] = {}
    with Progress(jobs, workers) as progress:

        def done_with(each: Done) -> None:
            done[each.job.cell] = each
            progress.done(each)

        runner.scenario = progress.scenario
        try:
            runner.run(jobs, workers, done_with, progress.began)
        except KeyboardInterrupt:
            kept = "the others are as on record" if recorded else "the same command goes on"
            progress.say(f"interrupted: {len(done)} of {len(jobs)} cells are done and kept; {kept}")
            raise
        progress.summary([*done.values()])
    return done


def _is_through(done: Done | None, job: Job) -> bool:
    """Whether nothing is left of a job: all orders were run before, or the cell cannot be had."""
    if done is None or done.result is None:
        return False
    return done.how == "absent" or done.result.header.get("depth", FULL) == job.depth


def _tell_differences(before: Mapping[str, Done], after: Mapping[str, Done]) -> None:
    """What all orders say otherwise than the schedules on record."""
    pairs = [(each, after[cell]) for cell, each in before.items()]
    compared = [(a.result, b.result) for a, b in pairs if a.result and b.result and a.result is not b.result]
    found = [difference for one, other in compared for difference in compare.of_cell(one, other, other.cell)]
    for difference in found:
        print(clean(f"all orders: {difference}"))
    if compared and not found:
        print(f"all orders: {len(compared)} cells are as on record", flush=True)


def _show(done: Sequence[Done]) -> None:
    """The table of these cells. Raises ExpectationError."""
    from matrix.report import terminal, view

    states = [CellState(each.job.cell, each.result) for each in done]
    terminal.show(view.build(states, expectations.FOLDER))
    sys.stdout.flush()


def not_as_expected(done: Sequence[Done]) -> list[judging.Unmet]:
    """In what the results differ from what is on record, errors among it. Raises ExpectationError."""
    states = [CellState(each.job.cell, each.result) for each in done if each.result]
    return unmet_of(sorted(states, key=lambda state: state.cell), expectations.FOLDER)
