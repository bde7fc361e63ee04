"""Drivers whose cursors are PEP 249's, awaited and left as context managers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import Adapter


class CursorAdapter(Adapter):
    """What is asked by a cursor of its own each time, and a pool that closes in two steps."""

    async def _execute(self, connection: Any, statement: str, *parameters: Any) -> None:
        async with connection.cursor() as cursor:
            await cursor.execute(statement, *parameters)

    async def read(self, connection: Any, nonce: str) -> str:
        async with connection.cursor() as cursor:
            await cursor.execute(self.select, (nonce,))
            row = await cursor.fetchone()
            return row[0] if row else "no row"

    async def write(self, connection: Any, token: str) -> None:
        await self._execute(connection, self.insert, (token,))

    async def write_many(self, connection: Any, tokens: Sequence[str]) -> None:
        async with connection.cursor() as cursor:
            await cursor.executemany(self.insert, [(token,) for token in tokens])

    async def fail(self, connection: Any) -> None:
        await self._execute(connection, self.refused)

    async def script(self, connection: Any, text: str) -> None:
        await self._execute(connection, text)

    async def setting(self, connection: Any, question: str) -> str:
        async with connection.cursor() as cursor:
            await cursor.execute(question)
            return str((await cursor.fetchone())[0] or "unset")

    async def acquire(self, pool: Any) -> Any:
        return await pool.acquire()

    async def close_pool(self, pool: Any) -> None:
        pool.close()
        await pool.wait_closed()
