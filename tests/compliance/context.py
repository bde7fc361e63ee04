"""CTX: the context variable outlives the block. CTX-1 and CTX-2 take a ``way``, so that remedies can be tried on
them."""

import asyncio

from tests.harness.scenario import OrmSetup, scenario


@scenario("CTX-1", "A child outlives the transaction and writes", level="loud", needs=("tortoise",), orm=OrmSetup())
async def late_write(world, way):
    """A task started in a transaction writes after the block has ended: the row is stored as told, or the write is
    refused."""
    block_is_over = asyncio.Event()

    async def child(session):
        await block_is_over.wait()
        await way.late_write(session)

    await world.together(parent=parent_outlived_by(way, block_is_over, child))


@scenario("CTX-2", "A child outlives the transaction and opens one", level="loud", needs=("tortoise",), orm=OrmSetup())
async def late_transaction(world, way):
    """A task started in a transaction opens its own after the block has ended: it ends as told, or is refused."""
    block_is_over = asyncio.Event()

    async def child(session):
        await block_is_over.wait()
        db = way.inner(session)
        async with way.inner_transaction(db):
            await db.write()

    await world.together(parent=parent_outlived_by(way, block_is_over, child))


@scenario(
    "CTX-3", "A late write meets a stranger's transaction", level="loud", needs=("tortoise",), orm=OrmSetup(size=1)
)
async def late_write_meets_stranger(world):
    """The late write of an outlived task does not land in the transaction of a stranger who got the same connection."""
    block_is_over = asyncio.Event()
    stranger_has_begun = asyncio.Event()

    async def child(session):
        await stranger_has_begun.wait()
        await session.orm().write()

    async def parent(session):
        db = session.orm()
        try:
            async with db.transaction():
                await db.write()
                session.spawn("child", child)
        finally:
            block_is_over.set()

    async def stranger(session):
        await block_is_over.wait()
        db = session.orm()
        try:
            async with db.transaction():
                await db.write()
                stranger_has_begun.set()
                await db.read()
                raise session.deliberate()
        finally:
            stranger_has_begun.set()

    await world.together(parent=parent, stranger=stranger)


@scenario(
    "CTX-4",
    "A TaskGroup: one child fails, siblings are cancelled",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(),
    python=(3, 11),
)
async def task_group(world):
    """Inside a transaction one task of a TaskGroup fails and its siblings are cancelled in mid-query: nothing is
    stored, the pool works."""

    async def sibling(session):
        db = session.orm()
        await db.write()
        await db.read()

    async def failing(session):
        await session.orm().read()
        raise session.deliberate()

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            async with session.task_group() as group:
                group.start("sibling", sibling)
                group.start("failing child", failing)

    await world.together(parent=parent)


def parent_outlived_by(way, block_is_over, child):
    """A parent whose child goes on after its transaction."""

    async def parent(session):
        db = way.outer(session)
        try:
            async with db.transaction():
                await db.write()
                team = way.team(session, child=child)
                team.start()
                await db.read()
                team.last_statement()
        finally:
            block_is_over.set()
        team.after_block()
        await team.rest()

    return parent
