"""pytest wiring of one cell, nothing else: ``MATRIX_CELL=postgres-asyncpg python -m pytest tests/compliance``.

The suite lies in tests/compliance, what it is written with in matrix/harness, result files in matrix/results.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from matrix.harness.loop import MatrixLoop  # noqa: E402
from matrix.words import GLYPHS  # noqa: E402

RUN = pytest.StashKey["CellRun"]()
COLOURS = {"safe": "green", "refuses": "cyan", "n/a": "white", "error": "purple"}  # everything else: red


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("matrix", "the compliance matrix (tests/compliance)")
    group.addoption("--orders", type=int, default=None, help="how many orders of a scenario are run at most")
    group.addoption("--programs", type=int, default=None, help="how many programs a line of generated ones judges")
    group.addoption("--seed", type=int, default=None, help="from which they are drawn (default: one for everybody)")
    group.addoption(
        "--processes",
        type=int,
        default=None,
        help="how many processes run scenarios, each with a database of its own (default: MATRIX_PROCESSES, or one per "
        "core)",
    )
    group.addoption("--results", default=None, help="folder of the result file (default: results)")
    group.addoption("--only", default=None, metavar="ID,ID", help="as -k, and writes a result where --results is")
    group.addoption(
        "--brief",
        action="store_true",
        help="for cells of other releases: ask the schedules on record of the newest ones first, and run all orders "
        "only where the verdict is another one",
    )
    group.addoption(
        "--strict-compliance",
        action="store_true",
        default=os.environ.get("MATRIX_STRICT", "") not in ("", "0"),
        help="fail for everything that does not comply, expected or not (also: MATRIX_STRICT=1)",
    )
    parser.addini("orders", "how many orders of a scenario are run at most", default="10")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    return {"matrix": MatrixLoop}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """``--only`` and ``-k`` of a cell: these scenarios and families. pytest's own ``-k``, for which NST-1 would also be
    NST-10, stays for all other tests."""
    if not items or not all("cell_run" in item.fixturenames for item in items):
        return
    from matrix.harness.scenario import chosen

    for option, words in (("only", config.getoption("only")), ("keyword", config.getoption("keyword") or None)):
        if words is None:
            continue
        try:
            names = chosen(words)
        except LookupError as problem:
            raise pytest.UsageError(f"{'--only' if option == 'only' else '-k'}: {problem.args[0]}") from None
        items[:] = [item for item in items if item.callspec.params["scenario"].id in names]
        setattr(config.option, option, ",".join(names) if option == "only" else "")


@pytest.fixture(scope="session")
def cell_run(request: pytest.FixtureRequest) -> Iterator[CellRun]:
    """The cell of this session: opened once; its results are written line by line."""
    config = request.config
    items: list[Any] = request.session.items
    run = CellRun(config, [item.callspec.params["scenario"] for item in items])
    config.stash[RUN] = run
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    # Ended from outside is as by Ctrl-C: databases are taken from a server that was given, and processes end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run.open()
        yield run
    finally:
        for number in numbers:  # tox asks three times, within a second: that must not cut this short
            signal.signal(number, signal.SIG_IGN)
        run.close()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> Any:
    """The lines of a cell say everything; no dots between them."""
    if report.when == "call" and "cell_run" in getattr(report, "fixturenames", ()):
        return report.outcome, "", report.outcome.upper()
    return None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, None]:
    outcome = yield
    outcome.get_result().fixturenames = item.fixturenames


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    if run is not None and run.header:
        run.summarise(terminalreporter)


class CellRun:
    """One cell's run: opens it, runs scenarios in it, writes and prints what they gave."""

    def __init__(self, config: pytest.Config, selected: list[Any]) -> None:
        from matrix.harness.scenario import catalogue

        self.config = config
        self.catalogue = catalogue()
        only = config.getoption("only")
        self.planned = [name for name in self.catalogue if only is None or name in only.split(",")]
        self.selected = selected
        self.whole = len(selected) >= len(self.catalogue)
        self.terminal = config.pluginmanager.getplugin("terminalreporter")
        self.header: dict[str, Any] = {}
        self.cell: Any = None
        self.processes: Any = None
        self.record_of_newest: Any = None
        self.writer: Any = None
        self.entries: tuple[Any, ...] = ()
        self.seen: dict[str, tuple[str, list[dict[str, Any]]]] = {}  # verdicts and anomalies of the lines so far
        self.done = 0
        self.started = time.monotonic()

    # -- opening and closing ---------------------------------------------------------------------------------------
    def open(self) -> None:
        from matrix.harness import record
        from matrix.harness.cell import Cell, CellError, check_python
        from matrix.results import expectations
        from matrix.results.write import ResultWriter, WriteError, utc_now

        name = os.environ.get("MATRIX_CELL", "")
        position = os.environ.get("MATRIX_POSITION", "")
        self.say(f"cell {position + ': ' if position else ''}{name or '(none named)'}", bold=True)
        try:
            check_python()
            if not name:
                raise CellError(
                    "no cell is named: set MATRIX_CELL to one, such as postgres-asyncpg, or use tox -e NAME"
                )
            self.cell = Cell(name, tell=lambda text: self.say(f"  {text}"))
            self.cell.open()
            self.header = {**self.cell.header(self.planned), "started": utc_now()}
            if self.config.getoption("brief"):
                self.header["effort"] = "brief"
                self.record_of_newest = record.read(name, self.cell.parts.base)
            if inputs := os.environ.get("MATRIX_INPUTS"):
                self.header["inputs"] = inputs
            self.entries = expectations.load_driver(self.cell.driver)
            asked = self.config.getoption("results")
            selection = self.config.getoption("only") is not None and asked
            if selection:
                self.header["catalogue"] = list(self.catalogue)
            if self.whole or selection:
                folder = Path(asked or os.environ.get("MATRIX_RESULTS") or ROOT / "results")
                folder.mkdir(parents=True, exist_ok=True)
                self.writer = ResultWriter(folder / f"{name}.jsonl", self.header)
        except (CellError, WriteError, expectations.ExpectationError, OSError) as error:
            self.close()
            pytest.exit(f"{name}: {error}", returncode=2)
        axes = self.header["axes"]
        self.say(
            f"  {axes['driver']} {axes['driver_version']} · Tortoise {axes['tortoise']} · "
            f"Python {axes['python']} · {self.header['server_string']}"
        )

    def close(self) -> None:
        if self.processes is not None:
            self.processes.close()
        if self.writer is not None:
            self.writer.close()
        if self.cell is not None:
            self.cell.close()

    @property
    def orders(self) -> int:
        return int(self.config.getoption("orders") or self.config.getini("orders"))

    def begin(self) -> None:
        """Have the selected scenarios run, by as many processes as were asked for."""
        from matrix.harness.processes import Job, Processes, cores
        from matrix.harness.result_lines import without_verdict
        from matrix.words import ERROR

        count = self.config.getoption("processes") or int(os.environ.get("MATRIX_PROCESSES") or cores())
        names = {scenario.id for scenario in self.selected}
        drawn = frozenset(scenario.id for scenario in self.selected if scenario.generated)
        jobs = []
        for scenario in self.selected:
            after = frozenset(scenario.cures) & names
            if scenario.generated and self.whole:
                after = frozenset(names - drawn)  # what the others showed is not found by generation
            jobs.append(Job(scenario.id, after, self.given))
        died = lambda name, why: without_verdict(self.catalogue[name], ERROR, why)  # noqa: E731
        self.processes = Processes(self.cell, count, jobs, self.work, died, self.learn)

    # -- one scenario ----------------------------------------------------------------------------------------------
    async def judge(self, scenario: Any) -> None:
        """Have a scenario run, and record what it gave."""
        if self.processes is None:
            self.begin()
        self.record(scenario, await self.processes.line(scenario.id))

    def learn(self, line: dict[str, Any]) -> None:
        """Keep what later lines need of this one."""
        self.seen[line["scenario"]] = line["verdict"], list((line.get("orders") or {}).get("anomalies", ()))

    def given(self) -> tuple[dict[str, str], dict[tuple[str, tuple[str, ...]], list[str]]]:
        """What a scenario may need of the lines before it: verdicts, and the anomalies with those that show them."""
        plain = {name: verdict for name, (verdict, _) in self.seen.items() if verdict != "n/a"}
        known: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for name in self.catalogue:
            for each in self.seen.get(name, ("", []))[1]:
                known.setdefault((each["verdict"], tuple(each["properties"])), []).append(name)
        return plain, known

    def work(self, cell: Any, name: str, given: Any) -> dict[str, Any]:
        """Run a scenario; in one of the processes."""
        from matrix.generated import search
        from matrix.harness import cell_scenarios, loop

        scenario, (plain, known) = self.catalogue[name], given
        record = self.record_of_newest
        if not scenario.generated:
            return loop.run(cell_scenarios.run(cell, scenario, self.catalogue, plain, self.orders, record))
        seed = self.config.getoption("seed")
        budget = self.config.getoption("programs") or search.PROGRAMS
        whole = self.whole and record is None
        return search.run(
            cell, scenario, search.SEED if seed is None else seed, budget, known if whole else None, record
        )

    def record(self, scenario: Any, line: dict[str, Any]) -> None:
        """Write a scenario's line, print it, and fail when it is not as expected."""
        from matrix.results import judging

        line["expectation"] = judging.record(line, self.entries, self.header)
        self.done += 1
        if self.writer is not None:
            self.writer.scenario(line)
        self.show(line)
        dead = [backing.kind for backing in self.cell.backings if not backing.alive()]
        if dead:
            pytest.exit(
                f"{self.cell.name}: the {dead[0]} server is gone; {scenario.id} was running. "
                "The result stays incomplete: run the cell again.",
                returncode=3,
            )
        if self.writer is not None and self.done == len(self.planned):
            self.writer.finish()
        unmet = judging.judge_line(line, self.entries, self.header)
        if unmet:
            pytest.fail("; ".join(str(problem) for problem in unmet), pytrace=False)
        if self.config.getoption("strict_compliance") and line["complies"] is False:
            pytest.fail(f"{scenario.id} does not comply: {line['verdict']} ({line['reason']})", pytrace=False)

    # -- printing --------------------------------------------------------------------------------------------------
    def say(self, text: str, **markup: bool) -> None:
        with self.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            self.terminal.ensure_newline()
            self.terminal.write_line(text, **markup)
            self.terminal.flush()

    def show(self, line: dict[str, Any]) -> None:
        verdict = line["verdict"]
        word = f"{GLYPHS.get(verdict, '?')} {verdict}" + (f", {line['remedy']}" if line.get("remedy") else "")
        mark = {COLOURS.get(verdict, "red"): True, "bold": verdict not in ("safe", "n/a")}
        text = f"  {self.done:>3}/{len(self.planned)} {line['scenario']:<7} {word:<18} "
        reason = "" if verdict == "safe" and not line.get("remedy") else " ".join(line["reason"].split())
        room = self.terminal._tw.fullwidth - len(text) - 1 if self.terminal._tw.hasmarkup else 400
        self.say(text + (reason if len(reason) <= room else reason[: max(room - 1, 20)] + "…"), **mark)

    def summarise(self, terminal: Any) -> None:
        kept = "" if self.writer is not None else "; a selection of scenarios: no result file was written"
        terminal.ensure_newline()
        terminal.write_line(
            f"{self.header['cell']}: {self.done} of {len(self.catalogue)} scenarios in "
            f"{time.monotonic() - self.started:.1f} s against {self.header['server_string']}{kept}"
        )
