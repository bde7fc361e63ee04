"""A miniature ORM client: the current transaction is in a context variable, as in Tortoise, and it gets it right."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matrix.harness.history import CREATED, FOUND, SEEN

if TYPE_CHECKING:
    from .database import Answer
    from .driver import Connection, Miniature, Pool


@dataclass(frozen=True)
class Plain:
    """The client of a named connection, whatever transaction is around."""

    alias: str


@dataclass
class Counter:
    """A counter that was read."""

    name: str
    value: int
    home: Any = None  # where it was read


@dataclass
class Row:
    """An object of a model: its token when it was saved last, and the connection that it is of."""

    token: str = ""
    db: Any = None


@dataclass
class Query:
    """A query that was built; it belongs where it is awaited. ``row``: which it looks for."""

    ask: Callable[[], Awaitable[str | None]]
    row: str = ""
    db: Any = None


class Orm:
    """One init. Without a transaction each query takes a connection of the pool for itself."""

    def __init__(self, driver: Miniature, size: int, aliases: tuple[str, ...]) -> None:
        self.driver = driver
        self.size = size
        self.aliases = aliases
        self.pools: dict[Any, Pool] = {}
        self.current: dict[str, contextvars.ContextVar[Transaction | None]] = {
            alias: contextvars.ContextVar(alias, default=None) for alias in aliases
        }

    # -- what the harness calls ------------------------------------------------------------------------------------
    async def init(self) -> None:
        """Connects to nothing."""

    def client(self) -> Plain:
        return Plain(self.aliases[0])

    # ``db``: None for the default connection, a connection's name, or a client.
    async def read(self, nonce: str, db: Any) -> str:
        return (await self.execute(f"SELECT {nonce}", db)).value

    async def read_and_leave(self, nonces: list[str], db: Any) -> str:
        return (await self.execute(f"SELECT {' '.join(nonces)}", db)).value.split()[0]

    async def exists(self, token: str, db: Any) -> str:
        return (await self.execute(f"LOOK {token[1:]}", db)).value

    async def write(self, token: str, db: Any) -> None:
        await self.execute(f"INSERT {token}", db)

    async def write_many(self, tokens: list[str], db: Any) -> None:
        await self.execute(f"INSERT {' '.join(tokens)}", db)

    async def change_many(self, spare: list[str], tokens: list[str], db: Any) -> None:
        await self.execute(f"UPDATE {' '.join(spare)} TO {' '.join(tokens)}", db)

    def build_write_many(self, tokens: list[str], db: Any) -> Query:
        return Query(lambda: self.write_many(tokens, db))

    def build_look(self, token: str, bound: bool, db: Any, *, whole: bool = False) -> Query:
        return Query(lambda: self.exists(token, db), token, db)

    async def run(self, query: Query) -> str | None:
        return await query.ask()

    async def change(self, query: Query, token: str) -> None:
        await self.execute(f"UPDATE {query.row} TO {token}", query.db)

    async def delete(self, token: str, db: Any) -> None:
        await self.execute(f"DELETE {token}", db)

    def make(self) -> Row:
        return Row()

    async def fetch(self, token: str, db: Any) -> Row:
        return Row(token, db)

    async def save(self, row: Row, token: str, db: Any) -> None:
        """It trusts the database, not the object, whether the row is there: it may have been rolled back."""
        db = db or row.db
        if row.token and await self.exists(row.token, db) == SEEN:
            await self.execute(f"UPDATE {row.token} TO {token}", db)
        else:
            await self.write(token, db)
        row.token = token

    async def save_unchanged(self, row: Row, db: Any) -> None:
        await self.execute(f"UPDATE {row.token} TO {row.token}", db or row.db)

    async def get_or_create(self, token: str, db: Any) -> str:
        """A nested block of its own, as in Tortoise: its failure must not harm the transaction around it, which is that
        of the client that was given, if it is one."""
        if await self.exists(token, db) == SEEN:
            return FOUND
        try:
            async with self.inside(db) as block:
                await self.write(token, block)
        except self.driver.errors[0] as error:
            if "is there already" not in str(error):
                raise
            return FOUND
        return CREATED

    async def update_or_create(self, token: str, value: int, db: Any) -> str:
        said = await self.get_or_create(token, db)
        if said == FOUND:
            await self.execute(f"UPDATE {token} TO {token}", db)
        return said

    async def lock(self, name: str, db: Any, *, nowait: bool = False, values: bool = False) -> Counter:
        return Counter(name, int((await self.execute(f"{'SEIZE' if nowait else 'TAKE'} {name}", db)).value))

    async def put(self, counter: Counter, db: Any) -> None:
        await self.execute(f"PUT {counter.name}={counter.value + 1}", db)

    async def view(self, name: str, db: Any) -> int:
        return int((await self.execute(f"TAKE {name}", db)).value)

    async def serializable(self, db: Any) -> None:
        """It is so already: who looks at a counter locks it."""

    async def statement(self, text: str, db: Any) -> None:
        """It knows of no transaction but its own."""
        if text in ("BEGIN", "COMMIT", "ROLLBACK"):
            raise self.driver.errors[0](f"{text} is not for programs: use in_transaction()")

    async def count_up(self, name: str, db: Any) -> None:
        await self.execute(f"ADD {name}", db)

    async def fail(self, db: Any) -> None:
        await self.execute("SELECT FROM no_such_table", db)

    async def fail_undoing(self, db: Any) -> None:
        await self.execute("UNDO", db)

    async def script(self, text: str, db: Any) -> None:
        await self.execute(text, db)

    async def orphan(self, db: Any) -> None:
        await self.execute("ORPHAN", db)

    async def commit(self, client: Transaction) -> None:
        await client.end_by_hand(client.commit)

    async def rollback(self, client: Transaction) -> None:
        await client.end_by_hand(client.rollback)

    def in_transaction(self, alias: str | None) -> Transaction:
        name = alias or self.aliases[0]
        return self.driver.transaction_type(self, name, self.transaction(name))

    def inside(self, db: Any) -> Transaction:
        """A block in the transaction of a client that was given, else in the one around this code."""
        if isinstance(db, Transaction):
            return self.driver.transaction_type(self, db.alias, db)
        return self.in_transaction(None)

    def atomic(self, alias: str | None) -> Any:
        def decorator(function: Any) -> Any:
            async def decorated() -> Any:
                async with self.in_transaction(alias):
                    return await function()

            return decorated

        return decorator

    async def close(self, *, discard: bool = True) -> None:
        """Who uses a connection may go on; the next use makes a new pool."""
        pools, self.pools = self.pools, {}
        for pool in pools.values():
            pool.close()

    def discard(self) -> None:
        """Nothing global to forget."""

    # -- how it works ----------------------------------------------------------------------------------------------
    async def pool(self, alias: str) -> Pool:
        """Each event loop has its own, for as long as it is there."""
        for ended in [key for key in self.pools if key[1].is_closed()]:
            self.pools.pop(ended).close()
        key = alias, asyncio.get_running_loop()
        if key not in self.pools:
            self.pools[key] = self.driver.pool_type(self.driver, self.size)
        return self.pools[key]

    def transaction(self, alias: str) -> Transaction | None:
        """The innermost transaction around this code that has not ended."""
        found = self.current[alias].get()
        while found is not None and found.ended:
            found = found.parent
        return found

    async def execute(self, statement: str, db: Any) -> Answer:
        if isinstance(db, Transaction):
            return await db.execute(statement)
        name = db.alias if isinstance(db, Plain) else db or self.aliases[0]
        transaction = None if isinstance(db, Plain) else self.transaction(name)
        if transaction is not None:
            return await transaction.execute(statement)
        pool = await self.pool(name)
        connection = await pool.acquire()
        try:
            return await connection.ask(statement)
        finally:
            pool.give(connection)


class Transaction:
    """A block. ``turn`` is held by a statement while it runs and by a nested block for as long as it is open: who wants
    it meanwhile waits, but not for ever, since that block may be waiting for who does."""

    count = 0
    patience: float | None = 5.0  # seconds

    def __init__(self, orm: Orm, alias: str, parent: Transaction | None) -> None:
        self.orm = orm
        self.alias = alias
        self.parent = parent
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        self.turn = asyncio.Lock()
        self.nested: Transaction | None = None
        self.absorbed = ""  # how the block around it ended, if it ended first
        self.ended = False
        self.end_sent = False
        self.connection: Connection
        self.savepoint = self.name_savepoint()

    def name_savepoint(self) -> str:
        Transaction.count += 1
        return f"s{Transaction.count}"

    @property
    def closed(self) -> bool:
        return self.ended or self.end_sent or (self.parent is not None and self.parent.closed)

    def error(self, text: str) -> Exception:
        return self.orm.driver.errors[0](text)

    # -- the block -------------------------------------------------------------------------------------------------
    async def __aenter__(self) -> Transaction:
        await self.enter()
        try:
            await self.connection.ask("BEGIN" if self.parent is None else f"SAVEPOINT {self.savepoint}")
        except BaseException:
            self.abandon()
            raise
        self.orm.current[self.alias].set(self)
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.restore()
        if self.absorbed:
            if kind is None and self.absorbed == "rolled back":
                raise self.error("the block around this one was rolled back")
            return
        if self.nested is not None and self.nested.task is asyncio.current_task():
            self.nested.absorb("committed" if kind is None else "rolled back")
        try:
            async with self.turn:
                await self.finish(kind)
        except BaseException:
            self.abandon()
            raise
        self.leave()

    async def enter(self) -> None:
        """Get a connection of one's own, or one's parent's turn."""
        if self.parent is None:
            self.source = await self.orm.pool(self.alias)
            self.connection = await self.source.acquire()
        else:
            await self.parent.admit(self)
            self.connection = self.parent.connection

    def absorb(self, outcome: str) -> None:
        """The block around this one ends first, by the same task, and takes this one with it."""
        self.absorbed = outcome
        self.end_sent = True
        self.leave()

    async def admit(self, nested: Transaction) -> None:
        """Let a nested block have the connection until it ends."""
        await self.take_turn()
        if self.closed:
            self.turn.release()
            raise self.error("the transaction has ended")
        self.nested = nested

    async def take_turn(self) -> None:
        """Wait until nobody else's statement or nested block is under way."""
        if self.patience is None or not self.turn.locked():
            await self.turn.acquire()
            return
        task = asyncio.current_task()
        assert task is not None
        given_up: list[bool] = []
        timer = self.loop.call_later(self.patience, lambda: given_up.append(task.cancel()))
        try:
            await self.turn.acquire()
        except asyncio.CancelledError:
            if not given_up:
                raise
            if sys.version_info >= (3, 11):
                task.uncancel()
            raise self.error(f"a nested block has been open for {self.patience:g} s") from None
        finally:
            timer.cancel()

    def restore(self) -> None:
        """Not by a token: the block may be left in another context than it was entered in."""
        self.orm.current[self.alias].set(self.parent)

    async def finish(self, kind: Any) -> None:
        if self.end_sent:
            return  # by hand
        if self.parent is not None and self.parent.closed:
            self.end_sent = True
            if kind is None:
                raise self.error("the transaction around this one has ended")
        elif kind is None:
            await self.commit()
        else:
            await self.rollback()

    async def end_by_hand(self, end: Callable[[], Awaitable[None]]) -> None:
        """Commit or roll back inside the block; whatever follows in it is refused."""
        async with self.turn:
            if self.closed:
                raise self.error("the transaction has ended")
            await end()

    async def commit(self) -> None:
        self.end_sent = True
        statement = "COMMIT" if self.parent is None else f"RELEASE {self.savepoint}"
        answer = await self.connection.ask(statement)
        if answer.tag == "ROLLBACK":
            raise self.orm.driver.errors[1]("the transaction could not be committed")

    async def rollback(self) -> None:
        self.end_sent = True
        for statement in self.rollback_statements():
            await self.connection.ask(statement)

    def rollback_statements(self) -> tuple[str, ...]:
        return ("ROLLBACK",) if self.parent is None else (f"ROLLBACK TO {self.savepoint}",)

    def abandon(self) -> None:
        """End the block without waiting for anything."""
        if not self.end_sent and not (self.parent is not None and self.parent.closed):
            for statement in self.rollback_statements():
                self.connection.forget(statement)
        self.leave()

    def leave(self) -> None:
        """Give back what ``enter`` took."""
        if self.ended:
            return
        self.ended = True
        if self.parent is None:
            self.source.give(self.connection)
        else:
            self.parent.nested = None
            self.parent.turn.release()

    # -- statements ------------------------------------------------------------------------------------------------
    async def execute(self, statement: str) -> Answer:
        if asyncio.get_running_loop() is not self.loop:  # asked from another thread: the connection lives here
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.execute(statement), self.loop))
        await self.take_turn()
        try:
            if self.closed:
                raise self.error("the transaction has ended")
            return await self.connection.ask(statement)
        finally:
            self.turn.release()


