"""Miniatures that are each wrong in exactly one way; ``expects`` names the property and the verdict of it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from matrix.harness.history import CREATED, FOUND, IGNORED, SEEN

from . import edges, limits, losses, modes
from .database import Answer
from .driver import Aborted, Connection, DriverError, Miniature, Pool, Queueing, Refusing, RefusingConnection
from .orm import Counter, Orm, Plain, RefusingTransaction, Transaction
from .wire import MiniatureWire

Asker = asyncio.Future[Answer]

# -- answers ---------------------------------------------------------------------------------------------------------


class AnswersInWrongOrder(Queueing):
    """Gives each answer to the task that asked last."""

    expects = ("routing", "lies")

    class connection_type(Connection):
        def asker(self, answer: Answer) -> Asker:
            return self.waiting.pop()


class LeavesAnswerOnWire(Queueing):
    """Forgets a cancelled question but not its answer, which goes to whoever asks next."""

    expects = ("routing", "poisons")

    class connection_type(Connection):
        async def ask(self, statement: str) -> Answer:
            asker = self.send(statement)
            try:
                return self.read(await asker)
            except asyncio.CancelledError:
                self.waiting.remove(asker)
                raise


class ErrorToWrongAsker(Queueing):
    """Shows a refusal of the server to the task that asked last instead of the one that caused it."""

    expects = ("routing", "lies")

    class connection_type(Connection):
        def asker(self, answer: Answer) -> Asker:
            return self.waiting.pop() if answer.error else super().asker(answer)


class ErrorToEverybody(Queueing):
    """Shows a refusal of the server to every task that waits on the connection."""

    expects = ("routing", "lies")

    class connection_type(Connection):
        def receive(self, answer: Answer | None) -> None:
            super().receive(answer)
            for asker in self.waiting if answer is not None and answer.error else ():
                if not asker.done():
                    asker.set_exception(DriverError(answer.error))


class SwallowsServerErrors(Queueing):
    """Reports success for a statement that the server refused."""

    expects = ("routing", "lies")

    class connection_type(Connection):
        def read(self, answer: Answer) -> Answer:
            return answer


class HangsOnErrors(Queueing):
    """Loses a refusal of the server: its asker waits for ever."""

    expects = ("liveness", "hangs")

    class connection_type(Connection):
        def receive(self, answer: Answer | None) -> None:
            if answer is not None and answer.error:
                self.waiting.popleft()
            else:
                super().receive(answer)


class PollsForLostErrors(Queueing):
    """Loses a refusal of the server, and looks for it again every tenth of a second, for ever."""

    expects = ("liveness", "hangs")

    class connection_type(Connection):
        async def ask(self, statement: str) -> Answer:
            answer = await self.send(statement)
            while answer.error:  # noqa: ASYNC110 - that is its fault
                await asyncio.sleep(0.1)
            return answer


class UnusableAfterErrors(Queueing):
    """Serves nobody any more after a refusal of the server."""

    expects = ("recovery", "breaks")

    class connection_type(Connection):
        spent = False

        def read(self, answer: Answer) -> Answer:
            if self.spent:
                raise DriverError("the connection is in an error state")
            self.spent = bool(answer.error)
            return super().read(answer)


class ComplainsToTheLoop(Queueing):
    """Leaves an exception in a callback, where only the event loop sees it."""

    expects = ("loudness", "breaks")

    class connection_type(Connection):
        def receive(self, answer: Answer | None) -> None:
            super().receive(answer)
            if answer is not None and answer.error:
                raise AttributeError("'NoneType' object has no attribute 'error'")


class CutsResultShort(Queueing):
    """Ends a result when somebody else asks for something in the middle of it."""

    expects = ("routing", "lies")
    bound = 8

    class connection_type(Connection):
        asked = 0

        async def execute(self, statement: str) -> Answer:
            self.asked += 1
            return await super().execute(statement)

        async def rows(self, nonces: Sequence[str], streamed: bool) -> AsyncIterator[str]:
            async for value in super().rows(nonces, streamed):
                asked = self.asked
                yield value
                if self.asked != asked:
                    return


class ForgetsWaitersOnClose(Queueing):
    """Closes the connection without a word to those who wait for an answer on it."""

    expects = ("liveness", "hangs")

    class connection_type(Connection):
        def close(self) -> None:
            self.waiting.clear()
            super().close()


# -- overlap ---------------------------------------------------------------------------------------------------------


class RuntimeErrorOnOverlap(Refusing):
    """Refuses overlap with a bare RuntimeError."""

    expects = ("loudness", "breaks")

    class connection_type(RefusingConnection):
        def refusal(self) -> Exception:
            return RuntimeError("readexactly() called while another coroutine is already waiting for incoming data")


class RefusesAfterCancellation(Refusing):
    """Thinks for ever that a cancelled operation is still under way, and refuses all others."""

    expects = ("recovery", "breaks")

    class connection_type(RefusingConnection):
        busy = False

        async def ask(self, statement: str) -> Answer:
            if self.busy:
                raise self.refusal()
            self.busy = True
            answer = await self.send(statement)
            self.busy = False
            return self.read(answer)


class SharesOneTransaction(Queueing):
    """Takes a second task's begin on the same connection for the first one's: whoever ends first ends both."""

    expects = ("containment", "lies")

    class connection_type(Connection):
        async def execute(self, statement: str) -> Answer:
            return await self.ask(statement)

        async def begin(self) -> None:
            if not self.wire.server.open:
                await self.ask("BEGIN")

        async def end(self, statement: str) -> None:
            if self.wire.server.open:
                await self.ask(statement)


# -- cancellation ----------------------------------------------------------------------------------------------------


class SwallowsCancellation(Queueing):
    """Waits for the answer although its task was cancelled, and goes on as if nothing had been."""

    expects = ("cancellation", "breaks")

    class connection_type(Connection):
        async def ask(self, statement: str) -> Answer:
            asker = self.send(statement)
            while not asker.done():
                try:
                    await asyncio.wait([asker])
                except asyncio.CancelledError:
                    continue
            return self.read(asker.result())


class TurnsCancellationIntoError(Queueing):
    """Raises its own documented error where its task was cancelled."""

    expects = ("cancellation", "breaks")

    class connection_type(Connection):
        async def ask(self, statement: str) -> Answer:
            try:
                return await super().ask(statement)
            except asyncio.CancelledError:
                raise DriverError("the query was interrupted") from None


class CancelsInnocents(Queueing):
    """Cancels everybody who waits on the connection when one of them is cancelled."""

    expects = ("cancellation", "breaks")

    class connection_type(Connection):
        async def ask(self, statement: str) -> Answer:
            try:
                return await super().ask(statement)
            except asyncio.CancelledError:
                for asker in self.waiting:
                    asker.cancel()
                raise


class ClosesInnocentsConnection(Queueing):
    """Closes the connection when one of its users is cancelled, whoever else waits on it."""

    expects = ("loudness", "breaks")

    class connection_type(Connection):
        async def ask(self, statement: str) -> Answer:
            try:
                return await super().ask(statement)
            except asyncio.CancelledError:
                self.close()
                raise


class SendsWhatWasCancelled(Queueing):
    """Sends one statement after the other, also those that were cancelled while they waited for their turn."""

    expects = ("cancellation", "breaks")

    class connection_type(Connection):
        def __init__(self, wire: MiniatureWire) -> None:
            super().__init__(wire)
            self.unsent: collections.deque[str] = collections.deque()

        def send(self, statement: str) -> Asker:
            if not self.waiting:
                return super().send(statement)
            asker = asyncio.get_running_loop().create_future()
            self.waiting.append(asker)
            self.unsent.append(statement)
            return asker

        def receive(self, answer: Answer | None) -> None:
            super().receive(answer)
            if self.unsent:
                self.wire.send(self.unsent.popleft())


# -- the pool --------------------------------------------------------------------------------------------------------


class ReturnsDirtyConnection(Queueing):
    """Takes a connection back into the pool with its transaction open."""

    expects = ("containment", "lies")

    class pool_type(Pool):
        async def release(self, connection: Connection) -> None:
            connection.disown()
            self.give(connection)


class CommitsOnRelease(Queueing):
    """Commits what was left open when a connection goes back to the pool."""

    expects = ("atomicity", "lies")

    class pool_type(Pool):
        async def release(self, connection: Connection) -> None:
            if connection.wire.server.open:
                connection.forget("COMMIT")
            await super().release(connection)


class LosesReleaseOnCancel(Queueing):
    """Waits for a rollback before it takes a connection back, and loses it when that is cancelled."""

    expects = ("liveness", "hangs")
    bound = 6

    class pool_type(Pool):
        async def release(self, connection: Connection) -> None:
            await connection.ask("ROLLBACK")
            await super().release(connection)


class NeverWakesWaiter(Queueing):
    """Puts a returned connection aside without a word to those who wait for one."""

    expects = ("liveness", "hangs")

    class pool_type(Pool):
        def give(self, connection: Connection) -> None:
            self.idle.append(connection)


class HandsOneConnectionToTwo(Queueing):
    """Serves two waiters with one connection."""

    expects = ("containment", "lies")

    class pool_type(Pool):
        def give(self, connection: Connection) -> None:
            if self.wake(connection):
                self.wake(connection)
            else:
                self.idle.append(connection)


class KeepsServedConnection(Queueing):
    """Keeps a connection among the idle ones although it has just served a waiter with it."""

    expects = ("recovery", "breaks")
    bound = 12

    class pool_type(Pool):
        def give(self, connection: Connection) -> None:
            self.wake(connection)
            self.idle.append(connection)


class LosesServedWaiter(Queueing):
    """Forgets the connection of a waiter who was cancelled in the moment in which it was served."""

    expects = ("liveness", "hangs")

    class pool_type(Pool):
        def give_up(self, waiter: asyncio.Future[Connection | None]) -> None:
            if waiter in self.waiters:
                self.waiters.remove(waiter)


class ServesTheCancelled(Queueing):
    """Serves waiters who were cancelled long ago: the connection goes nowhere."""

    expects = ("liveness", "hangs")

    class pool_type(Pool):
        def give_up(self, waiter: asyncio.Future[Connection | None]) -> None:
            """It stays in the queue."""

        def wake(self, connection: Connection | None) -> bool:
            if not self.waiters:
                return False
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
            return True


class KeepsSettings(Queueing):
    """Takes a connection back with the settings that its user has changed."""

    expects = ("recovery", "poisons")

    class connection_type(Connection):
        def reset(self) -> None:
            self.changed = False
            super().reset()


class KeepsLostConnections(Queueing):
    """Takes a connection back that the server has ended, and hands it out again."""

    expects = ("recovery", "breaks")

    class pool_type(Pool):
        def drop_dead(self) -> None:
            """Whatever lies here is good."""

        def give(self, connection: Connection) -> None:
            self.lent.pop(connection, None)
            if not self.wake(connection):
                self.idle.append(connection)


class DropsLostConnectionSilently(Queueing):
    """Ends the connection of a cancelled statement, and forgets to tell who waits that there is room for a new one."""

    expects = ("liveness", "hangs")
    bound = 6

    class connection_type(Connection):
        async def ask(self, statement: str) -> Answer:
            try:
                return await super().ask(statement)
            except asyncio.CancelledError:
                self.close()
                raise

    class pool_type(Pool):
        def give(self, connection: Connection) -> None:
            if connection.closed:
                self.lent.pop(connection, None)
                self.made -= 1
            else:
                super().give(connection)


class LetsHoldersWait(Queueing):
    """Lets tasks that have a connection wait for another one, until all of them wait for each other."""

    expects = ("liveness", "hangs")

    class pool_type(Pool):
        def check_wait(self) -> None:
            """Everybody may wait."""


class TakesBackTwice(Queueing):
    """Takes a connection back as often as it is given, though it may be somebody else's by then."""

    expects = ("recovery", "breaks")

    class pool_type(Pool):
        def is_lent(self, connection: Connection) -> bool:
            return True


