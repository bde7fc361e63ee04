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

from matrix.words import RECOVERY

from . import sentences
from .history import ABORTED, DOCUMENTED, OWN, THE_END, Block, ErrorRecord, Iteration, SessionRecord, record_error
from .loop import SideLoop
from .scenario import OrmSetup
from .sentences import Fact

if TYPE_CHECKING:
    from .world import World

Body = Callable[["Session"], Awaitable[Any]]
SETTING = "77"


class Deliberate(Exception):
    """Raised by a program on purpose, to make a block fail. ``raised_by``: the session that does."""

    def __init__(self, raised_by: str) -> None:
        super().__init__(sentences.sentence({"kind": "on_purpose", "session": raised_by}))
        self.raised_by = raised_by


class Session:
    """One task of the program. ``letter`` names it in schedules."""

    def __init__(self, world: World, name: str, letter: str, blocks: tuple[int, ...]) -> None:
        self.world = world
        self.name = name
        self.letter = letter
        self.blocks = blocks  # the transaction blocks around the code that runs now, outermost first
        self.record = SessionRecord(name, letter)
        self.task: asyncio.Task[Any] | None = None
        self.awaits: tuple[Session, ...] = ()  # the tasks that it waits for now; a cancellation is passed on to them
        self.turn: asyncio.Future[None] | None = None
        self.next_step: Fact = {}
        self.doing = ""  # the kind of the operation that it is in
        self._doomed = False
        self.own_orm: Any = None  # where this session has initialised Tortoise for itself

    # -- other tasks -----------------------------------------------------------------------------------------------
    def spawn(self, name: str, body: Body, *, context: contextvars.Context | None = None, shields: str = "") -> Session:
        """Start a task now, as ``asyncio.create_task`` does: it copies this task's context unless one is given.
        ``shields``: ``work`` or ``commit``, which it does for this session in ``asyncio.shield``; where it waits, this
        session may be cancelled (``cancels``)."""
        for_session = self if shields else None
        return self.world.start(
            name, body, blocks=self.blocks, context=context, for_session=for_session, shields=shields
        )

    async def wait(self, *children: Session) -> None:
        """Wait for tasks as ``asyncio.gather`` does: the first error is raised at once, the others go on."""
        await self._gather(children, return_exceptions=False)

    async def gather(self, *children: Session) -> None:
        """Wait as ``asyncio.gather`` with ``return_exceptions`` does: until all have ended; errors are passed over."""
        await self._gather(children, return_exceptions=True)

    async def _gather(self, children: tuple[Session, ...], *, return_exceptions: bool) -> None:
        tasks = [child.task for child in children if child.task is not None]
        self.awaits = children
        self._note_wait(children, settles=False)
        try:
            await asyncio.gather(*tasks, return_exceptions=return_exceptions)
        except asyncio.CancelledError:
            self.record.heard = any(task.cancelled() for task in tasks)
            raise
        finally:
            self.awaits = ()

    async def settled(self, *children: Session) -> None:
        """Wait until these tasks have ended, however."""
        self._note_wait(children, settles=True)
        await asyncio.wait([child.task for child in children if child.task is not None])

    def _note_wait(self, children: tuple[Session, ...], *, settles: bool) -> None:
        names = [child.name for child in children]
        self.world.note(self.name, "note", {"kind": "wait", "sessions": names, "settles": settles})

    async def in_thread(self, body: Body) -> Any:
        """``asyncio.to_thread(asyncio.run, …)``: do this session's work on a loop of its own, in a thread that has
        a copy of this context. A step of its own: two threads that begin at once would race for what is first."""
        await self.step({"kind": "thread"})
        return await asyncio.to_thread(SideLoop(self.world.loop).run, lambda: self.world._body(self, body))

    async def in_executor(self, body: Body) -> Any:
        """The same with ``run_in_executor``, as in a thread of one's own: nothing of this context is known there."""
        await self.step({"kind": "thread"})
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
        await self.step({"kind": "cancel", "session": target.name})
        self.world.cancel(target)

    def doom(self) -> None:
        """This task's cancellation is on its way when its next operation begins, as when its time is over already: it
        arrives at the driver's first await."""
        self._doomed = True

    async def let_time_pass(self, seconds: float) -> None:
        """Move the program's clock: a step of its own. Only timers that are due by then fire."""
        await self.step({"kind": "clock", "seconds": seconds})
        self.world.loop.advance(seconds)

    async def within(self, seconds: float, call: Callable[[], Awaitable[Any]]) -> Any:
        """``asyncio.wait_for``; running out of time is recorded and ends quietly."""
        try:
            return await asyncio.wait_for(call(), seconds)
        except asyncio.TimeoutError:
            self._time_is_over(seconds)
            return None

    def _time_is_over(self, seconds: float) -> None:
        self.record.timed_out = True
        self.world.note(self.name, "cancelled", {"kind": "time_over", "seconds": seconds})

    @contextlib.asynccontextmanager
    async def time_limit(self, seconds: float) -> AsyncIterator[None]:
        """``asyncio.timeout`` (Python 3.11+); running out of time is recorded and ends quietly."""
        try:
            async with asyncio.timeout(seconds) as limit:  # type: ignore[attr-defined,unused-ignore]  # see task_group
                yield
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            if limit.expired():  # even if what was cancelled ended with another error
                self._time_is_over(seconds)

    async def lose_connections(self) -> None:
        """Every connection is ended from outside: a step of its own."""
        await self.step({"kind": "lose_connections"})
        self.world.cut_connections()

    async def step(self, step: Fact | str) -> None:
        """Wait until the scheduler lets this session go on, with a step of the harness's or in a scenario's words."""
        await self.world.turn(self, sentences.words(step) if isinstance(step, str) else step)

    def deliberate(self) -> Deliberate:
        """An error of the program's own, to be raised inside a block that shall fail."""
        return Deliberate(self.name)

    def is_of_the_database(self, error: BaseException) -> bool:
        """Whether an error is one that the driver or the ORM documents."""
        return self.world.classify(error) in (DOCUMENTED, ABORTED)

    # -- ports -----------------------------------------------------------------------------------------------------
    def on(self, connection: Any, *, late: bool = False) -> DriverPort:
        """The driver's own connection. ``late``: it is this session's no more, and to use it is the session's fault."""
        return DriverPort(self, connection, late)

    def orm(
        self,
        alias: Any = None,
        *,
        transaction_on: str | None = None,
        catching: bool = False,
        client: Any = None,
        inside: TransactionBlock | None = None,
    ) -> OrmPort:
        """Tortoise's models. ``alias`` is passed as ``using_db`` and names the connection of transactions;
        ``transaction_on`` names the latter alone; ``catching``: errors of queries are caught and passed over.
        ``client`` is passed as ``using_db`` and is no transaction's; ``inside``: the client of this block is."""
        if client is not None or inside is not None:
            return ClientPort(self, client, inside, catching)
        return OrmPort(self, alias, transaction_on or (alias if isinstance(alias, str) else None), catching)

    def forget(self, block: Block) -> None:
        """Nobody committed this block: its rows must not be stored."""
        self.world.close_block(block, "rolled back", None)
        self.blocks = tuple(number for number in self.blocks if number != block.number)

    async def acquire(self, pool: Any) -> Any:
        """A connection from the driver's pool. It is nobody else's until it is given back."""
        connection = await self.operate(
            "acquire", {"kind": "acquire"}, lambda: self.world.adapter.acquire(pool), scope=self.world.alone()
        )
        owner, _ = self.world.owners.setdefault(self.world.adapter.identity(connection), (self, connection))
        if owner is not self:
            self.world.claim(RECOVERY, False, "still_held", session=self.name, owner=owner.name)
        return connection

    async def release(self, pool: Any, connection: Any, *, misuse: bool = False) -> None:
        """Give a connection back. ``misuse``: it was given back before."""

        def give_back() -> Awaitable[Any]:
            owners = self.world.owners
            self.world.owners = {name: held for name, held in owners.items() if held != (self, connection)}
            return self.world.adapter.release(pool, connection)

        await self.operate(
            "release",
            {"kind": "release", "connection": self.world.scope(connection), "again": misuse},
            give_back,
            scope=self.world.scope(connection),
            misuse=misuse,
            cleanup=True,
        )

    async def close(self, connection: Any) -> None:
        """Close a connection; what others ask on it may fail from now on."""
        scope = self.world.scope(connection)
        self.world.connections.remove(connection)

        def close() -> Awaitable[Any]:
            self.world.history.ended[scope] = self.world.recorder.sequence
            return self.world.adapter.close(connection)

        await self.operate("close", {"kind": "close", "connection": scope}, close, scope=scope)

    async def close_pool(self, pool: Any) -> None:
        """Close a pool; whoever uses it may fail from now on."""
        self.world.pools = [each for each in self.world.pools if each[0] is not pool]

        def close() -> Awaitable[Any]:
            self.world.history.ended[None] = self.world.recorder.sequence
            return self.world.adapter.close_pool(pool)

        await self.operate("close", {"kind": "close_pool"}, close, scope=self.world.alone())

    async def end_server_sessions(self) -> None:
        """The server ends every connection of the driver, as an administrator's KILL or a restart does: a step."""
        await self.step({"kind": "end_server_sessions"})
        self.world.history.ended[None] = self.world.recorder.sequence
        for channel in self.world.channels():
            number = channel.session()
            if number is not None and not getattr(channel, "closed", False):
                self.world.note(self.name, "note", {"kind": "server_ends", "channel": channel.label})
                channel.expect_end()
                self.world.witness.end_session(number)

    async def reach_server(self, reachable: bool) -> None:
        """From now on new connections are cut off at once, or served again: a step."""
        await self.step({"kind": "reach_server", "reachable": reachable})
        for gate in self.world.gates:
            gate.refuse_connections = not reachable

    async def operate(
        self,
        kind: str,
        asks: Fact,
        call: Callable[[], Awaitable[Any]],
        *,
        scope: str,
        block: int | None = None,
        nonce: str = "",
        misuse: bool = False,
        turn: bool = True,
        cleanup: bool = False,
        rows: tuple[str, ...] = (),
    ) -> Any:
        """One operation: wait for the turn, ask, record what was told. Raises what the driver raised.

        ``cleanup``: a cancellation that comes while it waits for its turn arrives inside it, at its first await, since
        the turn is the harness's own await and no program skips its clean-up there. Behind it, if it never awaits.
        """
        world = self.world
        late = False
        if turn:
            try:
                await self.step(asks)
            except asyncio.CancelledError:
                if not cleanup:
                    raise
                current = asyncio.current_task()
                assert current is not None
                late = current.cancel()
        if asyncio.get_running_loop() is not world.loop:
            asks = {**asks, "in_thread": True}
        operation = world.invoke(self, kind, asks, scope=scope, block=block, nonce=nonce, misuse=misuse, rows=rows)
        self.doing = kind
        if self._doomed:
            self._doomed = False
            world.cancel(self, doomed=True)
        try:
            result = await call()
        except BaseException as error:
            world.complete(operation, error=error)
            raise
        finally:
            self.doing = ""
        world.complete(operation, result=result)
        if late:
            await asyncio.sleep(0)  # nobody has awaited anything since: it arrives here
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

    def _using(self) -> dict[str, Any]:
        """What the program passes as ``using_db``, as part of what it asks; nothing where it passes nothing."""
        return {}

    def _named(self) -> dict[str, Any]:
        """The connection that a transaction is asked for by name, as part of what is asked."""
        return {}

    def catches(self, error: BaseException | None = None) -> None:
        """Remember that the program catches what an operation has raised."""
        fact = {"kind": "caught", "type": type(error).__name__ if error else ""}
        self.world.note(self.session.name, "note", fact)

    async def _ask(
        self, kind: str, asks: Fact, call: Callable[[], Awaitable[Any]], nonce: str, rows: tuple[str, ...] = ()
    ) -> Any:
        await self.session.step(asks)
        inside, late = self._place()  # when it is issued, not when it began to wait for its turn
        try:
            return await self.session.operate(
                kind,
                {**asks, **self._using(), **({"late": True} if late else {})},
                call,
                scope=self.scope(inside),
                block=inside,
                nonce=nonce,
                misuse=late,
                turn=False,
                rows=rows,
            )
        except Exception:
            if not self.catching:
                raise
            self.catches()
            return None

    async def read(self) -> None:
        """Ask for a value that only this question has as its answer."""
        nonce = self.world.nonce()
        await self._ask("read", {"kind": "read", "row": nonce}, lambda: self._read(nonce), nonce)

    async def write(self, row: str | None = None) -> None:
        """Insert a row that nobody else inserts."""
        token = row or self.world.token()
        await self._ask("write", {"kind": "write", "row": token}, lambda: self._write(token), token)

    async def fail(self) -> None:
        """Send a statement that every server refuses. Raises the driver's error."""
        await self._ask("fail", {"kind": "fail"}, self._fail, "")


