"""Sessions: the tasks of a program, and the ports through which they ask databases for things.

Every operation waits for its turn, is recorded, and is judged later. Scenarios are written with these and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .history import ABORTED, DOCUMENTED, OWN, Block, ErrorRecord, SessionRecord, record_error
from .loop import SideLoop
from .scenario import OrmSetup

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
        self.own_orm: Any = None  # where this session has initialised Tortoise for itself

    # -- other tasks -----------------------------------------------------------------------------------------------
    def spawn(self, name: str, body: Body, *, context: contextvars.Context | None = None) -> Session:
        """Start a task now, as ``asyncio.create_task`` does: it copies this task's context unless one is given."""
        return self.world.start(name, body, blocks=self.blocks, context=context)

    async def wait(self, *children: Session) -> None:
        """Wait for tasks as ``asyncio.gather`` does: the first error is raised at once, the others go on."""
        try:
            await asyncio.gather(*(child.task for child in children if child.task is not None))
        except asyncio.CancelledError:
            self.record.heard = any(child.task.cancelled() for child in children if child.task is not None)
            raise

    async def settled(self, *children: Session) -> None:
        """Wait until these tasks have ended, however."""
        await asyncio.wait([child.task for child in children if child.task is not None])

    async def in_thread(self, body: Body) -> Any:
        """``asyncio.to_thread(asyncio.run, …)``: do this session's work on a loop of its own, in a thread that has
        a copy of this context."""
        return await asyncio.to_thread(SideLoop(self.world.loop).run, lambda: self.world._body(self, body))

    async def in_executor(self, body: Body) -> Any:
        """The same with ``run_in_executor``, as in a thread of one's own: nothing of this context is known there."""
        work = functools.partial(SideLoop(self.world.loop).run, lambda: self.world._body(self, body))
        return await self.world.loop.run_in_executor(None, work)

    @contextlib.asynccontextmanager
    async def tortoise_of_its_own(self) -> AsyncIterator[None]:
        """``Tortoise.init`` for this session alone, and its connections closed at the end."""
        self.own_orm = self.world.adapter.make_orm(self.world, OrmSetup())
        await self.own_orm.init()
        try:
            yield
        finally:
            await self.own_orm.close()

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

    def is_of_the_database(self, error: BaseException) -> bool:
        """Whether an error is one that the driver or the ORM documents."""
        return self.world.classify(error) in (DOCUMENTED, ABORTED)

    # -- ports -----------------------------------------------------------------------------------------------------
    def on(self, connection: Any) -> DriverPort:
        """The driver's own connection."""
        return DriverPort(self, connection)

    def orm(self, alias: Any = None, *, transaction_on: str | None = None, catching: bool = False) -> OrmPort:
        """Tortoise's models. ``alias`` is passed as ``using_db`` and names the connection of transactions (or it is a
        block's client); ``transaction_on`` names the latter alone; ``catching``: errors of queries are caught and
        passed over."""
        return OrmPort(self, alias, transaction_on or (alias if isinstance(alias, str) else None), catching)

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

    def __init__(self, session: Session, alias: Any, transaction_on: str | None, catching: bool) -> None:
        super().__init__(session)
        self.alias = alias
        self.transaction_on = transaction_on
        self.catching = catching

    @property
    def _orm(self) -> Any:
        return self.session.own_orm or self.world.orm

    def scope(self, block: int | None) -> str:
        root = self.world.history.root(block)
        return self.world.alone() if root is None else f"transaction {root}"

    async def _read(self, nonce: str) -> str:
        return await self._orm.read(nonce, self.alias)

    async def _write(self, token: str) -> None:
        await self._orm.write(token, self.alias)

    async def _fail(self) -> None:
        await self._orm.fail(self.alias)

    def transaction(self, *, own: bool = False) -> TransactionBlock:
        """``in_transaction()``. ``own``: the program means an independent transaction, not a nested one."""
        return TransactionBlock(self, lambda: self._orm.in_transaction(self.transaction_on), nested=not own)

    def atomic(self, function: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        """``@atomic()`` around a function."""

        @functools.wraps(function)
        async def decorated() -> Any:
            decorator = self._orm.atomic(self.transaction_on)
            async with TransactionBlock(self, lambda: DecoratedBlock(decorator), nested=True):
                return await function()

        return decorated

    def hand_over(self, session: Session) -> None:
        """Another task goes on with what this one has begun, as when it resumes a generator; the block moves along."""
        for number in self.session.blocks:
            self.world.history.blocks[number - 1].session = session.name
        session.blocks, self.session.blocks = self.session.blocks, ()
        self.session = session


class TransactionBlock:
    """An ``async with`` block whose begin and end are operations, and whose end is remembered as it was told."""

    def __init__(self, port: Any, make: Callable[[], Any], *, nested: bool) -> None:
        self.port = port
        self.make = make
        self.nested = nested
        self.misuse = False
        self.block: Block | None = None
        self.client: Any = None
        self._inner: Any = None
        self._commit_asked = False

    @property
    def session(self) -> Session:
        """Whose task is in the block now."""
        session: Session = self.port.session
        return session

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
        session.blocks = (*session.blocks, block.number)
        return self

    async def rollback(self) -> None:
        """``connection.rollback()`` by hand, inside the block."""
        await self.session.step(f"roll back {self._open().name} by hand")
        await self._by_hand("rollback", "rolled back")

    async def commit(self) -> None:
        """``connection.commit()`` by hand, inside the block; it waits for no turn, so that it can be shielded."""
        self._commit_asked = True
        await self._by_hand("commit", "committed")

    async def _by_hand(self, kind: str, outcome: str) -> None:
        world, block = self.session.world, self._open()
        verb = {"commit": "commit", "rollback": "roll back"}[kind]
        try:
            await self.session.operate(
                kind,
                f"{verb} {block.name} by hand",
                lambda: getattr(self.client, kind)(),
                scope=self.port.scope(block.number),
                block=block.number,
                misuse=self.misuse or block.outcome != "open",
                turn=False,
            )
        except BaseException as error:
            world.close_block(block, "unknown" if isinstance(error, asyncio.CancelledError) else "failed", error)
            raise
        if block.outcome == "open":
            world.close_block(block, outcome, None)

    def _open(self) -> Block:
        assert self.block is not None, "the block has not begun"
        return self.block

    def _crossed(self) -> bool:
        """Whether this block ends in another order than it was opened: before one inside it, or after one around
        it, of the same task."""
        block, history = self._open(), self.session.world.history
        inside = any(
            other.parent == block.number and other.outcome == "open" and other.number in self.session.blocks
            for other in history.blocks
        )
        around = history.block(block.parent)
        return inside or (around is not None and around.session == block.session and around.outcome != "open")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        session, block = self.session, self._open()
        interrupted: BaseException | None = None
        by_hand = block.outcome != "open"
        text = f"leave {block.name}" if by_hand else f"{'commit' if kind is None else 'roll back'} {block.name}"
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
                "leave" if by_hand else "commit" if kind is None else "rollback",
                text,
                lambda: self._inner.__aexit__(kind, error, trace),
                scope=self.port.scope(block.number),
                block=block.number,
                misuse=self.misuse or self._crossed(),
                turn=False,
            )
        except asyncio.CancelledError as cancelled:
            self._close("unknown" if kind is None else "rolled back", cancelled)
            raise
        except BaseException as failure:
            self._close("rolled back" if failure is error else "failed", failure)
            raise
        finally:
            session.blocks = tuple(number for number in session.blocks if number != block.number)
        self._close("committed" if kind is None else "rolled back", error)
        if interrupted is not None:
            raise interrupted
        return bool(swallowed)

    def _close(self, outcome: str, error: BaseException | None) -> None:
        """Remember how the block ended, unless it was ended by hand before."""
        block = self._open()
        if block.outcome == "open":
            # Nobody heard how a commit that was under way, or had just been made, ended.
            unheard = self._commit_asked and outcome != "committed"
            self.session.world.close_block(block, "unknown" if unheard else outcome, error)