class ForgetsWaitersOfClosedPool(Queueing):
    """Closes the pool without a word to those who wait for a connection."""

    expects = ("liveness", "hangs")
    bound = 8

    class pool_type(Pool):
        def close(self) -> None:
            self.waiters.clear()
            super().close()


class CountsFailedConnections(Queueing):
    """Counts a connection that could not be opened as one that it has."""

    expects = ("recovery", "breaks")

    class pool_type(Pool):
        async def make(self) -> Connection:
            self.made += 1
            return await self.driver.open()


class MakesPoolPerFirstUser(Queueing):
    """Every task that finds no pool on first use makes one."""

    expects = ("recovery", "breaks")

    class orm_type(Orm):
        async def pool(self, alias: str) -> Pool:
            if alias not in self.pools:
                made = self.driver.pool_type(self.driver, self.size)
                made.give(await made.make())
                self.pools[alias] = made
            return self.pools[alias]


class ConnectsInInit(Queueing):
    """Opens a connection in init, before anybody asks for anything."""

    expects = ("recovery", "breaks")

    class orm_type(Orm):
        async def init(self) -> None:
            pool = await self.pool(self.aliases[0])
            pool.give(await pool.make())


# -- transactions ----------------------------------------------------------------------------------------------------


class CommitsOnRollback(Queueing):
    """Sends COMMIT where it should send ROLLBACK."""

    expects = ("atomicity", "lies")

    class transaction_type(Transaction):
        def rollback_statements(self) -> tuple[str, ...]:
            return ("COMMIT",) if self.parent is None else super().rollback_statements()


