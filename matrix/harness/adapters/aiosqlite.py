"""aiosqlite: one thread and one queue per connection. Its exception types are sqlite3's."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiosqlite
import aiosqlite.core

from ..history import DOCUMENTED
from ..witness import Address
from .base import Adapter


class AiosqliteAdapter(Adapter):
    name = "aiosqlite"
    engine = "tortoise.backends.sqlite"
    capabilities = frozenset(
        {"connection", "server cursor", "queue", "tortoise", "deferred constraints", "undoing errors"}
    )
    documented = (sqlite3.Error,)
    select = Adapter.select.replace("%s", "?")
    insert = Adapter.insert.replace("%s", "?")
    select_rows = Adapter.select_rows.replace("%s", "?")

    def classify(self, error: BaseException) -> str:
        # "Connection objects now raise ValueError when closed and a command is executed (#79)", as its changelog says.
        closed = type(error) is ValueError and str(error) in ("Connection closed", "no active connection")
        return DOCUMENTED if closed else super().classify(error)

    def server_code(self, error: BaseException) -> int | None:
        return getattr(error, "sqlite_errorcode", None)  # Python 3.11 and newer

    async def connect(self, address: Address, **limits: float) -> Any:
        # The gate does SQLite's waiting for locks (workers.py): a statement is tried again until nothing else can
        # happen.
        return await aiosqlite.connect(address.file, isolation_level=None, timeout=0)

    async def close(self, connection: Any) -> None:
        await connection.close()

    async def read(self, connection: Any, nonce: str) -> str:
        async with connection.execute(self.select, (nonce,)) as cursor:
            row = await cursor.fetchone()
            return row[0] if row else "no row"

    async def write(self, connection: Any, token: str) -> None:
        await connection.execute(self.insert, (token,))

    async def setting(self, connection: Any, question: str) -> str:
        async with connection.execute(question) as cursor:
            return (await cursor.fetchone())[0] or "unset"

    async def write_many(self, connection: Any, tokens: Sequence[str]) -> None:
        await connection.executemany(self.insert, [(token,) for token in tokens])

    async def fail(self, connection: Any) -> None:
        await connection.execute(self.refused)

    async def script(self, connection: Any, text: str) -> None:
        await connection.executescript(text)

    async def rows(self, connection: Any, nonces: Sequence[str], *, streamed: bool) -> AsyncIterator[str]:
        if not streamed:
            for row in await connection.execute_fetchall(self.select_rows, nonces):
                yield row[0]
            return
        async with connection.execute(self.select_rows, nonces) as cursor:  # SQLite finds a row when it is asked for
            while row := await cursor.fetchone():
                yield row[0]

    async def begin(self, connection: Any) -> None:
        await connection.execute("BEGIN")

    async def commit(self, connection: Any, state: Any) -> None:
        await connection.commit()

    async def rollback(self, connection: Any, state: Any) -> None:
        await connection.rollback()

    def credentials(self, address: Address, size: int) -> dict[str, Any]:
        return {"file_path": address.file, "busy_timeout": 0}

    def install(self, world: Any) -> None:
        """Give aiosqlite a queue that counts and waits: its class is looked up for each connection."""
        core: Any = aiosqlite.core
        self._queue = "SimpleQueue" if hasattr(core, "SimpleQueue") else "Queue"  # aiosqlite 0.20 changed over
        self._original = getattr(core, self._queue)

        class Made:
            def __new__(cls, *_: Any) -> Any:
                return world.worker_gate.queue()

            def __class_getitem__(cls, item: Any) -> Any:
                return cls

        setattr(core, self._queue, Made)

    def remove(self) -> None:
        setattr(aiosqlite.core, self._queue, self._original)


ADAPTER = AiosqliteAdapter()
