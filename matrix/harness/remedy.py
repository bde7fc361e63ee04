"""How the curable scenarios do their work without a remedy, as a class whose parts a remedy replaces."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .scenario import OrmSetup

if TYPE_CHECKING:
    from .blocks import TransactionBlock
    from .ports import OrmPort
    from .session import Body, Session
    from .task_group import TaskGroupPort
    from .world import World


class Remedy:
    """How parent and children do their work. This class itself is no remedy at all."""

    setup: OrmSetup | None = None  # None: as the scenario has it
    python: tuple[int, int] = (3, 10)
    starts = "now"  # now: where the scenario starts them; last: as the block's last statement; after: after the block
    outer_fails = False  # the outer block fails at its end, after everything else
    independent = False  # the children's work is meant to be no part of the parent's transaction
    joins = True  # the parent waits for its children where the plain program does
    joins_all = False  # ... until all of them have ended, before it raises the first error
    crowd = 1  # how many of each child
    # Two things that no history shows and a reproducer must know.
    child_context = ""  # the context that children are started in: copied before the program, or empty
    one_lock = False  # children work under one lock
    claims: tuple[str, ...] = ("safe",)  # verdicts that keep what the remedy claims

    async def prepare(self, world: World) -> None:
        """Called in the program's own task before anything else."""

    def outer(self, session: Session) -> OrmPort:
        """The parent's database."""
        return session.orm()

    def inner(self, session: Session) -> OrmPort:
        """The child's database."""
        return session.orm()

    def inner_transaction(self, port: OrmPort) -> Any:
        """The child's transaction block."""
        return port.transaction(own=self.independent)

    async def end_of_block(self, block: TransactionBlock) -> None:
        """The last statement of a block that somebody may cancel."""

    async def whole(self, session: Session, work: Body) -> Any:
        """Do work that is a whole transaction and that somebody may cancel."""
        return await work(session)

    async def late_write(self, session: Session) -> None:
        """What a child writes when its parent's block is over."""
        await self.inner(session).write()

    def guard(self, session: Session) -> Any:
        """What a child holds while it works."""
        return contextlib.nullcontext()

    def context(self, session: Session) -> contextvars.Context | None:
        """The context that a child is started in; None is a copy of the parent's."""
        return None

    async def attempt(self, session: Session, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do a child's work."""
        return await work()

    def spawn(self, parent: Session, name: str, body: Body, **how: Any) -> Session | None:
        """Start a child; None when no task is started for it."""
        group = how.pop("group", None)
        return group.start(name, body, **how) if group else parent.world.start(name, body, **how)

    def team(self, parent: Session, **bodies: Body) -> Team:
        """The children, not started yet. Call it where the plain program starts them."""
        return Team(self, parent, {name.replace("_", " "): body for name, body in bodies.items()})


class Team:
    """Children of one parent. The remedy decides when they start; the scenario says where they would, and where it
    waits."""

    def __init__(self, remedy: Remedy, parent: Session, bodies: dict[str, Body]) -> None:
        self.remedy = remedy
        self.parent = parent
        self.bodies = bodies
        self.sessions: list[Session] = []
        self._context = remedy.context(parent)
        self._group: TaskGroupPort | None = None

    def start(self) -> None:
        """Where the plain program starts them."""
        if self.remedy.starts == "now":
            self._spawn()

    @contextlib.asynccontextmanager
    async def group(self) -> AsyncIterator[None]:
        """``async with asyncio.TaskGroup()`` around ``start``, for children that are waited for inside the block."""
        if self.remedy.starts != "now" or not self.remedy.joins:
            yield
            return
        async with self.parent.task_group() as self._group:
            yield

    async def join(self) -> None:
        """Where the plain program waits for them as ``asyncio.gather`` does, still inside the block."""
        if self.remedy.starts == "now" and self.remedy.joins:
            if self.remedy.joins_all:
                await self.parent.gather(*self.sessions)
            await self.parent.wait(*self.sessions)

    async def settled(self) -> None:
        """Where the plain program waits until they have ended, however, still inside the block."""
        if self.remedy.starts == "now" and self.remedy.joins:
            await self.parent.settled(*self.sessions)

    def last_statement(self) -> None:
        """The end of the block."""
        if self.remedy.starts == "last":
            self._spawn()
        if self.remedy.outer_fails:
            raise self.parent.deliberate()

    def after_block(self) -> None:
        """The first statement after the block."""
        if self.remedy.starts == "after":
            self._spawn()

    async def rest(self) -> None:
        """Wait for those that were not joined inside the block; their errors are theirs."""
        await asyncio.gather(*(s.task for s in self.sessions if s.task is not None), return_exceptions=True)

    def _spawn(self) -> None:
        for name, body in self.bodies.items():
            for number in range(self.remedy.crowd):
                called = f"{name} {number + 1}" if self.remedy.crowd > 1 else name
                # A context object can be entered by one task at a time only.
                context = None if self._context is None else self._context.copy()
                how: dict[str, Any] = {
                    "blocks": () if self.remedy.independent else self.parent.blocks,
                    "context": context,
                }
                if self._group is not None:
                    how["group"] = self._group
                started = self.remedy.spawn(self.parent, called, self._child(body), **how)
                if started is not None:
                    self.sessions.append(started)

    def _child(self, body: Body) -> Body:
        remedy = self.remedy

        async def run(session: Session) -> Any:
            async def work() -> Any:
                async with remedy.guard(session):
                    return await body(session)

            return await remedy.attempt(session, work)

        return run


NO_REMEDY = Remedy()
