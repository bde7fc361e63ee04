"""A test suite: its fixture is a transaction that is rolled back after each test, so that the next finds nothing. What
it tests is code that starts tasks. test_functions.py runs it by pytest, on SQLite."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tortoise import fields
from tortoise.models import Model
from tortoise.transactions import in_transaction


class Visit(Model):
    id = fields.IntField(primary_key=True)
    page = fields.CharField(max_length=40)

    class Meta:
        table = "suite_visit"


class RolledBack(Exception):
    pass


@asynccontextmanager
async def rolled_back() -> AsyncIterator[None]:
    """The fixture as it is often written."""
    try:
        async with in_transaction():
            yield
            raise RolledBack
    except RolledBack:
        return


@asynccontextmanager
async def emptied() -> AsyncIterator[None]:
    """The same promise without a transaction around the test: the tables are emptied. It costs a DELETE for each table,
    and tests that run at once on one database see one another."""
    try:
        yield
    finally:
        await Visit.all().delete()


# -- what is tested ----------------------------------------------------------------------------------------------------


async def visit(page: str) -> None:
    async with in_transaction():
        await Visit.create(page=page)


async def visits() -> None:
    await asyncio.gather(visit("home"), visit("about"))


background: set[asyncio.Task[None]] = set()


async def visit_later() -> None:
    """As a request handler does that does not wait for its statistics."""
    background.add(asyncio.create_task(visit("home")))


async def until_idle() -> None:
    while background:
        await background.pop()


# -- the tests ---------------------------------------------------------------------------------------------------------


async def both_visits_are_there() -> None:
    """Fault: in the fixture's transaction the two blocks of the code are nested, and side by side."""
    async with rolled_back():
        await visits()
        assert await Visit.all().count() == 2


async def both_visits_are_there_mended() -> None:
    async with emptied():
        await visits()
        assert await Visit.all().count() == 2


async def a_visit_is_counted() -> None:
    """Fault: the task that the code has started outlives the test, and the fixture's transaction."""
    async with rolled_back():
        await visit_later()
    await until_idle()


async def a_visit_is_counted_mended() -> None:
    async with emptied():
        await visit_later()
        await until_idle()
        assert await Visit.all().count() == 1
