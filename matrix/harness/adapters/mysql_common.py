"""What aiomysql and asyncmy have in common: asyncmy offers aiomysql's calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar

from ..witness import Address
from .base import CAPABILITIES, login
from .cursors import CursorAdapter
from .states import MYSQL


class MySQLAdapter(CursorAdapter):
    """``module`` is the driver's package: ``connect``, ``create_pool``, cursors as context managers."""

    engine = "tortoise.backends.mysql"
    capabilities = frozenset(CAPABILITIES) - {
        "queue",
        "deferred constraints",
        "query limit",
        "close limit",
        "check",
        "copy",
        "copied rows",
        "stream",
        "notifications",
        "pipeline",
        "serialization",
        "undoing errors",
    }
    pool_settings: ClassVar[dict[str, dict[str, Any]]] = {
        "recycling": {"pool_recycle": 60},
        "lock limit": {"init_command": "SET SESSION innodb_lock_wait_timeout = 1"},
        "serializable": {"init_command": MYSQL["isolation level"][0]},
    }
    limit_settings: ClassVar[dict[str, str]] = {"connecting": "connect_timeout"}
    change_setting, show_setting = "SET @matrix_setting = {}", "SELECT @matrix_setting"
    states = MYSQL
    cursors: Any
    # The server's own word for an answer out of turn: the driver lost count of its packets.
    internal_texts = ("Packet sequence number wrong",)
    module: Any

    def _arguments(self, address: Address) -> dict[str, Any]:
        return {**login(address, "db"), "autocommit": True, **self._encryption()}

    def _encryption(self) -> dict[str, Any]:
        return {"ssl": self.tls} if self.tls else {}

    def credentials(self, address: Address, size: int) -> dict[str, Any]:
        return {**super().credentials(address, size), **self._encryption()}

    def server_code(self, error: BaseException) -> int | None:
        code = error.args[0] if isinstance(error, self.documented) and error.args else None
        return code if isinstance(code, int) else None

    async def connect(self, address: Address, **limits: float) -> Any:
        return await self.module.connect(**self._arguments(address), **self.limits(limits))

    async def close(self, connection: Any) -> None:
        await connection.ensure_closed()

    async def ping(self, connection: Any) -> None:
        await connection.ping()

    async def rows(self, connection: Any, nonces: Sequence[str], *, streamed: bool) -> AsyncIterator[str]:
        async with connection.cursor(self.cursors.SSCursor if streamed else self.cursors.Cursor) as cursor:
            await cursor.execute(self.select_rows, nonces)
            while row := await cursor.fetchone():
                yield row[0]

    async def switch_autocommit_off(self, connection: Any) -> None:
        await connection.autocommit(False)

    async def begin(self, connection: Any) -> None:
        await connection.begin()

    async def commit(self, connection: Any, state: Any) -> None:
        await connection.commit()

    async def rollback(self, connection: Any, state: Any) -> None:
        await connection.rollback()

    async def create_pool(self, address: Address, size: int, *, autocommit: bool = True) -> Any:
        arguments = {**self._arguments(address), "autocommit": autocommit}
        return await self.module.create_pool(minsize=1, maxsize=size, **arguments)

    async def release(self, pool: Any, connection: Any) -> None:
        done = pool.release(connection)
        if done is not None:
            await done
