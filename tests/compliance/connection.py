"""CON: the driver alone, one connection, several coroutines."""

import asyncio
import contextlib

from matrix.harness.scenario import scenario
from matrix.harness.session import Deliberate
from matrix.harness.situations import (
    AMID_ITERATION,
    BLOCKS_AT_ONCE,
    MET_SILENCE,
    closed_over,
    lost_in_transaction,
    overlap,
)


@scenario(
    "CON-1", "Two overlapping reads on one connection", level="loud", needs=("connection",), situation=overlap("read")
)
async def two_reads(world):
    """Two coroutines read on one connection at once: each gets its own answer, or the second is refused and nobody is
    harmed."""
    connection = await world.connect()

    async def reader(session):
        await session.on(connection).read()

    await world.together(first=reader, second=reader)


@scenario(
    "CON-2",
    "A write overlapping a read on one connection",
    level="loud",
    needs=("connection",),
    situation=overlap("read", "write"),
)
async def write_over_read(world):
    """A coroutine writes while another's read is under way: both get their own answers, or the second is refused and
    its row is not stored."""
    connection = await world.connect()

    async def reader(session):
        await session.on(connection).read()

    async def writer(session):
        await session.on(connection).write()

    await world.together(reader=reader, writer=writer)


@scenario(
    "CON-3",
    "A query while another coroutine iterates over a streamed result",
    level="loud",
    needs=("connection", "server cursor"),
    situation=AMID_ITERATION,
)
async def query_over_stream(world):
    """A coroutine reads while another fetches a result whose rows stay with the server: the reader gets its answer and
    the other all its rows, or the reader is refused."""
    connection = await world.connect()

    async def iterator(session):
        await session.on(connection).iterate(streamed=True)

    async def reader(session):
        await session.on(connection).read()

    await world.together(iterator=iterator, reader=reader)


@scenario(
    "CON-4",
    "Begin, commit and rollback by two coroutines on one connection",
    level="loud",
    needs=("connection",),
    situation=BLOCKS_AT_ONCE,
)
async def two_transactions(world):
    """Two coroutines run a transaction each on one connection: what each is reported of its end is true, or the second
    is refused."""
    connection = await world.connect()

    async def committer(session):
        port = session.on(connection)
        async with port.transaction():
            await port.write()

    async def regretter(session):
        port = session.on(connection)
        async with port.transaction():
            await port.write()
            raise session.deliberate()

    await world.together(committer=committer, regretter=regretter)


@scenario(
    "CON-5",
    "A crowd of 32 coroutines on one connection",
    level="loud",
    needs=("connection",),
    situation=overlap("read"),
)
async def crowd(world):
    """32 coroutines read on one connection at once: each gets its own answer, or is refused in a documented way."""
    connection = await world.connect()

    async def reader(session):
        await session.on(connection).read()

    await world.together(**{f"reader_{number}": reader for number in range(1, 33)})


@scenario(
    "CON-6",
    "An erroring statement overlapping reads on one connection",
    level="loud",
    needs=("connection",),
    situation=overlap("fail", "read"),
)
async def error_over_read(world):
    """A statement that the server refuses overlaps other coroutines' reads: its error reaches its asker and nobody
    else."""
    connection = await world.connect()

    async def reader(session):
        await session.on(connection).read()

    async def failing(session):
        await session.on(connection).fail()

    await world.together(before=reader, failing=failing, behind=reader)


@scenario(
    "CON-7", "Close while another coroutine waits", level="loud", needs=("connection",), situation=closed_over("read")
)
async def close_over_read(world):
    """A connection is closed while a coroutine waits for its answer: that one gets its answer or a documented error,
    and never waits for ever."""
    connection = await world.connect()

    async def reader(session):
        await session.on(connection).read()

    async def closer(session):
        await session.close(connection)

    await world.together(reader=reader, closer=closer)


@scenario(
    "CON-8",
    "A query while another coroutine iterates over a buffered result",
    level="loud",
    needs=("connection",),
    situation=AMID_ITERATION,
)
async def query_over_rows(world):
    """A coroutine reads while another goes through a result that the driver has fetched: the reader gets its answer and
    the other all its rows, or the reader is refused."""
    connection = await world.connect()

    async def iterator(session):
        await session.on(connection).iterate(streamed=False)

    async def reader(session):
        await session.on(connection).read()

    await world.together(iterator=iterator, reader=reader)


@scenario("CON-9", "A script inside the driver's own transaction", level="loud", needs=("connection",))
async def script_inside(world):
    """A script that makes a table runs inside a transaction that is then rolled back: nothing of it is stored, or the
    script is refused."""
    connection = await world.connect()

    async def parent(session):
        db = session.on(connection)
        async with db.transaction():
            await db.write()
            await db.script()
            await db.write()
            raise session.deliberate()

    await world.together(parent=parent)


