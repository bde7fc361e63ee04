"""The ports through which a session asks databases for things. Here Tortoise's; driver_port.py has the driver's own."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .blocks import DecoratedBlock, TransactionBlock
from .history import Block
from .sentences import Fact

if TYPE_CHECKING:
    from .session import Session
    from .world import World


@dataclass(frozen=True)
class Built:
    """A query that was built and is to be awaited later, perhaps elsewhere; ``rows``: what it writes or looks for;
    ``blocks``: those in which it was built or awaited."""

    kind: str
    asks: Fact
    rows: tuple[str, ...]
    query: Any
    blocks: list[int]


class Port:
    """What a session may ask of one database. Subclasses say how."""

    catching = False
    one_connection = False  # blocks on it share a connection, nested or not

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

    async def _script(self, text: str) -> None:
        raise NotImplementedError

    def _place(self) -> tuple[int | None, bool]:
        """The innermost block around this operation that is still open, and whether the operation comes too late:
        it was started in a transaction, and that has ended."""
        blocks = [self.world.history.blocks[number - 1] for number in reversed(self.session.blocks)]
        here = [block for block in blocks if self._is_on(block)]
        inside = next((block.number for block in here if block.outcome == "open"), None)
        return inside, inside is None and bool(here)

    def _is_on(self, block: Block) -> bool:
        """Whether what is asked here may belong to a block, by the connection that both name."""
        return True

    def _using(self) -> dict[str, Any]:
        """What the program passes as ``using_db``, as part of what it asks; nothing where it passes nothing."""
        return {}

    def _named(self) -> dict[str, Any]:
        """The connection that a transaction is asked for by name, as part of what is asked."""
        return {}

    def catches(self, error: BaseException | None = None) -> None:
        """Remember that the program catches what an operation has raised."""
        fact = {"kind": "caught", "type": type(error).__name__ if error else ""}
        self.world.recording.note(self.session.name, "note", fact)

    async def _ask(
        self,
        kind: str,
        asks: Fact,
        call: Callable[[], Awaitable[Any]],
        nonce: str,
        rows: tuple[str, ...] = (),
        *,
        misuse: bool = False,
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
                misuse=misuse or late,
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

    async def script(self) -> None:
        """Run a script that makes a table, as migrations and set-ups do."""
        await self._run_script(f"CREATE TABLE {self.world.fresh_table()} (n int)")

    async def _run_script(self, text: str) -> None:
        await self._ask("script", {"kind": "script"}, lambda: self._script(text), "")

    async def fail(self) -> None:
        """Send a statement that every server refuses. Raises the driver's error."""
        await self._ask("fail", {"kind": "fail"}, self._fail, "")


