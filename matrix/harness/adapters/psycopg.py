"""psycopg 3 with psycopg_pool. Its exception types are PEP 249's, below ``psycopg.Error``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
import psycopg_pool
from psycopg.rows import dict_row

from ..tls import CERTIFICATE
from ..witness import ENTRY, SEED, Address
from .base import CAPABILITIES, Adapter, login
from .states import POSTGRES

if TYPE_CHECKING:
    from ..world import World

# The modules that look at the machine's clock; which they are differs from release to release.
CLOCKS: list[Any] = [
    module for name, module in sys.modules.items() if name.startswith("psycopg") and hasattr(module, "monotonic")
]
CHECK: Any = getattr(psycopg_pool.AsyncConnectionPool, "check_connection", None)  # psycopg_pool 3.2 and newer
LACKING = {"ping", "query limit", "close limit", "undoing errors"}
REASONS: dict[str, str] = {}
if CHECK is None:
    LACKING.add("check")
    if "check_connection" in inspect.getsource(importlib.import_module("tortoise.backends.psycopg.client")):
        LACKING.add("tortoise")
        REASONS["tortoise"] = "this Tortoise's client cannot make a pool of psycopg_pool before 3.2: it names its check"


class PsycopgAdapter(Adapter):
    name = "psycopg"
    engine = "tortoise.backends.psycopg"
    capabilities = frozenset(CAPABILITIES) - LACKING
    reasons = REASONS
    pool_settings: ClassVar[dict[str, dict[str, Any]]] = {
        "check": {"check": CHECK},
        "recycling": {"max_idle": 60, "max_lifetime": 60},
        # Not in ``server_settings``: Tortoise replaces ``options`` there by its own.
        "lock limit": {"kwargs": {"autocommit": True, "row_factory": dict_row, "options": "-c lock_timeout=50"}},
        "serializable": {"server_settings": {"options": "-c default_transaction_isolation=serializable"}},
    }
    limit_settings: ClassVar[dict[str, str]] = {"connecting": "connect_timeout"}
    streams_in_transaction = True
    states = POSTGRES
    documented = (psycopg.Error,)
    aborted = (psycopg.errors.InFailedSqlTransaction,)
    settings: Mapping[str, Mapping[str, Any]] = {"unprepared": {"prepare_threshold": None}}
    change_setting, show_setting = "SET matrix.setting = {}", "SELECT current_setting('matrix.setting', true)"

    def _arguments(self, address: Address) -> dict[str, Any]:
        return {**login(address, "dbname"), **self._encryption()}

    def _encryption(self) -> dict[str, str]:
        ours = {"sslmode": "verify-full", "sslrootcert": str(CERTIFICATE)} if self.tls else {"sslmode": "disable"}
        return {**ours, "gssencmode": "disable"}

    async def connect(self, address: Address, **limits: float) -> Any:
        own = {**self._arguments(address), **self.limits(limits), **self.chosen}
        return await psycopg.AsyncConnection.connect(autocommit=True, **own)

    async def close(self, connection: Any) -> None:
        await connection.close()

    async def read(self, connection: Any, nonce: str) -> str:
        cursor = await connection.execute(self.select, (nonce,))
        row = await cursor.fetchone()
        return row[0] if row else "no row"

    async def write(self, connection: Any, token: str) -> None:
        await connection.execute(self.insert, (token,))

    async def fail(self, connection: Any) -> None:
        await connection.execute(self.refused)

    async def script(self, connection: Any, text: str) -> None:
        await connection.execute(text)

    async def rows(self, connection: Any, nonces: Sequence[str], *, streamed: bool) -> AsyncIterator[str]:
        if not streamed:
            async with connection.cursor() as cursor:
                await cursor.execute(self.select_rows, nonces)
                async for row in cursor:
                    yield row[0]
            return
        async with connection.transaction(), connection.cursor(name="matrix") as cursor:
            cursor.itersize = 1
            await cursor.execute(self.select_rows, nonces)
            async for row in cursor:
                yield row[0]

    async def stream(self, connection: Any, nonces: Sequence[str]) -> AsyncIterator[str]:
        numbered = f"SELECT nonce, row_number() OVER (ORDER BY id) AS n FROM {SEED} WHERE nonce IN (%s, %s, %s)"
        failing = f"SELECT nonce FROM ({numbered}) AS each WHERE 1 / (2 - n) IS NOT NULL"  # at the second row
        async with connection.cursor() as cursor, contextlib.aclosing(cursor.stream(failing, nonces)) as rows:
            async for row in rows:
                yield row[0]

    async def write_many(self, connection: Any, tokens: Sequence[str]) -> None:
        async with connection.cursor() as cursor:
            await cursor.executemany(self.insert, [(token,) for token in tokens])

    async def copy_in(self, connection: Any, tokens: AsyncIterator[str]) -> None:
        async with connection.cursor() as cursor, cursor.copy(f"COPY {ENTRY} (token) FROM STDIN") as copy:
            async for token in tokens:
                await copy.write_row((token,))

    async def copy_out(self, connection: Any, nonces: Sequence[str], count: int) -> AsyncIterator[str]:
        async with connection.cursor() as cursor, cursor.copy(f"COPY ({self.select_rows}) TO STDOUT", nonces) as copy:
            async for row in copy.rows():
                yield row[0]
                count -= 1
                if not count:
                    break

    async def listen(self, connection: Any, channel: str) -> Any:
        await connection.execute(f"LISTEN {channel}")
        return connection

    async def hear(self, listening: Any, count: int) -> list[str]:
        heard: list[str] = []
        async with contextlib.aclosing(listening.notifies()) as notifies:
            async for notify in notifies:
                heard.append(notify.payload)
                if len(heard) == count:
                    break
        return heard

    def pipeline(self, connection: Any) -> contextlib.AbstractAsyncContextManager[Any]:
        return connection.pipeline()

    async def setting(self, connection: Any, question: str) -> str:
        cursor = await connection.execute(question)
        return (await cursor.fetchone())[0] or "unset"

    async def switch_autocommit_off(self, connection: Any) -> None:
        await connection.set_autocommit(False)

    async def begin(self, connection: Any) -> Any:
        transaction = connection.transaction()
        await transaction.__aenter__()
        return transaction

    async def commit(self, connection: Any, state: Any) -> None:
        await (state.__aexit__(None, None, None) if state else connection.commit())

    async def rollback(self, connection: Any, state: Any) -> None:
        await (state.__aexit__(psycopg.Rollback, psycopg.Rollback(), None) if state else connection.rollback())

    async def create_pool(self, address: Address, size: int, *, autocommit: bool = True) -> Any:
        conninfo = psycopg.conninfo.make_conninfo(**self._arguments(address))
        pool = psycopg_pool.AsyncConnectionPool(
            conninfo, min_size=1, max_size=size, kwargs={"autocommit": autocommit, **self.chosen}, open=False
        )
        await pool.open(wait=True)
        return pool

    async def acquire(self, pool: Any) -> Any:
        return await pool.getconn()

    async def release(self, pool: Any, connection: Any) -> None:
        await pool.putconn(connection)

    async def close_pool(self, pool: Any) -> None:
        await pool.close()

    def install(self, world: World) -> None:
        """Let its timers, which look at the machine's clock, go by the program's. Up to 3.1 a cancelled task
        sends its cancel request in a call that blocks the loop, where the gate runs."""
        for module in CLOCKS:
            module.monotonic = world.loop.time
        blocking = getattr(psycopg.AsyncConnection, "_try_cancel", None)
        if blocking is None or inspect.iscoroutinefunction(blocking):
            return

        def try_cancel(_: Any, *arguments: Any) -> Any:
            with contextlib.ExitStack() as stack:
                for gate in world.gates:
                    stack.enter_context(gate.beside_the_loop())
                return blocking(*arguments)

        connection: Any = psycopg.AsyncConnection
        connection._try_cancel = classmethod(try_cancel)
        self._patched = True

    _patched = False

    def remove(self) -> None:
        for module in CLOCKS:
            module.monotonic = time.monotonic
        if self._patched:
            connection: Any = psycopg.AsyncConnection
            del connection._try_cancel
            self._patched = False

    def credentials(self, address: Address, size: int) -> dict[str, Any]:
        # Tortoise passes ``server_settings`` into the connection string.
        own = {"kwargs": {"autocommit": True, "row_factory": dict_row, **self.chosen}} if self.chosen else {}
        return {**super().credentials(address, size), "server_settings": self._encryption(), **own}


ADAPTER = PsycopgAdapter()
