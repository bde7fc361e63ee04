"""Runs one schedule of a scenario again and shows each step: ``python -m matrix.cell.replay CELL SCENARIO [SCHEDULE]``.

Runs in a cell's environment; ``python -m matrix replay`` brings it there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from matrix import files
from matrix.cell.__main__ import environment_of, lacks_odbc
from matrix.harness.sentences import Fact, sentence

ROOT = Path(__file__).resolve().parents[2]


class Trace:
    """Prints each step with what is in flight when the world is quiet again."""

    def __init__(self) -> None:
        self.world: Any = None
        self._last: tuple[str, str] | None = None

    def on_world(self, world: Any) -> None:
        self.world = world

    def on_step(self, token: str, fact: Fact) -> None:
        self.flush()
        self._last = token, sentence(fact)

    def flush(self) -> None:
        """Print the step that was taken last."""
        if self._last is None:
            return
        token, text = self._last
        channels = self.world.gates.channels() if self.world else []
        flying = [line for channel in channels if (line := channel.in_flight())]
        print(f"  {token:>5}  {text}")
        for line in flying:
            print(f"         · {line}")
        self._last = None


def show(outcome: Any) -> None:
    """The outcome, as the evidence has it."""
    evidence = outcome.evidence
    print(f"\n{outcome.verdict}: {outcome.reason}")
    for violation in outcome.violations:
        print(f"  {violation.property}: {violation.sentence}")
    for line in evidence.get("witness", {}).get("sentences", []):
        print(f"  witness: {line}")
    for error in evidence.get("exceptions", []):
        print(f"  {error['session']}: {error['type']}: {error['message']} ({error['classed']})")
    if outcome.proof:
        print(f"  proof of the hang: {outcome.proof}")


def run(options: argparse.Namespace) -> int:
    """Open the cell, run the schedule, print. Exit code 1 when it does not replay."""
    from matrix.generated.program import from_data
    from matrix.generated.search import bound
    from matrix.harness.cell import Cell, CellError, check_python
    from matrix.harness.isolated import once_in_child
    from matrix.harness.loop import MatrixLoop
    from matrix.harness.runner import UNJUDGED, Runner
    from matrix.harness.scenario import catalogue
    from matrix.harness.schedule import Execution
    from matrix.harness.strategies import replay

    known = catalogue()
    for identifier in filter(None, (options.scenario, options.remedy)):
        if identifier not in known:
            return fail(f"there is no scenario {identifier}; there are: {', '.join(known)}")
    scenario = known[options.scenario]
    if scenario.cures:
        cures = ", ".join(scenario.cures)
        return fail(f"{scenario.id} is a remedy: replay one of its scenarios ({cures}) with --remedy {scenario.id}")
    if scenario.generated:
        try:
            scenario = bound(scenario, from_data(json.loads(options.program or "")))
        except ValueError:
            return fail(
                f"{scenario.id} stands for programs: say which, as results/{options.cell}.jsonl has it (deciding)"
            )
    remedy = known[options.remedy].remedy if options.remedy else None
    cell = Cell(options.cell, progress=lambda text: print(f"  {text}"))
    loop = MatrixLoop()
    trace = Trace()
    try:
        check_python()
        cell.open()
        unmet = cell.unmet(scenario)
        if unmet:
            return fail(f"{scenario.id} does not apply to {cell.name}: {unmet}")
        backing = next((b for b in cell.backings if options.database in (None, b.kind)), None)
        if backing is None:
            return fail(f"{cell.name} has no {options.database}; it has: {', '.join(b.kind for b in cell.backings)}")
        print(f"{scenario.id} {scenario.title}\n  {backing.server_string}\n")
        runner = Runner(backing, 1)
        execution = Execution(replay(options.schedule, lenient=cell.adapter.isolated))
        if cell.adapter.isolated:
            outcome = loop.run_until_complete(once_in_child(runner, scenario, execution, remedy, []))
            for step in outcome.evidence["steps"]:
                trace.on_step(str(step["action"]), step["fact"] or {})
        else:
            runner.on_world, runner.on_step = trace.on_world, trace.on_step
            outcome = loop.run_until_complete(runner.once(scenario, execution, remedy))
        trace.flush()
        show(outcome)
        asked = options.schedule.split(".")[0]
        if "@" in asked and not outcome.schedule.startswith(asked):
            print(f"  the moment {asked} never came: nobody was cancelled")
        print(f"  schedule: {outcome.schedule or '(a single order)'}")
    except (CellError, *UNJUDGED) as error:
        trace.flush()
        return fail(f"{options.cell}: {error}", 1)
    finally:
        loop.close()
        cell.close()
    return 0


def fail(text: str, code: int = 2) -> int:
    print(text, file=sys.stderr)
    return code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments, the same for ``python -m matrix replay``."""
    parser.add_argument("cell", help="such as mysql-aiomysql")
    parser.add_argument("scenario", help="such as NST-4")
    parser.add_argument("schedule", nargs="?", help="such as A.A.B.1.1; where it ends, the harness goes on by itself")
    parser.add_argument("--remedy", metavar="FIX", help="run the scenario with this remedy, such as FIX-1a")
    parser.add_argument("--program", metavar="JSON", help="a generated scenario's program")
    parser.add_argument("--database", metavar="KIND", help="which of several databases of the cell (ODBC)")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix.cell.replay", description=__doc__)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    options.schedule = options.schedule or ""
    if lacks_odbc(options.cell):
        environment = environment_of(options.cell)
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "matrix.cell.replay", *arguments], environment)
    os.chdir(ROOT)
    return run(options)


if __name__ == "__main__":
    sys.exit(files.until_read(lambda: main(sys.argv[1:])))