class DriverPort(Port):
    """The driver alone, on one of its connections."""

    def __init__(self, session: Session, connection: Any, late: bool = False) -> None:
        super().__init__(session)
        self.connection = connection
        self.late = late

    def _place(self) -> tuple[int | None, bool]:
        inside, late = super()._place()
        return inside, late or self.late

    def scope(self, block: int | None) -> str:
        return self.world.scope(self.connection)

    async def _read(self, nonce: str) -> str:
        return await self.world.adapter.read(self.connection, nonce)

    async def _write(self, token: str) -> None:
        await self.world.adapter.write(self.connection, token)

    async def _fail(self) -> None:
        await self.world.adapter.fail(self.connection)

    async def iterate(self, *, streamed: bool) -> None:
        """Walk through a result of three rows, one fetch at a time. Every row must be the one that was asked for, and
        the end must come behind the last."""
        world, session, scope = self.world, self.session, self.scope(None)
        nonces = [world.nonce() for _ in range(3)]
        rows = world.adapter.rows(self.connection, nonces, streamed=streamed)
        own = streamed and world.adapter.streams_in_transaction

        async def fetch() -> str:
            return await anext(rows, THE_END)

        iteration = None
        try:
            for nonce in (*nonces, THE_END):
                asks = {"kind": "fetch", "row": nonce}
                await session.step(asks)
                if iteration is None:
                    iteration = Iteration(session.name, scope, world.recorder.sequence)
                    world.history.iterations.append(iteration)
                await session.operate("read", asks, fetch, scope=scope, nonce=nonce, turn=False)
                if own and not iteration.transaction:
                    iteration.transaction = True
                    world.note(session.name, "note", {"kind": "cursor_begins"})
        finally:
            await rows.aclose()
            if iteration is not None:
                iteration.ended = world.recorder.sequence
                if iteration.transaction:
                    world.note(session.name, "note", {"kind": "cursor_closed"})

    async def change_setting(self) -> None:
        """Change a setting of the server's session."""
        await self._ask("set", {"kind": "set"}, lambda: self.world.adapter.change(self.connection, SETTING), SETTING)

    async def look_at_setting(self) -> None:
        """Look at that setting: it must be as in a new session."""
        await self._ask("probe", {"kind": "probe"}, lambda: self.world.adapter.setting(self.connection), "unset")

    def transaction(self) -> TransactionBlock:
        """``async with``: begin, then commit, or roll back when an exception leaves the block."""
        adapter, connection = self.world.adapter, self.connection

        class ByHand:
            async def __aenter__(self) -> None:
                self.state = await adapter.begin(connection)

            async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
                if kind is not None:
                    await adapter.rollback(connection, self.state)
                    return
                try:
                    await adapter.commit(connection, self.state)
                except asyncio.CancelledError:
                    # Nobody knows whether the server saw the commit; no careful program leaves a transaction behind.
                    with contextlib.suppress(Exception):
                        await adapter.rollback(connection, self.state)
                    raise

        return TransactionBlock(self, ByHand, nested=False)

    async def begin_and_forget(self) -> Block:
        """Begin a transaction that nobody ends: what is written in it from now on must not be stored."""
        session, world = self.session, self.world
        asks = {"kind": "begin_and_forget"}
        await session.step(asks)
        block = world.open_block(session, None)
        await session.operate(
            "begin",
            asks,
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
    """Tortoise: models and ``in_transaction``. ``db`` is a connection's name or a client, as ``using_db`` takes it."""

    def __init__(self, session: Session, db: Any, transaction_on: str | None, catching: bool) -> None:
        super().__init__(session)
        self.db = db
        self.transaction_on = transaction_on
        self.catching = catching
        self._taken: Any = None

    @property
    def _orm(self) -> Any:
        return self.session.own_orm or self.world.orm

    def _using(self) -> dict[str, Any]:
        if self.db is None:
            return {}
        if isinstance(self.db, str):
            return {"using": {"alias": self.db}}
        return {"using": {"block": self.world.clients.get(id(self.db))}}

    def _named(self) -> dict[str, Any]:
        return {"alias": self.transaction_on} if self.transaction_on else {}

    def scope(self, block: int | None) -> str:
        root = self.world.history.root(block)
        return self.world.alone() if root is None else f"transaction {root}"

    async def _read(self, nonce: str) -> str:
        return await self._orm.read(nonce, self.db)

    async def _write(self, token: str) -> None:
        await self._orm.write(token, self.db)

    async def _fail(self) -> None:
        await self._orm.fail(self.db)

    async def read_and_leave(self) -> None:
        """Iterate over three values that nobody else asks for, and leave the loop after the first."""
        nonces = [self.world.nonce() for _ in range(3)]
        asks = {"kind": "iterate", "rows": nonces}
        await self._ask("read", asks, lambda: self._orm.read_and_leave(nonces, self.db), nonces[0])

    async def look(self, row: str) -> None:
        """Look whether somebody's row is there."""
        await self._ask("look", {"kind": "look", "row": row}, lambda: self._orm.look(row, self.db), row)

    async def write_many(self) -> None:
        """Insert three rows by one ``bulk_create``."""
        rows = tuple(self.world.token() for _ in range(3))
        asks = {"kind": "bulk_create", "rows": list(rows)}
        await self._ask("write", asks, lambda: self._orm.write_many(list(rows), self.db), rows[0], rows)

    async def change_many(self, spare: list[str]) -> None:
        """Give spare rows (``world.spare_rows``) new tokens by one ``bulk_update``."""
        rows = tuple(self.world.token() for _ in spare)
        asks = {"kind": "bulk_update", "rows": list(rows)}
        await self._ask("write", asks, lambda: self._orm.change_many(spare, list(rows), self.db), rows[0], rows)

    async def get_or_create(self, row: str) -> None:
        """``get_or_create`` a row that others may create as well."""
        await self._ask(
            "ensure", {"kind": "get_or_create", "row": row}, lambda: self._orm.get_or_create(row, self.db), row
        )

    async def update_or_create(self, row: str) -> None:
        """``update_or_create`` a row that others may create as well, with a value that only this task gives it."""
        value = ord(self.session.letter)
        asks = {"kind": "update_or_create", "row": row, "value": value}
        await self._ask("ensure", asks, lambda: self._orm.update_or_create(row, value, self.db), row)

    async def take(self, counter: str) -> None:
        """Read a counter (``world.counter``), locked for update."""

        async def take() -> int:
            self._taken = await self._orm.take(counter, self.db)
            return int(self._taken.value)

        await self._ask("take", {"kind": "take", "row": counter}, take, counter)

    async def seize(self, counter: str) -> None:
        """The same without waiting (``nowait``): who finds it locked is to be refused."""

        async def seize() -> int:
            self._taken = await self._orm.take(counter, self.db, nowait=True)
            return int(self._taken.value)

        await self._ask("seize", {"kind": "seize", "row": counter}, seize, counter)

    async def put(self, counter: str) -> None:
        """Store the counter that was taken last, one higher."""
        asks = {"kind": "put", "row": counter, "value": self._taken.value + 1}
        await self._ask("put", asks, lambda: self._orm.put(self._taken, self.db), counter)

    async def count_up(self, counter: str) -> None:
        """Add 1 to a counter by one ``update``."""
        asks = {"kind": "count_up", "row": counter}
        await self._ask("put", asks, lambda: self._orm.count_up(counter, self.db), counter)

    async def close_all(self, *, discard: bool = True) -> None:
        """``connections.close_all``."""
        await self.session.operate(
            "close", {"kind": "close_all"}, lambda: self._orm.close(discard=discard), scope=self.world.alone()
        )

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


class ClientPort(OrmPort):
    """Tortoise's models with a client as ``using_db``, whatever the context says: a transaction's, or a plain one."""

    def __init__(self, session: Session, client: Any, inside: TransactionBlock | None, catching: bool) -> None:
        super().__init__(session, client if inside is None else inside.client, None, catching)
        self.inside = inside

    def _using(self) -> dict[str, Any]:
        inside = self.inside.block if self.inside is not None else None
        return {"using": {"block": inside.number if inside is not None else None}}

    def _place(self) -> tuple[int | None, bool]:
        block = self.inside.block if self.inside is not None else None
        if block is None:
            return None, False
        return (block.number, False) if block.outcome == "open" else (None, True)


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
        self._commit_asked = False  # by hand, and nobody heard yet how it ended

    @property
    def session(self) -> Session:
        """Whose task is in the block now."""
        session: Session = self.port.session
        return session

    async def __aenter__(self) -> TransactionBlock:
        session, world = self.session, self.session.world
        await session.step({"kind": "begin", "nested": self.nested and bool(session.blocks)})
        parent, self.misuse = self.port._place() if self.nested else (None, False)
        asks = {"kind": "begin", "nested": bool(parent), "late": self.misuse, **self.port._named()}
        block = self.block = world.open_block(session, parent)
        scope = self.port.scope(block.number) if parent or isinstance(self.port, DriverPort) else world.alone()
        try:
            self._inner = self.make()
            self.client = await session.operate(
                "begin",
                asks,
                self._inner.__aenter__,
                scope=scope,
                block=block.number,
                misuse=self.misuse,
                turn=False,
            )
        except BaseException as error:
            world.close_block(block, "never begun", error)
            raise
        world.clients[id(self.client)] = block.number
        session.blocks = (*session.blocks, block.number)
        return self

    async def rollback(self) -> None:
        """``rollback()`` by hand, inside the block."""
        await self._by_hand("rollback", "rolled back")

    async def commit(self, *, turn: bool = True) -> None:
        """``commit()`` by hand, inside the block. Without a ``turn`` it waits for none, so that it can be shielded."""
        await self._by_hand("commit", "committed", turn)

    async def _by_hand(self, kind: str, outcome: str, turn: bool = True) -> None:
        """What was told last counts: a rollback that is told to have worked after a commit must have undone it."""
        session, world, block = self.session, self.session.world, self._open()
        asks = {"kind": kind, "block": block.name, "by_hand": True, "again": False}
        if turn:
            await session.step(asks)
        again = block.outcome != "open"
        self._commit_asked = kind == "commit" and not again
        try:
            await session.operate(
                kind,
                {**asks, "again": again},
                lambda: getattr(self.port._orm, kind)(self.client),
                scope=self.port.scope(block.number),
                block=block.number,
                misuse=self.misuse or again,
                turn=False,
            )
        except Exception:
            self._commit_asked = False
            if not self.port.catching:
                raise
            self.port.catches()
            return
        if again or block.outcome == "open":
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
        ends = "leave" if by_hand else "commit" if kind is None else "rollback"
        if not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            # A cancelled task unwinds at once; nobody may keep it waiting for a turn.
            try:
                await session.step(self._ends(ends))
            except asyncio.CancelledError as cancelled:
                # Cancelled between the block's last statement and its end: the block ends as any cancelled code does.
                interrupted = cancelled
                kind, error, trace = type(cancelled), cancelled, cancelled.__traceback__
                ends = "rollback"
        try:
            swallowed = await session.operate(
                "leave" if by_hand else ends,
                self._ends(ends),
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

    def _ends(self, kind: str) -> Fact:
        return {"kind": kind, "block": self._open().name, "by_hand": False, "again": False}

    def _close(self, outcome: str, error: BaseException | None) -> None:
        """Remember how the block ended, unless it was ended by hand before."""
        block = self._open()
        if block.outcome == "open":
            # A commit by hand was cancelled, or is still under way: nobody knows whether it reached the server.
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
