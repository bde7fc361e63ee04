"""Runs a program as a scenario: through sessions and ports, so that history and checker see everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .printer import LONGER, TIME_LIMIT, show
from .program import (
    Block,
    Cancel,
    Fail,
    Gather,
    Group,
    Handed,
    Hold,
    Limit,
    Other,
    Program,
    Raise,
    Read,
    Sleep,
    Spawn,
    Statement,
    Try,
    Wait,
    Write,
    tasks,
)


class Interpreter:
    """One program. A generated scenario calls one of the ``on_…`` methods."""

    def __init__(self, program: Program) -> None:
        self.program = program

    async def on_tortoise(self, world: Any, *, second: str = "") -> None:
        """Every task uses Tortoise's models. ``second`` is the name of another connection."""
        await self._run(world, _Ports(lambda session, task: session.orm(), second=second))

    async def on_connections(self, world: Any) -> None:
        """Every task has a connection of the driver for itself."""
        connections = {spawn.task: await world.connect() for spawn in tasks(self.program)}
        await self._run(world, _Ports(lambda session, task: session.on(connections[task])))

    async def on_one_connection(self, world: Any) -> None:
        """All tasks share one connection of the driver."""
        connection = await world.connect()
        await self._run(world, _Ports(lambda session, task: session.on(connection)))

    async def on_pool(self, world: Any) -> None:
        """Tasks acquire connections of a pool that has two, each of them one at a time."""
        pool = await world.create_pool(2)
        await self._run(world, _Ports(lambda session, task: None, pool=pool))

    async def _run(self, world: Any, ports: _Ports) -> None:
        async def root(session: Any) -> None:
            task = _Task(session, ports)
            await task.body(self.program.body)
            if task.started:
                await session.settled(*task.started.values())

        await world.together(program=root)


@dataclass(frozen=True)
class _Ports:
    """What tasks ask through: ``of`` says it for a session and its task's number, until it acquires something else."""

    of: Callable[[Any, int], Any]
    pool: Any = None
    second: str = ""


@dataclass
class _Task:
    """One task as it runs. ``database`` is what it asks now, ``client`` the innermost transaction around it."""

    session: Any
    ports: _Ports
    database: Any = None
    client: Any = None
    started: dict[int, Any] = field(default_factory=dict)

    async def body(self, statements: tuple[Statement, ...]) -> None:
        for statement in statements:
            await self.statement(statement)

    async def statement(self, statement: Statement) -> None:
        match statement:
            case Read():
                await self.database.read()
            case Write():
                await self.database.write()
            case Fail():
                await self.database.fail()
            case Raise():
                raise self.session.deliberate()
            case Sleep():
                await self.session.let_time_pass(LONGER)
            case Try():
                try:
                    await self.body(statement.body)
                except Exception as error:
                    caught = {"kind": "caught", "type": type(error).__name__}
                    self.session.world.recording.note(self.session.name, "note", caught)
            case Limit():
                async with self.session.time_limit(TIME_LIMIT):
                    await self.body(statement.body)
            case Block():
                async with self.database.transaction() as client:
                    await replace(self, client=client).body(statement.body)
            case Hold():
                await self.hold(statement)
            case Other():
                await replace(self, database=self.session.orm(self.ports.second)).body(statement.body)
            case Handed():
                await replace(self, database=self.session.orm(inside=self.client)).body(statement.body)
            case _:
                await self.others(statement)

    async def others(self, statement: Statement) -> None:
        """Start tasks, wait for them, cancel them."""
        match statement:
            case Gather():
                await self.session.gather(*(self.spawn(each, self.session.spawn) for each in statement.tasks))
            case Group():
                async with self.session.task_group() as group:
                    for each in statement.tasks:
                        self.spawn(each, group.start)
            case Spawn():
                self.started[statement.task] = self.spawn(statement, self.session.spawn)
            case Wait():
                await self.session.wait(self.started[statement.task])
            case Cancel():
                await self.session.cancel(self.started[statement.task])

    async def hold(self, statement: Hold) -> None:
        pool = self.ports.pool
        connection = await self.session.acquire(pool)
        try:
            await replace(self, database=self.session.on(connection)).body(statement.body)
        finally:
            await self.session.release(pool, connection)

    def spawn(self, spawn: Spawn, start: Callable[..., Any]) -> Any:
        async def run(session: Any) -> None:
            database = self.ports.of(session, spawn.task)
            await _Task(session, self.ports, database, self.client).body(spawn.body)

        return start(f"task {spawn.task}", run)


class Bound:
    """A generated scenario's function with its program: what a runner runs, and the text that the evidence shows."""

    def __init__(self, function: Callable[..., Any], program: Program, style: str) -> None:
        self.function = function
        self.program = program
        self.source = show(program, style)

    async def __call__(self, world: Any) -> None:
        await self.function(world, Interpreter(self.program))
