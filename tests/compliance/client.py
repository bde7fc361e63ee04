"""ORM: Tortoise's client, its pool and its connecting."""

import asyncio
import contextlib

from matrix.harness.scenario import OrmSetup, scenario
from matrix.harness.situations import SILENT_BEFORE_LOGIN, at_once, cancelled, closed_over


@scenario(
    "ORM-1",
    "Gathered queries on the plain client",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    situation=at_once("read"),
)
async def gathered_queries(world):
    """Many tasks query through the models at once, outside of any transaction: each gets its own answer, each row is
    stored."""

    async def worker(session):
        db = session.orm()
        await db.read()
        await db.write()

    await world.together(**{f"worker_{number}": worker for number in range(1, 5)})


@scenario(
    "ORM-2",
    "First use by many tasks at once",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    hold_login=True,
    situation=at_once("read"),
)
async def first_use(world):
    """Many tasks make the very first query at once: one pool is made, no connection beyond its size is opened."""

    async def worker(session):
        await session.orm().read()

    await world.together(**{f"worker_{number}": worker for number in range(1, 5)})
    world.recording.claim(
        "recovery",
        world.opened() <= world.orm.size,
        "first_use_opened",
        tasks=4,
        opened=world.opened(),
        size=world.orm.size,
    )


@scenario(
    "ORM-3", "Connecting is lazy", level="must", needs=("tortoise",), orm=OrmSetup(size=2), fresh_connections=True
)
async def lazy(world):
    """Tortoise.init() opens no connection; the first query opens one."""
    world.recording.claim("recovery", world.opened() == 0, "init_opened", opened=world.opened())

    async def worker(session):
        await session.orm().read()

    await world.together(worker=worker)
    world.recording.claim("recovery", world.opened() >= 1, "nothing_opened")


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


@scenario(
    "ORM-5", "Close while in use", level="loud", needs=("tortoise",), orm=OrmSetup(size=2), situation=closed_over()
)
async def close_in_use(world):
    """All connections are closed while others query and are in a transaction: these end well or are refused, and the
    next use connects again."""

    async def reader(session):
        db = session.orm()
        await db.read()
        await db.read()

    async def writer(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.read()

    async def closer(session):
        await session.orm().close_all()

    await world.fill_orm_pool()  # closing while the first use connects is ORM-11
    await world.together(reader=reader, writer=writer, closer=closer)


@scenario(
    "ORM-6",
    "A connect failure, then a second use",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    fresh_connections=True,
)
async def connect_failure(world):
    """Who uses the client while the database cannot be reached gets a documented error; as soon as it can, the
    client works."""

    async def too_early(session):
        await session.orm().read()

    async def too_early_with_block(session):
        db = session.orm()
        async with db.transaction():
            await db.write()

    async def later(session):
        db = session.orm()
        await db.read()
        async with db.transaction():
            await db.write()

    world.refuse_connections(True)
    await world.together(too_early=too_early, too_early_with_block=too_early_with_block)
    world.refuse_connections(False)
    await world.together(later=later, another=later)


@scenario(
    "ORM-7",
    "After close_all(), a connection first used inside a transaction",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=1, aliases=("conn_1", "conn_2")),
    fresh_connections=True,
)
async def first_used_inside(world):
    """After close_all(), a named connection whose first use is inside a transaction on another one is one pool like any
    other, not a new one for every such transaction."""

    async def worker(session):
        first, second = session.orm("conn_1"), session.orm("conn_2")
        for _ in range(2):
            async with first.transaction():
                await first.write()
                await second.read()

    await world.close_orm()
    await world.together(worker=worker)
    most = world.orm.size * len(world.orm.aliases)
    world.recording.claim(
        "recovery",
        world.opened() <= most,
        "aliases_opened",
        size=world.orm.size,
        opened=world.opened(),
        most=most,
    )


@scenario(
    "ORM-8",
    "Cancel a bulk insert outside of any transaction",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    situation=cancelled("write"),
)
async def cancel_bulk(world):
    """A bulk_create is cancelled at any moment: all its rows are stored or none, and the next task finds a clean
    connection."""

    async def victim(session):
        await session.orm().write_many()

    await world.fill_orm_pool()  # a cancelled first use is ORM-10
    await world.together(victim=victim)


@scenario(
    "ORM-9", "Close, then use again", level="must", needs=("tortoise",), orm=OrmSetup(size=2), fresh_connections=True
)
async def use_again(world):
    """Closing while nobody uses them closes all connections; the next use opens them again, by however many tasks, and
    no more than the pool's size."""

    async def worker(session):
        db = session.orm()
        await db.read()
        async with db.transaction():
            await db.write()

    async def closer(session):
        await session.orm().close_all(discard=False)

    await world.together(first=worker)
    before = world.opened()
    await world.together(closer=closer)
    await world.conductor.nothing_in_flight()
    left = world.still_open()
    world.recording.claim("recovery", left == 0, "still_open", opened=left)
    await world.together(second=worker, third=worker)
    again = world.opened() - before
    world.recording.claim(
        "recovery",
        again <= world.orm.size,
        "opened_again",
        opened=again,
        size=world.orm.size,
    )


