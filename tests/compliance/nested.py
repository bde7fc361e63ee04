"""NST: blocks inside blocks. Those with children take a ``remedy``, so that remedies can be tried on them."""

import asyncio
import contextlib

from matrix.harness.scenario import OrmSetup, scenario
from matrix.harness.session import Deliberate
from matrix.harness.situations import ASKED_BESIDE_BLOCK, BLOCKS_AT_ONCE, cancelled, overlap


@scenario("NST-1", "Two levels, the inner rolls back", level="must", needs=("tortoise",), orm=OrmSetup())
async def inner_rolls_back(world):
    """An inner block fails and its exception is caught: the outer block's rows are stored, the inner's are not."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            try:
                async with db.transaction():
                    await db.write()
                    raise session.deliberate()
            except Deliberate:
                pass
            await db.write()

    await world.together(parent=parent)


@scenario("NST-2", "Three levels", level="must", needs=("tortoise",), orm=OrmSetup())
async def three_levels(world):
    """Three blocks in one another, the middle one fails: only the outermost block's rows are stored."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            try:
                async with db.transaction():
                    await db.write()
                    async with db.transaction():
                        await db.write()
                    raise session.deliberate()
            except Deliberate:
                pass
            await db.write()

    await world.together(parent=parent)


@scenario(
    "NST-3",
    "Sibling tasks each open a nested transaction",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
    situation=BLOCKS_AT_ONCE,
)
async def siblings(world, remedy):
    """Two tasks started in a transaction each open a nested one at once: both end as reported, or one is refused and
    nobody is harmed."""
    await world.together(parent=parent_of(remedy, child_1=nested_child(remedy), child_2=nested_child(remedy)))


