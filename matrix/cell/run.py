"""One cell's run: opens it, has scenarios run in it, writes and prints what they gave. conftest.py wires it to pytest.

Lines are written as they come; a run that ends early leaves an incomplete result, and an older complete one stays.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from matrix.harness import cell_scenarios, known_schedules, loop
from matrix.harness.cell import Cell, CellError, check_python
from matrix.harness.processes import Processes, ScenarioJob, cores
from matrix.harness.result_lines import without_verdict
from matrix.harness.scenario import Scenario, catalogue
from matrix.lines import Header, OrdersAnomaly, ScenarioLine
from matrix.results import expectations, judging
from matrix.results.write import ResultWriter, WriteError, utc_now
from matrix.words import ERROR, GLYPHS, NOT_APPLICABLE, REFUSES, SAFE

ROOT = Path(__file__).resolve().parents[2]
COLOURS = {SAFE: "green", REFUSES: "cyan", NOT_APPLICABLE: "white", ERROR: "purple"}  # everything else: red
Anomalies = dict[tuple[str, tuple[str, ...]], list[str]]  # verdict and properties -> the scenarios that show them


class CellEnded(Exception):
    """The cell cannot be opened, or not go on; the message is one line, ``code`` the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class NotAsExpected(Exception):
    """A line is not as expected, or does not comply where that is asked for; the message is one line."""


class Terminal(Protocol):
    """Where the run is shown."""

    def say(self, text: str, **markup: bool) -> None:
        """Write a line; ``markup`` as pytest's terminal writer has it (``bold``, ``red``)."""

    def width(self) -> int:
        """How much of a line is shown, in characters."""


@dataclass(frozen=True)
class Options:
    """What is asked of a run. None: the default, or what an environment variable says."""

    orders: int
    only: str | None = None
    results: str | None = None
    programs: int | None = None
    seed: int | None = None
    processes: int | None = None
    brief: bool = False
    strict: bool = False