class RollsBackOnCommit(Queueing):
    """Sends ROLLBACK where it should send COMMIT, and calls it a commit."""

    expects = ("durability", "lies")

    class transaction_type(Transaction):
        async def commit(self) -> None:
            await self.rollback()


class CommitsWhenCancelled(Queueing):
    """Commits a block that a cancellation leaves."""

    expects = ("atomicity", "lies")
    bound = 6

    class transaction_type(Transaction):
        async def finish(self, kind: Any) -> None:
            await super().finish(None if kind is asyncio.CancelledError else kind)


class ForgetsToRollBack(Queueing):
    """Gives the connection of a failed block back without rolling back."""

    expects = ("containment", "poisons")
    bound = 4

    class transaction_type(Transaction):
        async def rollback(self) -> None:
            """Nothing at all."""


class LeaksConnectionOfCancelledBegin(Queueing):
    """Keeps the connection when BEGIN is cancelled."""

    expects = ("liveness", "hangs")
    bound = 4

    class transaction_type(Transaction):
        begun = False

        async def __aenter__(self) -> Transaction:
            await super().__aenter__()
            self.begun = True
            return self

        def leave(self) -> None:
            if self.begun:
                super().leave()


class LeaksConnectionOfCancelledCommit(Queueing):
    """Keeps the connection when COMMIT is cancelled."""

    expects = ("liveness", "hangs")
    bound = 16

    class transaction_type(Transaction):
        async def commit(self) -> None:
            try:
                await super().commit()
            except asyncio.CancelledError:
                self.ended = True
                raise


