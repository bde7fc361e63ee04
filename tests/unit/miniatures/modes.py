"""Miniatures that are each wrong in one way about what a session keeps, and about operations left half-way; and right
ones that go about it in an unusual way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from matrix.harness.history import UNSEEN

from .database import Answer, Refusal, ServerSession
from .driver import Aborted, Connection, DriverError, Pool, Queueing
from .orm import Orm, Transaction
from .wire import MiniatureWire


class KeepsTheRole(Queueing):
    """Sets back what it calls settings when a connection is given back, and leaves its user's role to the next."""

    expects = ("recovery", "poisons")

    class connection_type(Connection):
        def reset(self) -> None:
            self.changed = self.changed and self.wire.server.setting != "role"
            super().reset()


class LeavesAutocommitOff(Queueing):
    """Gives the next task a connection that the last one has switched autocommit off on."""

    expects = ("durability", "lies")

    class connection_type(Connection):
        def reset(self) -> None:
            self.switched = False
            super().reset()


class CommitsForgottenTransactions(Queueing):
    """Commits what is open on a connection when that is given back."""

    expects = ("atomicity", "lies")

    class connection_type(Connection):
        def reset(self) -> None:
            self.forget("COMMIT")
            super().reset()


# -- operations that are left or cancelled half-way ------------------------------------------------------------------


class LeftStreamsShiftAnswers(Queueing):
    """Asks for all rows of a streamed result ahead, and takes the next answer for another's when that is left early."""

    expects = ("routing", "lies")

    class connection_type(Connection):
        async def rows(self, nonces: Sequence[str], streamed: bool) -> AsyncIterator[str]:
            ahead = [self.send(f"SELECT {nonce}") for nonce in nonces]
            try:
                for answer in ahead:
                    yield self.read(await answer).value
            finally:
                for answer in (each for each in ahead if not each.done()):
                    self.waiting.remove(answer)
                    answer.cancel()


class LeftCopiesBlockTheConnection(Queueing):
    """Refuses what comes next when the rows of a COPY were left before their end."""

    expects = ("loudness", "breaks")
    blocked = False

    async def copy_out(self, connection: Connection, nonces: Sequence[str], count: int) -> AsyncIterator[str]:
        async for row in super().copy_out(connection, nonces, count):
            yield row
        self.blocked = count < len(nonces)

    async def read(self, connection: Connection, nonce: str) -> str:
        if self.blocked:
            raise DriverError("another command is under way")
        return await super().read(connection, nonce)


class HidesWhatALeftResultMeant(Queueing):
    """Takes a transaction for committed that the server has given up for an error in rows that nobody looked at."""

    expects = ("durability", "lies")
    left = False

    async def stream(self, connection: Connection, nonces: Sequence[str]) -> AsyncIterator[str]:
        self.left = True
        async for row in super().stream(connection, nonces):
            yield row

    async def commit(self, connection: Connection, state: Any) -> None:
        with contextlib.suppress(*[Aborted] * self.left):
            await super().commit(connection, state)


class KeepsACancelledBegin(Queueing):
    """Leaves the transaction open whose begin was cancelled, and lets the next task write in it."""

    expects = ("durability", "poisons")

    class connection_type(Connection):
        def begin_failed(self) -> None:
            self.disown()


class KeepsAnOldState(Queueing):
    """Shows the next user of a connection what its last one could have seen, where neither has ended a transaction."""

    expects = ("durability", "lies")

    def __init__(self) -> None:
        super().__init__()
        self.old: dict[Connection, frozenset[str]] = {}

    async def read(self, connection: Connection, nonce: str) -> str:
        self.old.setdefault(connection, frozenset(self.database.visible()))
        return await super().read(connection, nonce)

    async def setting(self, connection: Connection, question: str) -> str:
        told = await super().setting(connection, question)
        ending = question.partition("LIKE '%")[2].partition("'")[0]
        if ending and connection in self.old and not any(row.endswith(ending) for row in self.old[connection]):
            return UNSEEN
        return told


class FailedCopiesKeepRows(Queueing):
    """Stores each row of a COPY as it comes, and keeps those of a source that fails."""

    expects = ("atomicity", "lies")

    class connection_type(Connection):
        async def copy_in(self, source: AsyncIterator[str]) -> None:
            async for token in source:
                await self.execute(f"INSERT {token}")


class CancelledStreamsShowAnError(Queueing):
    """Shows who is cancelled while streamed rows are read an error of its own in the place of CancelledError."""

    expects = ("cancellation", "breaks")

    class connection_type(Connection):
        async def rows(self, nonces: Sequence[str], streamed: bool) -> AsyncIterator[str]:
            try:
                async for row in super().rows(nonces, streamed):
                    yield row
            except asyncio.CancelledError:
                if streamed:
                    raise DriverError("the connection was closed under the cursor") from None
                raise


class CancelledManyCommit(Queueing):
    """Commits what is open when an executemany is cancelled."""

    expects = ("atomicity", "lies")
    bound = 12

    class connection_type(Connection):
        async def write_many(self, tokens: Sequence[str]) -> None:
            try:
                await super().write_many(tokens)
            except asyncio.CancelledError:
                self.forget("COMMIT")
                raise


