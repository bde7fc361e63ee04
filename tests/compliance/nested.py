"""NST: blocks inside blocks. NST-3, NST-4 and NST-5 take a ``way``, so that remedies can be tried on them."""

from tests.harness.scenario import OrmSetup, scenario
from tests.harness.session import Deliberate


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


@scenario("NST-3", "Sibling tasks each open a nested transaction", level="loud", needs=("tortoise",), orm=OrmSetup())
async def siblings(world, way):
    """Two tasks started in a transaction each open a nested one at once: both end as told, or one is refused and nobody
    is harmed."""
    await world.together(parent=parent_of(way, child_1=nested_child(way), child_2=nested_child(way)))


@scenario(
    "NST-4",
    "A child opens a nested transaction while the parent queries",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
)
async def child_and_parent(world, way):
    """A task started in a transaction opens a nested one while its parent goes on querying: both get what they are
    told."""

    async def parent(session):
        db = way.outer(session)
        async with db.transaction():
            await db.write()
            team = way.team(session, child=nested_child(way))
            team.start()
            await db.read()
            await db.write()
            await team.join()
            team.last_statement()
        team.after_block()
        await team.rest()

    await world.together(parent=parent)


@scenario("NST-5", "Siblings open nested transactions, one fails", level="loud", needs=("tortoise",), orm=OrmSetup())
async def one_sibling_fails(world, way):
    """Of two sibling tasks with a nested transaction each, one fails on purpose: the other's rows are as it was
    told."""

    async def failing(session):
        db = way.inner(session)
        try:
            async with way.inner_transaction(db):
                await db.write()
                raise session.deliberate()
        except Deliberate:
            pass

    await world.together(parent=parent_of(way, child=nested_child(way), failing_child=failing))


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


def nested_child(way):
    """A child that writes and reads inside a transaction of its own."""

    async def child(session):
        db = way.inner(session)
        async with way.inner_transaction(db):
            await db.write()
            await db.read()

    return child


def parent_of(way, **children):
    """A parent that starts children inside its transaction and waits for them there."""

    async def parent(session):
        db = way.outer(session)
        async with db.transaction():
            await db.write()
            team = way.team(session, **children)
            team.start()
            await team.join()
            team.last_statement()
        team.after_block()
        await team.rest()

    return parent