class StoresInPart(Queueing):
    """Commits after every row and begins again."""

    expects = ("containment", "lies")

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            answer = await super().execute(statement)
            if statement.startswith("INSERT") and self.parent is None:
                self.connection.forget("COMMIT")
                self.connection.forget("BEGIN")
            return answer


class LetsOthersSeeUncommitted(Queueing):
    """Lets everybody read rows that are not committed."""

    expects = ("containment", "lies")

    class connection_type(Connection):
        def __init__(self, wire: MiniatureWire) -> None:
            super().__init__(wire)
            wire.server.careless = True


class WritesOutside(Queueing):
    """Sends what child tasks write to another connection than their transaction's."""

    expects = ("containment", "lies")

    class transaction_type(Transaction):
        async def __aenter__(self) -> Transaction:
            self.task = asyncio.current_task()
            return await super().__aenter__()

        async def execute(self, statement: str) -> Answer:
            if asyncio.current_task() is self.task:
                return await super().execute(statement)
            connection = await self.orm.driver.open()
            return await connection.ask(statement)


class HidesAbortedTransaction(Queueing):
    """Reports success when the server answers COMMIT with ROLLBACK."""

    expects = ("durability", "lies")

    class transaction_type(Transaction):
        async def commit(self) -> None:
            with contextlib.suppress(Aborted):
                await super().commit()


class HidesErrorInTransaction(Queueing):
    """Catches the refusal of a statement inside a transaction, so that the block goes on as if nothing had been."""

    expects = ("routing", "lies")

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            try:
                return await super().execute(statement)
            except DriverError:
                return Answer("SELECT")


class SwallowsCancellationOfBlock(Queueing):
    """Rolls a cancelled block back and then keeps the cancellation to itself."""

    expects = ("cancellation", "breaks")
    bound = 8

    class transaction_type(Transaction):
        async def __aexit__(self, kind: Any, error: Any, trace: Any) -> bool:  # type: ignore[override]
            await super().__aexit__(kind, error, trace)
            return kind is asyncio.CancelledError


class RaisesBeforeBlock(Queueing):
    """Raises a bare RuntimeError from in_transaction() itself, before the block is entered, if it would be nested."""

    expects = ("loudness", "breaks")

    class transaction_type(Transaction):
        def __init__(self, orm: Orm, alias: str, parent: Transaction | None) -> None:
            if parent is not None:
                raise RuntimeError("there is a transaction already")
            super().__init__(orm, alias, parent)


class ReportsFailureOfStoredWrite(Queueing):
    """Reports an error for a row that it has stored."""

    expects = ("atomicity", "lies")

    async def write(self, connection: Connection, token: str) -> None:
        await super().write(connection, token)
        raise DriverError("lost connection during query")


class ReportsSuccessOfLostWrite(Queueing):
    """Reports success for a row that it never sent."""

    expects = ("durability", "lies")

    async def write(self, connection: Connection, token: str) -> None:
        """Sends nothing."""


