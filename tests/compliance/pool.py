"""POOL: the driver's own pool."""

import asyncio

from matrix.harness.scenario import scenario
from matrix.harness.situations import (
    BOTH_WANT_MORE,
    NOT_REPLACED,
    SILENT_IN_USE,
    STALLED,
    USED_BY_NEXT_OWNER,
    cancelled,
    waits_at,
)


@scenario("POOL-1", "A connection returned inside an open transaction", level="loud", needs=("pool",))
async def returned_in_transaction(world):
    """A connection that is given back in the middle of a transaction is clean for the next task, and the transaction is
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


@scenario("POOL-2", "Session settings do not leak", level="info", needs=("pool",), fresh_connections=True)
async def settings_leak(world):
    """A task changes a setting of the server's session and gives its connection back: the next task does not find the
    setting changed."""
    pool = await world.create_pool(1)

    async def careless(session):
        connection = await session.acquire(pool)
        await session.on(connection).change_setting()
        await session.release(pool, connection)

    async def neighbour(session):
        connection = await session.acquire(pool)
        await session.on(connection).show_setting()
        await session.release(pool, connection)

    await world.together(careless=careless, neighbour=neighbour)


@scenario(
    "POOL-3",
    "An exhausted pool: waiters are served, none is lost",
    level="loud",
    needs=("pool",),
    situation=waits_at("acquire"),
)
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
    situation=cancelled("acquire"),
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
    situation=cancelled("read"),
)
async def cancelled_in_use(world):
    """A task is cancelled in mid-query and gives its connection back: the next task gets a connection that answers
    correctly."""
    pool = await world.create_pool(1)

    async def victim(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    await world.together(victim=victim)


@scenario("POOL-6", "The server ends a connection in use", level="loud", needs=("pool", "server"))
async def killed_in_use(world):
    """The server ends a connection while a task holds it: its user gets its answers or a documented error, and the pool
    serves the next task."""
    pool = await world.create_pool(1)

    async def administrator(session):
        await session.terminate_backends()

    async def user(session):
        connection = await session.acquire(pool)
        ending = session.spawn("administrator", administrator)
        try:
            await session.on(connection).read()
            await session.settled(ending)
            await session.on(connection).read()
        finally:
            await session.settled(ending)
            await session.release(pool, connection)

    await world.together(user=user)


@scenario(
    "POOL-7",
    "Two acquires per task, a pool of one connection per task",
    level="loud",
    needs=("pool",),
    situation=BOTH_WANT_MORE,
)
async def nested_acquires(world):
    """Each of two tasks takes a connection and then a second one, from a pool of two: both are served in the end, or
    somebody gets a documented error."""
    pool = await world.create_pool(2)

    async def greedy(session):
        first = await session.acquire(pool)
        try:
            second = await session.acquire(pool)
            await session.release(pool, second)
        finally:
            await session.release(pool, first)

    await world.together(first=greedy, second=greedy)


@scenario(
    "POOL-8",
    "The holder that a task waits for is cancelled",
    level="loud",
    needs=("pool",),
    cancels="holder",
    during=("read", "release"),
    situation=waits_at("cancelled"),
)
async def cancelled_holder(world):
    """The task that holds the pool's only connection is cancelled in mid-query and gives it back: the task that waits
    for a connection is served."""
    pool = await world.create_pool(1)

    async def user(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    await world.together(holder=user, waiter=user)


@scenario("POOL-9", "The server ends an idle connection", level="loud", needs=("pool", "server"))
async def killed_idle(world):
    """The server ends a connection while it lies in the pool: the next task gets a new one or a documented error, and
    the user after that is served."""
    pool = await world.create_pool(1)

    async def user(session):
        await session.terminate_backends()
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    await world.together(user=user)


@scenario("POOL-10", "A connection given back twice", level="loud", needs=("pool",))
async def released_twice(world):
    """A task gives the same connection back twice: that is ignored or refused, and the pool never gives one connection
    to two tasks."""
    pool = await world.create_pool(1)

    async def careless(session):
        connection = await session.acquire(pool)
        await session.release(pool, connection)
        await session.release(pool, connection, misuse=True)

    async def user(session):
        connection = await session.acquire(pool)
        await session.on(connection).read()
        await session.release(pool, connection)

    await world.together(careless=careless, second=user, third=user)


@scenario(
    "POOL-11", "A connection used after it was given back", level="loud", needs=("pool",), situation=USED_BY_NEXT_OWNER
)
async def used_after_release(world):
    """A task goes on using the connection that it gave back, while the next task has a transaction open on it: the task
    is refused, or nobody notices."""
    pool = await world.create_pool(1)

    async def careless(session):
        connection = await session.acquire(pool)
        await session.release(pool, connection)
        await session.on(connection, late=True).write()

    async def owner(session):
        connection = await session.acquire(pool)
        try:
            port = session.on(connection)
            async with port.transaction():
                await port.write()
                raise session.deliberate()
        finally:
            await session.release(pool, connection)

    await world.together(careless=careless, owner=owner)


@scenario(
    "POOL-12",
    "The pool is closed while a task waits for a connection",
    level="loud",
    needs=("pool",),
    situation=waits_at("close"),
)
async def closed_over_waiter(world):
    """A pool is closed while one task holds its connection and another waits for it: both are served or refused in a
    documented way, and nobody waits for ever."""
    pool = await world.create_pool(1)

    async def user(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    async def closer(session):
        await session.close_pool(pool)

    await world.together(holder=user, waiter=user, closer=closer)


@scenario("POOL-13", "Connecting fails, then the pool is used again", level="loud", needs=("pool", "server"))
async def connect_failure(world):
    """A pool cannot open its second connection: whoever asked for it gets a documented error, and when the server can
    be reached again the pool has all its connections."""
    pool = await world.create_pool(2)

    async def user(session):
        first = await session.acquire(pool)
        try:
            await session.reach_server(False)
            await session.acquire(pool)
        finally:
            await session.reach_server(True)
            await session.release(pool, first)

    await world.together(user=user)


@scenario(
    "POOL-14",
    "A connection given back in a transaction, and a task that waits for it",
    level="loud",
    needs=("pool",),
    situation=waits_at("release"),
)
async def dirty_return_with_waiter(world):
    """A task gives the pool's only connection back in the middle of a transaction: the task that waits for a connection
    gets a clean one."""
    pool = await world.create_pool(1)

    async def careless(session):
        connection = await session.acquire(pool)
        port = session.on(connection)
        block = await port.begin_and_forget()
        await port.write()
        await session.release(pool, connection)
        session.forget(block)

    async def waiter(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).write()
        finally:
            await session.release(pool, connection)

    await world.together(careless=careless, waiter=waiter)


@scenario(
    "POOL-20",
    "A cancelled release leaks nothing",
    level="must",
    needs=("pool",),
    cancels="victim",
    during=("release",),
    situation=cancelled("release"),
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


@scenario(
    "POOL-21",
    "The server ends a connection that a task waits for",
    level="loud",
    needs=("pool", "server"),
    situation=waits_at("lost"),
)
async def killed_with_waiter(world):
    """The server ends a pool's only connection while one task uses it and another waits for it: the waiter is served,
    or answered with a documented error, and the pool works."""
    pool = await world.create_pool(1)

    async def user(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    async def administrator(session):
        await session.terminate_backends()

    await world.together(holder=user, waiter=user, administrator=administrator)
    await world.together(later=user)  # who may be the one that finds it dead


@scenario(
    "POOL-22",
    "A connection cannot be replaced while tasks wait for it",
    level="loud",
    needs=("pool", "server"),
    situation=NOT_REPLACED,
)
async def not_replaced_with_waiter(world):
    """The server ends a pool's only connection and cannot be reached while two tasks wait for it: each gets its answer
    in a documented way, or served when the server is back, and the pool works."""
    pool = await world.create_pool(1)
    held, away, returning = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def holder(session):
        connection = await session.acquire(pool)
        held.set()
        await away.wait()
        try:
            await session.on(connection).read()
        finally:
            returning.set()
            await session.release(pool, connection)

    async def user(session):
        await held.wait()
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    async def server(session):
        await held.wait()
        await session.terminate_backends()
        await session.reach_server(False)
        away.set()
        await returning.wait()
        await session.step("stays away")  # so that it is given back before the server is there again
        await session.reach_server(True)

    await world.together(holder=holder, waiter=user, another=user, server=server)
    await world.together(later=user)


@scenario("POOL-23", "Closing a pool ends its sessions", level="loud", needs=("pool", "server"))
async def no_session_left(world):
    """Two tasks use a pool's connections at once and give them back, then it is closed: no session of it is left."""
    pool = await world.create_pool(2)

    async def user(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    async def closer(session):
        await session.close_pool(pool)

    await world.together(one=user, other=user)
    await world.together(closer=closer)
    await world.no_session_left()


@scenario("POOL-24", "A pool keeps its size", level="loud", needs=("pool",))
async def size_is_kept(world):
    """Four tasks share a pool of two: it opens no more than two connections."""
    pool = await world.create_pool(2)

    async def user(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
        finally:
            await session.release(pool, connection)

    await world.together(**{f"user_{number}": user for number in range(1, 5)})
    world.no_more_than(2)


@scenario("POOL-30", "What else a session keeps", level="info", needs=("pool",), fresh_connections=True)
async def states_leak(world):
    """A task takes another role, makes a temporary table, listens, locks and changes whatever else the server keeps of
    a session, and gives its connection back: the next task finds all of it as in a new session."""
    pool = await world.create_pool(1)

    async def careless(session):
        connection = await session.acquire(pool)
        for state in world.adapter.states:
            await session.on(connection).change_setting(state)
        await session.release(pool, connection)

    async def neighbour(session):
        connection = await session.acquire(pool)
        for state in world.adapter.states:
            await session.on(connection).show_setting(state)
        await session.release(pool, connection)

    await world.together(careless=careless, neighbour=neighbour)


@scenario(
    "POOL-31",
    "A connection given back without autocommit",
    level="loud",
    needs=("pool", "switched autocommit"),
    fresh_connections=True,
)
async def autocommit_leaks(world):
    """A task switches its connection's autocommit off, commits what it has written and gives it back: what the next
    user of the pool, whose connections have autocommit, is reported to have written is stored."""
    pool = await world.create_pool(1)

    async def careful(session):
        connection = await session.acquire(pool)
        port = session.on(connection)
        await port.switch_autocommit_off()
        async with port.transaction(implicit=True):
            await port.read()
            await port.write()
        await session.release(pool, connection)

    async def neighbour(session):
        connection = await session.acquire(pool)
        await session.on(connection).write()
        await session.release(pool, connection)

    await world.together(careful=careful, neighbour=neighbour)


@scenario(
    "POOL-32",
    "Without autocommit: a connection given back without an end",
    level="loud",
    needs=("pool", "no autocommit"),
    fresh_connections=True,
)
async def no_end_without_autocommit(world):
    """In a pool without autocommit one task reads, another one writes, and both give the connection back without commit
    or rollback: what was written is not stored, and a third one's transaction is its own."""
    pool = await world.create_pool(1, autocommit=False)

    async def reader(session):
        connection = await session.acquire(pool)
        await session.on(connection).read()
        await session.release(pool, connection)

    async def careless(session):
        connection = await session.acquire(pool)
        port = session.on(connection)
        block = port.implicit()
        await port.read()
        await port.write()
        await session.release(pool, connection)
        session.forget(block)

    async def committing(session):
        connection = await session.acquire(pool)
        port = session.on(connection)
        async with port.transaction(implicit=True):
            await port.read()
            await port.write()
        await session.release(pool, connection)

    await world.together(reader=reader, careless=careless, committing=committing)


@scenario(
    "POOL-25",
    "A connect that stalls, and others who need none",
    level="loud",
    needs=("pool", "network"),
    python=(3, 11),
    situation=STALLED,
)
async def stalled_connect(world):
    """One task waits for a pool's second connection, whose server does not answer, with a limit of twenty seconds;
    meanwhile the first connection is given back and wanted by others: they are served at once."""
    pool = await world.create_pool(2)

    async def holder(session):
        connection = await session.acquire(pool)
        stalled = session.spawn("stalled", asker)
        try:
            await session.on(connection).read()
        finally:
            async with session.time_limit(1, owed=True):
                await session.release(pool, connection)
        async with session.time_limit(1, owed=True):
            connection = await session.acquire(pool)
            await session.on(connection).read()
            await session.release(pool, connection)
        await session.settled(stalled)

    async def asker(session):
        async with session.time_limit(20):
            connection = await session.acquire(pool)
            await session.on(connection).read()
            await session.release(pool, connection)

    async def network(session):
        await session.fall_silent(open_ones=False)

    async def repair(session):
        await session.fall_silent(open_ones=False, new_ones=False)
        await session.let_time_pass(200)  # more than any driver's own limit for connecting

    await world.together(network=network)
    await world.together(holder=holder)
    await world.together(repair=repair)


@scenario(
    "POOL-26",
    "A connection in use falls silent",
    level="loud",
    needs=("pool", "network"),
    python=(3, 11),
    situation=SILENT_IN_USE,
)
async def silent_in_use(world):
    """A pool's only connection falls silent at any moment of its use, each part of which has a second
    (asyncio.timeout), and new ones are served: every limit ends its block, and the pool serves the next task."""
    pool = await world.create_pool(1)

    await world.together(user=limited_use(pool), network=forgets_flows)
    await world.together(later=limited_use(pool), last=limited_use(pool))
    await world.together(clock=a_while)


@scenario(
    "POOL-27",
    "Closing a pool whose connections have fallen silent",
    level="loud",
    needs=("pool", "network"),
    python=(3, 11),
    situation=SILENT_IN_USE,
)
async def closed_in_silence(world):
    """The network falls silent while one connection of a pool is in use and another lies in it; closing the pool has a
    limit of a second (asyncio.timeout): a limit that is over ends its block."""
    pool = await world.create_pool(2)

    async def user(session):  # what it would ask in silence is POOL-26's question
        connection = await session.acquire(pool)
        await session.step("does something else")
        async with session.time_limit(1):
            await session.release(pool, connection)

    async def closer(session):
        async with session.time_limit(1):
            await session.close_pool(pool)

    async def network(session):
        await session.fall_silent()

    await world.together(one=limited_use(pool), other=limited_use(pool))
    await world.together(user=user, network=network)
    await world.together(closer=closer)


@scenario(
    "POOL-28",
    "Idle connections that have fallen silent",
    level="loud",
    needs=("pool", "network"),
    python=(3, 11),
)
async def silent_idle(world):
    """Both connections of a pool fall silent while they are idle, as behind a firewall that forgot them, and new ones
    are served: each costs at most one use, which its limit ends, and the pool works."""
    pool = await world.create_pool(2)

    await world.together(one=limited_use(pool), other=limited_use(pool))
    await world.together(network=forgets_flows)
    for number in range(1, 4):
        await world.together(**{f"later_{number}": limited_use(pool)})
    await world.together(clock=a_while)


@scenario("POOL-29", "Every connection is reset", level="loud", needs=("pool", "network"))
async def reset(world):
    """Every connection of a pool is reset at any moment of its use: its user gets a documented error, each
    connection costs at most one use, and the pool works."""
    pool = await world.create_pool(1)

    async def user(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
            await session.on(connection).write()
        finally:
            await session.release(pool, connection)

    async def network(session):
        await session.reset_connections()

    await world.together(holder=user, waiter=user, network=network)
    await world.together(later=user)


async def a_while(session):
    await session.let_time_pass(30)


async def forgets_flows(session):
    await session.fall_silent(new_ones=False)


def limited_use(pool):
    """A use of a connection whose parts have a second each."""

    async def user(session):
        connection = None
        async with session.time_limit(1):
            connection = await session.acquire(pool)
        if connection is None:
            return
        try:
            async with session.time_limit(1):
                await session.on(connection).read()
        finally:
            async with session.time_limit(1):
                await session.release(pool, connection)

    return user


@scenario(
    "POOL-33",
    "Without autocommit: a connection that has read is given back without an end",
    level="loud",
    needs=("pool", "no autocommit"),
    fresh_connections=True,
)
async def old_state_without_autocommit(world):
    """In a pool without autocommit a task reads and gives its connection back without commit or rollback, another one
    commits a row on a connection of its own, and the first one acquires again: it sees the row."""
    pool = await world.create_pool(2, autocommit=False)
    row, held, read, stored, seen = world.token(), *(asyncio.Event() for _ in range(4))

    async def reader(session):
        await held.wait()
        try:
            for look in (False, True):
                connection = await session.acquire(pool)
                port = session.on(connection)
                await (port.exists(row) if look else port.read())
                await session.release(pool, connection)
                read.set()
                await stored.wait()
        finally:
            seen.set()

    async def writer(session):
        connection = await session.acquire(pool)
        held.set()
        await read.wait()
        async with session.on(connection).transaction(implicit=True):
            await session.on(connection).write(row)
        stored.set()
        await seen.wait()
        await session.release(pool, connection)

    await world.together(reader=reader, writer=writer)
