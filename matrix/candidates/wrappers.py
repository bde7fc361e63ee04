"""Tortoise's transaction wrappers and contexts with the blocks of blocks.py, and how they are put in place."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from tortoise.backends.base import client as base
from tortoise.connection import get_connections
from tortoise.exceptions import TransactionManagementError

from . import NAMES
from .blocks import OVER, Blocks

ABORTED = "The transaction was aborted by an error inside it; it has been rolled back"
LEFT_OPEN = "A block inside this one was still open; everything has been rolled back"


class Turn(base.ConnectionWrapper[Any]):
    """The connection for one statement of a block."""

    client: Any

    def __init__(self, block: Any) -> None:
        super().__init__(block._blocks.lock, block)

    async def __aenter__(self) -> Any:
        await self.client._blocks.turn(self.client)
        return self.client._connection

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        self.client._blocks.talked(exc_type, reads_in_pieces=self.client.reads_in_pieces)


class Block:
    """What a wrapper of Tortoise gets in front of its own methods, which do the talking."""

    candidate = ""
    reads_in_pieces = False
    # The wrapper's own methods that begin, commit and roll back: those of the outermost block, those of nested ones.
    verbs = (("begin", "commit", "rollback"), ("savepoint", "release_savepoint", "savepoint_rollback"))
    _connection: Any
    _parent: Any
    _finalized: bool

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)  # type: ignore[call-arg]
        self.nested = isinstance(connection, Block)
        self._blocks: Blocks = connection._blocks if self.nested else Blocks(waits=self.candidate == "one_lock")

    def acquire_connection(self) -> Turn:
        return Turn(self)

    async def _talk(self, verb: int) -> None:
        """0 begins, 1 commits, 2 rolls back, as the wrapper itself does it."""
        await getattr(super(), self.verbs[self.nested][verb])()

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """This block has the lock: how it talks is remembered, and the lock given back."""
        error: type[BaseException] | None = None
        try:
            yield
        except BaseException as failed:
            error = type(failed)
            raise
        finally:
            self._blocks.talked(error, reads_in_pieces=self.reads_in_pieces)

    async def begin(self) -> None:
        blocks = self._blocks
        blocks.begin(self)
        await blocks.turn(self)
        with self._talking():
            try:
                await self._talk(0)
            except BaseException:
                blocks.ended(self)
                raise

    async def savepoint(self) -> None:
        blocks = self._blocks
        try:
            await blocks.turn(self._parent)
            with self._talking():
                await self._talk(0)
                blocks.open.append(self)
        except BaseException:
            self._finalized = True
            raise

    async def commit(self) -> None:
        blocks = self._blocks
        await self._own_turn()
        with self._talking():
            try:
                why = LEFT_OPEN if blocks.open[-1] is not self else ABORTED if await self._aborted() else ""
                if why or blocks.doomed:
                    await self._undo()
                    raise TransactionManagementError(why or ABORTED)
                try:
                    await self._talk(1)
                except BaseException:
                    await self._undo()
                    raise
            finally:
                blocks.ended(self)

    async def rollback(self) -> None:
        blocks = self._blocks
        await self._own_turn()
        with self._talking():
            try:
                if not blocks.unread:
                    for block in blocks.inside(self):
                        await block._talk(2)
                blocks.failed = False
            except BaseException:
                blocks.doomed = True
                raise
            finally:
                blocks.ended(self)

    async def _own_turn(self) -> None:
        """The lock for the end of this block; who is cancelled while it waits for that leaves a transaction of which
        nothing may be kept."""
        blocks = self._blocks
        if self._finalized:
            raise TransactionManagementError(OVER)
        try:
            await blocks.turn(self, to_end=True)
        except TransactionManagementError:
            raise
        except BaseException:
            blocks.doomed = True
            blocks.ended(self)
            raise

    release_savepoint = commit
    savepoint_rollback = rollback

    async def _undo(self) -> None:
        """Roll back what cannot be kept; the error that is on its way says more than another one."""
        blocks = self._blocks
        if not blocks.unread:
            with contextlib.suppress(Exception):
                for block in blocks.inside(self):
                    await block._talk(2)
            blocks.failed = False

    async def _aborted(self) -> bool:
        """Whether the server has given the transaction up, so that it would answer a commit with a rollback."""
        return False

    async def finish(self, failed: bool) -> None:
        """What the end of ``async with`` does."""
        if not self._finalized:
            await (self.rollback() if failed else self.commit())


class InPieces(Block):
    """MySQL's drivers."""

    reads_in_pieces = True