@scenario(
    "NST-4",
    "A child opens a nested transaction while the parent queries",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
    situation=ASKED_BESIDE_BLOCK,
)
async def child_and_parent(world, remedy):
    """A task started in a transaction opens a nested one while its parent goes on querying: what is reported to both is
    true."""

    async def parent(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.write()
            team = remedy.team(session, child=nested_child(remedy))
            team.start()
            await db.read()
            await db.write()
            await team.join()
            team.last_statement()
        team.after_block()
        await team.rest()

    await world.together(parent=parent)


@scenario(
    "NST-5",
    "Siblings open nested transactions, one fails",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
    situation=BLOCKS_AT_ONCE,
)
async def one_sibling_fails(world, remedy):
    """Of two sibling tasks with a nested transaction each, one fails on purpose: the other's rows are as reported to
    it."""

    async def failing(session):
        db = remedy.inner(session)
        try:
            async with remedy.inner_transaction(db):
                await db.write()
                raise session.deliberate()
        except Deliberate:
            pass

    await world.together(parent=parent_of(remedy, child=nested_child(remedy), failing_child=failing))


@scenario("NST-6", "@atomic at every level", level="must", needs=("tortoise",), orm=OrmSetup())
async def decorated(world):
    """Three functions with @atomic call one another, the middle one fails and is caught: only the outermost one's rows
    are stored."""

    async def parent(session):
        db = session.orm()

        @db.atomic
        async def inner():
            await db.write()

        @db.atomic
        async def middle():
            await db.write()
            await inner()
            raise session.deliberate()

        @db.atomic
        async def outer():
            await db.write()
            with contextlib.suppress(Deliberate):
                await middle()
            await db.write()

        await outer()

    await world.together(parent=parent)


@scenario("NST-7", "Fifty levels deep", level="must", needs=("tortoise",), orm=OrmSetup())
async def fifty_levels(world):
    """Fifty blocks in one another, the twenty-fifth fails and is caught: the rows of those around it are stored, and no
    others."""

    async def parent(session):
        db = session.orm()

        async def go_down(level):
            with contextlib.suppress(Deliberate):
                async with db.transaction():
                    if level in (1, 24, 25, 26, 50):
                        await db.write()
                    if level < 50:
                        await go_down(level + 1)
                    if level == 25:
                        raise session.deliberate()

        await go_down(1)

    await world.together(parent=parent)


@scenario("NST-8", "The inner commits, the outer rolls back", level="must", needs=("tortoise",), orm=OrmSetup())
async def outer_rolls_back(world):
    """An inner block commits, then the outer one fails: nothing is stored."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            async with db.transaction():
                await db.write()
            raise session.deliberate()

    await world.together(parent=parent)


@scenario("NST-9", "The inner block is rolled back by hand", level="loud", needs=("tortoise",), orm=OrmSetup())
async def rolled_back_by_hand(world):
    """rollback() is called on the inner block's connection, and the outer block goes on: the inner rows are gone, the
    outer block's are stored or the call is refused."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            async with db.transaction() as inner:
                await db.write()
                await inner.rollback()
            await db.write()

    await world.together(parent=parent)


@scenario(
    "NST-10",
    "A sibling is cancelled inside its nested block",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
    cancels="victim",
    situation=cancelled(),
)
async def cancelled_sibling(world, remedy):
    """Of two sibling tasks with a nested transaction each, one is cancelled at any moment: the other's rows and the
    parent's are as reported to them."""

    async def victim(session):
        await remedy.whole(session, nested_child(remedy))

    async def parent(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.write()
            team = remedy.team(session, victim=victim, child=nested_child(remedy))
            team.start()
            await team.settled()
            await db.write()
            team.last_statement()
        team.after_block()
        await team.rest()

    await world.together(parent=parent)


@scenario(
    "NST-11", "Nested blocks closed in another order than opened", level="loud", needs=("tortoise",), orm=OrmSetup()
)
async def crossed(world):
    """Two blocks inside a third are closed by hand in the order in which they were opened: all is stored, or closing
    them so is refused and nothing is."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            first, second = db.transaction(), db.transaction()
            await first.__aenter__()
            await db.write()
            await second.__aenter__()
            await db.write()
            await first.__aexit__(None, None, None)
            await second.__aexit__(None, None, None)

    await world.together(parent=parent)


@scenario(
    "NST-12",
    "An error inside an inner block is caught outside of it",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(),
)
async def inner_error(world):
    """The server refuses a statement in an inner block, and the error is caught outside of it: the outer block goes on,
    its rows are stored, the inner's are not."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            with contextlib.suppress(Exception):
                async with db.transaction():
                    await db.write()
                    await db.fail()
            await db.write()

    await world.together(parent=parent)


@scenario(
    "NST-13",
    "Tasks of a TaskGroup each open a nested transaction",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
    python=(3, 11),
    situation=BLOCKS_AT_ONCE,
)
async def siblings_in_a_group(world, remedy):
    """Two tasks of a TaskGroup in a transaction each open a nested one at once: both end as reported, or one is refused
    and nobody is harmed."""

    async def parent(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.write()
            team = remedy.team(session, child_1=nested_child(remedy), child_2=nested_child(remedy))
            async with team.group():
                team.start()
            team.last_statement()
        team.after_block()
        await team.rest()

    await world.together(parent=parent)


@scenario(
    "NST-14",
    "Cancelled in the inner or the outer commit",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    during=("commit", "leave"),
    situation=cancelled("commit", "leave"),
)
async def cancelled_after_inner(world, remedy):
    """A task is cancelled at any moment of the commits of two blocks in one another: all of it is stored or nothing,
    and the pool works afterwards."""

    async def victim(session):
        async def work(session):
            db = remedy.outer(session)
            async with db.transaction() as outer:
                await db.write()
                async with db.transaction():
                    await db.write()
                await remedy.end_of_block(outer)

        await remedy.whole(session, work)

    await world.together(victim=victim)


@scenario(
    "NST-16",
    "Gathered queries, some with using_db, in an inner block",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(),
    situation=overlap(),
)
async def using_db_inside(world):
    """Tasks query at once inside an inner block, one through the models, one with using_db and the inner block's
    client: each gets its own answer, all rows are stored."""

    async def parent(session):
        db = session.orm()
        async with db.transaction(), db.transaction() as inner:

            async def plain(session):
                await read_and_write(session.orm())

            async def with_using_db(session):
                await read_and_write(session.orm(inner.client))

            children = [session.spawn("plain", plain), session.spawn("with using_db", with_using_db)]
            try:
                await session.wait(*children)
            finally:
                # The block must not end before the children: that is another scenario (CTX-1).
                await session.settled(*children)

    async def read_and_write(db):
        await db.read()
        await db.write()

    await world.together(parent=parent)


@scenario(
    "NST-17",
    "A deadlock inside an inner block is caught outside of it",
    level="loud",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=2),
)
async def inner_deadlock(world):
    """The server ends a deadlock inside an inner block, its error is caught, and the outer block ends well: the outer
    block's rows are stored and the inner's are not, or the outer block's end says no and none are."""
    await _inner_deadlock(world, lambda session: None)


@scenario(
    "NST-18",
    "A deadlock inside an inner block, then the outer block fails",
    level="loud",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=2),
)
async def inner_deadlock_and_failure(world):
    """The server ends a deadlock inside an inner block, its error is caught, and the outer block fails later on:
    nothing of it is stored."""

    def fail(session):
        raise session.deliberate()

    await _inner_deadlock(world, fail)


async def _inner_deadlock(world, end):
    """Two tasks change two rows in opposite order, the light one inside an inner block; servers that choose whom they
    end by what it has changed choose that one."""
    rows = world.counter(), world.counter()
    has_first, has_second = asyncio.Event(), asyncio.Event()

    async def light(session):
        db = session.orm()
        with contextlib.suppress(Exception):
            async with db.transaction():
                await db.write()
                with contextlib.suppress(Exception):
                    try:
                        async with db.transaction():
                            await db.count_up(rows[0])
                            has_first.set()
                            await has_second.wait()
                            await db.count_up(rows[1])
                    finally:
                        has_first.set()  # also where the block could not begin: who waits is no victim of a hang
                await db.write()
                end(session)

    async def heavy(session):
        db = session.orm()
        with contextlib.suppress(Exception):
            async with db.transaction():
                for _ in range(3):
                    await db.write()
                await db.count_up(rows[1])
                has_second.set()
                await has_first.wait()
                await db.count_up(rows[0])

    await world.together(light=light, heavy=heavy)


@scenario("NST-19", "A script inside an inner block that fails", level="must", needs=("tortoise",), orm=OrmSetup())
async def script_in_inner_block(world):
    """A script that makes a table runs in an inner block, which then fails and is caught: the outer block's rows are
    stored, the inner's are not."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            try:
                async with db.transaction():
                    await db.write()
                    await db.script()
                    raise session.deliberate()
            except Deliberate:
                pass
            await db.write()

    await world.together(parent=parent)


@scenario("NST-20", "A nested block waits for a task from before it", level="loud", needs=("tortoise",), orm=OrmSetup())
async def waits_for_earlier_task(world):
    """A task started in a transaction queries while its parent waits for it inside a nested block: what is reported to
    both is true, or one is refused and nobody is harmed."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            started = session.spawn("child", _asks)
            try:
                async with db.transaction():
                    await db.write()
                    await session.settled(started)
                await db.write()
            finally:
                # The block must not end before the child: that is another scenario (CTX-1).
                await session.settled(started)

    await world.together(parent=parent)


@scenario("NST-21", "A nested block waits for a task from beside it", level="loud", needs=("tortoise",), orm=OrmSetup())
async def waits_for_sibling(world):
    """Of two tasks started in a transaction one opens a nested block and waits inside it for the other, which queries:
    what is reported to both is true, or one is refused and nobody is harmed."""

    async def parent(session):
        async with session.orm().transaction():
            sibling = session.spawn("sibling", _asks)

            async def waiting(session):
                db = session.orm()
                async with db.transaction():
                    await db.write()
                    await session.settled(sibling)

            await session.settled(session.spawn("waiting", waiting), sibling)

    await world.together(parent=parent)


@scenario(
    "NST-22", "A nested block waits for a nested block inside it", level="loud", needs=("tortoise",), orm=OrmSetup()
)
async def waits_for_nested_child(world):
    """A nested block starts a task that opens a nested block of its own, and waits for it beside its own queries: what
    is reported to each is true, or one is refused and nobody is harmed."""

    async def child(session):
        async with session.orm().transaction():
            await _asks(session)

    async def parent(session):
        db = session.orm()
        async with db.transaction(), db.transaction():
            started = session.spawn("child", child)
            try:
                await db.write()
            finally:
                await session.settled(started)
            await db.write()

    await world.together(parent=parent)


async def _asks(session):
    """A task that reads and writes."""
    db = session.orm()
    await db.read()
    await db.write()


def nested_child(remedy):
    """A child that writes and reads inside a transaction of its own."""

    async def child(session):
        db = remedy.inner(session)
        async with remedy.inner_transaction(db):
            await db.write()
            await db.read()

    return child


def parent_of(remedy, **children):
    """A parent that starts children inside its transaction and waits for them there."""

    async def parent(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.write()
            team = remedy.team(session, **children)
            team.start()
            await team.join()
            team.last_statement()
        team.after_block()
        await team.rest()

    return parent
