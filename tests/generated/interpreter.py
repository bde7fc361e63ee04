"""Runs a program as a scenario: through sessions and ports, so that history and checker see everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .printer import ONE_CONNECTION, ORM, OWN_CONNECTIONS, show
from .program import Block, Cancel, Fail, Gather, Program, Raise, Read, Spawn, Statement, Try, Wait, Write, tasks


class Interpreter:
    """One program. A generated scenario calls one of the ``on_…`` methods."""

    def __init__(self, program: Program) -> None:
        self.program = program

    async def on_tortoise(self, world: Any) -> None:
        """Every task uses Tortoise's models."""
        await self._run(world, lambda session, task: session.orm())

    async def on_connections(self, world: Any) -> None:
        """Every task has a connection of the driver for itself."""
        connections = {spawn.task: await world.connect() for spawn in tasks(self.program)}
        await self._run(world, lambda session, task: session.on(connections[task]))

    async def on_one_connection(self, world: Any) -> None:
        """All tasks share one connection of the driver."""
        connection = await world.connect()
        await self._run(world, lambda session, task: session.on(connection))

    async def _run(self, world: Any, port: Callable[[Any, int], Any]) -> None:
        async def root(session: Any) -> None:
            started: dict[int, Any] = {}
            await _Task(session, None, started, port).body(self.program.body)
            if started:
                await session.settled(*started.values())

        await world.together(program=root)


class _Task:
    """One task as it runs."""

    def __init__(self, session: Any, database: Any, started: dict[int, Any], port: Callable[[Any, int], Any]) -> None:
        self.session = session
        self.database = database
        self.started = started
        self.port = port

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
            case Try():
                try:
                    await self.body(statement.body)
                except Exception as error:
                    self.session.world.note(self.session.name, "note", f"catches {type(error).__name__} and goes on")
            case Block():
                async with self.database.transaction():
                    await self.body(statement.body)
            case Gather():
                await self.session.gather(*(self.spawn(each) for each in statement.tasks))
            case Spawn():
                self.started[statement.task] = self.spawn(statement)
            case Wait():
                await self.session.wait(self.started[statement.task])
            case Cancel():
                await self.session.cancel(self.started[statement.task])

    def spawn(self, spawn: Spawn) -> Any:
        async def run(session: Any) -> None:
            await _Task(session, self.port(session, spawn.task), {}, self.port).body(spawn.body)

        return self.session.spawn(f"task {spawn.task}", run)


STYLES = {"on_tortoise": ORM, "on_connections": OWN_CONNECTIONS, "on_one_connection": ONE_CONNECTION}


class Bound:
    """A generated scenario's function with its program: what a runner runs, and the text that the evidence shows."""

    def __init__(self, function: Callable[..., Any], program: Program, style: str) -> None:
        self.function = function
        self.program = program
        self.source = show(program, style)

    async def __call__(self, world: Any) -> None:
        await self.function(world, Interpreter(self.program))