@scenario(
    "CON-10",
    "The connection is lost inside the driver's own transaction",
    level="loud",
    needs=("connection", "server"),
    situation=lost_in_transaction(),
)
async def lost_inside(world):
    """The connection is ended at any moment of an open transaction, up to its commit's answer: all of it is stored or
    nothing, and what is asked behind that is refused."""
    await _lose(world, between=lambda db: db.write())


@scenario(
    "CON-11",
    "A ping finds the connection lost inside a transaction",
    level="loud",
    needs=("connection", "server", "ping"),
    situation=lost_in_transaction("ping"),
)
async def pinged_inside(world):
    """Inside a transaction the driver's ping finds the connection lost: it says so, or what is asked behind it is
    refused, since the transaction is gone with the connection."""
    await _lose(world, between=lambda db: db.ping())


async def _lose(world, between):
    """The connection is ended at any moment of a transaction that writes, does something, and writes again."""
    connection = await world.connect()

    async def victim(session):
        db = session.on(connection)
        with contextlib.suppress(Exception):
            async with db.transaction():
                await db.write()
                await between(db)
                await db.write()

    async def server(session):
        await session.terminate_backends()

    await world.together(victim=victim, server=server)
    world.judge_afterwards = False  # it is lost, and nobody promised another one


@scenario("CON-30", "A streamed result is left early", level="loud", needs=("connection", "server cursor"))
async def stream_left(world):
    """A task leaves a streamed result after its first row and goes on with the connection: each later answer is the one
    that was asked for."""
    connection = await world.connect()

    async def reader(session):
        port = session.on(connection)
        await port.iterate(streamed=True, leave=1)
        await port.read()
        await port.write()

    await world.together(reader=reader)


@scenario("CON-17", "A caught error, then the commit, without Tortoise", level="loud", needs=("connection",))
async def caught_error(world):
    """A statement fails inside a transaction of the driver's own, its error is caught, and the block ends well: all of
    its rows are stored, or its end says no."""
    connection = await world.connect()

    async def worker(session):
        port = session.on(connection)
        async with port.transaction():
            await port.write()
            with contextlib.suppress(Exception):
                await port.fail()

    await world.together(worker=worker)


@scenario(
    "CON-16",
    "A streamed result is left before its error, inside a transaction",
    level="loud",
    needs=("connection", "stream"),
)
async def stream_left_before_its_error(world):
    """Inside a transaction a task leaves a streamed result after its first row, where the next one is an error, and
    the block ends well: all of its rows are stored, or its end says no."""
    connection = await world.connect()

    async def reader(session):
        port = session.on(connection)
        async with port.transaction():
            await port.write()
            await port.iterate(streamed=True, leave=1, fails=True)

    await world.together(reader=reader)


@scenario(
    "CON-31", "The source of a COPY fails with a text of 10,000 bytes", level="loud", needs=("connection", "copy")
)
async def copy_source_fails(world):
    """What gives the rows of a COPY raises an error with a text of 10,000 bytes after two of them, alone and inside a
    transaction: its own error comes out, nothing of it is stored, and the connection serves what comes next."""
    connection = await world.connect()

    async def loader(session):
        port = session.on(connection)
        with contextlib.suppress(Deliberate):
            await port.copy_in(fails=True)
        with contextlib.suppress(Deliberate):
            async with port.transaction():
                await port.write()
                await port.copy_in(fails=True)
        await port.copy_in()
        await port.read()

    await world.together(loader=loader)


@scenario("CON-32", "A COPY to the client is left early", level="loud", needs=("connection", "copied rows"))
async def copy_left(world):
    """A task leaves the rows of a COPY after the first one and goes on with the connection: each later answer is the
    one that was asked for."""
    connection = await world.connect()

    async def reader(session):
        port = session.on(connection)
        await port.iterate(streamed=True, leave=1, copied=True)
        await port.read()
        await port.write()

    await world.together(reader=reader)


@scenario(
    "CON-12",
    "The driver's own limit for connecting while the network is silent",
    level="loud",
    needs=("connection", "network", "connect limit"),
    hold_login=True,
    situation=MET_SILENCE,
)
async def connecting_in_silence(world):
    """The network falls silent at any moment of connecting with a limit of two seconds by the driver's own setting: it
    ends by it, connected or with an error that the driver documents."""

    async def victim(session):
        with contextlib.suppress(Exception), session.limited_by_driver(2):
            await session.connect(2)

    async def network(session):
        await session.fall_silent()

    await world.together(victim=victim, network=network)
    world.judge_afterwards = False


@scenario(
    "CON-13",
    "Closing a connection that has fallen silent",
    level="loud",
    needs=("connection", "network"),
    situation=MET_SILENCE,
)
async def closing_in_silence(world):
    """The network falls silent at any moment of a query and of closing the connection, which have a second each
    (asyncio.wait_for): a limit that is over ends its block."""
    connection = await world.connect()

    async def victim(session):
        await session.within(1, session.on(connection).read)
        await session.within(1, lambda: session.close(connection))

    async def network(session):
        await session.fall_silent()

    await world.together(victim=victim, network=network)


