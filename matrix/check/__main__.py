"""Checks a user's function in this environment: ``python -m matrix.check CELL MODULE:FUNCTION [options]``.

``python -m matrix check`` brings it into the environment of the cell.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import itertools
import json
import os
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from matrix.words import ERROR, GLYPHS, MUST, complies

from .arguments import AGAIN, EVERY, HERE, add_arguments, words
from .pattern import like, rows

POOL = 3  # connections of Tortoise's pool at most


def check(options: argparse.Namespace) -> dict[str, Any]:
    """The result, as JSON data. Raises UserError or what a cell raises where nothing can be run."""
    from matrix.harness.cell import Cell, check_python
    from matrix.harness.loop import MatrixLoop

    from .allow import Allowed
    from .places import UserError
    from .program import UserProgram

    check_python()
    if not 1 <= options.orders <= 10_000:
        raise UserError(f"--orders {options.orders}: give a number from 1 to 10000")
    folder = Path(options.folder).resolve()
    if not folder.is_dir():
        raise UserError(f"--folder {options.folder}: there is no such folder")
    sys.path.insert(0, str(folder))
    models = tuple(options.models or [options.function.partition(":")[0]])
    os.environ["MATRIX_WARM"] = (
        "0"  # no session of the server keeps locks on the user's tables from one run to the next
    )
    cell = Cell(options.cell, progress=lambda text: print(f"  {text}", file=sys.stderr))
    if cell.adapter.isolated or "tortoise" not in cell.adapter.capabilities:
        raise UserError(f"{options.cell}: Tortoise cannot be used there, so there is nothing to check")
    if MatrixLoop.eager:
        raise UserError(f"{options.cell}: eager tasks are not checked; take the cell without eager")
    program = UserProgram(options.function, options.setup, options.invariant, models, Allowed(options.allow or []))
    function = program.function(options.function)
    program.allowed.put_in_place(program.imported)
    if options.setup:
        program.function(options.setup)
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
    from matrix.harness.conductor import HarnessError
    from matrix.harness.runner import Runner
    from matrix.harness.scenario import OrmSetup, Scenario
    from matrix.harness.schedule import ScheduleMismatch
    from matrix.harness.witness import WitnessError

    from . import hooks
    from .explore import Explored, cancelled, explore, once

    async def one_run(world: Any) -> None:
        await program.run(world)

    setattr(one_run, "source", inspect.getsource(function))  # noqa: B010
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
    except (HarnessError, ScheduleMismatch, WitnessError) as problem:
        found = Explored(None, str(problem), {}, {}, [])
    told |= {"orders": {"verdicts": found.counts, **found.orders}, "seconds": round(time.monotonic() - began, 2)}
    told |= {"allowed": program.allowed.told(), "cancelled_tasks": found.swept}
    told["left_out"] = [{"task": name, "why": why} for name, why in found.left_out.items()]
    outcome = found.outcome
    if program.problem or outcome is None:
        return {**told, "verdict": ERROR, "complies": None, "reason": program.problem or found.error}
    evidence, driver = outcome.evidence, backing.adapter.name
    complied = complies(MUST, outcome.verdict)
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
        "rows": {row: at for row, at in rows(evidence).items() if row in sentences},
        "like": None
        if complied
        else like(evidence, frozenset(str(each.fact["kind"]) for each in outcome.violations), driver),
    }


async def make_tables(adapter: Any, database: Any, models: tuple[str, ...]) -> list[str]:
    """Make the user's tables past the gate. Returns their names. Raises UserError."""
    from tortoise import Tortoise, connections
    from tortoise.exceptions import BaseORMException

    from .places import UserError
    from .program import APP

    connection = {"engine": adapter.engine, "credentials": adapter.credentials(database, 1)}
    apps = {APP: {"models": list(models), "default_connection": "default"}}
    warnings.simplefilter("ignore")  # of Tortoise's, about a module without models: it is told below
    try:
        await Tortoise.init(config={"connections": {"default": connection}, "apps": apps})
        found = Tortoise.apps[APP] if APP in (Tortoise.apps or {}) else {}
        names = [model._meta.db_table for model in found.values()]
        if not names:
            raise UserError(
                f"{', '.join(models)}: there are no models in it\nSay with --models in which module they are."
            )
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
    return f"{os.environ.get(AGAIN, 'python -m matrix check')} {shlex.join(asked)}"


def show(told: dict[str, Any]) -> None:
    """The result in words."""
    from .explore import WHY

    word = told["verdict"]
    print(f"{GLYPHS.get(word, '?')} {word}: {told['function']} on {told['cell']} ({told['server']})")
    print(f"  {told['reason']}")
    for each in told["allowed"]:
        print(f"  allowed: {allowed(each)}")
    if word == ERROR:
        return
    verdicts = ", ".join(f"{count} {name}" for name, count in told["orders"]["verdicts"].items())
    every = " (all there are)" if told["orders"].get("possible") else ""
    print(f"  orders: {verdicts}{every}, in {told['seconds']:.1f} s")
    if told["cancelled_tasks"]:
        count, names = told["orders"]["swept"], ", ".join(told["cancelled_tasks"])
        print(f"  cancellations: {count} orders with one, of {names}")
    for each in told["left_out"]:
        print(f"  not cancelled: {each['task']}, {WHY[each['why']]} (--cancel={shlex.quote(each['task'])} does it)")
    if told["complies"]:
        return
    for each in told["cancelled"]:
        where = f"where it waits in {each['at']}" if each["at"] else "where it waits"
        print(f"  cancelled: {each['task']}, {where}{', as that wait ends' * each['as_it_ends']}")
    for violation in told["violations"]:
        print(f"  {violation['property']}: {violation['text']}")
    for row, at in told["rows"].items():
        print(f"  {row}: the suite's row behind the statement of {at}")
    print("\nthe order:")
    for (action, text), same in itertools.groupby(told["steps"], lambda step: (step["action"], step["text"])):
        count = len(list(same))
        print(f"  {action:>4}  {text}{f' ({count} times)' * (count > 1)}")
    if found := told["like"]:
        print(f"\nlike {found['scenario']}: {found['title']}")
        for identifier, title in found["remedies"].items():
            print(f"  {identifier}: {title}")
        if not found["remedies"]:
            print("  no remedy was measured to hold here")
        print(f"  more: python -m matrix explain {found['scenario']}")
    else:
        print("\nlike no pattern of ours")
    print(f"\nschedule: {told['schedule'] or '(a single order)'}\nagain: {told['replay']}")


def allowed(each: dict[str, Any]) -> str:
    """What was allowed, in words."""
    if "stub" in each:
        return f"{each['name']} is replaced by {each['stub']}"
    ran = f"ran to its end {each['times']} times, while the program stood still" if each["times"] else "was not met"
    return f"in a thread, {each['name']}: {ran}"


def main(arguments: list[str]) -> int:
    """0: it complies, 1: it does not, 2: it could not be run."""
    from matrix.harness.cell import CellError
    from matrix.harness.witness import WitnessError

    from .places import UserError

    parser = argparse.ArgumentParser(prog="python -m matrix.check", description=__doc__)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        told = check(options)
    except (UserError, CellError, WitnessError) as problem:
        print(problem, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        show(told)
    return 2 if told["verdict"] == ERROR else 0 if told["complies"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
