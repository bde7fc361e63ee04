"""``python -m matrix.bench``: how long things take here, as tables. It measures and prints; it never judges.

Figures of the cells are read from result files. The gate, the proof of a hang and the cost of schedules are measured
live, on private servers, in every default cell whose driver can be imported in this environment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import itertools
import json
import logging
import os
import platform
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from matrix import files, servers
from matrix.harness.cell import Backing, Cell, CellError
from matrix.harness.channel import Recorder
from matrix.harness.explorer import Explorer
from matrix.harness.gate import Gate
from matrix.harness.loop import MatrixLoop
from matrix.harness.runner import Runner
from matrix.harness.scenario import OrmSetup, Scenario, catalogue
from matrix.harness.schedule import Execution
from matrix.harness.strategies import Departing
from matrix.harness.witness import WitnessError
from matrix.harness.world import HarnessError, World
from matrix.results.read import CellResult, ResultError, read_folder

SQLITE_CELL = "sqlite-aiosqlite"
WIRE_CELLS = ("postgres-asyncpg", "postgres-psycopg", "mysql-aiomysql", "mysql-asyncmy", "mariadb-aiomysql")
WITNESSES = {
    "sqlite": "apsw",
    "postgres": "pg8000",
    "mysql": "mysql",
    "mariadb": "mysql",
}  # the module of each kind's witness
ROUND_TRIPS = 2000
BLOCK = 100  # round trips in a row before the other way has its turn: a slow spell hits both alike
REPEATS = 20
STARTS = 3
ORDERS = 2  # of each scenario in the table of schedules: both base orders
SCHEDULES = 10_000  # how far the cost of many schedules is followed; over a wire a tenth of it
MARKS = (100, 1_000, 10_000, 100_000)  # the cost of one schedule is told between these


@dataclass(frozen=True)
class Column:
    """A heading; ``unit`` is that of every number below it."""

    name: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Table:
    """What is printed. A cell is a text, a number, or None for what was not measured."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""