class GoesOnWithEndedTransaction(Queueing):
    """Goes on with an ended transaction's connection, which belongs to somebody else by now."""

    expects = ("containment", "lies")

    class orm_type(Orm):
        def transaction(self, alias: str) -> Transaction | None:
            return self.current[alias].get()

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            return await self.connection.ask(statement)


class LooksBeforeItWaits(Queueing):
    """Looks whether a transaction has ended before a statement waits for its turn there, and not after: it runs when
    the block has been rolled back."""

    expects = ("atomicity", "lies")

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            if self.closed:
                raise self.error("the transaction has ended")
            await self.take_turn()
            try:
                return await self.connection.ask(statement)
            finally:
                self.turn.release()


class JoinsPlainClient(Queueing):
    """Sends what a plain client is asked inside a transaction to that transaction."""

    expects = ("containment", "lies")

    class orm_type(Orm):
        async def execute(self, statement: str, db: Any) -> Answer:
            return await super().execute(statement, None if isinstance(db, Plain) else db)


class IgnoresHandedOnClient(Queueing):
    """Looks at the context only, not at the transaction's client that it was given."""

    expects = ("containment", "lies")

    class orm_type(Orm):
        async def execute(self, statement: str, db: Any) -> Answer:
            return await super().execute(statement, None if isinstance(db, Transaction) else db)


class HidesSecondEnd(Queueing):
    """Says yes to every end by hand of a transaction that has ended."""

    expects = ("atomicity", "lies")

    class transaction_type(Transaction):
        async def end_by_hand(self, end: Callable[[], Awaitable[None]]) -> None:
            if not self.closed:
                await super().end_by_hand(end)


class IgnoresEndsByHand(Queueing):
    """Leaves an end by hand to the end of the block, which commits whatever was asked for."""

    expects = ("atomicity", "lies")

    class transaction_type(Transaction):
        async def end_by_hand(self, end: Callable[[], Awaitable[None]]) -> None:
            """The end of the block will do."""


class ReadsOthersTransactions(Queueing):
    """Answers whoever is in no transaction on the connection of somebody else's."""

    expects = ("containment", "lies")

    class orm_type(Orm):
        async def execute(self, statement: str, db: Any) -> Answer:
            borrowed = next((wire for wire in self.driver.gate.wires if wire.server.open), None)  # type: ignore[union-attr]
            if statement.startswith("LOOK") and borrowed is not None and self.transaction(self.aliases[0]) is None:
                return await borrowed.connection.ask(statement)
            return await super().execute(statement, db)

    class connection_type(Connection):
        def __init__(self, wire: MiniatureWire) -> None:
            super().__init__(wire)
            wire.connection = self  # type: ignore[attr-defined]


class ForgetsOwnRows(Queueing):
    """Answers reads inside a transaction on a connection outside of it: it does not see its own rows."""

    expects = ("containment", "lies")

    class orm_type(Orm):
        async def exists(self, token: str, db: Any) -> str:
            return await super().exists(token, self.client())


class BulkOutsideTransaction(Queueing):
    """Inserts in bulk on a connection of its own, whatever transaction is around."""

    expects = ("containment", "lies")

    class orm_type(Orm):
        async def write_many(self, tokens: list[str], db: Any) -> None:
            await super().write_many(tokens, self.client())


class CommitsBulk(Queueing):
    """Commits the transaction around a bulk update, and begins another."""

    expects = ("atomicity", "lies")

    class orm_type(Orm):
        async def change_many(self, spare: list[str], tokens: list[str], db: Any) -> None:
            await super().change_many(spare, tokens, db)
            transaction = self.transaction(self.aliases[0])
            if transaction is not None:
                await transaction.execute("COMMIT")
                await transaction.execute("BEGIN")


class BulkOneByOne(Queueing):
    """Inserts in bulk by one statement a row, in no transaction: a cancellation leaves a part."""

    expects = ("atomicity", "lies")
    bound = 12

    class orm_type(Orm):
        async def write_many(self, tokens: list[str], db: Any) -> None:
            for token in tokens:
                await self.write(token, db)


class LocksNothing(Queueing):
    """Reads for update without a lock: increments are lost."""

    expects = ("durability", "lies")

    class orm_type(Orm):
        async def lock(self, name: str, db: Any, *, nowait: bool = False, values: bool = False) -> Counter:
            return Counter(name, int((await self.execute(f"COUNT {name}", db)).value))


