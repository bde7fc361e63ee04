"""ORM: Tortoise's client, its pool and its connecting."""

from tests.harness.scenario import OrmSetup, scenario


@scenario("ORM-1", "Gathered queries on the plain client", level="must", needs=("tortoise",), orm=OrmSetup(size=2))
async def gathered_queries(world):
    """Many tasks query through the models at once, outside of any transaction: each gets its own answer, each row is
    stored."""

    async def worker(session):
        db = session.orm()
        await db.read()
        await db.write()

    await world.together(**{f"worker_{number}": worker for number in range(1, 5)})


@scenario(
    "ORM-2", "First use by many tasks at once", level="must", needs=("tortoise",), orm=OrmSetup(size=2), hold_login=True
)
async def first_use(world):
    """Many tasks make the very first query at once: one pool is made, no connection beyond its size is opened."""

    async def worker(session):
        await session.orm().read()

    await world.together(**{f"worker_{number}": worker for number in range(1, 5)})
    world.claim(
        "recovery",
        world.opened() <= world.orm.size,
        f"first use by 4 tasks opened {world.opened()} connections; the pool's size is {world.orm.size}.",
    )


@scenario("ORM-3", "Connecting is lazy", level="must", needs=("tortoise",), orm=OrmSetup(size=2))
async def lazy(world):
    """Tortoise.init() opens no connection; the first query opens one."""
    world.claim("recovery", world.opened() == 0, f"Tortoise.init() opened {world.opened()} connections.")

    async def worker(session):
        await session.orm().read()

    await world.together(worker=worker)
    world.claim("recovery", world.opened() >= 1, "the gate saw no connection although a query was answered.")


@scenario("ORM-4", "The transaction's connection goes back", level="must", needs=("tortoise",), orm=OrmSetup(size=1))
async def connection_goes_back(world):
    """After commit, rollback, a failing statement and cancellation the next transaction gets the pool's only
    connection."""

    async def committing(session):
        db = session.orm()
        async with db.transaction():
            await db.write()

    async def regretting(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            raise session.deliberate()

    async def failing(session):
        db = session.orm()
        async with db.transaction():
            await db.fail()

    async def canceller(session):
        await session.cancel("victim")

    await world.together(
        committing=committing, regretting=regretting, failing=failing, victim=committing, canceller=canceller
    )
