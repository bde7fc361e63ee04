"""Miniatures that are each wrong in one way about how a transaction can end early: connections that are lost or
replaced under it, servers that end it by themselves, commits that are refused or never answered, waits for one
another."""

from __future__ import annotations

import asyncio
from typing import Any

from .database import Answer, Refusal, ServerSession
from .driver import Aborted, Connection, DriverError, Pool, Queueing
from .orm import Orm, Transaction
from .wire import MiniatureWire


class Reconnecting(Connection):
    """Can get a new wire in the place of a lost one. What was open on the old one is gone."""

    async def reconnect(self) -> None:
        self.wire = type(self.wire)(self.wire.gate)
        self.wire.receive = self.receive
        self.closed = False
        await self.ask("LOGIN")


# -- the connection is replaced under an open transaction ------------------------------------------------------------


class ReconnectsInTransaction(Queueing):
    """Connects anew without a word where the connection is lost, also in the middle of a transaction."""

    expects = ("durability", "lies")
    bound = 16

    class connection_type(Reconnecting):
        async def execute(self, statement: str) -> Answer:
            if self.closed:
                await self.reconnect()
            return await super().execute(statement)

        async def end(self, statement: str) -> None:
            if self.closed:
                await self.reconnect()
                self.disown()
                return
            await super().end(statement)


class PingReconnectsInTransaction(Queueing):
    """Connects anew when it is asked whether the connection is alive, and says that it is, in a transaction too."""

    expects = ("durability", "lies")
    bound = 16

    class connection_type(Reconnecting):
        async def ping(self) -> None:
            if self.closed:
                await self.reconnect()
            await super().ping()

        async def end(self, statement: str) -> None:
            if self.wire.server.open or self.closed:
                await super().end(statement)
            else:
                self.disown()  # nothing is open any more, so there seems to be nothing to end


class RepeatsOnAnotherConnection(Queueing):
    """Sends a transaction's statement once more on another connection of the pool where its own is lost."""

    expects = ("atomicity", "lies")
    bound = 16

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            try:
                return await super().execute(statement)
            except DriverError:
                if not self.connection.closed or self.parent is not None:
                    raise
            self.source.give(self.connection)
            self.connection = await self.source.acquire()
            return await self.connection.ask(statement)


class TakesLossForSuccess(Queueing):
    """Takes the end of the connection for the answer to a commit."""

    expects = ("durability", "lies")
    bound = 16

    class connection_type(Connection):
        async def end(self, statement: str) -> None:
            try:
                await super().end(statement)
            except DriverError:
                if not self.closed or statement != "COMMIT":
                    raise


class StoresHalfOnLoss(Queueing):
    """Its server stores what it has of a transaction when the connection ends."""

    expects = ("atomicity", "lies")
    bound = 16

    class wire_type(MiniatureWire):
        class server_type(ServerSession):
            def end(self) -> None:
                if self.uncommitted:
                    self._store()
                super().end()


# -- the server ends the transaction by itself -----------------------------------------------------------------------


class ScriptCommits(Queueing):
    """Commits the open transaction when a table is made, and goes on as if nothing had been."""

    expects = ("atomicity", "lies")

    class wire_type(MiniatureWire):
        class server_type(ServerSession):
            def _create(self, table: str) -> Answer:
                self._store()
                return super()._create(table)


class HidesTheDeadlock(Queueing):
    """Its server undoes the whole transaction with some errors, such as a deadlock's; the client goes on in it as if
    only the statement, or the inner block, had failed."""

    expects = ("durability", "lies")
    bound = 6

    class wire_type(MiniatureWire):
        class server_type(ServerSession):
            def undone(self, error: str) -> Answer:
                answer = super().undone(error)
                self.open = self.failed = False
                return answer

            def _commit(self, rest: str) -> Answer:
                return super()._commit(rest) if self.open else Answer("COMMIT")

            def _rollback(self, rest: str) -> Answer:
                return super()._rollback(rest) if self.open else Answer("ROLLBACK")


