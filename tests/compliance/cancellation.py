"""CAN: the driver alone, a coroutine is cancelled, once at each moment at which it waits."""

from matrix.harness.scenario import scenario
from matrix.harness.situations import CANCELLED_AGAIN, MET_SILENCE, REQUEST_NOT_SENT, TIMED_OUT, cancelled


@scenario(
    "CAN-1",
    "Cancel while the answer is due, then use the connection",
    level="loud",
    needs=("connection",),
    cancels="victim",
    situation=cancelled("read"),
)
async def cancel_read(world):
    """A read is cancelled at any moment: the connection then answers later questions correctly."""
    connection = await world.connect()

    async def victim(session):
        await session.on(connection).read()

    await world.together(victim=victim)


@scenario(
    "CAN-2",
    "A timeout while the answer is due, then use the connection",
    level="loud",
    needs=("connection",),
    situation=TIMED_OUT,
)
async def time_out_read(world):
    """A read runs out of time (asyncio.wait_for) at any moment: the connection then answers later questions
    correctly."""
    connection = await world.connect()

    async def victim(session):
        await session.within(0.05, session.on(connection).read)

    async def clock(session):
        await session.let_time_pass(0.06)

    await world.together(victim=victim, clock=clock)


@scenario(
    "CAN-3",
    "Cancel before anything was sent, then use the connection",
    level="loud",
    needs=("connection",),
    situation=cancelled("read"),
)
async def cancel_before_sending(world):
    """A task whose cancellation is on its way (its time is over) asks all the same, and hears of it at the driver's
    first await: the connection then answers later questions correctly."""
    connection = await world.connect()

    async def victim(session):
        session.cancel_at_next_operation()
        await session.on(connection).read()

    async def neighbour(session):
        await session.settled(world.sessions["victim"])
        await session.on(connection).read()

    await world.together(victim=victim, neighbour=neighbour)


@scenario(
    "CAN-4",
    "Cancel during commit, then use the connection",
    level="loud",
    needs=("connection",),
    cancels="victim",
    during=("commit",),
    situation=cancelled("commit"),
)
async def cancel_commit(world):
    """A commit is cancelled at any moment: all of the transaction is stored or nothing, and the connection then answers
    later questions correctly."""
    connection = await world.connect()

    async def victim(session):
        port = session.on(connection)
        async with port.transaction():
            await port.write()
            await port.write()

    await world.together(victim=victim)


@scenario(
    "CAN-5",
    "Cancel one of a crowd on one connection",
    level="loud",
    needs=("connection",),
    cancels="victim",
    situation=cancelled("read"),
)
async def cancel_one_of_many(world):
    """One of several coroutines that read on one connection is cancelled: the others get their own answers or
    documented errors."""
    connection = await world.connect()

    async def reader(session):
        await session.on(connection).read()

    await world.together(before=reader, victim=reader, behind=reader)


@scenario(
    "CAN-6",
    "The cancelled task sees CancelledError itself",
    level="must",
    needs=("connection",),
    cancels="victim",
    situation=cancelled("write"),
)
async def see_cancellation(world):
    """A task that is cancelled during a write sees CancelledError, and no other error in its place."""
    connection = await world.connect()

    async def victim(session):
        await session.on(connection).write()

    await world.together(victim=victim)
    world.judge_afterwards = False  # what becomes of the connection is CAN-1's question


@scenario(
    "CAN-7",
    "Cancel in the driver's own queue",
    level="loud",
    needs=("connection", "queue"),
    cancels="victim",
    situation=cancelled("write", overlapping=True),
)
async def cancel_in_queue(world):
    """A write that is cancelled while it waits in the driver's queue behind another's operation is not sent later, and
    the other is not disturbed."""
    connection = await world.connect()

    async def reader(session):
        await session.on(connection).read()

    async def victim(session):
        await session.on(connection).write()

    await world.together(before=reader, victim=victim)
    await world.nothing_sent_after_cancel()


@scenario(
    "CAN-8",
    "Cancel the use of a pool's connection; the same task goes on",
    level="loud",
    needs=("pool",),
    cancels="victim",
)
async def cancel_and_go_on(world):
    """A task is cancelled at any moment of acquiring, using and giving back a pool's connection, catches that and
    acquires once more: it is served and answered correctly, or refused, and the pool works."""
    pool = await world.create_pool(2)

    async def use(session):
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
            await session.on(connection).write()
        finally:
            await session.release(pool, connection)

    async def victim(session):
        with session.outlives_cancellation():
            await use(session)
        await use(session)

    await world.together(victim=victim)


@scenario(
    "CAN-30",
    "Cancel while streamed rows are read: does the task see CancelledError itself?",
    level="must",
    needs=("connection", "server cursor"),
    cancels="victim",
    situation=cancelled("read"),
)
async def cancel_stream(world):
    """A task that is cancelled while it walks through a streamed result sees CancelledError, and no other error in its
    place."""
    connection = await world.connect()

    async def victim(session):
        await session.on(connection).iterate(streamed=True)

    await world.together(victim=victim)
    world.judge_afterwards = False  # what becomes of the connection is CAN-13's question


@scenario(
    "CAN-31",
    "Cancel executemany inside a transaction",
    level="loud",
    needs=("connection",),
    cancels="victim",
    during=("write",),
    situation=cancelled("write"),
)
async def cancel_many(world):
    """An executemany is cancelled at any moment inside a transaction: nothing of it is stored."""
    await _cancel_in_transaction(world, lambda port: port.write_many())