class CellRun:
    """A run of these scenarios; ``open`` it, ``judge`` each, ``close`` it in any case."""

    def __init__(self, options: Options, selected: Sequence[Scenario], terminal: Terminal) -> None:
        self.options = options
        self.catalogue = catalogue()
        self.planned = [name for name in self.catalogue if options.only is None or name in options.only.split(",")]
        self.selected = selected
        self.whole = len(selected) >= len(self.catalogue)
        self.terminal = terminal
        self.opened = False
        self.header: Header  # of an opened one
        self.cell: Cell | None = None
        self.processes: Processes | None = None
        self.known_of_newest: Any = None
        self.writer: ResultWriter | None = None
        self.entries: Sequence[Any] = ()
        self.seen: dict[str, tuple[str, list[OrdersAnomaly]]] = {}  # verdicts and anomalies of the lines so far
        self.done = 0
        self.started = time.monotonic()

    # -- opening and closing ---------------------------------------------------------------------------------------
    def open(self) -> None:
        """Find its servers, make its databases, begin its result. Raises CellEnded."""
        name = os.environ.get("MATRIX_CELL", "")
        position = os.environ.get("MATRIX_POSITION", "")
        self.terminal.say(f"cell {position + ': ' if position else ''}{name or '(none named)'}", bold=True)
        try:
            check_python()
            if not name:
                raise CellError(
                    "no cell is named: set MATRIX_CELL to one, such as postgres-asyncpg, or use tox -e NAME"
                )
            self.cell = Cell(name, progress=lambda text: self.terminal.say(f"  {text}"))
            self.cell.open()
            self._begin_result(self.cell)
        except (CellError, WriteError, expectations.ExpectationError, OSError) as error:
            self.close()
            raise CellEnded(f"{name}: {error}", 2) from error
        axes = self.header["axes"]
        self.terminal.say(
            f"  {axes['driver']} {axes['driver_version']} · Tortoise {axes['tortoise']} · "
            f"Python {axes['python']} · {self.header['server_string']}"
        )

    def _begin_result(self, cell: Cell) -> None:
        self.header = cell.header(self.planned, utc_now())
        self.opened = True
        if self.options.brief:
            self.header["effort"] = "brief"
            self.known_of_newest = known_schedules.read(cell.name, cell.parts.base)
        if inputs := os.environ.get("MATRIX_INPUTS"):
            self.header["inputs"] = inputs
        self.entries = expectations.load_driver(cell.driver)
        selection = self.options.only is not None and self.options.results
        if selection:
            self.header["catalogue"] = list(self.catalogue)
        if self.whole or selection:
            folder = Path(self.options.results or os.environ.get("MATRIX_RESULTS") or ROOT / "results")
            self.writer = ResultWriter(folder / f"{cell.name}.jsonl", self.header)

    def close(self) -> None:
        """End its processes, take away its databases; idempotent."""
        for each in (self.processes, self.writer, self.cell):
            if each is not None:
                each.close()

    def _begin(self, cell: Cell) -> Processes:
        """Have the selected scenarios run, by as many processes as were asked for."""
        count = self.options.processes or int(os.environ.get("MATRIX_PROCESSES") or cores())
        names = {scenario.id for scenario in self.selected}
        drawn = frozenset(scenario.id for scenario in self.selected if scenario.generated)
        jobs = []
        for scenario in self.selected:
            after = frozenset(scenario.cures) & names
            if scenario.generated and self.whole:
                after = frozenset(names - drawn)  # what the others showed is not found by generation
            jobs.append(ScenarioJob(scenario.id, after, self._given))
        died = lambda name, why: without_verdict(self.catalogue[name], ERROR, why)  # noqa: E731
        return Processes(cell, count, jobs, self._work, died, self._learn)

    # -- one scenario ----------------------------------------------------------------------------------------------
    async def judge(self, scenario: Scenario) -> None:
        """Have a scenario run, write and print what it gave. Raises NotAsExpected; CellEnded when a server is gone."""
        assert self.cell is not None
        if self.processes is None:
            self.processes = self._begin(self.cell)
        try:
            line = await self.processes.line(scenario.id)
        except CellError as error:
            raise self._ended(self._failing(writes=True) or str(error), scenario) from error
        line["expectation"] = judging.expectation_of(line, self.entries, self.header)
        self.done += 1
        if self.writer is not None:
            self.writer.scenario(line)
        self._show(line)
        if failing := self._failing(writes=line["verdict"] == ERROR):
            raise self._ended(failing, scenario)
        if self.writer is not None and self.done == len(self.planned):
            self.writer.finish()
        if unmet := judging.judge_line(line, self.entries, self.header):
            raise NotAsExpected("; ".join(str(problem) for problem in unmet))
        if self.options.strict and line["complies"] is False:
            raise NotAsExpected(f"{scenario.id} does not comply: {line['verdict']} ({line['reason']})")

    def _failing(self, *, writes: bool) -> str:
        """Which of the cell's servers can be judged against no more, and why; empty for none."""
        assert self.cell is not None
        return next((problem for each in self.cell.backings if (problem := each.failing(writes=writes))), "")

    def _ended(self, why: str, scenario: Scenario) -> CellEnded:
        problem = f"{self.header['cell']}: {why}; {scenario.id} was running"
        return CellEnded(f"{problem}. The result stays incomplete: run the cell again.", 3)

    def _learn(self, line: ScenarioLine) -> None:
        """Keep what later lines need of this one."""
        orders = line.get("orders")
        self.seen[line["scenario"]] = line["verdict"], orders.get("anomalies", []) if orders else []

    def _given(self) -> tuple[dict[str, str], Anomalies]:
        """What a scenario may need of the lines before it: verdicts, and the anomalies with those that show them."""
        plain = {name: verdict for name, (verdict, _) in self.seen.items() if verdict != NOT_APPLICABLE}
        known: Anomalies = {}
        for name in self.catalogue:
            for each in self.seen.get(name, ("", []))[1]:
                known.setdefault((each["verdict"], tuple(each["properties"])), []).append(name)
        return plain, known

    def _work(self, cell: Cell, name: str, given: tuple[dict[str, str], Anomalies]) -> ScenarioLine:
        """Run a scenario; in one of the processes."""
        scenario, (plain, known) = self.catalogue[name], given
        newest = self.known_of_newest
        if not scenario.generated:
            return loop.run(cell_scenarios.run(cell, scenario, self.catalogue, plain, self.options.orders, newest))
        from matrix.generated import search  # hypothesis: only where programs are drawn

        seed = self.options.seed
        budget = self.options.programs or search.PROGRAMS
        whole = self.whole and newest is None
        return search.run(
            cell, scenario, search.SEED if seed is None else seed, budget, known if whole else None, newest
        )

    # -- printing --------------------------------------------------------------------------------------------------
    def _show(self, line: ScenarioLine) -> None:
        verdict = line["verdict"]
        word = f"{GLYPHS.get(verdict, '?')} {verdict}" + (f", {line['remedy']}" if line.get("remedy") else "")
        mark = {COLOURS.get(verdict, "red"): True, "bold": verdict not in (SAFE, NOT_APPLICABLE)}
        text = f"  {self.done:>3}/{len(self.planned)} {line['scenario']:<7} {word:<18} "
        reason = "" if verdict == SAFE and not line.get("remedy") else " ".join((line["reason"] or "").split())
        available = self.terminal.width() - len(text) - 1
        self.terminal.say(
            text + (reason if len(reason) <= available else reason[: max(available - 1, 20)] + "…"), **mark
        )

    def summary(self) -> str:
        """The last line of a run that was opened."""
        kept = "" if self.writer is not None else "; a selection of scenarios: no result file was written"
        return (
            f"{self.header['cell']}: {self.done} of {len(self.catalogue)} scenarios in "
            f"{time.monotonic() - self.started:.1f} s against {self.header['server_string']}{kept}"
        )