# -- numbers ---------------------------------------------------------------------------------------------------------


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of the values do not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def milliseconds(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th percentile and worst, in ms."""
    return (
        statistics.median(seconds) * 1000,
        percentile(seconds, 0.95) * 1000,
        max(seconds) * 1000,
    )


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


# -- what the result files say ---------------------------------------------------------------------------------------

CELL_COLUMNS = (
    Column("cell"),
    Column("run", "s"),
    Column("scenarios run"),
    Column("median scenario", "ms"),
    Column("worst scenario", "ms"),
    Column("which"),
    Column("schedules"),
    Column("per schedule", "ms"),
)


def cells(results: Iterable[CellResult]) -> Table:
    """One row per complete cell."""
    note = (
        "run: from an open server to the last line. A schedule's time is over the scenarios that are no remedies; the "
        "deciding schedule is run twice and counts twice. It is left out where a cell covers several databases."
    )
    return Table("Cells, from the result files", CELL_COLUMNS, tuple(_cell_row(each) for each in results), note)


def _cell_row(result: CellResult) -> tuple[Any, ...]:
    ran = [line for line in result.scenarios if line.get("seconds")]
    seconds = [line["seconds"] for line in ran]
    schedules, per_schedule = _schedules(ran)
    footer = result.footer or {}
    if not ran:
        return (result.cell, footer.get("seconds"), 0, None, None, "", None, None)
    slowest = max(ran, key=lambda line: line["seconds"])
    return (
        result.cell,
        footer.get("seconds"),
        len(ran),
        statistics.median(seconds) * 1000,
        slowest["seconds"] * 1000,
        slowest["scenario"],
        schedules,
        per_schedule,
    )


def _schedules(lines: Iterable[dict[str, Any]]) -> tuple[int | None, float | None]:
    """How many schedules were run, and the mean time of one in ms; None where the lines do not tell."""
    plain = [line for line in lines if "cures" not in line and len(line.get("variants", ())) < 2]
    counted = [line for line in plain if line["orders"]["explored"]]
    schedules = sum(line["orders"]["explored"] + 1 for line in counted)
    if not schedules:
        return None, None
    return schedules, sum(line["seconds"] for line in counted) / schedules * 1000


# -- live: servers ---------------------------------------------------------------------------------------------------


def server_starts(kinds: Iterable[str], tell: Callable[[str], None]) -> Table:
    """Time to a ready private server when everything is fetched: the first start is not counted."""
    rows = []
    for kind in kinds:
        try:
            rows.append(_server_row(kind, tell))
        except (servers.ServerError, OSError) as error:
            rows.append((kind, "not measured: " + str(error).splitlines()[0], None, None))
    columns = (Column("server"), Column("release"), Column("median start", "ms"), Column("worst start", "ms"))
    return Table(f"Server start, warm, {STARTS} starts each", columns, tuple(rows))


def _server_row(kind: str, tell: Callable[[str], None]) -> tuple[Any, ...]:
    taken = []
    for _ in range(STARTS + 1):
        began = time.perf_counter()
        with servers.acquire(kind, progress=tell) as server:
            taken.append(time.perf_counter() - began)
            if server.given:
                return kind, "given address: nothing to start", None, None
    median, _, worst = milliseconds(taken[1:])
    return kind, f"{server.release} ({server.origin})", median, worst


# -- live: the gate --------------------------------------------------------------------------------------------------


async def _ask_asyncpg(connection: Any) -> None:
    await connection.fetchval("SELECT 1")


async def _ask_psycopg(connection: Any) -> None:
    await (await connection.execute("SELECT 1")).fetchone()


async def _ask_mysql(connection: Any) -> None:
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT 1")
        await cursor.fetchone()


ASK: dict[str, Callable[[Any], Awaitable[None]]] = {
    "asyncpg": _ask_asyncpg,
    "psycopg": _ask_psycopg,
    "aiomysql": _ask_mysql,
    "asyncmy": _ask_mysql,
}


async def gate_overhead(backing: Backing, round_trips: int) -> Table:
    """``SELECT 1`` through the bare driver, directly and through the gate, turn about in one run."""
    assert backing.server_address is not None
    adapter, ask = backing.adapter, ASK[backing.adapter.name]
    numbers = iter(range(1, 100))
    gate = Gate(backing.kind, *backing.server_address, Recorder(), lambda: next(numbers))
    await gate.start()
    direct = await adapter.connect(backing.address(None))
    gated = await adapter.connect(backing.address(gate.port))
    taken: dict[str, list[float]] = {"direct": [], "through the gate": []}
    try:
        for connection in (direct, gated):
            await _round_trips(connection, ask, BLOCK)  # warm: the drivers cache statements
        while len(taken["direct"]) < round_trips:
            count = min(BLOCK, round_trips - len(taken["direct"]))
            taken["direct"] += await _round_trips(direct, ask, count)
            taken["through the gate"] += await _round_trips(gated, ask, count)
    finally:
        await adapter.close(direct)
        await adapter.close(gated)
        await gate.close()
    return gate_table(adapter.name, taken)


async def _round_trips(connection: Any, ask: Callable[[Any], Awaitable[None]], count: int) -> list[float]:
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        await ask(connection)
        taken.append(time.perf_counter() - began)
    return taken


def gate_table(driver: str, taken: dict[str, list[float]]) -> Table:
    """Median and p95 of each way in microseconds, and as a multiple of the first way."""
    rows = []
    base: tuple[float, float] | None = None
    for way, seconds in taken.items():
        median, p95 = statistics.median(seconds) * 1e6, percentile(seconds, 0.95) * 1e6
        base = base or (median, p95)
        rows.append((way, median, p95, median - base[0], median / base[0]))
    columns = (
        Column("way"),
        Column("median", "µs"),
        Column("p95", "µs"),
        Column("more, median", "µs"),
        Column("ratio, median", "x"),
    )
    count = len(next(iter(taken.values())))
    return Table(f"Gate: a round trip of {driver}, SELECT 1, {count} each way", columns, tuple(rows))


# -- live: the proof of a hang ---------------------------------------------------------------------------------------


async def _waits_for_nothing(world: Any) -> None:
    """A task asks once, then waits for what nobody does."""
    connection = await world.connect()

    async def waits(session: Any) -> None:
        await session.on(connection).read()
        await asyncio.Event().wait()

    await world.together(waits=waits)


async def _waits_for_a_lock(world: Any) -> None:
    """A task waits in the server for a row of a transaction whose owner waits for ever."""
    holding, asking = await world.connect(), await world.connect()
    token, written = world.token(), asyncio.Event()

    async def holder(session: Any) -> None:
        await session.on(holding).begin_and_forget()
        await session.step("write")
        await world.adapter.write(holding, token)
        written.set()
        await asyncio.Event().wait()

    async def waiter(session: Any) -> None:
        await written.wait()
        await session.step("write the same row")
        await world.adapter.write(asking, token)

    await world.together(holder=holder, waiter=waiter)


def _scenario(program: Any, orm: OrmSetup | None = None) -> Scenario:
    text = " ".join(program.__doc__.split())
    return Scenario("CON-0", "made up for the bench", text, "info", (), orm, False, (3, 10), program, "", "", ())


HANGS = (("nothing in flight", _waits_for_nothing), ("waits for a lock", _waits_for_a_lock))
HANG_COLUMNS = (
    Column("driver"),
    Column("hang"),
    Column("proof"),
    Column("median", "ms"),
    Column("p95", "ms"),
    Column("worst", "ms"),
)


async def hang_rows(backing: Backing, repeats: int) -> list[tuple[Any, ...]]:
    """Time from the last step taken to the finished proof. A lock needs a server to ask: not for SQLite."""
    rows = []
    for name, program in HANGS if backing.server_address else HANGS[:1]:
        taken, proofs = [], set()
        for _ in range(repeats):
            seconds, proof = await _one_hang(backing, program)
            taken.append(seconds)
            proofs.add(proof)
        rows.append((backing.adapter.name, name, ", ".join(sorted(proofs)), *milliseconds(taken)))
    return rows


async def _one_hang(backing: Backing, program: Any) -> tuple[float, str]:
    last = proven = time.perf_counter()
    worlds: list[World] = []

    def step(_token: str, _text: str) -> None:
        nonlocal last
        last = time.perf_counter()

    def watch(world: World) -> None:
        worlds.append(world)
        prove = world.prove_hang

        def timed(task: Any) -> Any:
            nonlocal proven
            proof = prove(task)
            proven = time.perf_counter()
            return proof

        world.prove_hang = timed  # type: ignore[method-assign,assignment]

    runner = Runner(backing, 1)
    runner.on_step, runner.on_world = step, watch
    outcome = await runner.once(_scenario(program), Execution(Departing()))
    if backing.server_address is None:  # a worker thread that nobody ends would keep this process from ending
        for connection in (connection for world in worlds for connection in world.connections):
            with contextlib.suppress(Exception):
                await asyncio.wait_for(backing.adapter.close(connection), 1)
    return proven - last, outcome.proof or "none: it did not hang"


# -- live: the floor of a schedule -----------------------------------------------------------------------------------


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


FLOORS: tuple[tuple[str, Any], ...] = (("CON-1", _bare_reads), ("NST-1", _bare_nested))
FLOOR_COLUMNS = (
    Column("driver"),
    Column("scenario"),
    Column("bare driver, median", "ms"),
    Column("one schedule, median", "ms"),
    Column("one schedule, p95", "ms"),
    Column("ratio", "x"),
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
        without, within = [], []
        for _ in range(repeats):
            began = time.perf_counter()
            await bare(backing, lambda: f"b-{mark}-{next(count)}")
            without.append(time.perf_counter() - began)
            began = time.perf_counter()
            await runner.once(scenario, Execution(Departing(eager=False)))
            within.append(time.perf_counter() - began)
        median, p95, _ = milliseconds(within)
        floor = milliseconds(without)[0]
        rows.append((backing.adapter.name, identifier, floor, median, p95, median / floor))
    return rows


# -- live: schedules -------------------------------------------------------------------------------------------------

SET_UP, STEPS, AFTERWARDS, CLOSING, TEAR_DOWN, JUDGING = PHASES = (
    "set-up",
    "steps",
    "look afterwards",
    "closing",
    "tear-down",
    "judging",
)
WAITING, WITNESS = ACROSS = ("waits for server or thread", "witness")


class Phases:
    """Where the time of a runner's schedules goes: one phase at a time, and what lies across several of them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys((*PHASES, *ACROSS), 0.0)
        self._phase = ""
        self._since = 0.0

    def enter(self, phase: str) -> None:
        """The phase before ends now; an empty name ends the last one."""
        now = time.perf_counter()
        if self._phase:
            self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def watch(self, runner: Runner, loop: MatrixLoop) -> None:
        """Follow every schedule that this runner runs in this loop."""
        for name, phase in (("_close", CLOSING), ("_tear_down", TEAR_DOWN), ("_judge", JUDGING)):
            self._begins(runner, name, phase)
        runner.on_world = self._world
        self._across(loop.idle_selector, "wait", WAITING)
        self._across(runner.backing.witness, "execute", WITNESS)

    def _world(self, world: Any) -> None:
        together = world.together

        async def watched(**bodies: Any) -> None:
            self.enter(STEPS)
            await together(**bodies)
            self.enter(AFTERWARDS)

        world.together = watched

    def _begins(self, owner: Any, name: str, phase: str) -> None:
        call = getattr(owner, name)

        def watched(*arguments: Any) -> Any:
            self.enter(phase)
            return call(*arguments)

        setattr(owner, name, watched)

    def _across(self, owner: Any, name: str, what: str) -> None:
        call = getattr(owner, name)

        def watched(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds[what] += time.perf_counter() - began

        setattr(owner, name, watched)

    def shares(self) -> tuple[float, ...]:
        """Of each phase, then of what lies across, in % of all phases together."""
        total = sum(self.seconds[phase] for phase in PHASES) or 1.0
        return tuple(self.seconds[name] / total * 100 for name in (*PHASES, *ACROSS))


SCHEDULE_COLUMNS = (
    Column("cell"),
    Column("scenarios"),
    Column("schedules"),
    Column("median", "ms"),
    Column("p95", "ms"),
    Column("worst", "ms"),
    Column("CPU, mean", "ms"),
)
PHASE_COLUMNS = (Column("cell"), *(Column(name, "%") for name in (*PHASES, *ACROSS)))
GROWTH_COLUMNS = (
    Column("cell"),
    Column("schedules"),
    Column("so far", "s"),
    Column("each since the line before", "ms"),
    Column("CPU of it", "ms"),
    Column("CPU against the first line", "x"),
)


def plain_scenarios(cell: Cell) -> list[Scenario]:
    """The scenarios that apply in this cell and are programs themselves; a remedy runs others' schedules, a generated
    line many programs."""
    return [
        scenario
        for scenario in catalogue().values()
        if not scenario.cures and not scenario.generated and cell.unmet(scenario) is None
    ]


async def schedule_rows(
    cell: str, backing: Backing, loop: MatrixLoop, scenarios: Sequence[Scenario]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Both base orders of every scenario: a row of SCHEDULE_COLUMNS and one of PHASE_COLUMNS."""
    phases = Phases()
    runner = Runner(backing, ORDERS)
    with contextlib.ExitStack() as afterwards:
        afterwards.callback(_unwatch, loop.idle_selector, backing.witness)
        phases.watch(runner, loop)
        seconds = []
        used = time.process_time()
        for scenario in scenarios:
            for execution in Explorer(ORDERS).executions():
                began = time.perf_counter()
                phases.enter(SET_UP)
                await runner.once(scenario, execution)
                phases.enter("")
                seconds.append(time.perf_counter() - began)
        used = time.process_time() - used
    count = len(seconds)
    times = milliseconds(seconds)
    return (cell, len(scenarios), count, *times, used / count * 1000), (cell, *phases.shares())


def _unwatch(*owners: Any) -> None:
    for owner in owners:
        for name in ("wait", "execute"):
            vars(owner).pop(name, None)


async def growth_rows(cell: str, backing: Backing, scenarios: Sequence[Scenario], most: int) -> list[tuple[Any, ...]]:
    """Schedules of all scenarios in turn, in one process: what one costs when many have run before it."""
    runner = Runner(backing, 1)
    marks = [mark for mark in MARKS if mark < most] + [most]
    lines: list[tuple[int, float, float]] = [(0, 0.0, 0.0)]
    began, used = time.perf_counter(), time.process_time()
    turns = itertools.cycle([(scenario, eager) for eager in (True, False) for scenario in scenarios])
    for number, (scenario, eager) in zip(range(1, most + 1), turns, strict=False):
        await runner.once(scenario, Execution(Departing(eager)))
        if number in marks:
            lines.append((number, time.perf_counter() - began, time.process_time() - used))
    return growth(cell, lines)


def growth(cell: str, lines: Sequence[tuple[int, float, float]]) -> list[tuple[Any, ...]]:
    """Rows of GROWTH_COLUMNS from (schedules, seconds, seconds of CPU) so far, beginning with zeros."""
    rows = []
    first: float | None = None
    for (before, then, then_used), (number, now, now_used) in itertools.pairwise(lines):
        each, used = ((end - start) / (number - before) * 1000 for start, end in ((then, now), (then_used, now_used)))
        first = used if first is None else first
        rows.append((cell, number, now, each, used, used / first if first else None))
    return rows


# -- live: all of it -------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """What was measured live, as tables and rows."""

    gates: list[Table] = field(default_factory=list)
    hangs: list[tuple[Any, ...]] = field(default_factory=list)
    floors: list[tuple[Any, ...]] = field(default_factory=list)
    schedules: list[tuple[Any, ...]] = field(default_factory=list)
    phases: list[tuple[Any, ...]] = field(default_factory=list)
    growth: list[tuple[Any, ...]] = field(default_factory=list)


def importable(cell: str) -> bool:
    """Whether the driver and the witness of a cell are installed here."""
    kind, _, driver = cell.partition("-")
    return all(importlib.util.find_spec(name) is not None for name in (driver, WITNESSES[kind]))


def live(names: Sequence[str], options: argparse.Namespace, tell: Callable[[str], None]) -> list[Table]:
    """Measure in each of these cells; what cannot be opened is said in a note."""
    found = Found()
    missing = []
    for name in names:
        try:
            with hushed():
                _measure(name, options, tell, found)
        except (CellError, WitnessError, HarnessError, ImportError, OSError) as error:
            missing.append(f"{name} was not measured: {error}")
    note = ". ".join(missing)
    return [
        *found.gates,
        Table(
            f"Hang: from the last step to the proof, {options.repeats} times", HANG_COLUMNS, tuple(found.hangs), note
        ),
        Table(
            f"Schedule: the same statements bare and under the harness, {options.repeats} times",
            FLOOR_COLUMNS,
            tuple(found.floors),
            "under the harness: with gate, conductor, witness, look afterwards, checker and evidence.",
        ),
        Table(
            "Schedules: both base orders of every scenario that applies",
            SCHEDULE_COLUMNS,
            tuple(found.schedules),
            "one schedule: from nothing to a verdict, with set-up, connections and witness. CPU: of this process.",
        ),
        Table(
            "Schedules: where their time goes",
            PHASE_COLUMNS,
            tuple(found.phases),
            "the last two lie across the phases before them. The phases are 100 % together.",
        ),
        Table(
            "Schedules: the cost of one when many have run before it, in one process",
            GROWTH_COLUMNS,
            tuple(found.growth),
            "all scenarios in turn. The cost grows linearly when the last column stays near 1.",
        ),
    ]


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


def _measure(name: str, options: argparse.Namespace, tell: Callable[[str], None], found: Found) -> None:
    tell(f"measuring with {name}")
    cell = Cell(name, tell=tell)
    if cell.adapter.isolated:
        raise CellError("its driver runs in child processes only")
    forget_statements()
    loop = MatrixLoop()
    asyncio.set_event_loop(loop)
    run = loop.run_until_complete
    try:
        cell.open()
        backing, scenarios = cell.backings[0], plain_scenarios(cell)
        if backing.adapter.name in ASK:
            found.gates.append(run(gate_overhead(backing, options.round_trips)))
        found.hangs += run(hang_rows(backing, options.repeats))
        found.floors += run(floor_rows(backing, options.repeats))
        times, shares = run(schedule_rows(name, backing, loop, scenarios))
        found.schedules.append(times)
        found.phases.append(shares)
        most = options.schedules if backing.server_address is None else max(1, options.schedules // 10)
        found.growth += run(growth_rows(name, backing, scenarios, most))
    finally:
        cell.close()
        asyncio.set_event_loop(None)
        loop.close()


# -- printing --------------------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """A number with three significant digits or more, a text as it is, a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return str(value)


def plain(table: Table) -> str:
    """The table as text, for a terminal without rich."""
    lines = [[str(column) for column in table.columns], *([shown(value) for value in row] for row in table.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.columns))]
    numeric = _numeric(table)
    text = [table.title]
    for line in lines:
        parts = [
            part.rjust(width) if right else part.ljust(width)
            for part, width, right in zip(line, widths, numeric, strict=True)
        ]
        text.append("  " + "  ".join(parts).rstrip())
    return "\n".join([*text, *([f"  {table.note}"] if table.note else [])])


def _numeric(table: Table) -> list[bool]:
    return [any(isinstance(row[place], (int, float)) for row in table.rows) for place in range(len(table.columns))]


def show(tables: Iterable[Table], where: dict[str, Any]) -> None:
    """Print them, with rich where it is installed."""
    heading = f"{where['cores']} cores, {where['python']}, {where['system']}"
    if importlib.util.find_spec("rich") is None:
        print("\n\n".join([heading, *(plain(table) for table in tables)]))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)
    console.print(Text(heading, style="bold"))
    for table in tables:
        made = RichTable(title=Text(table.title), title_justify="left", box=SIMPLE_HEAD)
        for place, (column, right) in enumerate(zip(table.columns, _numeric(table), strict=True)):
            made.add_column(str(column), justify="right" if right else "left", no_wrap=place == 0)
        for row in table.rows:
            made.add_row(*(Text(shown(value)) for value in row))
        console.print()
        console.print(made)
        if table.note:
            console.print(Text(table.note, style="dim"))


def write_json(path: Path, tables: Sequence[Table], where: dict[str, Any]) -> None:
    """The same numbers, unrounded, for programs. Raises OSError."""
    text = json.dumps({"machine": where, "tables": [asdict(table) for table in tables]}, ensure_ascii=False, indent=1)
    files.write(path, text + "\n")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix.bench", description="How long things take on this machine. Asserts nothing."
    )
    parser.add_argument("--results", default="results", metavar="FOLDER", help="result files to read (results)")
    parser.add_argument("--cell", action="append", metavar="NAME", help="measure live with this cell; may be repeated")
    parser.add_argument("--round-trips", type=_positive, default=ROUND_TRIPS, metavar="N", help="through the gate")
    parser.add_argument("--repeats", type=_positive, default=REPEATS, metavar="N", help="of hangs and schedules")
    parser.add_argument(
        "--schedules", type=_positive, default=SCHEDULES, metavar="N", help="in a row, embedded; a tenth over a wire"
    )
    parser.add_argument("--only", default="", choices=["", "site"], help="measure this alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to a file as well")
    return parser


def _results(folder: str, tell: Callable[[str], None]) -> list[CellResult]:
    try:
        states = read_folder(folder)
    except ResultError as error:
        tell(str(error))
        return []
    for state in states:
        if state.problem:
            tell(state.problem)
    return [state.result for state in states if state.result is not None]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    results = _results(options.results, tell)
    kinds = [kind for kind in ("postgres", "mysql", "mariadb") if not results or _uses(results, kind)]
    names = options.cell or [name for name in (SQLITE_CELL, *WIRE_CELLS) if importable(name)]
    if not names:
        tell("no driver with its witness is installed here: run it with tox -e bench")
    tables = []
    if options.only != "site":
        tables += [cells(results), server_starts(kinds, tell), *live(names, options, tell)]
    if results:
        from matrix.bench import site as bench_site  # it needs this module

        tables.append(bench_site.table(Path(options.results), len(catalogue()), tell))
    show(tables, machine())
    if options.json:
        try:
            write_json(options.json, tables, machine())
        except OSError as error:
            tell(f"cannot write {options.json}: {error.strerror}")
            return 1
    return 0


def _uses(results: Iterable[CellResult], kind: str) -> bool:
    return any(result.axes.get("server") == kind for result in results)
