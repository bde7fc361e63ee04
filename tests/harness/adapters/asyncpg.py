"""asyncpg. Its exception types: PostgresError for the server's, InterfaceError for "improper use of asyncpg API"."""

from __future__ import annotations

from typing import Any

import asyncpg

from ..witness import Address
from .base import Adapter


class AsyncpgAdapter(Adapter):
    name = "asyncpg"
    engine = "tortoise.backends.asyncpg"
    documented = (asyncpg.PostgresError, asyncpg.InterfaceError)
    aborted = (asyncpg.InFailedSQLTransactionError,)
    internal_types = (asyncpg.ProtocolViolationError,)
    select = Adapter.select.replace("%s", "$1")
    insert = Adapter.insert.replace("%s", "$1")

    def _arguments(self, address: Address) -> dict[str, Any]:
        return {
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "password": address.password,
            "database": address.database,
            "ssl": False,
        }

    async def connect(self, address: Address) -> Any:
        return await asyncpg.connect(**self._arguments(address))

    async def close(self, connection: Any) -> None:
        await connection.close()

    async def read(self, connection: Any, nonce: str) -> str:
        return await connection.fetchval(self.select, nonce)

    async def write(self, connection: Any, token: str) -> None:
        await connection.execute(self.insert, token)

    async def fail(self, connection: Any) -> None:
        await connection.fetchval(self.refused)

    async def begin(self, connection: Any) -> Any:
        transaction = connection.transaction()
        await transaction.start()
        return transaction

    async def commit(self, connection: Any, state: Any) -> None:
        await state.commit()

    async def rollback(self, connection: Any, state: Any) -> None:
        await state.rollback()

    async def create_pool(self, address: Address, size: int) -> Any:
        return await asyncpg.create_pool(min_size=1, max_size=size, **self._arguments(address))

    async def acquire(self, pool: Any) -> Any:
        return await pool.acquire()

    async def release(self, pool: Any, connection: Any) -> None:
        await pool.release(connection)

    async def close_pool(self, pool: Any) -> None:
        await pool.close()

    def credentials(self, address: Address, size: int) -> dict[str, Any]:
        return {**super().credentials(address, size), "ssl": False}


ADAPTER = AsyncpgAdapter()
