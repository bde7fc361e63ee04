"""CTX: the context variable outlives the block, or is left in another context. Those with children take a ``remedy``,
so that remedies can be tried on them."""

import asyncio
import contextlib
import contextvars

from matrix.harness.scenario import OrmSetup, scenario
from matrix.harness.situations import BLOCKS_AT_ONCE, ENDED_BESIDE, FAILED_BESIDE


@scenario("CTX-1", "A child outlives the transaction and writes", level="loud", needs=("tortoise",), orm=OrmSetup())
async def late_write(world, remedy):
    """A task started in a transaction writes after the block has ended: the row is stored as reported, or the write is
    refused."""
    block_is_over = asyncio.Event()

    async def child(session):
        await block_is_over.wait()
        await remedy.late_write(session)

    await world.together(parent=parent_outlived_by(remedy, block_is_over, child))


@scenario("CTX-2", "A child outlives the transaction and opens one", level="loud", needs=("tortoise",), orm=OrmSetup())
async def late_transaction(world, remedy):
    """A task started in a transaction opens its own after the block has ended: it ends as reported, or is refused."""
    block_is_over = asyncio.Event()

    async def child(session):
        await block_is_over.wait()
        db = remedy.inner(session)
        async with remedy.inner_transaction(db):
            await db.write()

    await world.together(parent=parent_outlived_by(remedy, block_is_over, child))


@scenario(
    "CTX-3", "A late write meets a stranger's transaction", level="loud", needs=("tortoise",), orm=OrmSetup(size=1)
)
async def late_write_meets_stranger(world, remedy):
    """The late write of an outlived task does not land in the transaction of a stranger who got the same connection."""
    block_is_over = asyncio.Event()
    stranger_has_begun = asyncio.Event()

    async def child(session):
        await stranger_has_begun.wait()
        await remedy.late_write(session)

    async def stranger(session):
        await block_is_over.wait()
        db = remedy.outer(session)
        try:
            async with db.transaction():
                await db.write()
                stranger_has_begun.set()
                await db.read()
                raise session.deliberate()
        finally:
            stranger_has_begun.set()

    await world.together(parent=parent_outlived_by(remedy, block_is_over, child), stranger=stranger)


