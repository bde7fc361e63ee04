"""Miniatures that are each wrong in one way about objects and queries that cross a transaction's edge."""

from __future__ import annotations

from typing import Any

from matrix.harness.history import SEEN

from .database import Answer
from .driver import Queueing
from .orm import Counter, Orm, Plain, Query, Row, Transaction


class Lending(Transaction):
    """Its connection can be used by who kept it, whether the block is open or not."""

    async def execute(self, statement: str) -> Answer:
        if self.closed:
            return await self.connection.ask(statement)
        return await super().execute(statement)


class BindsQueriesWhenBuilt(Queueing):
    """Chooses a query's connection when it is built, not when it is awaited."""

    expects = ("atomicity", "lies")

    class orm_type(Orm):
        def chosen(self, db: Any) -> Any:
            name = db or self.aliases[0]
            return self.transaction(name) or Plain(name)

        def build_write_many(self, tokens: list[str], db: Any) -> Query:
            return super().build_write_many(tokens, self.chosen(db))

        def build_look(self, token: str, bound: bool, db: Any, *, whole: bool = False) -> Query:
            return super().build_look(token, bound, self.chosen(db) if bound else db)


class QueriesKeepEndedTransactions(Queueing):
    """Sends a query that was built inside a block on the block's connection, also after its end."""

    expects = ("durability", "lies")
    bound = 12
    transaction_type = Lending

    class orm_type(Orm):
        def build_write_many(self, tokens: list[str], db: Any) -> Query:
            return super().build_write_many(tokens, self.transaction(self.aliases[0]) or db)


class QueriesRememberTheirFirstAwait(Queueing):
    """Sends a query that is awaited again where it was sent the first time."""

    expects = ("containment", "lies")
    bound = 12
    transaction_type = Lending

    class orm_type(Orm):
        def build_look(self, token: str, bound: bool, db: Any, *, whole: bool = False) -> Query:
            chosen: list[Any] = []

            async def ask() -> str:
                if not chosen:
                    chosen.append(self.transaction(self.aliases[0]) or Plain(self.aliases[0]))
                return await self.exists(token, chosen[0])

            return Query(ask, token, db)


class UpdatesWhereTheQueryWasAwaited(Queueing):
    """Sends an update that is derived from a query where that was awaited before."""

    expects = ("atomicity", "lies")
    bound = 12
    transaction_type = Lending

    class orm_type(Orm):
        async def run(self, query: Query) -> str | None:
            query.db = query.db or self.transaction(self.aliases[0]) or Plain(self.aliases[0])
            return await super().run(query)


class EnsuresInATransactionOfItsOwn(Queueing):
    """Creates the row of a get_or_create in a block of where it is asked, whichever client it is given."""

    expects = ("atomicity", "lies")

    class orm_type(Orm):
        def inside(self, db: Any) -> Transaction:
            return self.in_transaction(None)


class ValuesLockNothing(Queueing):
    """Forgets about the lock where a query for update gives values, not objects."""

    expects = ("durability", "lies")

    class orm_type(Orm):
        async def lock(self, name: str, db: Any, *, nowait: bool = False, values: bool = False) -> Counter:
            if not values:
                return await super().lock(name, db, nowait=nowait)
            return Counter(name, int((await self.execute(f"COUNT {name}", db)).value))


class TakesUnchangedForGone(Queueing):
    """Counts the rows that an update has changed, and takes one that was as it should be for one that is not there."""

    expects = ("loudness", "breaks")

    class orm_type(Orm):
        async def save_unchanged(self, row: Row, db: Any) -> None:
            await super().save_unchanged(row, db)
            raise self.driver.errors[0]("the object is not there")


class TrustsObjectsOverRollback(Queueing):
    """Takes an object that was saved once for stored, and its update of no row for done."""

    expects = ("durability", "lies")

    class orm_type(Orm):
        async def save(self, row: Row, token: str, db: Any) -> None:
            if not row.token or await self.exists(row.token, db or row.db) == SEEN:
                await super().save(row, token, db)


class SavesOnTheDefaultConnection(Queueing):
    """Saves an object on the default connection, whichever it was fetched on."""

    expects = ("atomicity", "lies")

    class orm_type(Orm):
        async def save(self, row: Row, token: str, db: Any) -> None:
            await super().save(row, token, db or Plain(self.aliases[0]))


class SecondConnectionInFirstTransaction(Queueing):
    """Sends what is asked on another connection into the transaction that is open on the first one."""

    expects = ("durability", "lies")

    class orm_type(Orm):
        async def execute(self, statement: str, db: Any) -> Answer:
            return await super().execute(statement, (isinstance(db, str) and self.transaction(self.aliases[0])) or db)


class LooksBesideTheBlock(Queueing):
    """Looks for a row on its last connection, as a router says that sends reads to a replica, in a transaction too."""

    expects = ("containment", "lies")

    class orm_type(Orm):
        async def exists(self, token: str, db: Any) -> str:
            return await super().exists(token, db or Plain(self.aliases[-1]))


class LockedObjectsKeepTheirConnection(Queueing):
    """Saves a row that was selected for update on the connection on which it was locked."""

    expects = ("durability", "lies")
    bound = 12
    transaction_type = Lending

    class orm_type(Orm):
        async def lock(self, name: str, db: Any, *, nowait: bool = False, values: bool = False) -> Counter:
            taken = await super().lock(name, db, nowait=nowait, values=values)
            taken.home = self.transaction(self.aliases[0]) or db
            return taken

        async def put(self, counter: Counter, db: Any) -> None:
            await super().put(counter, counter.home)