class CommitsDeadlockVictims(Queueing):
    """Hides a deadlock, and reports the transaction that the server has undone as committed."""

    expects = ("durability", "lies")

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            try:
                return await super().execute(statement)
            except DriverError as error:
                if "deadlock" not in str(error):
                    raise
                return Answer("UPDATE")

        async def commit(self) -> None:
            with contextlib.suppress(Aborted):
                await super().commit()


class RepeatsStatementAfterDeadlock(Queueing):
    """Sends the statement that ended in a deadlock once more, in a new transaction: what came before it is lost."""

    expects = ("durability", "lies")

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            try:
                return await super().execute(statement)
            except DriverError as error:
                if "deadlock" not in str(error):
                    raise
                await self.connection.ask("ROLLBACK")
                await self.connection.ask("BEGIN")
                return await self.connection.ask(statement)


class LosesDeadlockErrors(Queueing):
    """Loses the server's word of a deadlock: its task waits for ever."""

    expects = ("liveness", "hangs")

    class connection_type(Connection):
        def receive(self, answer: Answer | None) -> None:
            if answer is not None and answer.error.startswith("deadlock"):
                self.waiting.popleft()
            else:
                super().receive(answer)


class EndsBothOfADeadlock(Queueing):
    """Shows a deadlock to the task that the server had let go on, too."""

    expects = ("loudness", "breaks")

    class orm_type(Orm):
        async def count_up(self, name: str, db: Any) -> None:
            try:
                await super().count_up(name, db)
            except DriverError:
                self.driver.deadlocked = True
                raise
            if getattr(self.driver, "deadlocked", False):
                raise DriverError("deadlock detected")


class KeepsConnectionOfDeadlock(Queueing):
    """Gives the connection of a deadlock's victim back as if the server had ended its session's transaction, too."""

    expects = ("recovery", "poisons")

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            try:
                return await super().execute(statement)
            except DriverError as error:
                self.end_sent = self.end_sent or "deadlock" in str(error)
                raise


class RefusesFreeRows(Queueing):
    """Says of a row that nobody has locked that it is locked."""

    expects = ("loudness", "breaks")

    class orm_type(Orm):
        async def lock(self, name: str, db: Any, *, nowait: bool = False, values: bool = False) -> Counter:
            if nowait:
                raise DriverError(f"{name} is locked")
            return await super().lock(name, db)


class CountsTwice(Queueing):
    """Sends an increment again that was answered already."""

    expects = ("atomicity", "lies")

    class orm_type(Orm):
        async def put(self, counter: Counter, db: Any) -> None:
            await super().put(counter, db)
            await super().put(Counter(counter.name, counter.value + 1), db)


class LeavesIterationOpen(Queueing):
    """Leaves the rest of an iteration on the wire for whoever asks next."""

    expects = ("routing", "lies")

    class orm_type(Orm):
        async def read_and_leave(self, nonces: list[str], db: Any) -> str:
            transaction = self.transaction(self.aliases[0])
            assert transaction is not None
            async with transaction.turn:
                first = transaction.connection.send(f"SELECT {nonces[0]}")
                for nonce in nonces[1:]:
                    transaction.connection.wire.send(f"SELECT {nonce}")
                return (await first).value


class SaysCreatedToAll(Queueing):
    """Tells every caller of get_or_create that it has created the row."""

    expects = ("durability", "lies")

    class orm_type(Orm):
        async def get_or_create(self, token: str, db: Any) -> str:
            await super().get_or_create(token, db)
            return CREATED


class SaysFoundToAll(Queueing):
    """Tells no caller of get_or_create that it has created the row."""

    expects = ("atomicity", "lies")

    class orm_type(Orm):
        async def get_or_create(self, token: str, db: Any) -> str:
            await super().get_or_create(token, db)
            return FOUND


class IgnoresValuesOfLoser(Queueing):
    """Gives the loser of a raced update_or_create the winner's row, as if it were updated."""

    expects = ("durability", "lies")

    class orm_type(Orm):
        async def update_or_create(self, token: str, value: int, db: Any) -> str:
            said = await self.get_or_create(token, db)
            return IGNORED if said == FOUND else said


class FailsLoserOfRace(Queueing):
    """Shows the server's refusal of a duplicate to the loser of a raced get_or_create."""

    expects = ("loudness", "breaks")

    class orm_type(Orm):
        async def get_or_create(self, token: str, db: Any) -> str:
            if await self.exists(token, db) == SEEN:
                return FOUND
            await self.write(token, db)
            return CREATED


# -- connecting and closing ------------------------------------------------------------------------------------------