@scenario(
    "CON-14",
    "The driver's own limit for closing while the network is silent",
    level="loud",
    needs=("connection", "network", "close limit"),
    situation=MET_SILENCE,
)
async def own_limit_of_closing(world):
    """The network falls silent at any moment of a query that has a second and of closing with a limit of two seconds by
    the driver's own call: it ends by it."""
    connection = await world.connect()

    async def victim(session):
        await session.within(1, session.on(connection).read)
        with contextlib.suppress(Exception), session.limited_by_driver(2):
            await session.close(connection, 2)

    async def network(session):
        await session.fall_silent()

    await world.together(victim=victim, network=network)


@scenario(
    "CON-15",
    "A ping on a connection that has fallen silent",
    level="loud",
    needs=("connection", "network", "ping"),
    situation=MET_SILENCE,
)
async def pinged_in_silence(world):
    """The network falls silent at any moment of a ping, which may connect anew, with a limit of a second
    (asyncio.wait_for): a limit that is over ends its block."""
    connection = await world.connect()

    async def victim(session):
        await session.within(1, session.on(connection).ping)
        await session.within(1, session.on(connection).read)

    async def network(session):
        await session.fall_silent()

    await world.together(victim=victim, network=network)
    world.judge_afterwards = False


@scenario("CON-33", "The same question before and after a migration", level="loud", needs=("connection",))
async def schema_changes(world):
    """A task asks for all columns of a table again and again, by the same statement, and another connection adds one:
    it gets its answer each time."""
    await _migrated(world, inside=False)


@scenario(
    "CON-37",
    "The same question in a transaction, before and after a migration",
    level="loud",
    needs=("connection",),
)
async def schema_changes_for_a_transaction(world):
    """A task asks for all columns of a table again and again, by the same statement, another connection adds one, and
    the task asks inside a transaction: it gets its answers, there and afterwards."""
    await _migrated(world, inside=True)


async def _migrated(world, *, inside):
    connection, other = await world.connect(), await world.connect()
    made, widened = asyncio.Event(), asyncio.Event()
    table = []

    async def reader(session):
        port = session.on(connection)
        try:
            table.extend(await port.make_table())
            for _ in range(6):  # a driver may prepare a statement when it has come so often
                await port.read_from(*table)
        finally:
            made.set()
        if inside:
            await widened.wait()
            async with port.transaction():
                await port.read_from(*table)
        await port.read_from(*table)
        await port.read_from(*table)

    async def migration(session):
        await made.wait()
        try:
            await session.on(other).widen(table[0])
        finally:
            widened.set()

    await world.together(reader=reader, migration=migration)


async def _with_a_listener(world, listener, other_task, *, count):
    connection, other = await world.connect(), await world.connect()
    listening = asyncio.get_running_loop().create_future()

    async def listens(session):
        port = session.on(connection)
        listening.set_result(await port.listen(count))
        await listener(port, listening.result())

    async def notifies(session):
        await listening
        await other_task(session.on(connection), session.on(other), listening.result())

    await world.together(listener=listens, notifier=notifies)


@scenario("CON-34", "Notifications arrive between queries", level="loud", needs=("connection", "notifications"))
async def notified_between_queries(world):
    """A connection that listens for notifications serves queries as well, and two are sent at any moment: each query
    gets its own answer, and each notification arrives, once."""

    async def listener(port, listening):
        await port.read()
        await port.write()
        await port.hear(listening)
        await port.read()

    async def notifier(_, other, listening):
        await other.notify(listening)
        await other.notify(listening)

    await _with_a_listener(world, listener, notifier, count=2)


@scenario(
    "CON-35", "A query beside a task that waits for notifications", level="loud", needs=("connection", "notifications")
)
async def query_beside_listener(world):
    """One task waits for a notification, another reads on the same connection before it sends that by another one: it
    gets its answer or is refused, and the notification arrives."""

    async def listener(port, listening):
        await port.hear(listening)

    async def notifier(shared, other, listening):
        await shared.read()
        await other.notify(listening)

    await _with_a_listener(world, listener, notifier, count=1)


@scenario("CON-36", "A pipeline that two tasks share", level="loud", needs=("connection", "pipeline"))
async def shared_pipeline(world):
    """A task has switched a connection to pipeline mode, and another asks on it meanwhile: each gets its own answers,
    or the other is refused."""
    connection = await world.connect()
    begun = asyncio.Event()

    async def owner(session):
        port = session.on(connection)
        async with port.pipeline():
            begun.set()
            await port.read()
            await port.read()

    async def neighbour(session):
        await begun.wait()
        port = session.on(connection)
        await port.read()
        await port.read()

    await world.together(owner=owner, neighbour=neighbour)
