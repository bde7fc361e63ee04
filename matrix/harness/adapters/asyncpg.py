"""asyncpg. Its exception types: PostgresError for the server's, InterfaceError for "improper use of asyncpg API"."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

import asyncpg

from ..witness import ENTRY, SEED, Address
from .base import CAPABILITIES, Adapter, login
from .states import POSTGRES


class UniqueNames(asyncpg.Connection):
    """As it is copied for PgBouncer (https://github.com/sqlalchemy/sqlalchemy/pull/9607): each prepared statement has a
    name of its own."""

    def _get_unique_id(self, prefix: str) -> str:
        return f"__asyncpg_{prefix}_{uuid.uuid4()}__"


class AsyncpgAdapter(Adapter):
    name = "asyncpg"
    engine = "tortoise.backends.asyncpg"
    streams_in_transaction = True
    pool_settings: ClassVar[dict[str, dict[str, Any]]] = {
        "query limit": {"command_timeout": 1},
        "lock limit": {"server_settings": {"lock_timeout": "50"}},
        "serializable": {"server_settings": {"default_transaction_isolation": "serializable"}},
        "recycling": {"max_inactive_connection_lifetime": 60},
    }
    limit_settings: ClassVar[dict[str, str]] = {"connecting": "timeout", "asking": "command_timeout"}
    documented = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncio.TimeoutError)  # of its own limits
    aborted = (asyncpg.InFailedSQLTransactionError,)
    internal_types = (asyncpg.ProtocolViolationError,)
    select = Adapter.select.replace("%s", "$1")
    insert = Adapter.insert.replace("%s", "$1")
    select_rows = f"SELECT nonce FROM {SEED} WHERE nonce = ANY($1::text[]) ORDER BY id"
    capabilities = frozenset(CAPABILITIES) - {
        "queue",
        "ping",
        "check",
        "no autocommit",
        "switched autocommit",
        "copied rows",
        "stream",
        "pipeline",
        "undoing errors",
    }
    states = POSTGRES
    settings: Mapping[str, Mapping[str, Any]] = {
        "unprepared": {"statement_cache_size": 0},
        "uniquenames": {"statement_cache_size": 0, "connection_class": UniqueNames},
    }
    change_setting, show_setting = "SET matrix.setting = {}", "SELECT current_setting('matrix.setting', true)"

    def _arguments(self, address: Address) -> dict[str, Any]:
        return {**login(address), "ssl": self.tls or False, **self.chosen}

    async def connect(self, address: Address, **limits: float) -> Any:
        return await asyncpg.connect(**self._arguments(address), **self.limits(limits))

    async def close_within(self, connection: Any, seconds: float) -> None:
        await connection.close(timeout=seconds)

    async def close(self, connection: Any) -> None:
        await connection.close()

    async def read(self, connection: Any, nonce: str) -> str:
        return await connection.fetchval(self.select, nonce)

    async def write(self, connection: Any, token: str) -> None:
        await connection.execute(self.insert, token)

    async def fail(self, connection: Any) -> None:
        await connection.fetchval(self.refused)

    async def script(self, connection: Any, text: str) -> None:
        await connection.execute(text)

    async def rows(self, connection: Any, nonces: Sequence[str], *, streamed: bool) -> AsyncIterator[str]:
        if not streamed:
            for row in await connection.fetch(self.select_rows, nonces):
                yield row[0]
            return
        async with connection.transaction():  # asyncpg has cursors in transactions only
            async for row in connection.cursor(self.select_rows, nonces, prefetch=1):
                yield row[0]

    async def write_many(self, connection: Any, tokens: Sequence[str]) -> None:
        await connection.executemany(self.insert, [(token,) for token in tokens])

    async def copy_in(self, connection: Any, tokens: AsyncIterator[str]) -> None:
        records = ((token,) async for token in tokens)
        await connection.copy_records_to_table(ENTRY, records=records, columns=["token"])

    async def listen(self, connection: Any, channel: str) -> Any:
        heard: asyncio.Queue[str] = asyncio.Queue()
        await connection.add_listener(channel, lambda _connection, _pid, _channel, payload: heard.put_nowait(payload))
        return heard

    async def hear(self, listening: Any, count: int) -> list[str]:
        return [await listening.get() for _ in range(count)]

    async def setting(self, connection: Any, question: str) -> str:
        return await connection.fetchval(question) or "unset"

    def identity(self, connection: Any) -> Any:
        return connection.get_server_pid()

    async def begin(self, connection: Any) -> Any:
        transaction = connection.transaction()
        await transaction.start()
        return transaction

    async def commit(self, connection: Any, state: Any) -> None:
        await state.commit()

    async def rollback(self, connection: Any, state: Any) -> None:
        await state.rollback()

    async def create_pool(self, address: Address, size: int, *, autocommit: bool = True) -> Any:
        return await asyncpg.create_pool(min_size=1, max_size=size, **self._arguments(address))

    async def acquire(self, pool: Any) -> Any:
        return await pool.acquire()

    async def release(self, pool: Any, connection: Any) -> None:
        await pool.release(connection)

    async def close_pool(self, pool: Any) -> None:
        await pool.close()

    def credentials(self, address: Address, size: int) -> dict[str, Any]:
        return {**super().credentials(address, size), "ssl": self.tls or False, **self.chosen}


ADAPTER = AsyncpgAdapter()
