"""A Tortoise backend with a pool and no server: each connection is an SQLite database of its own, in memory. Statements
and savepoints are real; what is stored is gone with its connection. It shows the guard how Tortoise's pooled clients
behave, which its SQLite client, with one connection for everybody, does not."""

from __future__ import annotations

import inspect
from typing import Any

import aiosqlite
from tortoise.backends.base.client import PoolConnectionWrapper, TransactionContextPooled
from tortoise.backends.sqlite.client import SqliteClient, SqliteTransactionWrapper

TABLE = "CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, text TEXT NOT NULL)"


class Pool:
    def __init__(self) -> None:
        self.free: list[Any] = []
        self.all: list[Any] = []

    async def acquire(self) -> Any:
        if self.free:
            return self.free.pop()
        connection = await aiosqlite.connect(":memory:", isolation_level=None)
        self.all.append(connection)
        connection._conn.row_factory = aiosqlite.Row
        await connection.execute(TABLE)
        return connection

    async def release(self, connection: Any) -> None:
        self.free.append(connection)


def made(kind: Any, client: Any, lock: Any) -> Any:
    """A context of the pool; since 0.25 it is given the lock under which the pool is made."""
    return kind(client, lock) if "pool_init_lock" in inspect.signature(kind).parameters else kind(client)


class PooledClient(SqliteClient):
    _pool: Pool | None = None

    async def create_connection(self, with_db: bool) -> None:
        self._pool = Pool()
        if hasattr(self, "_post_connect"):
            await self._post_connect()

    async def close(self) -> None:
        for connection in self._pool.all if self._pool else ():
            await connection.close()
        self._pool = None

    def acquire_connection(self) -> Any:
        return made(PoolConnectionWrapper, self, self._lock)

    def _in_transaction(self) -> Any:
        return made(TransactionContextPooled, SqliteTransactionWrapper(self), self._lock)


client_class = PooledClient