class RefusingTransaction(Transaction):
    """Refuses statements and nested blocks while another task's nested block is open, and everything after its end."""

    def overlap(self) -> Exception:
        return self.orm.driver.errors[2]("another task has a nested transaction open here")

    async def __aenter__(self) -> Transaction:
        ended = self.orm.current[self.alias].get()
        if ended is not None and ended.ended:
            raise self.error("the transaction has ended")
        return await super().__aenter__()

    def absorb(self, outcome: str) -> None:
        """The block around this one ends first, by the same task, and takes this one with it."""
        self.absorbed = outcome
        self.end_sent = True
        self.leave()

    def leave(self) -> None:
        """Not before it is idle: else its next user is refused for a statement of this one that is still under way."""
        pending = [asker for asker in self.connection.waiting if not asker.done()]
        if self.ended or self.parent is not None or not pending:
            super().leave()
            return
        self.ended = True
        pending[-1].add_done_callback(lambda _: self.source.give(self.connection))

    async def admit(self, nested: Transaction) -> None:
        if self.nested is not None:
            raise self.overlap()
        await super().admit(nested)

    async def execute(self, statement: str) -> Answer:
        if self.nested is not None:
            raise self.overlap()
        return await super().execute(statement)

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self.nested is not None:
            self.restore()
            self.abandon()
            if kind is None:
                raise self.overlap()
            return
        await super().__aexit__(kind, error, trace)


class RefusingOrm(Orm):
    """Refuses what comes after the end of the transaction in which its task was started."""

    async def execute(self, statement: str, db: Any) -> Answer:
        current = self.current[db if isinstance(db, str) else self.aliases[0]].get()
        if current is not None and current.ended and not isinstance(db, (Plain, Transaction)):
            raise self.driver.errors[0]("the transaction has ended")
        return await super().execute(statement, db)
