"""Measures live, on private servers: a server's start, a round trip through the gate, the proof of a hang, schedules.

In every default cell whose driver can be imported in this environment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from matrix import servers
from matrix.bench.tables import Column, Table, milliseconds, percentile
from matrix.harness.cell import Backing, Cell, CellError
from matrix.harness.channel import Timeline
from matrix.harness.conductor import HarnessError
from matrix.harness.drivers import drivers
from matrix.harness.explorer import Explorer
from matrix.harness.gate import Gate
from matrix.harness.loop import MatrixLoop
from matrix.harness.runner import Runner
from matrix.harness.scenario import OrmSetup, Scenario, catalogue
from matrix.harness.schedule import Execution
from matrix.harness.strategies import Departing
from matrix.harness.witness import WitnessError
from matrix.harness.world import World

ROUND_TRIPS = 2000
BLOCK = 100  # round trips in a row before the other way has its turn: a slow spell hits both alike
REPEATS = 20
STARTS = 3
ORDERS = 2  # of each scenario in the table of schedules: both base orders


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


# -- the gate --------------------------------------------------------------------------------------------------


async def gate_overhead(backing: Backing, round_trips: int) -> Table:
    """A row by its key through the bare driver, directly and through the gate, turn about in one run."""
    assert backing.server_address is not None
    adapter = backing.adapter

    async def ask(connection: Any) -> None:
        await adapter.read(connection, backing.nonces[0])

    numbers = iter(range(1, 100))
    gate = Gate(backing.kind, *backing.server_address, Timeline(), lambda: next(numbers))
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
    for variant, seconds in taken.items():
        median, p95 = statistics.median(seconds) * 1e6, percentile(seconds, 0.95) * 1e6
        base = base or (median, p95)
        rows.append((variant, median, p95, median - base[0], median / base[0]))
    columns = (
        Column("way"),
        Column("median", "µs"),
        Column("p95", "µs"),
        Column("more, median", "µs"),
        Column("ratio, median", "x"),
    )
    count = len(next(iter(taken.values())))
    return Table(f"Gate: a round trip of {driver}, a row by its key, {count} each way", columns, tuple(rows))


# -- the proof of a hang ---------------------------------------------------------------------------------------


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

    def step(_token: str, _fact: object) -> None:
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


# -- schedules -------------------------------------------------------------------------------------------------

SCHEDULE_COLUMNS = (
    Column("cell"),
    Column("scenarios"),
    Column("schedules"),
    Column("median", "ms"),
    Column("p95", "ms"),
    Column("worst", "ms"),
    Column("CPU, mean", "ms"),
)


def plain_scenarios(cell: Cell) -> list[Scenario]:
    """The scenarios that apply in this cell and are programs themselves; a remedy runs others' schedules, a generated
    line many programs."""
    return [
        scenario
        for scenario in catalogue().values()
        if not scenario.cures and not scenario.generated and cell.unmet(scenario) is None
    ]


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


@dataclass
class Found:
    """What was measured live, as tables and rows."""

    gates: list[Table] = field(default_factory=list)
    hangs: list[tuple[Any, ...]] = field(default_factory=list)
    floors: list[tuple[Any, ...]] = field(default_factory=list)
    schedules: list[tuple[Any, ...]] = field(default_factory=list)


def importable(cell: str) -> bool:
    """Whether the driver and the witness of a cell are installed here."""
    driver = drivers()[cell.partition("-")[2]]
    modules = {*driver.imports, *(witness.make[0] for witness in driver.witnesses.values())}
    return all(importlib.util.find_spec(module.partition(".")[0]) is not None for module in modules)


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
        if backing.server_address is not None:
            found.gates.append(run(gate_overhead(backing, options.round_trips)))
        found.hangs += run(hang_rows(backing, options.repeats))
        found.floors += run(floor_rows(backing, options.repeats))
        found.schedules.append(run(schedule_rows(name, backing, plain_scenarios(cell))))
    finally:
        cell.close()
        asyncio.set_event_loop(None)
        loop.close()