# -- the commit is refused -------------------------------------------------------------------------------------------


class KeepsRefusedTransactionOpen(Queueing):
    """Its server leaves the transaction open whose commit it refuses, and the client gives the connection back so."""

    expects = ("containment", "lies")

    class wire_type(MiniatureWire):
        class server_type(ServerSession):
            def _commit(self, rest: str) -> Answer:
                if self.orphaned:
                    raise Refusal("a row is there whose parent is not")
                return super()._commit(rest)

            def execute(self, statement: str) -> Answer | None:
                answer = super().execute(statement)
                if self.orphaned:
                    self.failed = False  # it takes statements still
                return answer

    class transaction_type(Transaction):
        async def commit(self) -> None:
            self.end_sent = True
            await self.connection.ask("COMMIT" if self.parent is None else f"RELEASE {self.savepoint}")


class SwallowsRefusedCommit(Queueing):
    """Says that a transaction is committed whose commit the server has refused."""

    expects = ("durability", "lies")

    class transaction_type(Transaction):
        async def commit(self) -> None:
            try:
                await super().commit()
            except Aborted:
                raise
            except DriverError:
                if self.connection.closed:
                    raise


# -- waiting for one another -----------------------------------------------------------------------------------------


class WaitsForEverForTheTurn(Queueing):
    """Lets nobody into a transaction while a nested block is open, however long that waits for who wants in."""

    expects = ("liveness", "hangs")

    class transaction_type(Transaction):
        patience = None


# -- the same task goes on -------------------------------------------------------------------------------------------


class CancelledBlocksStayCurrent(Queueing):
    """Leaves a block current whose task was cancelled in it, and refuses what that asks from then on."""

    expects = ("loudness", "breaks")

    class transaction_type(Transaction):
        async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
            await super().__aexit__(kind, error, trace)
            if isinstance(error, asyncio.CancelledError):
                self.orm.current[self.alias].set(self)

    class orm_type(Orm):
        def transaction(self, alias: str) -> Transaction | None:
            return self.current[alias].get()


class LeaksWhenCancelledAgain(Queueing):
    """Rolls back when its task is cancelled, and forgets its connection where it is cancelled once more meanwhile."""

    expects = ("liveness", "hangs")

    class transaction_type(Transaction):
        async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
            if self.parent is None and isinstance(error, asyncio.CancelledError):
                self.restore()
                await self.rollback()
                self.leave()
                return
            await super().__aexit__(kind, error, trace)


# -- pools -----------------------------------------------------------------------------------------------------------


class PoolBeyondItsSize(Queueing):
    """Opens one connection more than the pool's size."""

    expects = ("recovery", "breaks")

    class pool_type(Pool):
        async def find(self) -> Connection:
            if not self.idle and self.made == self.size:
                return await self.make()
            return await super().find()


class ClosingLeavesSessions(Queueing):
    """Forgets the pool's idle connections when it is closed, and does not close them."""

    expects = ("recovery", "breaks")

    class pool_type(Pool):
        def close(self) -> None:
            self.idle.clear()
            super().close()


class WaitersOfDeadConnections(Queueing):
    """Tells nobody who waits that a connection was given back dead, and that there is room for another."""

    expects = ("liveness", "hangs")
    bound = 8

    class pool_type(Pool):
        def give(self, connection: Connection) -> None:
            if not connection.closed or self.closed:
                super().give(connection)
            else:
                self.lent.pop(connection, None)
                self.made -= 1


class FailedConnectKeepsWaiters(Queueing):
    """Tells nobody who waits that a connection could not be opened, and that the next may try."""

    expects = ("liveness", "hangs")
    bound = 24

    class pool_type(Pool):
        async def make(self) -> Connection:
            self.made += 1
            try:
                return await self.driver.open()
            except BaseException:
                self.made -= 1
                raise
