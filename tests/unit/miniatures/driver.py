"""Two right miniature drivers: ``Queueing`` makes whoever comes second wait, ``Refusing`` gives it an error."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from matrix.harness.adapters.base import Adapter

from .database import Answer, Database, MiniatureWitness
from .orm import Orm, RefusingOrm, RefusingTransaction, Transaction
from .wire import MiniatureGate, MiniatureWire

PATIENCE = 0.5  # seconds that the answer to a cancelled question may still take


class DriverError(Exception):
    """The driver's documented error."""


class Aborted(DriverError):
    """The transaction had been aborted before."""


class Overlap(DriverError):
    """Somebody else uses this connection or this transaction."""


class Connection:
    """One wire, shared in order: answers belong to askers first come, first served; nobody's answer is thrown away."""

    def __init__(self, wire: MiniatureWire) -> None:
        self.wire = wire
        self.waiting: collections.deque[asyncio.Future[Answer]] = collections.deque()
        self.turn = asyncio.Lock()  # of transactions begun on the connection itself
        self.owner: asyncio.Task[Any] | None = None
        self.closed = False
        self.switched = False  # its user has switched autocommit off
        self.afterwards: list[Callable[[], None]] = []
        self.given_up: set[asyncio.Future[Answer]] = set()  # cancelled questions
        self.limit: float | None = None  # seconds that an answer may take
        self.changed = False  # a setting of the server's session is not as in a new one
        self.heard: asyncio.Queue[str] = asyncio.Queue()  # notifications
        wire.receive = self.receive

    # -- questions and answers -------------------------------------------------------------------------------------
    def send(self, statement: str) -> asyncio.Future[Answer]:
        if self.closed:
            raise DriverError("the connection is closed")
        asker = self.wire.loop.create_future()
        self.waiting.append(asker)
        self.wire.send(statement)
        return asker

    def forget(self, statement: str) -> None:
        """Send a statement whose answer nobody waits for."""
        if not self.closed:
            self.send(statement).cancel()

    async def ask(self, statement: str) -> Answer:
        """Send a statement and wait for its answer. Raises the server's refusal as DriverError."""
        asker = self.send(statement)
        try:
            answer = await asyncio.wait_for(asker, self.limit) if self.limit else await asker
        except asyncio.TimeoutError:
            self.close()
            raise DriverError(f"no answer for {self.limit:g} s") from None
        except asyncio.CancelledError:
            self.given_up.add(asker)
            self.wire.loop.call_later(PATIENCE, self.give_up, asker)
            raise
        return self.read(answer)

    def when_sure(self, then: Callable[[], None]) -> None:
        """Do something as soon as it is known whether the server still answers: at once, or behind the answer to a
        question whose asker was cancelled."""
        self.afterwards.append(then)
        self.look()

    def look(self) -> None:
        if not self.unsure():
            afterwards, self.afterwards = self.afterwards, []
            for then in afterwards:
                then()

    def unsure(self) -> bool:
        return not self.closed and not self.given_up.isdisjoint(self.waiting)

    def give_up(self, asker: asyncio.Future[Answer]) -> None:
        """Who was cancelled has not been answered either: the server, or the way to it, is not there any more."""
        if asker in self.waiting:
            self.close()

    def read(self, answer: Answer) -> Answer:
        if answer.error:
            raise (Aborted if answer.aborted else DriverError)(answer.error)
        return answer

    def asker(self, answer: Answer) -> asyncio.Future[Answer]:
        """Whose answer this is."""
        return self.waiting.popleft()

    def receive(self, answer: Answer | None) -> None:
        if answer is None:
            self.close()
        elif answer.tag == "NOTIFICATION":
            self.heard.put_nowait(answer.value)
        elif self.waiting:
            asker = self.asker(answer)
            if not asker.done():
                asker.set_result(answer)
            self.look()

    def close(self) -> None:
        self.closed = True
        self.wire.close()
        for asker in self.waiting:
            if not asker.done():
                asker.set_exception(DriverError("the connection was closed"))
        self.waiting.clear()
        self.look()

    # -- results, fetched row by row -------------------------------------------------------------------------------
    async def rows(self, nonces: Sequence[str], streamed: bool) -> AsyncIterator[str]:
        """Each row is asked for when it is wanted; or all of them with the first."""
        if streamed:
            for nonce in nonces:
                yield (await self.execute(f"SELECT {nonce}")).value
        else:
            for value in [(await self.execute(f"SELECT {nonce}")).value for nonce in nonces]:
                yield value

    # -- several rows at once --------------------------------------------------------------------------------------
    async def write_many(self, tokens: Sequence[str]) -> None:
        """All of them or none."""
        await self.execute(f"INSERT {' '.join(tokens)}")

    async def copy_in(self, source: AsyncIterator[str]) -> None:
        """What the source gives, when it has ended well."""
        await self.write_many([token async for token in source])

    # -- what users call -------------------------------------------------------------------------------------------
    async def execute(self, statement: str) -> Answer:
        """One statement; it waits while another task has a transaction open here."""
        if self.owner in (None, asyncio.current_task()):
            return await self.ask(statement)
        async with self.turn:
            return await self.ask(statement)

    async def ping(self) -> None:
        """Whether the server still answers. It makes no other connection: what was open on this one is gone."""
        await self.execute("PING")

    async def begin(self) -> None:
        await self.turn.acquire()
        self.owner = asyncio.current_task()
        try:
            await self.ask("BEGIN")
        except BaseException:
            self.begin_failed()
            raise

    def begin_failed(self) -> None:
        self.reset()

    async def end(self, statement: str) -> None:
        """COMMIT or ROLLBACK, and let the next transaction begin."""
        try:
            answer = await self.ask(statement)
        finally:
            self.disown()
        if answer.tag != statement:
            raise Aborted("the transaction could not be committed")

    def disown(self) -> None:
        if self.owner is not None:  # else it is somebody's statement that has the turn
            self.owner = None
            self.turn.release()

    def reset(self) -> None:
        """Make it as new for the next task, whatever it was in the middle of."""
        self.forget("ROLLBACK")
        if self.changed:
            self.forget("RESET")
            self.changed = False
        if self.switched:
            self.forget("SET autocommit = 1")
            self.switched = False
        self.disown()