class RefusesAfterMigrations(Queueing):
    """Refuses a statement that it has prepared when the table has got a column more."""

    expects = ("loudness", "breaks")
    bound = 12

    class wire_type(MiniatureWire):
        class server_type(ServerSession):
            prepared = ""

            def _rows(self, table: str) -> Answer:
                changed = table in self.database.altered and self.prepared == "as it was"
                self.prepared = "as it is" if table in self.database.altered else "as it was"
                if changed:
                    raise Refusal("cached plan must not change result type")
                return super()._rows(table)


# -- modes that tasks share ------------------------------------------------------------------------------------------


class LosesNotificationsBesideAnswers(Queueing):
    """Throws away a notification that comes while an answer is due."""

    expects = ("liveness", "hangs")
    bound = 12

    class connection_type(Connection):
        def receive(self, answer: Answer | None) -> None:
            if answer is None or answer.tag != "NOTIFICATION" or not self.waiting:
                super().receive(answer)


class QueriesWaitForListeners(Queueing):
    """Lets nobody ask on a connection while a task waits for notifications on it."""

    expects = ("liveness", "hangs")

    class connection_type(Connection):
        def __init__(self, wire: MiniatureWire) -> None:
            super().__init__(wire)
            self.alone = asyncio.Lock()

        async def execute(self, statement: str) -> Answer:
            async with self.alone:
                return await super().execute(statement)

    async def hear(self, listening: Any, count: int) -> list[str]:
        async with listening.alone:
            return await super().hear(listening, count)


class EndedPipelinesFailOthers(Queueing):
    """Loses count of who else asks on a connection when the task that switched it to pipeline mode leaves that."""

    expects = ("loudness", "breaks")
    bound = 12

    @contextlib.asynccontextmanager
    async def pipeline(self, connection: Connection) -> AsyncIterator[None]:
        yield
        for asker in connection.waiting:
            asker.set_exception(AttributeError("'NoneType' object has no attribute 'fetch'"))


# -- transactions that others change the ground of --------------------------------------------------------------------


class LooksWithoutLocking(Queueing):
    """Lets two transactions each look at what the other changes, and commits both."""

    expects = ("containment", "lies")
    bound = 24

    class orm_type(Orm):
        async def view(self, name: str, db: Any) -> int:
            return int((await self.execute(f"COUNT {name}", db)).value)


class UndoesTheStatementAlone(Queueing):
    """Right, and unusual: where a wait for a lock took too long its server undoes that statement and no more, and goes
    on in the transaction, as InnoDB does."""

    class wire_type(MiniatureWire):
        class server_type(ServerSession):
            def _wait(self, statement: str, holder: ServerSession) -> Answer | None:
                answer = super()._wait(statement, holder)
                self.failed = self.failed and "too long" not in (answer.error if answer else "")
                return answer

            def _begin(self, rest: str) -> Answer:
                if self.open:  # which commits what is
                    self._commit(rest)
                return super()._begin(rest)


class TakesTimedOutForEnded(UndoesTheStatementAlone):
    """Takes a transaction for ended in which a wait for a lock took too long, of which its server undoes that statement
    alone: the next begin on its connection commits what it had written."""

    expects = ("atomicity", "lies")
    bound = 12

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            try:
                return await super().execute(statement)
            except DriverError as error:
                self.end_sent = self.end_sent or "too long" in str(error)
                raise


class SendsBeginToThePool(Queueing):
    """Sends a program's BEGIN and COMMIT on whatever connection of the pool is free, and takes them for statements."""

    expects = ("containment", "lies")
    bound = 12

    class orm_type(Orm):
        async def statement(self, text: str, db: Any) -> None:
            await self.execute(text, db)


class KeepsPoolsOfEndedLoops(Queueing):
    """Makes a pool for each event loop, and keeps those of loops that are no more."""

    expects = ("recovery", "breaks")

    class orm_type(Orm):
        async def pool(self, alias: str) -> Pool:
            return self.pools.setdefault(
                (alias, asyncio.get_running_loop()), self.driver.pool_type(self.driver, self.size)
            )


class ReplacesChangedConnections(Queueing):
    """Right, and unusual: takes no connection back whose session is not as a new one's, and opens another."""

    class pool_type(Pool):
        async def release(self, connection: Connection) -> None:
            if self.is_lent(connection) and (connection.changed or connection.switched or connection.wire.server.open):
                connection.close()
            await super().release(connection)


class ReadsLeftStreamsToTheirEnd(Queueing):
    """Right, and unusual: asks for all rows ahead, and reads what is left of a result when its reader has gone."""

    class connection_type(Connection):
        async def rows(self, nonces: Sequence[str], streamed: bool) -> AsyncIterator[str]:
            ahead = [self.send(f"SELECT {nonce}") for nonce in nonces]
            for answer in ahead:
                yield self.read(await answer).value


RIGHT_AND_UNUSUAL = (ReplacesChangedConnections, ReadsLeftStreamsToTheirEnd, UndoesTheStatementAlone)