class LosesRoomOfFailedConnect(Queueing):
    """Counts a connection that could not be made among the pool's for ever."""

    expects = ("liveness", "hangs")

    class pool_type(Pool):
        async def make(self) -> Connection:
            self.made += 1
            return await self.driver.open()


class KeepsClosedPool(Queueing):
    """Goes on with a pool that it has closed: nobody is served any more."""

    expects = ("recovery", "breaks")

    class orm_type(Orm):
        async def close(self, *, discard: bool = True) -> None:
            for pool in self.pools.values():
                pool.close()

        async def pool(self, alias: str) -> Pool:
            found = await super().pool(alias)
            if found.closed:
                raise DriverError("the pool is closed")
            return found


class ClosesUnderUsers(Queueing):
    """Closes connections that are in use, with a bare RuntimeError for who waits for an answer."""

    expects = ("loudness", "breaks")

    class orm_type(Orm):
        async def close(self, *, discard: bool = True) -> None:
            await super().close(discard=discard)
            for wire in self.driver.gate.wires:  # type: ignore[union-attr]
                wire.cut()

    class connection_type(Connection):
        def close(self) -> None:
            for asker in self.waiting:
                if not asker.done():
                    asker.set_exception(RuntimeError("Event loop is closed"))
            super().close()


class KeepsConnectionOfLostBegin(Queueing):
    """Does not give a connection back that was lost while its transaction began."""

    expects = ("liveness", "hangs")

    class transaction_type(Transaction):
        async def __aenter__(self) -> Transaction:
            await self.enter()
            await self.connection.ask("BEGIN" if self.parent is None else f"SAVEPOINT {self.savepoint}")
            self.token = self.orm.current[self.alias].set(self)
            return self


class KeepsContextOfLostBegin(Queueing):
    """Leaves a transaction current whose connection was lost while it began."""

    expects = ("loudness", "breaks")

    class transaction_type(Transaction):
        async def __aenter__(self) -> Transaction:
            await self.enter()
            self.token = self.orm.current[self.alias].set(self)
            try:
                await self.connection.ask("BEGIN" if self.parent is None else f"SAVEPOINT {self.savepoint}")
            except BaseException:
                if self.parent is None:
                    self.source.give(self.connection)
                raise
            return self


class ForgetsPoolMadeInside(Queueing):
    """Forgets, at the end of a transaction, the pools of other connections that were first used inside it."""

    expects = ("recovery", "breaks")

    class transaction_type(Transaction):
        async def enter(self) -> None:
            await super().enter()
            self.known = set(self.orm.pools)

        def leave(self) -> None:
            super().leave()
            for alias in set(self.orm.pools) - self.known:
                del self.orm.pools[alias]


class LeaksPoolOnClose(Queueing):
    """Closes nothing, and makes a new pool all the same: too many connections are open."""

    expects = ("recovery", "breaks")

    class orm_type(Orm):
        async def close(self, *, discard: bool = True) -> None:
            self.pools = {}


# -- nested blocks ---------------------------------------------------------------------------------------------------


class NamesSavepointsAlike(Queueing):
    """Gives every savepoint the same name."""

    expects = ("loudness", "breaks")

    class transaction_type(Transaction):
        def name_savepoint(self) -> str:
            return "savepoint"


class ReleasesSiblingsSavepoints(Queueing):
    """Releases every savepoint of the connection, its parents' and siblings' too, when a nested block ends."""

    expects = ("loudness", "breaks")

    class transaction_type(Transaction):
        async def commit(self) -> None:
            await super().commit()
            for name, _ in self.connection.wire.server.savepoints:
                await self.connection.ask(f"RELEASE {name}")


class LetsSavepointsInterleave(Queueing):
    """Lets sibling tasks have nested blocks open at the same time: one's savepoint undoes the other's rows."""

    expects = ("durability", "lies")

    class transaction_type(Transaction):
        async def admit(self, nested: Transaction) -> None:
            """Everybody may come in."""

        def leave(self) -> None:
            if self.parent is None:
                super().leave()
            else:
                self.ended = True


class AutocommitsAfterInnerRollback(Queueing):
    """Rolls the whole transaction back when an inner block fails: what follows is stored at once."""

    expects = ("containment", "lies")

    class transaction_type(Transaction):
        def rollback_statements(self) -> tuple[str, ...]:
            return ("ROLLBACK",)