class RefusingConnection(Connection):
    """Refuses a statement while another is under way, and a transaction while another task's is open."""

    async def ask(self, statement: str) -> Answer:
        if any(not asker.done() for asker in self.waiting):
            raise self.refusal()
        return await super().ask(statement)

    async def execute(self, statement: str) -> Answer:
        if self.owner not in (None, asyncio.current_task()):
            raise self.refusal()
        return await super().execute(statement)

    async def begin(self) -> None:
        if self.owner is not None:
            raise self.refusal()
        await super().begin()

    def refusal(self) -> Exception:
        return Overlap("another operation is under way on this connection")


class Pool:
    """At most ``size`` connections; who finds none waits, first come, first served. Who has one may not wait for
    another: everybody might."""

    def __init__(self, driver: Miniature, size: int) -> None:
        self.driver = driver
        self.size = size
        self.autocommit = True
        self.coming = 0  # given back, and not yet known to be of use
        self.made = 0
        self.idle: list[Connection] = []
        self.waiters: collections.deque[asyncio.Future[Connection | None]] = collections.deque()
        self.lent: dict[Connection, asyncio.Task[Any] | None] = {}
        self.closed = False

    async def acquire(self) -> Connection:
        connection = await self.find()
        self.lent[connection] = asyncio.current_task()
        return connection

    async def find(self) -> Connection:
        while not self.closed:
            self.drop_dead()
            if self.idle:
                return self.idle.pop()
            if self.made < self.size:
                return await self.make()
            self.check_wait()
            connection = await self.wait()
            if connection is not None:
                return connection
        raise DriverError("the pool is closed")

    def drop_dead(self) -> None:
        """Forget connections that were lost while they lay here."""
        alive = [connection for connection in self.idle if not connection.closed]
        self.made -= len(self.idle) - len(alive)
        self.idle = alive

    def check_wait(self) -> None:
        if asyncio.current_task() in self.lent.values() and not self.coming:
            raise DriverError("this task has a connection, and may not wait for another one")

    async def make(self) -> Connection:
        self.made += 1
        try:
            connection = await self.driver.open()
            if not self.autocommit:
                await connection.ask("SET autocommit = 0")
            return connection
        except BaseException:
            self.made -= 1
            self.wake(None)
            raise

    async def wait(self) -> Connection | None:
        """Wait for a connection; None says that there is room to make one."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            self.give_up(waiter)
            raise

    def give_up(self, waiter: asyncio.Future[Connection | None]) -> None:
        """A waiter was cancelled, perhaps in the moment in which it was served."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            served = waiter.result()
            if not self.wake(served) and served is not None:
                self.idle.append(served)

    def wake(self, connection: Connection | None) -> bool:
        """Serve the first waiter; False when nobody waits."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    async def release(self, connection: Connection) -> None:
        """Take a connection back from a user who may have left it in any state. It is not taken back twice."""
        if not self.is_lent(connection):
            return
        connection.reset()
        self.give(connection)

    def is_lent(self, connection: Connection) -> bool:
        return self.lent.get(connection) is asyncio.current_task()

    def give(self, connection: Connection) -> None:
        self.lent.pop(connection, None)
        self.coming += 1
        connection.when_sure(lambda: self.take_back(connection))

    def take_back(self, connection: Connection) -> None:
        self.coming -= 1
        if self.closed:
            connection.close()
        if connection.closed:
            self.made -= 1
            self.wake(None)
        elif not self.wake(connection):
            self.idle.append(connection)

    def close(self) -> None:
        self.closed = True
        for connection in self.idle:
            connection.close()
        self.idle.clear()
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(DriverError("the pool is closed"))
        self.waiters.clear()


class Miniature(Adapter):
    """A whole driver; subclasses replace a part.

    ``expects``: what a wrong one is caught for, property and verdict. ``gap``: why no scenario catches it yet.
    ``bound``: how many orders that takes.
    """

    name = "miniature"
    documented = (DriverError,)
    aborted = (Aborted,)
    capabilities = Adapter.capabilities - {"serialization"}
    expects: tuple[str, str] | None = None
    gap = ""
    bound = 3
    connection_type: type[Connection] = Connection
    wire_type: type[MiniatureWire] = MiniatureWire
    pool_type: type[Pool] = Pool
    orm_type: type[Orm] = Orm
    transaction_type: type[Transaction] = Transaction
    errors = (DriverError, Aborted, Overlap)  # as the ORM knows them
    change_setting, states = "SET {}", {"role": ("SET role", "")}

    def __init__(self) -> None:
        self.database = Database()
        self.gate: MiniatureGate | None = None

    def install(self, world: Any) -> None:
        self.gate = MiniatureGate(world, self.database)
        world.gates.add(self.gate)

    def remove(self) -> None:
        self.gate = None

    async def open(self) -> Connection:
        """Connect and log in."""
        assert self.gate is not None
        if self.gate.refuse_connections:
            raise DriverError("the server cannot be reached")
        connection = self.connection_type(self.wire_type(self.gate))
        try:
            await connection.ask("LOGIN")
        except BaseException:
            connection.close()
            raise
        return connection

    # -- the calls of an adapter -----------------------------------------------------------------------------------
    async def connect(self, address: Any, **limits: float) -> Connection:
        try:
            connection = await asyncio.wait_for(self.open(), limits.get("connecting"))
        except asyncio.TimeoutError:
            raise DriverError("no connection in time") from None
        connection.limit = limits.get("asking")
        return connection

    async def close_within(self, connection: Connection, seconds: float) -> None:
        connection.close()

    async def close(self, connection: Connection) -> None:
        connection.close()

    async def read(self, connection: Connection, nonce: str) -> str:
        return (await connection.execute(f"SELECT {nonce}")).value

    async def write(self, connection: Connection, token: str) -> None:
        await connection.execute(f"INSERT {token}")

    async def listen(self, connection: Connection, channel: str) -> Connection:
        await connection.execute(f"LISTEN {channel}")
        return connection

    async def hear(self, listening: Connection, count: int) -> list[str]:
        return [await listening.heard.get() for _ in range(count)]

    def pipeline(self, connection: Connection) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()  # it waits for no answer before it sends what comes next

    def rows(self, connection: Connection, nonces: Sequence[str], *, streamed: bool) -> AsyncIterator[str]:
        return connection.rows(nonces, streamed)

    async def setting(self, connection: Connection, question: str) -> str:
        _, looks, ending = question.partition("LIKE '%")
        if looks:
            return (await connection.execute(f"LOOK {ending.partition(chr(39))[0]}")).value
        _, from_table, table = question.partition("SELECT * FROM ")
        return (await connection.execute(f"ROWS {table}" if from_table else "SHOW")).value

    async def switch_autocommit_off(self, connection: Connection) -> None:
        connection.switched = True
        await connection.execute("SET autocommit = 0")

    async def write_many(self, connection: Connection, tokens: Sequence[str]) -> None:
        await connection.write_many(tokens)

    async def copy_in(self, connection: Connection, tokens: AsyncIterator[str]) -> None:
        await connection.copy_in(tokens)

    async def copy_out(self, connection: Connection, nonces: Sequence[str], count: int) -> AsyncIterator[str]:
        async with contextlib.aclosing(connection.rows(nonces, streamed=False)) as rows:
            async for row in rows:
                yield row
                count -= 1
                if not count:
                    break

    async def stream(self, connection: Connection, nonces: Sequence[str]) -> AsyncIterator[str]:
        """The server has met its error before the first row is looked at."""
        first = await connection.execute(f"SELECT {nonces[0]}")
        try:
            await self.fail(connection)
        except self.errors[0] as error:
            yield first.value
            raise error

    async def fail(self, connection: Connection) -> None:
        await connection.execute("SELECT FROM no_such_table")

    async def script(self, connection: Connection, text: str) -> None:
        connection.changed = connection.changed or text.startswith("SET")
        await connection.execute(text)

    async def ping(self, connection: Connection) -> None:
        await connection.ping()

    async def begin(self, connection: Connection) -> None:
        await connection.begin()

    async def commit(self, connection: Connection, state: Any) -> None:
        await connection.end("COMMIT")

    async def rollback(self, connection: Connection, state: Any) -> None:
        await connection.end("ROLLBACK")

    async def create_pool(self, address: Any, size: int, *, autocommit: bool = True) -> Pool:
        pool = self.pool_type(self, size)
        pool.autocommit = autocommit
        pool.give(await pool.make())
        return pool

    async def acquire(self, pool: Pool) -> Connection:
        return await pool.acquire()

    async def release(self, pool: Pool, connection: Connection) -> None:
        await pool.release(connection)

    async def close_pool(self, pool: Pool) -> None:
        pool.close()

    def make_orm(self, world: Any, setup: Any) -> Orm:
        self.database.impatient = setup.setting == "lock limit"
        return self.orm_type(self, setup.size, setup.aliases)


class Queueing(Miniature):
    """Right: whoever comes second waits."""


class Refusing(Miniature):
    """Right: whoever comes second is refused in a documented way; queries of one transaction still queue up."""

    capabilities = Miniature.capabilities - {"queue"}
    connection_type = RefusingConnection
    orm_type = RefusingOrm
    transaction_type = RefusingTransaction


class Backing:
    """One miniature with its database and witness; the duck type of ``matrix.harness.cell.Backing``."""

    kind = "miniature"
    server_address = None
    warm = None

    def __init__(self, adapter: Miniature) -> None:
        self.adapter = adapter
        self.witness = MiniatureWitness(adapter.database)
        self.nonces = adapter.database.nonces

    def address(self, gate_port: int | None) -> None:
        """A miniature needs none."""

    def reopen_witness(self) -> None:
        """A fork has the database in its own memory."""

    def failing(self, *, writes: bool = False) -> str:
        return ""

    def answers(self, seconds: float) -> bool:
        return True
