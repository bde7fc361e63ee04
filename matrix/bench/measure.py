"""Measures schedules live, on private servers, in every default cell whose driver can be imported in this
environment."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from matrix.bench.tables import Heading, Measured, milliseconds
from matrix.harness.cell import Backing, Cell, CellError
from matrix.harness.conductor import HarnessError
from matrix.harness.drivers import drivers
from matrix.harness.explorer import Explorer
from matrix.harness.loop import MatrixLoop
from matrix.harness.runner import Runner
from matrix.harness.scenario import OrmSetup, Scenario, catalogue
from matrix.harness.schedule import Execution
from matrix.harness.strategies import Departing
from matrix.harness.witness import WitnessError

REPEATS = 20
ORDERS = 2  # of each scenario in the table of schedules: both base orders


# -- the floor of a schedule -----------------------------------------------------------------------------------


async def _bare_reads(backing: Backing, _token: Callable[[], str]) -> None:
    """What CON-1 and the look afterwards ask, one question after the other."""
    adapter = backing.adapter
    connection = await adapter.connect(backing.address(None))
    for number in range(4):
        await adapter.read(connection, backing.nonces[number])
    await adapter.write(connection, _token())
    await adapter.close(connection)


async def _bare_nested(backing: Backing, token: Callable[[], str]) -> None:
    """What NST-1 and the look afterwards ask of Tortoise, one question after the other."""
    world: Any = SimpleNamespace(adapter=backing.adapter, address=lambda: backing.address(None))
    orm = backing.adapter.make_orm(world, OrmSetup())
    await orm.init()
    try:
        async with orm.in_transaction(None):
            await orm.write(token(), None)
            try:
                async with orm.in_transaction(None):
                    await orm.write(token(), None)
                    raise LookupError
            except LookupError:
                pass
            await orm.write(token(), None)
        for number in range(2):
            await orm.read(backing.nonces[number], None)
        await orm.write(token(), None)
        await asyncio.gather(*(_bare_transaction(orm, token()) for _ in range(orm.size)))
        await orm.close()
    finally:
        orm.discard()


async def _bare_transaction(orm: Any, token: str) -> None:
    async with orm.in_transaction(None):
        await orm.write(token, None)


@dataclass
class Taken:
    """Seconds of wall clock, and of this process's processor time, of each repeat."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        began, used = time.perf_counter(), time.process_time()
        yield
        self.seconds.append(time.perf_counter() - began)
        self.processor.append(time.process_time() - used)


FLOORS: tuple[tuple[str, Any], ...] = (("CON-1", _bare_reads), ("NST-1", _bare_nested))
FLOOR_COLUMNS = (
    Heading("driver"),
    Heading("scenario"),
    Heading("bare driver, median", "ms"),
    Heading("one schedule, median", "ms"),
    Heading("one schedule, p95", "ms"),
    Heading("ratio", "x"),
    Heading("bare, own CPU", "ms"),
    Heading("schedule, own CPU", "ms"),
)


async def floor_rows(backing: Backing, repeats: int) -> list[tuple[Any, ...]]:
    """The same statements without harness, gate and witness, and as one schedule."""
    count = iter(range(1, 1_000_000))
    mark = f"{os.getpid():x}"
    rows = []
    for identifier, bare in FLOORS:
        scenario = catalogue()[identifier]
        if scenario.orm is not None and importlib.util.find_spec("tortoise") is None:
            continue
        runner = Runner(backing, 1)
        without, within = Taken(), Taken()
        for _ in range(repeats):  # turn about: a slow spell hits both alike
            with without.one():
                await bare(backing, lambda: f"b-{mark}-{next(count)}")
            with within.one():
                await runner.once(scenario, Execution(Departing(eager=False)))
        median, p95, _ = milliseconds(within.seconds)
        floor = milliseconds(without.seconds)[0]
        spent = (milliseconds(each.processor)[0] for each in (without, within))
        rows.append((backing.adapter.name, identifier, floor, median, p95, median / floor, *spent))
    return rows