class InnerRollbackRecoversNothing(Queueing):
    """Lets the transaction stay aborted when an inner block ends in an error of the server."""

    expects = ("loudness", "breaks")

    class transaction_type(Transaction):
        async def finish(self, kind: Any) -> None:
            if self.parent is not None and kind is not None and issubclass(kind, DriverError):
                self.end_sent = True
            else:
                await super().finish(kind)


class InnerRollbackUndoesNothing(Queueing):
    """Ignores the failure of an inner block."""

    expects = ("atomicity", "lies")

    class transaction_type(Transaction):
        def rollback_statements(self) -> tuple[str, ...]:
            return super().rollback_statements() if self.parent is None else ()


class InnerCommitEndsAll(Queueing):
    """Commits the whole transaction when an inner block ends well."""

    expects = ("atomicity", "lies")

    class transaction_type(Transaction):
        async def commit(self) -> None:
            self.end_sent = True
            if self.connection.wire.server.open:
                await self.connection.ask("COMMIT")


class RollsAllBackByHand(Queueing):
    """Rolls the whole transaction back when rollback() is called on an inner block."""

    expects = ("atomicity", "lies")

    class transaction_type(Transaction):
        leaving = False

        async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
            self.leaving = True
            await super().__aexit__(kind, error, trace)

        def rollback_statements(self) -> tuple[str, ...]:
            return super().rollback_statements() if self.leaving else ("ROLLBACK",)


class ForgetsLockWithUsingDb(Queueing):
    """Takes the transaction's lock for queries through the models, and none for those with using_db."""

    expects = ("loudness", "breaks")
    connection_type = RuntimeErrorOnOverlap.connection_type

    class orm_type(Orm):
        async def execute(self, statement: str, alias: Any) -> Answer:
            if isinstance(alias, Transaction):
                return await alias.connection.ask(statement)
            return await super().execute(statement, alias)


class WaitsForCrossedBlocks(Queueing):
    """Waits at the end of a block for the blocks inside it, also for those of the same task."""

    expects = ("liveness", "hangs")

    class transaction_type(Transaction):
        def absorb(self, outcome: str) -> None:
            """It goes on."""


class KeepsContextAfterBlock(Refusing):
    """Leaves the ended block current for its own task."""

    expects = ("loudness", "breaks")

    class transaction_type(RefusingTransaction):
        def restore(self) -> None:
            """The context variable stays as it is."""


class LosesContextAfterInnerBlock(Queueing):
    """Forgets the outer transaction when the inner block ends: the rest is written outside."""

    expects = ("containment", "lies")

    class transaction_type(Transaction):
        def restore(self) -> None:
            self.orm.current[self.alias].set(None)


class ResetsContextByToken(Queueing):
    """Leaves a block by the token with which it was entered, which no other context takes."""

    expects = ("atomicity", "lies")

    class transaction_type(Transaction):
        async def __aenter__(self) -> Transaction:
            variable = self.orm.current[self.alias]
            await super().__aenter__()
            variable.set(self.parent)
            self.token = variable.set(self)
            return self

        async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
            await super().__aexit__(kind, error, trace)
            self.orm.current[self.alias].reset(self.token)

        def restore(self) -> None:
            """Later."""


class RestoresEveryAlias(Queueing):
    """Restores, at the end of a block, what every connection's transaction was when it began."""

    expects = ("containment", "lies")

    class transaction_type(Transaction):
        async def __aenter__(self) -> Transaction:
            self.before = {alias: variable.get() for alias, variable in self.orm.current.items()}
            return await super().__aenter__()

        def restore(self) -> None:
            for alias, transaction in self.before.items():
                self.orm.current[alias].set(transaction)


# -- event loops -----------------------------------------------------------------------------------------------------


class SharesTransactionAmongLoops(Queueing):
    """Uses the transaction's connection from whatever event loop a query comes."""

    expects = ("loudness", "breaks")

    class transaction_type(Transaction):
        async def execute(self, statement: str) -> Answer:
            async with self.turn:
                return await self.connection.ask(statement)


class SharesPoolAmongLoops(Queueing):
    """Gives connections that belong to one event loop to tasks of another."""

    expects = ("loudness", "lies")
    bound = 12

    class orm_type(Orm):
        async def pool(self, alias: str) -> Pool:
            if alias not in self.pools:
                self.pools[alias] = self.driver.pool_type(self.driver, self.size)
            return self.pools[alias]


FAULTS: tuple[type[Miniature], ...] = tuple(
    made
    for module in (sys.modules[__name__], losses, edges, modes, limits)
    for made in vars(module).values()
    if isinstance(made, type) and issubclass(made, Miniature) and made.expects and made.__module__ == module.__name__
)
