"""Miniatures that are each wrong in one way about time limits and about networks that fall silent."""

from __future__ import annotations

import asyncio
from typing import Any

from .database import Answer
from .driver import Connection, Pool, Queueing


class WaitsOutCancellation(Queueing):
    """Who is cancelled hears of it only behind the answer, which a silent network never brings."""

    expects = ("liveness", "hangs")

    class connection_type(Connection):
        patience: float | None = None

        async def ask(self, statement: str) -> Answer:
            asker = self.send(statement)
            asker.add_done_callback(lambda asked: asked.cancelled() or asked.exception())  # nobody else may
            try:
                return self.read(await asyncio.shield(asker))
            except asyncio.CancelledError:
                await asyncio.wait([asker], timeout=self.patience)
                raise


class CancelsInTenSeconds(Queueing):
    """Who is cancelled hears of it when ten seconds have brought no answer, with a limit of a second as well."""

    expects = ("timeliness", "breaks")

    class connection_type(WaitsOutCancellation.connection_type):
        patience = 10.0


class ConnectsUnderOneLock(Queueing):
    """Its pool gives and takes nothing while it connects: one connect that stalls freezes everybody."""

    expects = ("timeliness", "breaks")
    bound = 16

    class pool_type(Pool):
        def __init__(self, driver: Any, size: int) -> None:
            super().__init__(driver, size)
            self.lock = asyncio.Lock()

        async def make(self) -> Connection:
            async with self.lock:
                return await super().make()

        async def release(self, connection: Connection) -> None:
            async with self.lock:
                await super().release(connection)


class KeepsSilentConnections(Queueing):
    """Hands a connection on whose last question was never answered, for ever."""

    expects = ("liveness", "hangs")
    bound = 16

    class connection_type(Connection):
        def give_up(self, asker: asyncio.Future[Answer]) -> None:
            """It will come."""

        def unsure(self) -> bool:
            return False


class WaitsForTheLastAnswer(Queueing):
    """Takes a connection back behind the last answer only, so that a silent one's place in the pool is lost."""

    expects = ("liveness", "hangs")
    bound = 16

    class connection_type(Connection):
        def give_up(self, asker: asyncio.Future[Answer]) -> None:
            """It will come."""


class ForgetsItsLimit(Queueing):
    """Takes a limit for what is asked, and keeps it for connecting alone."""

    expects = ("liveness", "hangs")

    async def connect(self, address: Any, **limits: float) -> Connection:
        connection = await super().connect(address, **limits)
        connection.limit = None
        return connection


class MeasuresFromTheLastByte(Queueing):
    """Its limit for what is asked is over twice: once for the answer, and again until it says so."""

    expects = ("timeliness", "breaks")

    class connection_type(Connection):
        async def ask(self, statement: str) -> Answer:
            try:
                return await super().ask(statement)
            except Exception:
                if self.limit:
                    await asyncio.sleep(self.limit)
                raise
