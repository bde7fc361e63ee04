"""Sessions: the tasks of a program, and the ports through which they ask databases for things.

Every operation waits for its turn, is recorded, and is judged later. Scenarios are written with these and nothing else.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .history import OWN, Block, ErrorRecord, SessionRecord, record_error

if TYPE_CHECKING:
    from .world import World

Body = Callable[["Session"], Awaitable[Any]]


class Deliberate(Exception):
    """Raised by a program on purpose, to make a block fail."""


class Session:
    """One task of the program. ``letter`` names it in schedules."""

    def __init__(self, world: World, name: str, letter: str, blocks: tuple[int, ...]) -> None:
        self.world = world
        self.name = name
        self.letter = letter
        self.blocks = blocks  # the transaction blocks around the code that runs now, outermost first
        self.record = SessionRecord(name, letter)
        self.task: asyncio.Task[Any] | None = None
        self.turn: asyncio.Future[None] | None = None
        self.next_step = ""

    # -- other tasks -----------------------------------------------------------------------------------------------
    def spawn(self, name: str, body: Body, *, context: contextvars.Context | None = None) -> Session:
        """Start a task now, as ``asyncio.create_task`` does: it copies this task's context unless one is given."""
        return self.world.start(name, body, blocks=self.blocks, context=context)

    async def wait(self, *children: Session) -> None:
        """Wait for tasks as ``asyncio.gather`` does: the first error is raised at once, the others go on."""
        self._note_wait("waits for", children)
        try:
            await asyncio.gather(*(child.task for child in children if child.task is not None))
        except asyncio.CancelledError:
            self.record.heard = any(child.task.cancelled() for child in children if child.task is not None)
            raise

    async def settled(self, *children: Session) -> None:
        """Wait until these tasks have ended, however."""
        self._note_wait("waits for the end of", children)
        await asyncio.wait([child.task for child in children if child.task is not None])

    def _note_wait(self, verb: str, children: tuple[Session, ...]) -> None:
        self.world.note(self.name, "note", f"{verb} {', '.join(child.name for child in children)}", what="wait")

    def task_group(self) -> TaskGroupPort:
        """``asyncio.TaskGroup`` (Python 3.11+), whose tasks are sessions."""
        return TaskGroupPort(self)

    async def cancel(self, victim: Session | str) -> None:
        """Cancel another session's task: a step of its own."""
        target = self.world.session(victim)
        await self.step(f"cancel {target.name}")
        self.world.cancel(target)

    async def let_time_pass(self, seconds: float) -> None:
        """Move the program's clock: a step of its own. Only timers that are due by then fire."""
        await self.step(f"{seconds:g} s go by")
        self.world.loop.advance(seconds)

    async def within(self, seconds: float, call: Callable[[], Awaitable[Any]]) -> Any:
        """``asyncio.wait_for``; running out of time is recorded and ends quietly."""
        try:
            return await asyncio.wait_for(call(), seconds)
        except asyncio.TimeoutError:
            self.record.timed_out = True
            self.world.note(self.name, "cancelled", f"its {seconds:g} s are over: TimeoutError")
            return None

    async def step(self, text: str) -> None:
        """Wait until the scheduler lets this session go on."""
        await self.world.turn(self, text)

    def deliberate(self) -> Deliberate:
        """An error of the program's own, to be raised inside a block that shall fail."""
        return Deliberate(f"{self.name} fails on purpose")

    # -- ports -----------------------------------------------------------------------------------------------------
    def on(self, connection: Any) -> DriverPort:
        """The driver's own connection."""
        return DriverPort(self, connection)

    def orm(self, alias: str | None = None, *, transaction_on: str | None = None, catching: bool = False) -> OrmPort:
        """Tortoise's models. ``alias`` is passed as ``using_db`` and names the connection of transactions;
        ``transaction_on`` names the latter alone; ``catching``: errors of queries are caught and passed over."""
        return OrmPort(self, alias, transaction_on or alias, catching)

    def forget(self, block: Block) -> None:
        """Nobody committed this block: its rows must not be stored."""
        self.world.close_block(block, "rolled back", None)
        self.blocks = tuple(number for number in self.blocks if number != block.number)

    async def acquire(self, pool: Any) -> Any:
        """A connection from the driver's pool."""
        return await self.operate(
            "acquire", "acquire a connection", lambda: self.world.adapter.acquire(pool), scope=self.world.alone()
        )

    async def release(self, pool: Any, connection: Any) -> None:
        """Give a connection back."""
        await self.operate(
            "release",
            f"give {self.world.scope(connection)} back",
            lambda: self.world.adapter.release(pool, connection),
            scope=self.world.scope(connection),
            cleanup=True,
        )

    async def operate(
        self,
        kind: str,
        text: str,
        call: Callable[[], Awaitable[Any]],
        *,
        scope: str,
        block: int | None = None,
        nonce: str = "",
        misuse: bool = False,
        turn: bool = True,
        cleanup: bool = False,
    ) -> Any:
        """One operation: wait for the turn, ask, record what was told. Raises what the driver raised.

        ``cleanup``: a cancellation that comes while it waits for its turn arrives inside it, at its first await, since
        the turn is the harness's own await and no program skips its clean-up there.
        """
        world = self.world
        if turn:
            try:
                await self.step(text)
            except asyncio.CancelledError:
                if not cleanup:
                    raise
                current = asyncio.current_task()
                assert current is not None
                current.cancel()
        operation = world.invoke(self, kind, text, scope=scope, block=block, nonce=nonce, misuse=misuse)
        try:
            result = await call()
        except BaseException as error:
            world.complete(operation, error=error)
            raise
        world.complete(operation, result=result)
        if kind == "write":
            await world.look_from_outside(operation)
        return result