# -- schedules -------------------------------------------------------------------------------------------------

SCHEDULE_COLUMNS = (
    Heading("cell"),
    Heading("scenarios"),
    Heading("schedules"),
    Heading("median", "ms"),
    Heading("p95", "ms"),
    Heading("worst", "ms"),
    Heading("CPU, mean", "ms"),
)


def plain_scenarios(cell: Cell) -> list[Scenario]:
    """The scenarios that apply in this cell and are programs themselves; a remedy runs others' schedules, a generated
    line many programs."""
    plain = [each for each in catalogue().values() if not each.cures and not each.generated]
    return [scenario for scenario in plain if cell.unmet(scenario) is None]


async def schedule_rows(cell: str, backing: Backing, scenarios: Sequence[Scenario]) -> tuple[Any, ...]:
    """Both base orders of every scenario: a row of SCHEDULE_COLUMNS."""
    runner = Runner(backing, ORDERS)
    seconds = []
    used = time.process_time()
    for scenario in scenarios:
        for execution in Explorer(ORDERS).executions():
            began = time.perf_counter()
            await runner.once(scenario, execution)
            seconds.append(time.perf_counter() - began)
    used = time.process_time() - used
    count = len(seconds)
    return (cell, len(scenarios), count, *milliseconds(seconds), used / count * 1000)


# -- all of it -------------------------------------------------------------------------------------------------


def importable(cell: str) -> bool:
    """Whether the driver and the witness of a cell are installed here."""
    driver = drivers()[cell.partition("-")[2]]
    modules = {*driver.imports, *(witness.make[0] for witness in driver.witnesses.values())}
    return all(importlib.util.find_spec(module.partition(".")[0]) is not None for module in modules)


def live(names: Sequence[str], options: argparse.Namespace, tell: Callable[[str], None]) -> list[Measured]:
    """Measure in each of these cells; what cannot be opened is said in a note."""
    floors: list[tuple[Any, ...]] = []
    schedules: list[tuple[Any, ...]] = []
    missing = []
    for name in names:
        try:
            with hushed():
                own, row = _measure(name, options, tell)
                floors += own
                schedules.append(row)
        except (CellError, WitnessError, HarnessError, ImportError, OSError) as error:
            missing.append(f"{name} was not measured: {error}")
    title = f"Schedule: the same statements bare and under the harness, {options.repeats} times"
    notes = ["under the harness: with gate, conductor, witness, look afterwards, checker and evidence", *missing]
    about = "one schedule: from nothing to a verdict, with set-up, connections and witness. CPU: of this process."
    every = "Schedules: both base orders of every scenario that applies"
    bare = Measured(title, FLOOR_COLUMNS, tuple(floors), ". ".join(notes))
    return [bare, Measured(every, SCHEDULE_COLUMNS, tuple(schedules), about)]


def forget_statements() -> None:
    """Tortoise keeps its INSERT statements for the whole process, by a connection's name and a table: those of another
    cell's database are no SQL for this one."""
    if executor := sys.modules.get("tortoise.backends.base.executor"):
        executor.EXECUTOR_CACHE.clear()


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep what drivers say of schedules that harm them from between the tables; in a cell pytest takes it."""
    level, hook = logging.root.manager.disable, threading.excepthook
    logging.disable(logging.CRITICAL)
    threading.excepthook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        threading.excepthook = hook


def _measure(
    name: str, options: argparse.Namespace, tell: Callable[[str], None]
) -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
    """The rows of both tables for one cell."""
    tell(f"measuring with {name}")
    cell = Cell(name, progress=tell)
    if cell.adapter.isolated:
        raise CellError("its driver runs in child processes only")
    forget_statements()
    loop = MatrixLoop()
    asyncio.set_event_loop(loop)
    run = loop.run_until_complete
    try:
        cell.open()
        backing = cell.backings[0]
        floors = run(floor_rows(backing, options.repeats))
        return floors, run(schedule_rows(name, backing, plain_scenarios(cell)))
    finally:
        cell.close()
        asyncio.set_event_loop(None)
        loop.close()