@scenario(
    "CAN-32",
    "Cancel a COPY inside a transaction",
    level="loud",
    needs=("connection", "copy"),
    cancels="victim",
    during=("write",),
    situation=cancelled("write"),
)
async def cancel_copy(world):
    """A COPY from the client is cancelled at any moment inside a transaction: nothing of it is stored."""
    await _cancel_in_transaction(world, lambda port: port.copy_in())


async def _cancel_in_transaction(world, write):
    connection = await world.connect()

    async def victim(session):
        port = session.on(connection)
        async with port.transaction():
            await write(port)

    await world.together(victim=victim)


@scenario(
    "CAN-15",
    "Cancel during begin, then use the connection",
    level="loud",
    needs=("connection",),
    cancels="victim",
    during=("begin",),
    situation=cancelled("begin"),
)
async def cancel_begin(world):
    """A task is cancelled at any moment of beginning a transaction: afterwards the connection is in none, so that what
    the next task writes is stored, or the connection is lost."""
    connection = await world.connect()

    async def victim(session):
        port = session.on(connection)
        async with port.transaction():
            await port.write()

    await world.together(victim=victim)


@scenario(
    "CAN-9",
    "asyncio.wait_for around a query while the network falls silent",
    level="loud",
    needs=("connection", "network"),
    situation=MET_SILENCE,
)
async def limit_in_silence(world):
    """The network falls silent at any moment of queries that have a second each (asyncio.wait_for): a limit that is
    over ends its block, and TimeoutError is all that the task gets."""
    connection = await world.connect()

    async def victim(session):
        await session.within(1, session.on(connection).read)
        await session.within(1, session.on(connection).write)

    await world.together(victim=victim, network=silence)
    world.judge_afterwards = False  # it is lost, and nobody promised another one


@scenario(
    "CAN-10",
    "asyncio.timeout around a transaction while the network falls silent",
    level="loud",
    needs=("connection", "network"),
    python=(3, 11),
    situation=MET_SILENCE,
)
async def transaction_in_silence(world):
    """The network falls silent at any moment of a transaction that has a second (asyncio.timeout): a limit that is over
    ends its block, and all of the transaction is stored or nothing."""
    connection = await world.connect()

    async def victim(session):
        port = session.on(connection)
        async with session.time_limit(1), port.transaction():
            await port.write()
            await port.write()

    await world.together(victim=victim, network=silence)
    world.judge_afterwards = False


@scenario(
    "CAN-11",
    "The driver's own limit for a query while the network falls silent",
    level="loud",
    needs=("connection", "network", "query limit"),
    situation=MET_SILENCE,
)
async def own_limit_in_silence(world):
    """The network falls silent at any moment of queries on a connection with a limit of two seconds by the driver's own
    setting: a query that gets no answer ends by it, with an error that the driver documents."""
    connection = await world.connect(asking=2)

    async def victim(session):
        for ask in (session.on(connection).read, session.on(connection).write):
            with session.limited_by_driver(2):
                await ask()

    await world.together(victim=victim, network=silence)
    world.judge_afterwards = False


@scenario(
    "CAN-12",
    "A timeout whose cancel request cannot be sent",
    level="loud",
    needs=("connection", "network"),
    situation=REQUEST_NOT_SENT,
)
async def cancel_request_not_sent(world):
    """A read runs out of time (asyncio.wait_for) while new connections, which the driver's cancel request needs, are
    refused: the limit ends its block, and the connection then answers correctly or says that it is lost."""
    connection = await world.connect()

    async def victim(session):
        await session.within(1, session.on(connection).read)

    async def network(session):
        await session.reach_server(False)
        await session.let_time_pass(1.5)
        await session.reach_server(True)

    await world.together(victim=victim, network=network)


@scenario(
    "CAN-13",
    "Cancel inside a streamed result; the same task goes on",
    level="loud",
    needs=("pool", "server cursor"),
    cancels="victim",
    during=("read",),
    situation=cancelled("read"),
)
async def cancel_in_stream(world):
    """A task is cancelled at any moment of walking through a result whose rows stay with the server, catches that,
    gives its connection back and goes on: it is answered correctly, or refused, and the pool works."""
    await _stream(world, again=False)


@scenario(
    "CAN-14",
    "Cancel inside a streamed result, and again at every later await",
    level="loud",
    needs=("pool", "server cursor"),
    cancels="victim",
    during=("read",),
    situation=CANCELLED_AGAIN,
)
async def cancel_in_stream_again(world):
    """The same where the task is cancelled again at every later await until it has left the scope, as anyio's scopes do
    it, so also while it closes its cursor and gives its connection back."""
    await _stream(world, again=True)


async def _stream(world, *, again):
    pool = await world.create_pool(1)

    async def victim(session):
        with session.outlives_cancellation(again=again):
            connection = await session.acquire(pool)
            try:
                await session.on(connection).iterate(streamed=True)
            finally:
                await session.release(pool, connection)
        connection = await session.acquire(pool)
        try:
            await session.on(connection).read()
            await session.on(connection).write()
        finally:
            await session.release(pool, connection)

    await world.together(victim=victim)


async def silence(session):
    await session.fall_silent()