class Port:
    """What a session may ask of one database. Subclasses say how."""

    catching = False

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def world(self) -> World:
        return self.session.world

    def scope(self, block: int | None) -> str:
        raise NotImplementedError

    async def _read(self, nonce: str) -> str:
        raise NotImplementedError

    async def _write(self, token: str) -> None:
        raise NotImplementedError

    async def _fail(self) -> None:
        raise NotImplementedError

    def _place(self) -> tuple[int | None, bool]:
        """The innermost block around this operation that is still open, and whether the operation comes too late:
        it was started in a transaction, and that has ended."""
        for number in reversed(self.session.blocks):
            block = self.world.history.block(number)
            if block is not None and block.outcome == "open":
                return number, False
        return None, bool(self.session.blocks)

    async def _ask(self, kind: str, text: str, call: Callable[[], Awaitable[Any]], nonce: str) -> Any:
        await self.session.step(text)
        inside, late = self._place()  # when it is issued, not when it began to wait for its turn
        try:
            return await self.session.operate(
                kind,
                f"{text} (too late)" if late else text,
                call,
                scope=self.scope(inside),
                block=inside,
                nonce=nonce,
                misuse=late,
                turn=False,
            )
        except Exception:
            if not self.catching:
                raise
            self.world.note(self.session.name, "note", "catches the error and goes on")
            return None

    async def read(self) -> None:
        """Ask for a value that only this question has as its answer."""
        nonce = self.world.nonce()
        await self._ask("read", f"read {nonce}", lambda: self._read(nonce), nonce)

    async def write(self) -> None:
        """Insert a row that nobody else inserts."""
        token = self.world.token()
        await self._ask("write", f"write {token}", lambda: self._write(token), token)

    async def fail(self) -> None:
        """Send a statement that every server refuses. Raises the driver's error."""
        await self._ask("fail", "send a statement that the server refuses", self._fail, "")


class DriverPort(Port):
    """The driver alone, on one of its connections."""

    def __init__(self, session: Session, connection: Any) -> None:
        super().__init__(session)
        self.connection = connection

    def scope(self, block: int | None) -> str:
        return self.world.scope(self.connection)

    async def _read(self, nonce: str) -> str:
        return await self.world.adapter.read(self.connection, nonce)

    async def _write(self, token: str) -> None:
        await self.world.adapter.write(self.connection, token)

    async def _fail(self) -> None:
        await self.world.adapter.fail(self.connection)

    def transaction(self) -> TransactionBlock:
        """``async with``: begin, then commit, or roll back when an exception leaves the block."""
        adapter, connection = self.world.adapter, self.connection

        class ByHand:
            async def __aenter__(self) -> None:
                self.state = await adapter.begin(connection)

            async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
                if kind is None:
                    await adapter.commit(connection, self.state)
                else:
                    await adapter.rollback(connection, self.state)

        return TransactionBlock(self, ByHand, nested=False)

    async def begin_and_forget(self) -> Block:
        """Begin a transaction that nobody ends: what is written in it from now on must not be stored."""
        session, world = self.session, self.world
        await session.step("begin, and never end it")
        block = world.open_block(session, None)
        await session.operate(
            "begin",
            "begin, and never end it",
            self._begin_and_keep,
            scope=self.scope(block.number),
            block=block.number,
            turn=False,
        )
        session.blocks = (*session.blocks, block.number)
        return block

    async def _begin_and_keep(self) -> None:
        # The driver's transaction object must live on: some end the transaction when it is collected.
        self.world.keep.append(await self.world.adapter.begin(self.connection))