class OrmPort(Port):
    """Tortoise: models and ``in_transaction``. ``db`` is a connection's name or a client, as ``using_db`` takes it."""

    def __init__(self, session: Session, db: Any, transaction_on: str | None, catching: bool) -> None:
        super().__init__(session)
        self.db = db
        self.transaction_on = transaction_on
        self.catching = catching
        self._locked_value: Any = None

    @property
    def _orm(self) -> Any:
        return self.session.own_orm or self.world.orm

    @property
    def alias(self) -> str:
        """The name of the connection on which its blocks are."""
        return self.transaction_on or str(self._orm.aliases[0])

    def _is_on(self, block: Block) -> bool:
        # Queries that name no connection are meant for the block around them, wherever it is.
        return not isinstance(self.db, str) or block.alias in ("", self.db)

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

    async def _script(self, text: str) -> None:
        await self._orm.script(text, self.db)

    async def orphan(self) -> None:
        """Insert a row that a deferred constraint forbids: the commit is to be refused."""
        await self._ask("orphan", {"kind": "orphan"}, lambda: self._orm.orphan(self.db), "")

    async def fail_undoing(self) -> None:
        """Send a statement that is refused, and with which the database undoes the whole transaction."""
        await self._ask("fail", {"kind": "fail_undoing"}, lambda: self._orm.fail_undoing(self.db), "")

    async def serializable(self) -> None:
        """Ask that the transaction be as if no other ran beside it: the server refuses one that cannot. Some servers
        take that before a transaction only."""
        await self._ask("isolate", {"kind": "isolate"}, lambda: self._orm.serializable(self.db), "", misuse=True)

    async def read_and_leave(self) -> None:
        """Iterate over three values that nobody else asks for, and leave the loop after the first."""
        nonces = [self.world.nonce() for _ in range(3)]
        asks = {"kind": "iterate", "rows": nonces}
        await self._ask("read", asks, lambda: self._orm.read_and_leave(nonces, self.db), nonces[0])

    async def exists(self, row: str) -> None:
        """Look whether somebody's row is there."""
        await self._ask("look", {"kind": "look", "row": row}, lambda: self._orm.exists(row, self.db), row)

    async def write_many(self) -> None:
        """Insert three rows by one ``bulk_create``."""
        rows = tuple(self.world.token() for _ in range(3))
        asks = {"kind": "bulk_create", "rows": list(rows)}
        await self._ask("write", asks, lambda: self._orm.write_many(list(rows), self.db), rows[0], rows)

    def build_write_many(self) -> Built:
        """Build a ``bulk_create`` of three rows, and await it later (``run``)."""
        rows = tuple(self.world.token() for _ in range(3))
        asks = {"kind": "await_bulk_create", "rows": list(rows), **self._built("bulk_create")}
        return Built("write", asks, rows, self._orm.build_write_many(list(rows), self.db), self._around())

    def build_look(self, row: str, *, bound: bool = False, spare: bool = False) -> Built:
        """Build a query that looks for a row. ``bound``: by ``get_or_none``, one of the calls that may choose their
        connection at once; else by ``filter``. ``spare``: for one of ``world.spare_rows``, by its whole token."""
        query = self._orm.build_look(row, bound, self.db, **({"whole": True} if spare else {}))
        asks = {"kind": "await_look", "row": row, **self._built("get_or_none" if bound else "filter")}
        return Built("look", asks, (row,), query, self._around())

    def _built(self, by: str) -> Fact:
        """Of a query that is built now: by which call, which it is of the session's, in which block (0: in none)."""
        self.session.built += 1
        return {"by": by, "query": self.session.built, "built_in": next(iter(self._around()), 0)}

    def _around(self) -> list[int]:
        """The block around this one's code that is open, if any."""
        inside, _ = self._place()
        return [] if inside is None else [inside]

    async def run(self, built: Built) -> None:
        """Await a query that was built before; some can be awaited again. It belongs where it is awaited. Nobody
        promises that it can be where a block has ended meanwhile in which it was built or awaited."""
        rows = built.rows if built.kind == "write" else ()
        misuse = self._outlives_a_block(built)
        await self._ask(built.kind, built.asks, lambda: self._orm.run(built.query), built.rows[0], rows, misuse=misuse)

    def _outlives_a_block(self, built: Built) -> bool:
        """Whether a block has ended in which a query was built or awaited; it is awaited here now."""
        ended = any(self.world.history.blocks[number - 1].outcome != "open" for number in built.blocks)
        built.blocks.extend(self._around())
        return ended

    async def change(self, built: Built) -> None:
        """Give the spare row that a query looks for another token, by an ``update`` that is derived from the query. It
        belongs where it is awaited, as with ``run``."""
        row, misuse = self.world.token(), self._outlives_a_block(built)
        asks = {"kind": "derived_update", "row": row, "of": built.asks["query"]}
        await self._ask("write", asks, lambda: self._orm.change(built.query, row), row, misuse=misuse)

    def make(self) -> Any:
        """An object of a model, not yet saved."""
        return self._orm.make()

    async def fetch(self, row: str) -> Any:
        """The object of a spare row (``world.spare_rows``)."""
        found: list[Any] = []

        async def fetch() -> None:
            found.append(await self._orm.fetch(row, self.db))

        await self._ask("fetch", {"kind": "fetch", "row": row}, fetch, "")
        return found[0]

    async def save(self, made: Any) -> None:
        """Give an object a token of its own and ``save`` it: the row is there afterwards, or is changed."""
        row = self.world.token()
        await self._ask("write", {"kind": "save", "row": row}, lambda: self._orm.save(made, row, self.db), row)

    async def save_unchanged(self, made: Any) -> None:
        """``save`` an object as it was fetched, with ``force_update``."""
        await self._ask("touch", {"kind": "save_unchanged"}, lambda: self._orm.save_unchanged(made, self.db), "")

    async def delete(self, row: str) -> None:
        """Delete a spare row by a query."""
        await self._ask("delete", {"kind": "delete", "row": row}, lambda: self._orm.delete(row, self.db), "")

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

    async def lock(self, counter: str, *, values: bool = False) -> None:
        """Read a counter (``world.counter``), locked for update. ``values``: by ``values()``, not as an object."""

        async def lock() -> int:
            self._locked_value = await self._orm.lock(counter, self.db, **({"values": True} if values else {}))
            return int(self._locked_value.value)

        await self._ask("take", {"kind": "take_values" if values else "take", "row": counter}, lock, counter)

    async def lock_nowait(self, counter: str) -> None:
        """The same without waiting (``nowait``): who finds it locked is to be refused."""
        await self._seize(counter, "seize", nowait=True)

    async def lock_within_limit(self, counter: str) -> None:
        """The same with the server's own limit (setting "lock limit"): nothing else happens until that is over, so that
        the server's clock decides nothing."""
        await self._seize(counter, "take_within_limit")

    async def _seize(self, counter: str, kind: str, *, nowait: bool = False) -> None:
        async def lock() -> int:
            quiet = self.world.conductor.quiet
            quiet.locks_time_out = not nowait
            try:
                self._locked_value = await self._orm.lock(counter, self.db, nowait=nowait)
            finally:
                quiet.locks_time_out = False
            return int(self._locked_value.value)

        await self._ask("seize", {"kind": kind, "row": counter}, lock, counter)

    async def put(self, counter: str, taken_by: OrmPort | None = None) -> None:
        """Store the counter that was taken last, here or in ``taken_by``, one higher."""
        taken = (taken_by or self)._locked_value
        asks = {"kind": "put", "row": counter, "value": taken.value + 1}
        await self._ask("put", asks, lambda: self._orm.put(taken, self.db), counter)

    async def view(self, counter: str) -> None:
        """Read a counter without a lock."""
        await self._ask("view", {"kind": "view", "row": counter}, lambda: self._orm.view(counter, self.db), counter)

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

    def transaction_by_hand(self) -> TransactionBlock:
        """``async with``: a transaction whose BEGIN, COMMIT and ROLLBACK are statements that the program sends."""
        orm, db = self._orm, self.db

        class ByHand:
            async def __aenter__(self) -> None:
                await orm.statement("BEGIN", db)

            async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
                await orm.statement("ROLLBACK" if kind else "COMMIT", db)

        return TransactionBlock(self, ByHand, nested=False, begins="statement")

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
