"""pytest wiring of one cell, nothing else: ``MATRIX_CELL=postgres-asyncpg python -m pytest tests/compliance``.

The suite lies in tests/compliance, what it is written with in matrix/harness, the run of a cell in matrix/cell.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from matrix.harness.loop import MatrixLoop  # noqa: E402

RUN = pytest.StashKey[Any]()  # the run of the cell


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
        help="ask the schedules on record, and run all orders only where the verdict is another one",
    )
    group.addoption("--full-first", action="store_true", help="run all orders at once, not what is on record before")
    group.addoption("--deepen", action="store_true", help="run all orders of the result that --brief has left")
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
def cell_run(request: pytest.FixtureRequest) -> Iterator[CellOfPytest]:
    """The cell of this session: opened once; its results are written line by line."""
    config = request.config
    items: list[Any] = request.session.items
    run = CellOfPytest(config, [item.callspec.params["scenario"] for item in items])

    def interrupt(number: int, frame: Any) -> None:
        """Ended from outside is as by Ctrl-C: databases are taken from a server that was given, and processes end.
        Once: tox asks three times within a second, and the later ones would cut short how pytest comes to the end.
        Raised in this project's own code only: between a test's hooks it would leave pytest's set-up half undone."""
        if not run.interrupted:
            run.interrupted = True
            request.session.shouldstop = f"ended by {signal.Signals(number).name}"
            if run.interruptible:
                raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        run.open()
        yield run
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        run.close()
        if not run.interrupted:  # else nothing counts any more: not while pytest tells of it, nor while Python ends
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
    if run is not None and run.opened:
        terminalreporter.ensure_newline()
        terminalreporter.write_line(run.summary())


class CellOfPytest:
    """The run of a cell (matrix/cell/run.py), in pytest's words: its options, its terminal, its ways to fail."""

    def __init__(self, config: pytest.Config, selected: list[Any]) -> None:
        from matrix.cell.run import CellRun, RunOptions

        ask = config.getoption
        options = RunOptions(
            orders=int(ask("orders") or config.getini("orders")),
            only=ask("only"),
            results=ask("results"),
            programs=ask("programs"),
            seed=ask("seed"),
            processes=ask("processes"),
            brief=ask("brief"),
            full_first=ask("full_first"),
            deepen=ask("deepen"),
            strict=ask("strict_compliance"),
        )
        self._config = config
        self._terminal: Any = config.pluginmanager.getplugin("terminalreporter")
        self._run = config.stash[RUN] = CellRun(options, selected, self)
        self.close = self._run.close
        self.interrupted = False
        self.interruptible = False

    def open(self) -> None:
        with self._interruptible(), failing_as_pytest_does():
            self._run.open()

    async def judge(self, scenario: Any) -> None:
        """Have a scenario run, and record what it gave."""
        with self._interruptible(), failing_as_pytest_does():
            await self._run.judge(scenario)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Here a signal may raise KeyboardInterrupt; one that came before does now."""
        self.interruptible = True
        try:
            if self.interrupted:
                raise KeyboardInterrupt
            yield
        finally:
            self.interruptible = False

    def say(self, text: str, **markup: bool) -> None:
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            self._terminal.ensure_newline()
            self._terminal.write_line(text, **markup)
            self._terminal.flush()

    def width(self) -> int:
        writer = self._terminal._tw
        return writer.fullwidth if writer.hasmarkup else 430  # in a file lines may be longer


@contextlib.contextmanager
def failing_as_pytest_does() -> Iterator[None]:
    from matrix.cell.run import CellEnded, NotAsExpected, WriteError, tell_the_end

    try:
        yield
    except (CellEnded, WriteError) as ended:  # the latter would be one of the lines that pytest cuts
        pytest.exit(tell_the_end(ended), returncode=getattr(ended, "code", 2))
    except NotAsExpected as problem:
        pytest.fail(str(problem), pytrace=False)