class OrmPort(Port):
    """Tortoise: models and ``in_transaction``."""

    def __init__(self, session: Session, alias: str | None, transaction_on: str | None, catching: bool) -> None:
        super().__init__(session)
        self.alias = alias
        self.transaction_on = transaction_on
        self.catching = catching

    def scope(self, block: int | None) -> str:
        root = self.world.history.root(block)
        return self.world.alone() if root is None else f"transaction {root}"

    async def _read(self, nonce: str) -> str:
        return await self.world.orm.read(nonce, self.alias)

    async def _write(self, token: str) -> None:
        await self.world.orm.write(token, self.alias)

    async def _fail(self) -> None:
        await self.world.orm.fail(self.alias)

    def transaction(self, *, own: bool = False) -> TransactionBlock:
        """``in_transaction()``. ``own``: the program means an independent transaction, not a nested one."""
        return TransactionBlock(self, lambda: self.world.orm.in_transaction(self.transaction_on), nested=not own)


class TransactionBlock:
    """An ``async with`` block whose begin and end are operations, and whose end is remembered as it was told."""

    def __init__(self, port: Any, make: Callable[[], Any], *, nested: bool) -> None:
        self.port = port
        self.session: Session = port.session
        self.make = make
        self.nested = nested
        self.misuse = False
        self.block: Block | None = None
        self.client: Any = None
        self._inner: Any = None

    async def __aenter__(self) -> TransactionBlock:
        session, world = self.session, self.session.world
        await session.step("begin a nested transaction" if self.nested and session.blocks else "begin a transaction")
        parent, self.misuse = self.port._place() if self.nested else (None, False)
        what = "begin a nested transaction" if parent else "begin a transaction" + " (too late)" * self.misuse
        block = self.block = world.open_block(session, parent)
        scope = self.port.scope(block.number) if parent or isinstance(self.port, DriverPort) else world.alone()
        try:
            self._inner = self.make()
            self.client = await session.operate(
                "begin",
                what,
                self._inner.__aenter__,
                scope=scope,
                block=block.number,
                misuse=self.misuse,
                turn=False,
            )
        except BaseException as error:
            world.close_block(block, "never begun", error)
            raise
        self._around = session.blocks
        session.blocks = (*session.blocks, block.number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        session, world, block = self.session, self.session.world, self.block
        assert block is not None
        interrupted: BaseException | None = None
        text = f"{'commit' if kind is None else 'roll back'} {block.name}"
        if not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            # A cancelled task unwinds at once; nobody may keep it waiting for a turn.
            try:
                await session.step(text)
            except asyncio.CancelledError as cancelled:
                # Cancelled between the block's last statement and its end: the block ends as any cancelled code does.
                interrupted = cancelled
                kind, error, trace = type(cancelled), cancelled, cancelled.__traceback__
                text = f"roll back {block.name}"
        try:
            swallowed = await session.operate(
                "commit" if kind is None else "rollback",
                text,
                lambda: self._inner.__aexit__(kind, error, trace),
                scope=self.port.scope(block.number),
                block=block.number,
                misuse=self.misuse,
                turn=False,
            )
        except asyncio.CancelledError as cancelled:
            world.close_block(block, "unknown" if kind is None else "rolled back", cancelled)
            raise
        except BaseException as failure:
            world.close_block(block, "rolled back" if failure is error else "failed", failure)
            raise
        finally:
            session.blocks = self._around
        world.close_block(block, "committed" if kind is None else "rolled back", error)
        if interrupted is not None:
            raise interrupted
        return bool(swallowed)


class TaskGroupPort:
    """``asyncio.TaskGroup`` whose tasks are sessions; the group may cancel them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._group: Any = asyncio.TaskGroup()  # type: ignore[attr-defined,unused-ignore]  # scenarios ask for 3.11

    async def __aenter__(self) -> TaskGroupPort:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return await self._group.__aexit__(kind, error, trace)

    def start(self, name: str, body: Body) -> Session:
        """Start a session in the group."""
        made = self.session.world.start(name, body, blocks=self.session.blocks, create=self._group.create_task)
        made.record.grouped = True
        return made


def end_of(task: asyncio.Task[Any], classify: Callable[[BaseException], str]) -> tuple[str, ErrorRecord | None]:
    """How a finished task ended, in the words of SessionRecord."""
    if task.cancelled():
        return "cancelled", None
    error = task.exception()
    if error is None:
        return "done", None
    while leaves := getattr(error, "exceptions", None):  # a TaskGroup's: what counts is what happened inside
        error = next((leaf for leaf in leaves if classify(leaf) != OWN), leaves[0])
    return "error", record_error(error, classify(error))