class DecoratedBlock:
    """``@atomic`` as a block: the decorated function's coroutine is run up to its body, and later from there on."""

    def __init__(self, decorator: Callable[[Any], Any]) -> None:
        self._coroutine = decorator(self._body)()

    async def _body(self) -> None:
        await _here()

    async def __aenter__(self) -> None:
        await self._run(self._coroutine.send, None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await (self._run(self._coroutine.send, None) if error is None else self._run(self._coroutine.throw, error))
        except BaseException as raised:
            if raised is not error:
                raise

    @types.coroutine
    def _run(self, move: Callable[[Any], Any], argument: Any) -> Generator[Any, Any, None]:
        """Run the coroutine in this task until its body is reached, or to its end."""
        while True:
            try:
                awaited = move(argument)
            except StopIteration:
                return
            if awaited is DecoratedBlock:
                return
            try:
                argument = yield awaited
                move = self._coroutine.send
            except BaseException as error:
                move, argument = self._coroutine.throw, error


@types.coroutine
def _here() -> Generator[Any, Any, None]:
    yield DecoratedBlock


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

    def start(
        self,
        name: str,
        body: Body,
        *,
        blocks: tuple[int, ...] | None = None,
        context: contextvars.Context | None = None,
    ) -> Session:
        """Start a session in the group. ``blocks``: the blocks around it, this task's when none are given."""
        around = self.session.blocks if blocks is None else blocks
        made = self.session.world.start(name, body, blocks=around, context=context, create=self._group.create_task)
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
