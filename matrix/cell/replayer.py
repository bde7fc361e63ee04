"""Replays deciding schedules of a cell, again and again in one process: ``python -m matrix.cell.replayer CELL``.

Runs in a cell's environment; matrix/runs/replaying.py starts it and talks to it in lines of JSON: first what to
replay, then a line for each repeat of all of it. Each line is answered by one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix.cell.__main__ import environment_of, lacks_odbc

ROOT = Path(__file__).resolve().parents[2]


class Replayer:
    """Replays in an open cell. One that disagrees is told with its evidence."""

    def __init__(self, cell: Any, loop: Any, replays: list[dict[str, Any]]) -> None:
        from matrix.harness.runner import Runner
        from matrix.harness.scenario import catalogue

        self.cell = cell
        self.loop = loop
        self.scenarios = catalogue()
        self.runners = {backing.kind: Runner(backing, 1) for backing in cell.backings}
        self.replays = [each for each in replays if self._known(each)]
        self._choices: dict[int, Any] = {}  # what was possible at each step of a replay, when it first was as on record

    def _known(self, replay: dict[str, Any]) -> bool:
        names = [replay["scenario"], *([replay["remedy"]] if replay["remedy"] else [])]
        return all(name in self.scenarios for name in names) and replay["database"] in (None, *self.runners)

    @property
    def rule(self) -> str:
        return "seen twice" if self.cell.adapter.isolated else "each time"

    def repeat(self) -> dict[str, Any]:
        """Every replay once, or as often as the rule of the cell allows."""
        began = time.monotonic()
        counts: dict[str, Any] = {"runs": 0, "first_tries": 0, "disagreements": []}
        for number, replay in enumerate(self.replays):
            first = self._once(replay)
            tries, differs = 0, self._differs(number, replay, first)
            agreed = not differs
            counts["first_tries"] += agreed
            if not agreed and self.cell.adapter.isolated:
                tries, agreed = self._tried_again(replay, first)
            counts["runs"] += 1 + tries
            if not agreed:
                counts["disagreements"].append({"replay": number, **_instead(first), "sentence": differs})
        counts["seconds"] = round(time.monotonic() - began, 3)
        return counts

    def _differs(self, number: int, replay: dict[str, Any], seen: Any) -> str:
        """What was seen instead, in words; empty when the verdict is that on record and, where the harness owns the
        order, so are the properties and the course, and what was possible at each step is what it was before."""
        from matrix.harness.outcome import other_choices

        verdict, properties, schedule = _signature(seen)
        instead = str(seen) if isinstance(seen, Exception) else seen.reason
        if self.cell.adapter.isolated:
            return "" if verdict == replay["verdict"] else instead
        if [verdict, [*properties], schedule] != [replay["verdict"], replay["properties"], replay["schedule"]]:
            return instead
        return other_choices(schedule, self._choices.setdefault(number, seen.enabled), seen.enabled)

    def _tried_again(self, replay: dict[str, Any], first: Any) -> tuple[int, bool]:
        """Threads race inside the driver: there a run of the cell counts what a schedule shows twice. So a verdict on
        record must show within as many further tries as a run has, and a safe one must not show the same other verdict
        twice. How many tries it took, and whether that agrees."""
        from matrix.harness.runner import REPEATS

        safe = replay["verdict"] == "safe"
        awaited = _signature(first)[0] if safe else replay["verdict"]
        for tries in range(1, REPEATS + 1):
            if _signature(self._once(replay))[0] == awaited:
                return tries, not safe
        return REPEATS, safe

    def _once(self, replay: dict[str, Any]) -> Any:
        from matrix.generated.program import from_data
        from matrix.generated.search import bound
        from matrix.harness.isolated import once_in_child
        from matrix.harness.runner import UNJUDGED
        from matrix.harness.schedule import Execution
        from matrix.harness.strategies import replay as following

        scenario = self.scenarios[replay["scenario"]]
        if scenario.generated:
            scenario = bound(scenario, from_data(replay["program"]))
        remedy = self.scenarios[replay["remedy"]].remedy if replay["remedy"] else None
        runner = self.runners[replay["database"] or next(iter(self.runners))]
        execution = Execution(following(replay["schedule"], lenient=self.cell.adapter.isolated))
        try:
            if self.cell.adapter.isolated:
                return self.loop.run_until_complete(once_in_child(runner, scenario, execution, remedy, []))
            return self.loop.run_until_complete(runner.once(scenario, execution, remedy))
        except UNJUDGED as error:
            return error


def _signature(seen: Any) -> tuple[str, tuple[str, ...], str]:
    if isinstance(seen, Exception):
        return f"error ({type(seen).__name__})", (), ""
    return (*seen.signature, seen.schedule)


def _instead(seen: Any) -> dict[str, Any]:
    """What was seen instead, with its evidence, for people."""
    verdict, properties, schedule = _signature(seen)
    if isinstance(seen, Exception):
        return {"verdict": verdict, "properties": [], "schedule": "", "evidence": None}
    return {
        "verdict": verdict,
        "properties": list(properties),
        "schedule": schedule,
        "evidence": seen.evidence,
    }


def other_versions(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Which versions are others than those of a result, in words: what differs is theirs then, not the harness's. Empty
    for none."""
    return ", ".join(f"{axis} {recorded[axis]}, {here[axis]} here" for axis in recorded if recorded[axis] != here[axis])


def serve(name: str) -> int:
    """Open the cell, then answer until the input ends."""
    from matrix.harness.cell import Cell, CellError, check_python
    from matrix.harness.loop import MatrixLoop

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anybody else prints is no answer

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message, default=repr) + "\n")
        answers.flush()

    asked = json.loads(sys.stdin.readline())
    loop = MatrixLoop()
    cell = None
    try:
        check_python()
        cell = Cell(name, progress=lambda text: None)
        cell.open()
        if others := other_versions(asked["axes"], cell.axes()):
            answer({"error": f"its result is of other versions: {others}; run the cell again"})
            return 2
        again = Replayer(cell, loop, asked["replays"])
        answer({"rule": again.rule, "replays": again.replays})
        for _ in sys.stdin:
            counts = again.repeat()
            failing = [problem for backing in cell.backings if (problem := backing.failing())]
            answer({"error": failing[0]} if failing else counts)
            if failing:
                return 3
    except CellError as error:
        answer({"error": str(error)})
        return 2
    finally:
        loop.close()
        if cell is not None:
            cell.close()
    return 0


def main(arguments: list[str]) -> int:
    from matrix import servers

    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(
            "usage: python -m matrix.cell.replayer CELL (started by python -m matrix.runs.stability)", file=sys.stderr
        )
        return 2
    if lacks_odbc(arguments[0]):
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what is fetched is told in plain words
                environment = environment_of(arguments[0])
        except servers.ServerError as error:
            print(json.dumps({"error": str(error)}), flush=True)
            return 2
        os.execve(sys.executable, [sys.executable, "-m", "matrix.cell.replayer", *arguments], environment)
    os.chdir(ROOT)
    return serve(arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