@scenario(
    "ORM-10",
    "Cancel the first use",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    hold_login=True,
    cancels="victim",
    situation=cancelled("read"),
)
async def cancel_first_use(world):
    """The task whose query makes the first connection is cancelled at any moment: it sees CancelledError, and the
    others get their answers."""

    async def worker(session):
        await session.orm().read()

    await world.together(victim=worker, other=worker)


@scenario(
    "ORM-11",
    "Close while the first use connects",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    fresh_connections=True,
    situation=closed_over("read"),
)
async def close_while_connecting(world):
    """All connections are closed while a first query is about to connect: the query is answered or refused, and the
    next use connects again."""

    async def worker(session):
        await session.orm().read()

    async def closer(session):
        await session.orm().close_all()

    await world.together(first=worker, second=worker, closer=closer)


@scenario("ORM-12", "Idle connections are lost", level="loud", needs=("tortoise", "server"), orm=OrmSetup(size=1))
async def lost_while_idle(world):
    """The server ends the pool's idle connections, as it does after a time without use: each costs one refused
    operation at most, then everybody is served, in the same task as well."""

    async def user(session):
        db = session.orm()
        for _ in range(2):
            with contextlib.suppress(Exception):
                await db.read()
        for _ in range(2):
            with contextlib.suppress(Exception):
                async with db.transaction():
                    await db.write()

    async def server(session):
        await session.lose_connections()

    await world.fill_orm_pool()
    await world.together(server=server)
    await world.together(one=user, other=user)


@scenario(
    "ORM-13",
    "The database goes away and comes back; the same task goes on",
    level="loud",
    needs=("tortoise", "server"),
    orm=OrmSetup(size=1),
)
async def away_and_back(world):
    """The server ends all connections and cannot be reached for a while, from any moment of a task's transactions on:
    when it is back, those of the same task work again."""
    back = asyncio.Event()

    async def service(session):
        db = session.orm()

        async def once():
            with contextlib.suppress(Exception):
                async with db.transaction():
                    await db.write()

        await once()
        await once()
        await back.wait()
        for _ in range(3):
            await once()

    async def server(session):
        await session.lose_connections()
        world.refuse_connections(True)
        await session.step("can be reached again")
        world.refuse_connections(False)
        back.set()

    await world.fill_orm_pool()
    await world.together(service=service, server=server)


@scenario(
    "ORM-14",
    "Idle connections have fallen silent",
    level="loud",
    needs=("tortoise", "tortoise pool", "network"),
    orm=OrmSetup(size=1),
)
async def silent_while_idle(world, remedy):
    """Tortoise's idle connections fall silent, as behind a firewall that forgot them, and fifty minutes later a task
    asks several times, with two seconds each (asyncio.wait_for): each dead connection costs one question at most, every
    limit ends its block, and the pool works."""

    async def network(session):
        await session.fall_silent(new_ones=False)
        await session.let_time_pass(3000)  # not at the edge of a pool's own setting: an hour

    await world.fill_orm_pool()
    await world.together(network=network)
    await world.together(user=questions(4, seconds=2))


@scenario(
    "ORM-15",
    "Idle connections were ended by the server fifty minutes ago",
    level="loud",
    needs=("tortoise", "tortoise pool", "network"),
    orm=OrmSetup(size=1),
)
async def ended_while_idle(world, remedy):
    """The server ends Tortoise's connections, which were idle for fifty minutes (wait_timeout, a restart): each costs
    one question at most, the same task's later ones are answered, and the pool works."""

    async def server(session):
        await session.lose_connections()
        await session.let_time_pass(3000)  # not at the edge of a pool's own setting: an hour

    await world.fill_orm_pool()
    await world.together(server=server)
    await world.together(user=questions(4))


@scenario(
    "ORM-16",
    "The first use connects while the network is silent",
    level="loud",
    needs=("tortoise", "tortoise pool", "network"),
    orm=OrmSetup(size=1),
    hold_login=True,
    situation=SILENT_BEFORE_LOGIN,
)
async def first_use_in_silence(world):
    """Tortoise connects for the first time while the network falls silent, before the login or in it, with two seconds
    for each question (asyncio.wait_for): every limit ends its block, and when the network is back the same client
    works."""

    async def network(session):
        await session.fall_silent()

    async def repair(session):
        await session.fall_silent(open_ones=False, new_ones=False)
        await session.let_time_pass(200)  # more than any driver's own limit for connecting

    await world.together(one=questions(1, seconds=2), other=questions(1, seconds=2), network=network)
    await world.together(repair=repair)
    await world.together(later=questions(3, seconds=2))


@scenario(
    "ORM-17",
    "Every connection is reset",
    level="loud",
    needs=("tortoise", "tortoise pool", "network"),
    orm=OrmSetup(size=1),
)
async def reset(world):
    """Every connection of Tortoise's is reset at any moment of a transaction and of queries: each costs one refused
    operation at most, and the same tasks' later ones work."""

    async def user(session):
        db = session.orm()
        with contextlib.suppress(Exception):
            async with db.transaction():
                await db.write()
        await questions(2)(session)

    async def network(session):
        await session.reset_connections()

    await world.fill_orm_pool()
    await world.together(user=user, network=network)
    await world.together(later=questions(2))


def questions(count, *, seconds=None):
    """A task that asks so often, each within a limit where one is given, and passes errors over."""

    async def user(session):
        for _ in range(count):
            with contextlib.suppress(Exception):
                read = session.orm().read
                await (read() if seconds is None else session.within(seconds, read))

    return user