class ByAsyncpg(Block):
    """A nested block is begun and ended by the same methods there."""

    verbs = (Block.verbs[0], Block.verbs[0])

    async def _aborted(self) -> bool:
        from asyncpg import InFailedSQLTransactionError

        if self._blocks.failed:
            try:
                await self._connection.execute("SELECT 1")
            except InFailedSQLTransactionError:
                return True
        return False


class ByPsycopg(ByAsyncpg):
    """The driver knows the transaction's state."""

    async def _aborted(self) -> bool:
        from psycopg.pq import TransactionStatus

        return bool(self._connection.info.transaction_status == TransactionStatus.INERROR)


def _forget(token: Any) -> None:
    """Back to the connection before, in the context that entered the block; another one never knew of it."""
    with contextlib.suppress(ValueError):
        get_connections().reset(token)


class Context:
    """What a context of Tortoise's gets in front of its own methods: its block is the current connection from its begin
    to its end, and what was taken for it is given back however that comes out."""

    begins = "begin"
    connection_name: str
    block: Any
    token: Any

    async def _take(self) -> Any:
        """The block, with the connection that it needs."""
        raise NotImplementedError

    async def _give_back(self) -> None:
        """Undo ``_take``; the block is over, or was never begun."""

    async def __aenter__(self) -> Any:
        block = self.block = await self._take()
        try:
            await getattr(block, self.begins)()
        except BaseException:
            await self._give_back()
            raise
        self.token = get_connections().set(self.connection_name, block)
        return block

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        try:
            await self.block.finish(exc_type is not None)
        finally:
            _forget(self.token)
            await self._give_back()


class Nested(Context, base.NestedTransactionContext):
    """Of a nested block: what is asked in it goes through it."""

    begins = "savepoint"

    async def _take(self) -> Any:
        return self.client


class Pooled(Context, base.TransactionContextPooled):
    """Of an outermost block on a connection of a pool."""

    async def _take(self) -> Any:
        await self.ensure_connection()
        self.client._connection = await self.client._parent._pool.acquire()
        return self.client

    async def _give_back(self) -> None:
        client: Any = self.client
        if client._blocks.unread:
            client._connection.close()
        if client._parent._pool:
            await client._parent._pool.release(client._connection)


def _on_file(context: type) -> type:
    """Of an outermost block on SQLite's one connection."""

    class OnFile(Context, context):
        async def _take(self) -> Any:
            await self._trxlock.acquire()
            try:
                await self.ensure_connection()
            except BaseException:
                self._trxlock.release()
                raise
            return self.connection

        async def _give_back(self) -> None:
            blocks = self.connection._blocks
            try:
                if blocks.failed or blocks.doomed:
                    with contextlib.suppress(Exception):
                        # A statement whose caller was cancelled is run all the same, before this one.
                        await self.connection._connection.rollback()
            finally:
                self._trxlock.release()

    return OnFile


# Tortoise's modules, the names of their wrappers, and what these get in front.
PLACES = (
    ("tortoise.backends.sqlite.client", "SqliteTransactionWrapper", Block),
    ("tortoise.backends.asyncpg.client", "TransactionWrapper", ByAsyncpg),
    ("tortoise.backends.psycopg.client", "TransactionWrapper", ByPsycopg),
    ("tortoise.backends.mysql.client", "TransactionWrapper", InPieces),
)
_applied: list[str] = []


def apply(candidate: str) -> None:
    """Put a candidate into the place of Tortoise's own classes, in this process for good. Raises KeyError."""
    if candidate not in NAMES or (_applied and _applied != [candidate]):
        raise KeyError(f"{candidate} cannot be put in place: there are {', '.join(NAMES)}, one for a process")
    if _applied:
        return
    _applied.append(candidate)
    for place, name, block in PLACES:
        try:
            module: Any = importlib.import_module(place)
        except ImportError:  # its driver is not installed
            continue
        made = type(name, (block, getattr(module, name)), {"candidate": candidate, "__module__": place})
        setattr(module, name, made)
        for context, ours in (("NestedTransactionContext", Nested), ("TransactionContextPooled", Pooled)):
            if hasattr(module, context):
                setattr(module, context, ours)
        if hasattr(module, "SqliteTransactionContext"):
            module.SqliteTransactionContext = _on_file(module.SqliteTransactionContext)
    vars(base).update(NestedTransactionContext=Nested, TransactionContextPooled=Pooled)
