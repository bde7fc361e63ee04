"""TXN: one level of ``in_transaction``."""

from tests.harness.scenario import OrmSetup, scenario


@scenario("TXN-1", "Commit and rollback", level="must", needs=("tortoise",), orm=OrmSetup(size=2))
async def commit_and_rollback(world):
    """A block that ends well is stored, a block that an exception leaves is not, also side by side."""

    async def committer(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.write()

    async def regretter(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            raise session.deliberate()

    await world.together(committer=committer, regretter=regretter)


@scenario(
    "TXN-2", "More transactions at once than connections", level="must", needs=("tortoise",), orm=OrmSetup(size=2)
)
async def more_than_the_pool(world):
    """Four independent transactions share a pool of two: the others wait, all of them commit."""

    async def worker(session):
        db = session.orm()
        async with db.transaction():
            await db.write()

    await world.together(**{f"worker_{number}": worker for number in range(1, 5)})


@scenario("TXN-3", "Gathered plain queries inside one transaction", level="must", needs=("tortoise",), orm=OrmSetup())
async def gathered_inside(world):
    """Child tasks query inside the parent's transaction at once: each gets its own answer, all rows are in that
    transaction."""

    async def child(session):
        db = session.orm()
        await db.read()
        await db.write()

    async def parent(session):
        async with session.orm().transaction():
            children = [session.spawn(f"child {number}", child) for number in (1, 2, 3)]
            await session.wait(*children)

    await world.together(parent=parent)


@scenario("TXN-4", "One of the gathered queries fails", level="must", needs=("tortoise",), orm=OrmSetup())
async def one_fails(world):
    """One of several gathered queries is refused by the server: its asker gets the error, and the transaction leaves
    nothing behind."""

    async def child(session):
        await session.orm().write()

    async def failing(session):
        await session.orm().fail()

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            children = [session.spawn("child", child), session.spawn("failing child", failing)]
            try:
                await session.wait(*children)
            finally:
                # The block must not end before the children: that is another scenario (CTX-1).
                await session.settled(*children)

    await world.together(parent=parent)


@scenario(
    "TXN-5",
    "Cancel the transaction in mid-query",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    during=("write", "read"),
)
async def cancel_in_query(world):
    """A task is cancelled at any moment of a query in its transaction: nothing of it is stored in part, and the pool
    works afterwards."""

    async def victim(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.read()
            await db.write()

    await world.together(victim=victim)


@scenario(
    "TXN-6",
    "Cancel the transaction in commit",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    during=("commit",),
)
async def cancel_in_commit(world):
    """A task is cancelled at any moment of its commit: all of the transaction is stored or nothing, and the pool works
    afterwards."""

    async def victim(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.write()
        await session.step("go on after the block")

    await world.together(victim=victim)


@scenario(
    "TXN-20",
    "Cancel the transaction while it begins",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    during=("begin",),
)
async def cancel_in_begin(world):
    """A task is cancelled at any moment of entering its transaction's block, on a pool that is connected: nothing is
    stored, and the pool works afterwards."""

    async def victim(session):
        db = session.orm()
        await db.read()
        async with db.transaction():
            await db.write()

    await world.together(victim=victim)


@scenario(
    "TXN-21",
    "Cancel the transaction while it rolls back",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    during=("rollback",),
)
async def cancel_in_rollback(world):
    """A task is cancelled at any moment of leaving its failed transaction's block: nothing is stored, and the pool
    works afterwards."""

    async def victim(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            raise session.deliberate()

    await world.together(victim=victim)


@scenario(
    "TXN-22",
    "Cancel the first transaction while the pool connects for it",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    hold_login=True,
    cancels="victim",
    during=("begin",),
)
async def cancel_in_first_begin(world):
    """A task is cancelled at any moment of entering the very first transaction, for which the pool has to connect:
    nothing is stored, and the pool works afterwards."""

    async def victim(session):
        db = session.orm()
        async with db.transaction():
            await db.write()

    await world.together(victim=victim)
