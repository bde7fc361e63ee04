"""Checks a user's function in this environment: ``python -m matrix.check CELL MODULE:FUNCTION [options]``.

``python -m matrix check`` brings it into the environment of the cell.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matrix import files
from matrix.harness.cell import Cell, CellError, check_python
from matrix.harness.cell_name import parse
from matrix.harness.drivers import drivers
from matrix.harness.loop import MatrixLoop
from matrix.harness.runner import UNJUDGED, Runner
from matrix.harness.scenario import OrmSetup, Scenario
from matrix.harness.schedule import parse as parse_schedule
from matrix.harness.witness import WitnessError
from matrix.words import ERROR, MUST, complies

from . import imports
from .allow import Allowed
from .arguments import AGAIN, COMMAND, EVERY, HERE, add_arguments, words
from .logged import gathered
from .pattern import like, rows
from .places import UserError
from .told import not_run, refuse, show

POOL = 3  # connections of Tortoise's pool at most


def check(options: argparse.Namespace) -> dict[str, Any]:
    """The result, as JSON data. Raises UserError or what a cell raises where nothing can be run."""
    check_python()
    with contextlib.suppress(KeyError, ValueError):  # no cell at all, as Cell says
        imports.all_there(drivers()[parse(options.cell).driver])
    from .program import UserProgram  # Tortoise is there

    if not 1 <= options.orders <= 10_000:
        raise UserError(f"--orders {options.orders}: give a number from 1 to 10000")
    folder = Path(options.folder).resolve()
    if not folder.is_dir():
        raise UserError(f"--folder {options.folder}: there is no such folder")
    sys.path.insert(0, str(folder))
    models = tuple(options.models or [options.function.partition(":")[0]])
    # No session of the server keeps locks on the user's tables from one run to the next.
    os.environ["MATRIX_WARM"] = "0"
    cell = Cell(options.cell, progress=lambda text: print(f"  {text}", file=sys.stderr))
    if cell.adapter.isolated or "tortoise" not in cell.adapter.capabilities:
        raise UserError(f"{options.cell}: Tortoise cannot be used there, so there is nothing to check")
    if MatrixLoop.eager:
        raise UserError(f"{options.cell}: eager tasks are not checked; take the cell without eager")
    program = UserProgram(options.function, options.setup, options.invariant, models, Allowed(options.allow or []))
    function = imports.function(options.function)
    program.allowed.put_in_place(imports.imported)
    if options.setup:
        imports.function(options.setup)
    for name in options.models or []:
        imports.module(name, f"--models {name}")
    if options.invariant:
        imports.reads_only(options.invariant)
    loop = MatrixLoop()
    try:
        cell.open()
        backing = cell.backings[0]
        program.tables = asyncio.run(make_tables(cell.adapter, backing.database, models))
        return run(options, program, function, backing, loop)
    finally:
        loop.close()
        cell.close()


def run(options: argparse.Namespace, program: Any, function: Any, backing: Any, loop: Any) -> dict[str, Any]:
    """All orders within the bound, or the one that is asked for."""
    from . import hooks
    from .explore import Explored, cancelled, explore, once

    async def one_run(world: Any) -> None:
        await program.run(world)

    try:
        source = inspect.getsource(function)
    except OSError:  # made by exec
        source = ""
    setattr(one_run, "source", source)  # noqa: B010
    scenario = Scenario(
        *("CTX-0", options.function, "your function", MUST, ("tortoise",), OrmSetup(size=POOL), False, (3, 10)),
        *(one_run, "", "", ()),
    )
    hooks.install(program)
    program.spares = options.cancel == EVERY
    backing.adapter.make_orm = program.make_orm
    runner = Runner(backing, options.orders)
    began = time.monotonic()
    told: dict[str, Any] = {"cell": options.cell, "function": options.function, "server": backing.server_string}
    try:
        if options.schedule is not None:
            found = loop.run_until_complete(once(runner, scenario, options.schedule))
        else:
            found = loop.run_until_complete(explore(runner, scenario, program, options.cancel))
    except UNJUDGED as problem:
        found = Explored(None, str(problem), {}, {}, [])
    told |= {"orders": {"verdicts": found.counts, **found.orders}, "seconds": round(time.monotonic() - began, 2)}
    told |= {"allowed": program.allowed.told(), "cancelled_tasks": found.swept}
    told["left_out"] = [{"task": name, "why": why} for name, why in found.left_out.items()]
    outcome = found.outcome
    if program.problem or outcome is None:
        return {**told, "verdict": ERROR, "complies": None, "reason": program.problem or found.error}
    evidence, complied = outcome.evidence, complies(MUST, outcome.verdict)
    kinds = frozenset(str(each.fact["kind"]) for each in outcome.violations)
    sentences = " ".join([outcome.reason, *(each.sentence for each in outcome.violations)])
    return {
        **told,
        "verdict": outcome.verdict,
        "complies": complied,
        "reason": outcome.reason,
        "violations": [{"property": each.property, "text": each.sentence} for each in outcome.violations],
        "steps": [{"action": step["action"], "text": step["text"]} for step in evidence["steps"]],
        "exceptions": evidence["exceptions"],
        "cancelled": cancelled(evidence),
        "schedule": outcome.schedule,
        "replay": replay_command(options, outcome.schedule),
        "notes": list(notes(options, program, outcome)),
        "rows": {row: at for row, at in rows(evidence).items() if row in sentences},
        "like": None if complied else like(evidence, kinds, backing.adapter.name),
        "explain": f"{os.environ.get(AGAIN, COMMAND)} explain",
    }


def notes(options: argparse.Namespace, program: Any, outcome: Any) -> Iterator[dict[str, Any]]:
    """What else to know of a result; ``kind`` as in NOTES (told.py)."""
    if not program.asked:
        yield {"kind": "nothing_asked"}
    failed = {each.fact["error"]["type"] for each in outcome.violations if each.fact["kind"] == "program_failed"}
    if options.setup is None and failed & {"DoesNotExist", "ObjectDoesNotExistError"}:
        yield {"kind": "empty_tables"}
    given, taken = (len(parse_schedule(text)) for text in (options.schedule or outcome.schedule, outcome.schedule))
    if given < taken:
        yield {"kind": "rest_chosen", "given": given, "taken": taken}


async def make_tables(adapter: Any, database: Any, models: tuple[str, ...]) -> list[str]:
    """Make the user's tables past the gate. Returns their names. Raises UserError."""
    from tortoise import Tortoise, connections
    from tortoise.exceptions import BaseORMException

    from .program import APP

    connection = {"engine": adapter.engine, "credentials": adapter.credentials(database, 1)}
    apps = {APP: {"models": list(models), "default_connection": "default"}}
    warnings.simplefilter("ignore")  # of Tortoise's, about a module without models: it is told below
    try:
        await Tortoise.init(config={"connections": {"default": connection}, "apps": apps})
        found = Tortoise.apps[APP] if APP in (Tortoise.apps or {}) else {}
        names = [model._meta.db_table for model in found.values()]
        if not names:
            none = f"{', '.join(models)}: there are no models in it"
            raise UserError(f"{none}\nSay with --models in which module they are.")
        for taken in sorted({"entry", "seed", "counter"} & set(names)):
            raise UserError(f"a model has the table {taken}, which the suite has itself\nGive it another Meta.table.")
        await Tortoise.generate_schemas()
        through = {str(each._meta.fields_map[m2m].through) for each in found.values() for m2m in each._meta.m2m_fields}
    except (BaseORMException, ImportError) as error:
        raise UserError(f"the tables of {', '.join(models)} cannot be made: {type(error).__name__}: {error}") from error
    finally:
        await connections.close_all()
    return [*names, *sorted(through)]


def replay_command(options: argparse.Namespace, schedule: str) -> str:
    """The command that runs this order again."""
    asked = [*words(options, "orders", "schedule"), "--schedule", schedule, *["--here"] * (HERE in os.environ)]
    return f"{os.environ.get(AGAIN, COMMAND)} check {shlex.join(asked)}"


def main(arguments: list[str]) -> int:
    """0: it complies, 1: it does not, 2: it could not be run."""
    parser = argparse.ArgumentParser(prog="python -m matrix.check", description=__doc__)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    # The result stands alone in what is printed; what the function prints goes beside it, what is logged into it.
    with contextlib.redirect_stdout(sys.stderr), gathered() as logged:
        try:
            told = check(options)
        except (UserError, CellError, WitnessError) as problem:
            told = not_run(options, str(problem))
    if "server" not in told:
        return refuse(options, told)
    told["logged"] = logged.told()
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        show(told)
    return 2 if told["verdict"] == ERROR else 0 if told["complies"] else 1


if __name__ == "__main__":
    sys.exit(files.until_read(lambda: main(sys.argv[1:])))