@scenario(
    "CTX-4",
    "A TaskGroup: one child fails, siblings are cancelled",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(),
    python=(3, 11),
    situation=FAILED_BESIDE,
)
async def task_group(world, remedy):
    """Inside a transaction one task of a TaskGroup fails and its siblings are cancelled in mid-query: nothing is
    stored, the pool works."""

    async def sibling(session):
        db = remedy.inner(session)
        await db.write()
        await db.read()

    async def failing(session):
        await remedy.inner(session).read()
        raise session.deliberate()

    async def parent(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.write()
            team = remedy.team(session, sibling=sibling, failing_child=failing)
            async with team.group():
                team.start()
            team.last_statement()
        team.after_block()
        await team.rest()

    await world.together(parent=parent)


@scenario("CTX-5", "A thread with a loop of its own, started inside", level="loud", needs=("tortoise",), orm=OrmSetup())
async def thread_inside(world):
    """Inside a transaction asyncio.to_thread runs queries on a loop of its own, with a copy of the context: they are
    part of the transaction, or refused and nobody is harmed."""

    async def work(session):
        db = session.orm()
        await db.read()
        await db.write()

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await session.in_thread(work)
            await db.write()

    await world.together(parent=parent)


@scenario(
    "CTX-6",
    "A generator enters the transaction in one task and leaves it in another",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
)
async def generator_moves(world):
    """An async generator with a transaction around its yield is begun by one task and ended by another, as a fixture of
    some test runners: it is committed as reported, or refused and nothing of it is stored."""

    async def parent(session):
        db = session.orm()

        async def dependency():
            async with db.transaction():
                await db.write()
                yield
                await db.write()

        async def closer(session):
            db.hand_over(session)
            await anext_or_none(generator)

        generator = dependency()
        await anext_or_none(generator)
        await session.settled(session.spawn("closer", closer))

    await world.together(parent=parent)


@scenario(
    "CTX-7",
    "Eager tasks open nested transactions",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
    python=(3, 12),
    situation=BLOCKS_AT_ONCE,
)
async def eager_tasks(world, remedy):
    """Two tasks that begin to run while they are created, inside a transaction, each open a nested one: both end as
    reported, or one is refused and nobody is harmed."""

    async def child(session):
        db = remedy.inner(session)
        await db.read()
        async with remedy.inner_transaction(db):
            await db.write()

    async def parent(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.write()
            team = remedy.team(session, child_1=child, child_2=child)
            team.start()
            await db.write()
            await team.join()
            team.last_statement()
        team.after_block()
        await team.rest()

    world.start_eagerly()
    await world.together(parent=parent)


@scenario(
    "CTX-8",
    "A worker started before the transaction stays outside it",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(),
)
async def worker_from_before(world):
    """A worker started before a transaction is handed a job inside of it, and the transaction then fails: the worker's
    row is stored, the transaction's is not."""
    jobs = asyncio.Queue()

    async def worker(session):
        if await jobs.get():
            await session.orm().write()

    async def parent(session):
        db = session.orm()
        job = False
        try:
            async with db.transaction():
                await db.write()
                job = True
                jobs.put_nowait(job)
                await db.read()
                raise session.deliberate()
        finally:
            if not job:
                jobs.put_nowait(job)

    await world.together(worker=worker, parent=parent)


@scenario(
    "CTX-9",
    "A queue worker started inside the transaction",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
)
async def worker_from_inside(world, remedy):
    """A worker started inside a transaction serves a later job of somebody else while a stranger's transaction is open:
    the row is stored as reported, or its write is refused, and the stranger's transaction is left alone."""
    jobs = asyncio.Queue()
    block_is_over = asyncio.Event()

    async def worker(session):
        while await jobs.get():
            await remedy.late_write(session)
        jobs.put_nowait(None)  # the next worker shall end too

    async def client(session):
        await block_is_over.wait()
        db = remedy.outer(session)
        try:
            async with db.transaction():
                await db.write()
                jobs.put_nowait("a job")
                await db.read()
                raise session.deliberate()
        finally:
            jobs.put_nowait(None)

    await world.together(parent=parent_outlived_by(remedy, block_is_over, worker), client=client)


@scenario(
    "CTX-10", "Threads with loops and connections of their own", level="must", needs=("tortoise",), orm=OrmSetup()
)
async def loops_of_their_own(world):
    """Two threads, each with its own event loop and its own Tortoise.init(), and the main one run transactions at once:
    one fails, the others commit, each as reported."""

    async def committing(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.read()

    async def failing(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            raise session.deliberate()

    def on_its_own(body):
        async def work(session):
            async with session.tortoise_of_its_own():
                await body(session)

        async def thread(session):
            await session.in_executor(work)

        return thread

    await world.together(main=committing, thread_1=on_its_own(committing), thread_2=on_its_own(failing))


@scenario("CTX-11", "One init, two event loops", level="loud", needs=("tortoise",), orm=OrmSetup())
async def one_init_two_loops(world):
    """The main loop and a thread's loop query through the same Tortoise.init() at once: each gets its own answers, each
    row is stored."""

    async def work(session):
        db = session.orm()
        await db.read()
        await db.write()

    async def thread(session):
        await session.in_thread(work)

    await world.together(main=work, thread=thread)


@scenario(
    "CTX-12",
    "A generator with a transaction is abandoned",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    abandons=True,
)
async def generator_abandoned(world):
    """An async generator with a transaction around its yield is dropped half-way, and the event loop ends it in a task
    of its own: nothing of it is stored, and the pool works afterwards."""
    ended = asyncio.Event()

    async def parent(session):
        db = session.orm()

        async def rows():
            try:
                async with db.transaction():
                    await db.write()
                    yield
            finally:
                ended.set()

        async for _ in rows():
            break  # nobody holds the generator any more
        await ended.wait()

    await world.together(parent=parent)


@scenario(
    "CTX-13",
    "Transactions on two connections end in the order they began",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(aliases=("conn_1", "conn_2")),
)
async def two_aliases(world):
    """Transactions on two named connections end in the order in which they began, then a third one on the first
    connection fails: the rows of the first two are stored, the third's is not, or ending them so is refused."""

    async def parent(session):
        one, two = session.orm("conn_1"), session.orm("conn_2")
        first, second = one.transaction(own=True), two.transaction(own=True)
        await first.__aenter__()
        await one.write()
        await second.__aenter__()
        await first.__aexit__(None, None, None)
        await two.write()
        await second.__aexit__(None, None, None)
        async with one.transaction(own=True):
            await one.write()
            raise session.deliberate()

    await world.together(parent=parent)


@scenario(
    "CTX-14",
    "Gathered queries, one task fails, the others go on",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
    situation=ENDED_BESIDE,
)
async def gather_ends_early(world, remedy):
    """Tasks that asyncio.gather waits for query in a transaction, one fails by its own error: gather ends at once, the
    block rolls back beside the others, and what is reported to them is true, or they are refused and nobody is
    harmed."""

    async def child(session):
        db = remedy.inner(session)
        await db.write()
        await db.read()

    async def failing(session):
        await session.step("has nothing to ask")
        raise session.deliberate()

    async def parent(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.write()
            team = remedy.team(session, child_1=child, child_2=child, failing_child=failing)
            team.start()
            await team.join()
            team.last_statement()
        team.after_block()
        await team.rest()

    await world.together(parent=parent)


@scenario("CTX-30", "One init, event loops one after another", level="loud", needs=("tortoise",), orm=OrmSetup(size=1))
async def loops_one_after_another(world):
    """One Tortoise.init(), then asyncio.run() three times, one after the other, as tasks of a worker process do: each
    is served or refused, what is reported to it is true, and no connections pile up."""

    async def work(session):
        db = session.orm()
        await db.read()
        async with db.transaction():
            await db.write()

    async def process(session):
        for _ in range(3):
            with contextlib.suppress(Exception):
                await session.in_thread(work)

    await world.together(process=process)
    await world.not_piled_up(3)


async def _asked_elsewhere(world):
    async def request(session):
        db = session.orm()
        await db.write()
        async with db.transaction():
            await db.write()

    async def server(session):
        each = session.spawn("request", request, context=contextvars.Context())
        await session.settled(each)

    await world.together(server=server)


@scenario("CTX-31", "Tortoise.init() in another task's context", level="loud", needs=("tortoise",), orm=OrmSetup())
async def init_elsewhere(world):
    """Tortoise is initialised in one task, as in an ASGI server's lifespan, and a request comes in a task that copies
    nothing from it: it is served, or refused in a documented way."""
    await _asked_elsewhere(world)


@scenario(
    "CTX-32",
    "The same with the global fallback",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(fallback=True),
)
async def init_elsewhere_with_fallback(world):
    """As before, with the setting for it, which Tortoise's own helpers for web frameworks switch on: the request is
    served."""
    await _asked_elsewhere(world)


async def anext_or_none(generator):
    """The next item, None at the end; ``anext`` with a default would be another coroutine in between."""
    with contextlib.suppress(StopAsyncIteration):
        return await generator.__anext__()


def parent_outlived_by(remedy, block_is_over, child):
    """A parent whose child goes on after its transaction."""

    async def parent(session):
        db = remedy.outer(session)
        try:
            async with db.transaction():
                await db.write()
                team = remedy.team(session, child=child)
                team.start()
                await db.read()
                team.last_statement()
        finally:
            block_is_over.set()
        team.after_block()
        await team.rest()

    return parent
