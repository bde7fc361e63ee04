"""One cell's run: opens it, has scenarios run in it, writes and prints what they gave. conftest.py wires it to pytest.

A run of all scenarios asks each the schedules on record first and is then a complete result of that depth; it goes on
to all orders, which replace it line by line. Lines are written as they come; a run that ends before the first part is
through leaves an incomplete result, and an older complete one stays.
"""

from __future__ import annotations

import importlib
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
from matrix.results import expectations, following, judging
from matrix.results.read import ResultError, read_cell
from matrix.results.write import ResultWriter, WriteError, utc_now
from matrix.words import ERROR, FULL, NOT_APPLICABLE, RECORD, REFUSES, SAFE

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
class RunOptions:
    """What is asked of a run. None: the default, or what an environment variable says."""

    orders: int
    only: str | None = None
    results: str | None = None
    programs: int | None = None
    seed: int | None = None
    processes: int | None = None
    brief: bool = False  # the schedules on record, and no more
    full_first: bool = False  # all orders, and nothing before
    deepen: bool = False  # all orders of the result that is there, which is of the schedules on record
    strict: bool = False


class CellRun:
    """A run of these scenarios; ``open`` it, ``judge`` each, ``close`` it in any case."""

    def __init__(self, options: RunOptions, selected: Sequence[Scenario], terminal: Terminal) -> None:
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
        self.known_schedules: Any = None
        self.writer: ResultWriter | None = None
        self.on_record: dict[str, ScenarioLine] = {}  # the lines of the first part, once it is through
        self.entries: Sequence[Any] = ()
        self.seen: dict[str, tuple[str, list[OrdersAnomaly]]] = {}  # verdicts and anomalies of the lines so far
        self.lines: dict[str, ScenarioLine] = {}  # so far; of all orders, where ``on_record`` has those before
        self.left: set[str] = set()  # scenarios that all orders have still to be run of
        self.path = Path()
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
            self.catalogue = catalogue(self.cell.driver)
            self.cell.open(self._import)
            self._begin_result(self.cell)
        except (CellError, WriteError, expectations.ExpectationError, OSError) as error:
            self.close()
            raise CellEnded(f"{name}: {error}", 2) from error
        axes = self.header["axes"]
        self.terminal.say(
            f"  {axes['driver']} {axes['driver_version']} · Tortoise {axes['tortoise']} · "
            f"Python {axes['python']} · {self.header['server_string']}"
        )

    def _import(self) -> None:
        """Load what takes long and scenarios ask for when they come to it: once, not in each process."""
        assert self.cell is not None
        applying = [scenario for scenario in self.selected if self.cell.unmet(scenario) is None]
        for module, wanted in (
            ("matrix.harness.orm", any(scenario.orm for scenario in applying)),
            ("matrix.generated.search", any(scenario.generated for scenario in applying)),
        ):
            if wanted:
                importlib.import_module(module)

    def _begin_result(self, cell: Cell) -> None:
        self.header = cell.header(self.planned, utc_now())
        self.opened = True
        self.known_schedules = known_schedules.read(cell.name, cell.parts.base)
        asked = self.options.brief or (self.whole and self.known_schedules and not self.options.full_first)
        self.header["depth"] = RECORD if asked else FULL
        if inputs := os.environ.get("MATRIX_INPUTS"):
            self.header["inputs"] = inputs
        self.entries = expectations.load_driver(cell.driver)
        selection = self.options.only is not None and self.options.results
        if selection:
            self.header["catalogue"] = list(self.catalogue)
        if not self.whole and not selection:
            return
        folder = Path(self.options.results or os.environ.get("MATRIX_RESULTS") or ROOT / "results")
        self.path = folder / f"{cell.name}.jsonl"
        if self.options.deepen and self.header["depth"] == RECORD:
            self._take_over(self.path)
        if not self.on_record:
            self.writer = ResultWriter(self.path, self.header, self.started)

    def _take_over(self, path: Path) -> None:
        """Go on from the result that is there, if it is of this suite, on the same versions."""
        try:
            found = read_cell(path)
        except ResultError:
            return
        own = {key: value for key, value in self.header.items() if key not in ("started", "inputs")}
        theirs = {key: found.header.get(key) for key in own}
        if own == theirs and self.planned == list(found.by_id) and path.stat().st_mtime > _changed():
            self.on_record = dict(found.by_id)
            self.header["started"] = found.header["started"]

    def close(self) -> None:
        """End its processes, take away its databases; where all orders were not run to the end, keep what they have
        shown beside what is on record. Idempotent; raises WriteError."""
        for each in (self.processes, self.writer, self.cell):
            if each is not None:
                each.close()
        deepening, self.writer = self.writer is not None and bool(self.on_record), None
        if deepening and len(self.lines) < len(self.planned):
            self.header["depth"] = RECORD
            with ResultWriter(self.path, self.header, self.started) as writer:
                for line in {**self.on_record, **self.lines}.values():
                    writer.scenario(line)
                writer.finish()

    def _jobs(self, scenarios: Sequence[Scenario]) -> list[ScenarioJob]:
        names = {scenario.id for scenario in scenarios}
        drawn = frozenset(scenario.id for scenario in scenarios if scenario.generated)
        jobs = []
        for scenario in scenarios:
            after = frozenset(scenario.cures) & names
            if scenario.generated and self.whole and self.header["depth"] != RECORD:
                after = frozenset(names - drawn)  # what the others showed is not found by generation
            jobs.append(ScenarioJob(scenario.id, after, self._given))
        return jobs

    def _started(self, cell: Cell, jobs: list[ScenarioJob]) -> Processes:
        """Have these done, by as many processes as were asked for."""
        # Where each run is a process of its own, a third of the time is waiting.
        share = 2 if cell.adapter.isolated else 1
        count = self.options.processes or share * int(os.environ.get("MATRIX_PROCESSES") or cores())
        died = lambda name, why: without_verdict(self.catalogue[name], ERROR, why)  # noqa: E731
        return Processes(cell, count, jobs, self._work, died, self._learn)

    # -- one scenario ----------------------------------------------------------------------------------------------
    async def judge(self, scenario: Scenario) -> None:
        """Have a scenario run, write and print what it gave. Raises NotAsExpected; CellEnded when a server is gone."""
        assert self.cell is not None
        if self.processes is None:
            self.processes = self._started(self.cell, [] if self.on_record else self._jobs(self.selected))
            if self.header["depth"] == RECORD and not self.options.brief:
                await self._to_all_orders(self.processes)
        line = await self._line(self.processes, scenario)
        if self.writer is not None and len(self.lines) == len(self.planned):
            self.writer.finish()
        if unmet := judging.judge_line(line, self.entries, self.header):
            raise NotAsExpected("; ".join(str(problem) for problem in unmet))
        if self.options.strict and line["complies"] is False:
            raise NotAsExpected(f"{scenario.id} does not comply: {line['verdict']} ({line['reason']})")

    async def _to_all_orders(self, processes: Processes) -> None:
        """Ask the schedules on record, unless a result of that is taken over; then begin with all orders."""
        if not self.on_record:
            for scenario in self.selected:
                await self._line(processes, scenario)
            self.on_record, self.lines = self.lines, {}
            if self.writer is not None:
                self.writer.finish()
            self.terminal.say(f"  {self._shown()}: as on record, kept. Now all orders; Ctrl-C ends them", bold=True)
        for line in self.on_record.values():
            self._learn(line)
        self.header["depth"] = FULL
        if self.whole:
            self.writer = ResultWriter(self.path, self.header, self.started)
        self.left = {scenario.id for scenario in self.selected if _says_less(scenario, self.on_record[scenario.id])}
        processes.begin(self._jobs([scenario for scenario in self.selected if scenario.id in self.left]))

    async def _line(self, processes: Processes, scenario: Scenario) -> ScenarioLine:
        """The line of a scenario, written and shown; what has been asked all orders already stays as it is."""
        before = self.on_record.get(scenario.id)
        if before is not None and scenario.id not in self.left:
            line = before
        else:
            try:
                line = await processes.line(scenario.id)
            except CellError as error:
                raise self._ended(self._failing(writes=True) or str(error), scenario) from error
            line["expectation"] = judging.expectation_of(line, self.entries, self.header)
        self.lines[scenario.id] = line
        if self.writer is not None:
            self.writer.scenario(line)
        if line is not before:
            self._show(line, before)
            if failing := self._failing(writes=line["verdict"] == ERROR):
                del self.lines[scenario.id]  # what it says is of no use
                raise self._ended(failing, scenario)
        return line

    def _failing(self, *, writes: bool) -> str:
        """Which of the cell's servers can be judged against no more, and why; empty for none."""
        assert self.cell is not None
        return next((problem for each in self.cell.backings if (problem := each.failing(writes=writes))), "")

    def _ended(self, why: str, scenario: Scenario) -> CellEnded:
        problem = f"{self.header['cell']}: {why}; {scenario.id} was running"
        kept = "What is on record is kept" if self.on_record else "The result stays incomplete"
        return CellEnded(f"{problem}. {kept}: run the cell again.", 3)

    def _learn(self, line: ScenarioLine) -> None:
        """Keep what later lines need of this one."""
        orders = line.get("orders")
        self.seen[line["scenario"]] = line["verdict"], orders.get("anomalies", []) if orders else []

    def _given(self) -> tuple[str, dict[str, str], Anomalies]:
        """What a scenario is told: the depth, and of the lines before it the verdicts, and the anomalies with those
        that show them."""
        plain = {name: verdict for name, (verdict, _) in self.seen.items() if verdict != NOT_APPLICABLE}
        known: Anomalies = {}
        for name in self.catalogue:
            for each in self.seen.get(name, ("", []))[1]:
                known.setdefault((each["verdict"], tuple(each["properties"])), []).append(name)
        return self.header["depth"], plain, known

    def _work(self, cell: Cell, name: str, given: tuple[str, dict[str, str], Anomalies]) -> ScenarioLine:
        """Run a scenario; in one of the processes."""
        scenario, (depth, plain, known) = self.catalogue[name], given
        if not scenario.generated:
            asked = cell_scenarios.run(
                cell, scenario, self.catalogue, plain, self.options.orders, self.known_schedules, depth
            )
            return loop.run(asked)
        from matrix.generated import search  # hypothesis: only where programs are drawn

        seed = search.SEED if self.options.seed is None else self.options.seed
        budget, brief = self.options.programs or search.PROGRAMS, depth == RECORD
        explained = known if self.whole and not brief else None
        return search.run(cell, scenario, seed, budget, explained, self.known_schedules, brief)

    # -- printing --------------------------------------------------------------------------------------------------
    def _show(self, line: ScenarioLine, before: ScenarioLine | None) -> None:
        """Print a line, and tell who follows; ``before``: what it replaces."""
        verdict = line["verdict"]
        fact = following.ScenarioDone(
            scenario=line["scenario"],
            count=len(self.lines),
            planned=len(self.planned),
            verdict=verdict,
            remedy=line.get("remedy"),
            reason=line["reason"],
            before=following.word(before["verdict"], before.get("remedy")) if before else None,
        )
        following.tell(fact)
        mark = {COLOURS.get(verdict, "red"): True, "bold": verdict not in (SAFE, NOT_APPLICABLE)}
        self.terminal.say(following.shown(fact, self.terminal.width()), **mark)

    def summary(self) -> str:
        """The last line of a run that was opened."""
        kept = "" if self.whole or self.options.only else "; a selection of scenarios: no result file was written"
        return f"{self.header['cell']}: {self._shown()} against {self.header['server_string']}{kept}"

    def _shown(self) -> str:
        """How many scenarios are through, how they were asked, and how long it took."""
        lines = {**self.on_record, **self.lines}.values()
        asked = sum(line.get("depth") == RECORD for line in lines)
        how = f", {asked} by the schedules on record," if asked else ""
        return f"{len(lines)} of {len(self.catalogue)} scenarios{how} in {time.monotonic() - self.started:.1f} s"


def tell_the_end(why: CellEnded | WriteError) -> str:
    """Tell who follows why the cell cannot go on; the same for people."""
    following.tell({"ended": str(why)})
    return str(why)


def _says_less(scenario: Scenario, line: ScenarioLine) -> bool:
    """Whether a line by the schedules on record says less than all orders do; those of remedies and of generated
    programs depend on what other lines say."""
    leans = bool(scenario.cures) or scenario.generated
    return line.get("depth") == RECORD or (leans and line["verdict"] != NOT_APPLICABLE)


def _changed() -> float:
    """When anything of the suite was changed last, in seconds since the epoch."""
    return max(path.stat().st_mtime for part in ("matrix", "tests/compliance") for path in (ROOT / part).rglob("*.*"))
