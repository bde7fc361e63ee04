"""POOL: the driver's own pool."""

from tests.harness.scenario import scenario


@scenario("POOL-1", "A connection returned inside an open transaction", level="must", needs=("pool",))
async def returned_in_transaction(world):
    """A connection that is given back in the middle of a transaction is clean for the next user, and the transaction is
    not committed."""
    pool = await world.create_pool(1)

    async def careless(session):
        connection = await session.acquire(pool)
        port = session.on(connection)
        block = await port.begin_and_forget()
        await port.write()
        await session.release(pool, connection)
        session.forget(block)

    await world.together(careless=careless)


@scenario("POOL-3", "An exhausted pool: waiters are served, none is lost", level="must", needs=("pool",))
async def exhaustion(world):
    """More tasks than connections: every waiter is served in the end and gets its own answers."""
    pool = await world.create_pool(2)

    async def user(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    await world.together(**{f"user_{number}": user for number in range(1, 6)})


@scenario(
    "POOL-4",
    "A cancelled acquire leaks nothing",
    level="must",
    needs=("pool",),
    cancels="victim",
    during=("acquire",),
)
async def cancelled_acquire(world):
    """A task that is cancelled while it waits for a connection, at any moment, takes none with it."""
    pool = await world.create_pool(1)

    async def holder(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    await world.together(holder=holder, victim=holder)


@scenario(
    "POOL-5",
    "A connection cancelled in mid-query is not handed out poisoned",
    level="must",
    needs=("pool",),
    cancels="victim",
    during=("read",),
)
async def cancelled_in_use(world):
    """A task is cancelled in mid-query and gives its connection back: the next user gets a connection that answers
    correctly."""
    pool = await world.create_pool(1)

    async def victim(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    await world.together(victim=victim)


@scenario(
    "POOL-20",
    "A cancelled release leaks nothing",
    level="must",
    needs=("pool",),
    cancels="victim",
    during=("release",),
)
async def cancelled_release(world):
    """A task that is cancelled while it gives its connection back, at any moment, does not take it out of the pool."""
    pool = await world.create_pool(1)

    async def victim(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    await world.together(victim=victim)
