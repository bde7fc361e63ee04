"""asyncodbc: pyodbc in the loop's thread pool. Its exception types are pyodbc's. Driver families only: Tortoise's ODBC
clients speak the dialects of SQL Server and Oracle."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncodbc
import pyodbc

from ..witness import Address
from .cursors import CursorAdapter
from .states import MYSQL, POSTGRES, SQLITE

# Where the ODBC drivers are: set by the cell before pyodbc is loaded (matrix.servers.odbc).
DRIVERS = {"postgres": "MATRIX_ODBC_POSTGRES", "mariadb": "MATRIX_ODBC_MARIADB", "sqlite": "MATRIX_ODBC_SQLITE"}
for variable in DRIVERS.values():
    # Loaded once, not in each child: the driver manager finds it there, and unloads none of them as it is.
    with contextlib.suppress(KeyError, OSError):
        ctypes.CDLL(os.environ[variable])
SETTINGS = {  # per database: change, show, what else a session keeps
    "postgres": ("SET matrix.setting = {}", "SELECT current_setting('matrix.setting', true)", POSTGRES),
    "mariadb": ("SET @matrix_setting = {}", "SELECT @matrix_setting", MYSQL),
    "sqlite": ("PRAGMA analysis_limit = {}", "PRAGMA analysis_limit", SQLITE),
}


class AsyncodbcAdapter(CursorAdapter):
    name = "asyncodbc"
    capabilities = frozenset({"connection", "pool", "server", "no autocommit"})
    documented = (pyodbc.Error,)
    isolated = True
    orders = 5  # each costs a process, on each of three databases
    steps = 250  # of a crowd's hundreds of steps each costs a look at every thread
    select = CursorAdapter.select.replace("%s", "?")
    insert = CursorAdapter.insert.replace("%s", "?")
    select_rows = CursorAdapter.select_rows.replace("%s", "?")

    def _dsn(self, address: Address) -> str:
        driver = f"Driver={os.environ[DRIVERS[address.kind]]};"
        if address.kind == "sqlite":
            return f"{driver}Database={address.file};Timeout=1;"  # milliseconds; by 0 it waits for a lock for ever
        login = f"Server={address.host};Port={address.port};Database={address.database};Uid={address.user};"
        return f"{driver}{login}Pwd={{{address.password}}};SSLMode=disable;"

    def server_code(self, error: BaseException) -> str | None:
        code = error.args[0] if isinstance(error, self.documented) and error.args else None
        return code if isinstance(code, str) else None

    async def connect(self, address: Address, **limits: float) -> Any:
        return await asyncodbc.connect(dsn=self._dsn(address), autocommit=True)

    async def close(self, connection: Any) -> None:
        await connection.close()

    async def rows(self, connection: Any, nonces: Sequence[str], *, streamed: bool) -> AsyncIterator[str]:
        async with connection.cursor() as cursor:
            await cursor.execute(self.select_rows, *nonces)
            while row := await cursor.fetchone():
                yield row[0]

    async def begin(self, connection: Any) -> str:
        await self._execute(connection, "BEGIN")
        return "BEGIN"

    async def commit(self, connection: Any, state: Any) -> None:
        await (self._execute(connection, "COMMIT") if state else connection.commit())

    async def rollback(self, connection: Any, state: Any) -> None:
        await (self._execute(connection, "ROLLBACK") if state else connection.rollback())

    async def create_pool(self, address: Address, size: int, *, autocommit: bool = True) -> Any:
        return await asyncodbc.create_pool(minsize=1, maxsize=size, dsn=self._dsn(address), autocommit=autocommit)

    async def release(self, pool: Any, connection: Any) -> None:
        await pool.release(connection)

    def install(self, world: Any) -> None:
        """Hold the results of the loop's thread pool too: which thread goes on first is then the schedule's choice.

        Over a socket a thread may wait inside the ODBC driver, for an answer or for another thread; SQLite computes.
        """
        kind = world.address().kind
        self.change_setting, self.show_setting, self.states = SETTINGS[kind]
        exact = kind == "sqlite"
        channel = world.worker_gate.channel("thread pool", serial=False, exact=exact)
        world.loop.workers.wrap_job = lambda function, arguments: channel.wrap(function, count=True)


ADAPTER = AsyncodbcAdapter()
