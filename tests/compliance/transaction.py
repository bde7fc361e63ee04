"""TXN: one level of ``in_transaction``."""

import asyncio
import contextlib

from matrix.harness.remedy import NO_REMEDY
from matrix.harness.scenario import OrmSetup, scenario
from matrix.harness.session import Deliberate
from matrix.harness.situations import (
    BOTH_READ,
    CANCELLED_AGAIN,
    CHANGED_MEANWHILE,
    COMMIT_IN_DOUBT,
    DEADLOCK,
    FOUND_LOCKED,
    LOOKED_BEFORE_COMMIT,
    MET_SILENCE,
    TIMED_OUT,
    at_once,
    cancelled,
    lost_in_transaction,
    overlap,
)


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


@scenario(
    "TXN-3",
    "Gathered plain queries inside one transaction",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(),
    situation=overlap(),
)
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


@scenario(
    "TXN-4", "One of the gathered queries fails", level="must", needs=("tortoise",), orm=OrmSetup(), situation=overlap()
)
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
    situation=cancelled("write", "read"),
)
async def cancel_in_query(world, remedy):
    """A task is cancelled at any moment of a query in its transaction: nothing of it is stored in part, and the pool
    works afterwards."""

    async def victim(session):
        async def work(session):
            db = remedy.outer(session)
            async with db.transaction() as outer:
                await db.write()
                await db.read()
                await db.write()
                await remedy.end_of_block(outer)

        await remedy.whole(session, work)

    await world.together(victim=victim)


@scenario(
    "TXN-6",
    "Cancel the transaction in commit",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    during=("commit", "leave"),
    situation=cancelled("commit", "leave"),
)
async def cancel_in_commit(world, remedy):
    """A task is cancelled at any moment of its commit: all of the transaction is stored or nothing, and the pool works
    afterwards."""

    async def victim(session):
        async def work(session):
            db = remedy.outer(session)
            async with db.transaction() as outer:
                await db.write()
                await db.write()
                await remedy.end_of_block(outer)

        await remedy.whole(session, work)

    await world.together(victim=victim)


@scenario(
    "TXN-7",
    "Nothing is visible before the commit",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    situation=LOOKED_BEFORE_COMMIT,
)
async def nothing_visible(world):
    """While a transaction is open nobody else sees its rows; its own task does; after the commit everybody does."""
    kept, regretted = world.token(), world.token()
    written = asyncio.Event()

    async def writer(session):
        db = session.orm()
        async with db.transaction():
            await db.write(kept)
            written.set()
            await db.exists(kept)

    async def regretter(session):
        db = session.orm()
        async with db.transaction():
            await db.write(regretted)
            raise session.deliberate()

    async def onlooker(session):
        await written.wait()
        db = session.orm()
        for row in (kept, regretted, kept):
            await db.exists(row)

    await world.together(writer=writer, regretter=regretter, onlooker=onlooker)


@scenario("TXN-8", "Commit and roll back by hand, and twice", level="loud", needs=("tortoise",), orm=OrmSetup(size=2))
async def by_hand(world):
    """What a block's own commit() or rollback() was given is true after the block as well; the second one in the same
    block is refused or changes nothing."""

    async def committer(session):
        db = session.orm(catching=True)
        async with db.transaction() as block:
            await db.write()
            await block.commit()
            await block.rollback()

    async def regretter(session):
        db = session.orm(catching=True)
        async with db.transaction() as block:
            await db.write()
            await block.rollback()
            await block.commit()

    async def repeater(session):
        db = session.orm(catching=True)
        async with db.transaction() as block:
            await db.write()
            await block.commit()
            await block.commit()

    await world.together(committer=committer, regretter=regretter, repeater=repeater)


@scenario(
    "TXN-9", "Bulk operations belong to their transaction", level="must", needs=("tortoise",), orm=OrmSetup(size=2)
)
async def bulk_inside(world):
    """bulk_create and bulk_update inside a transaction are stored with it and rolled back with it."""
    spare, more = world.spare_rows(2), world.spare_rows(2)

    async def committer(session):
        db = session.orm()
        async with db.transaction():
            await db.write_many()
            await db.change_many(spare)

    async def regretter(session):
        db = session.orm()
        async with db.transaction():
            await db.write_many()
            await db.change_many(more)
            raise session.deliberate()

    await world.together(committer=committer, regretter=regretter)


@scenario(
    "TXN-10",
    "select_for_update serialises read and write",
    level="must",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=2),
)
async def locked_read(world):
    """Two tasks each read a counter for update and store it one higher, in transactions that are open at once: none of
    their increments is lost."""
    counter = world.counter()
    begun = {name: asyncio.Event() for name in ("first", "second")}

    async def worker(session):
        db = session.orm()
        async with db.transaction():
            begun[session.name].set()
            for other in begun.values():
                await other.wait()
            await db.lock(counter)
            await db.put(counter)

    await world.together(first=worker, second=worker)


@scenario(
    "TXN-11", "An iteration is left half-way", level="must", needs=("tortoise",), orm=OrmSetup(), situation=overlap()
)
async def left_iteration(world):
    """Inside a transaction an async iteration is left after its first row, also beside a sibling's queries: the
    transaction goes on as if nothing had been."""

    async def child(session):
        db = session.orm()
        await db.read_and_leave()
        await db.write()

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            started = session.spawn("child", child)
            await db.read_and_leave()
            await db.read()
            await session.wait(started)

    await world.together(parent=parent)


@scenario(
    "TXN-12",
    "get_or_create and update_or_create are raced",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=3),
    situation=at_once("ensure"),
)
async def raced_creation(world):
    """Many tasks get or create one row at once: all of them get it, one of them creates it, it is there once."""
    got, updated = world.token(), world.token()

    async def getter(session):
        await session.orm().get_or_create(got)

    async def updater(session):
        await session.orm().update_or_create(updated)

    await world.fill_orm_pool()  # who connects first would be done before the others begin
    await world.together(updater_1=updater, updater_2=updater)
    await world.together(getter_1=getter, getter_2=getter, getter_3=getter)


@scenario("TXN-13", "A caught error, then the commit", level="must", needs=("tortoise",), orm=OrmSetup(size=1))
async def caught_error(world):
    """A statement fails, its error is caught, the block ends well: all its rows are stored, or its end says no."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await session.orm(catching=True).fail()

    await world.together(parent=parent)


@scenario(
    "TXN-14",
    "A plain client as using_db inside a transaction",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
)
async def plain_client_inside(world):
    """A query that is given a plain client as using_db is no part of the transaction around it: its row stays when that
    one is rolled back."""
    plain = world.orm.client()

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await session.orm(client=plain).write()
            raise session.deliberate()

    await world.together(parent=parent)


@scenario(
    "TXN-15",
    "The transaction's client as using_db in another task",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    situation=overlap(),
)
async def handed_on_client(world):
    """A task outside of the transaction that is given its client as using_db writes inside it, beside its owner's own
    queries."""
    handed_on = world.loop.create_future()
    written = asyncio.Event()

    async def helper(session):
        block = await handed_on
        try:
            await session.orm(inside=block).write()
        finally:
            written.set()
        await session.orm().write()

    async def parent(session):
        db = session.orm()
        async with db.transaction() as block:
            await db.write()
            handed_on.set_result(block)
            await db.read()
            await db.write()
            await written.wait()
            raise session.deliberate()

    await world.together(parent=parent, helper=helper)


@scenario(
    "TXN-16",
    "Cancel who waits for a connection",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    during=("begin",),
    situation=cancelled("begin"),
)
async def cancelled_waiter(world, remedy):
    """A task is cancelled while it waits to begin because another holds the only connection: it leaves nothing behind,
    those behind it are served."""
    begun = asyncio.Event()

    async def holder(session):
        db = session.orm()
        async with db.transaction():
            begun.set()
            await db.write()

    async def work(session):
        db = session.orm()
        async with db.transaction():
            await db.write()

    async def waiter(session):
        await begun.wait()
        await remedy.whole(session, work)

    await world.together(holder=holder, victim=waiter, behind=waiter)


@scenario(
    "TXN-17",
    "A bulk operation beside siblings' queries",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(),
    situation=overlap(),
)
async def bulk_beside(world):
    """Child tasks of one transaction insert in bulk, read and write at once: each gets its own answer, all rows are in
    that transaction."""

    async def inserting(session):
        await session.orm().write_many()

    async def asking(session):
        db = session.orm()
        await db.read()
        await db.write()

    async def parent(session):
        async with session.orm().transaction():
            children = [session.spawn(*each) for each in (("one", inserting), ("two", inserting), ("three", asking))]
            await session.wait(*children)

    await world.together(parent=parent)


@scenario(
    "TXN-18",
    "get_or_create by gathered tasks inside one transaction",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
    situation=overlap("ensure"),
)
async def gathered_creation(world):
    """Child tasks of one transaction get or create rows of their own at once, which opens a nested block unseen: each
    row is there as reported, or one is refused and nobody is harmed."""
    first, second = world.token(), world.token()

    def child(row):
        async def body(session):
            await session.orm().get_or_create(row)

        return body

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            children = [session.spawn("child 1", child(first)), session.spawn("child 2", child(second))]
            try:
                await session.wait(*children)
            finally:
                await session.settled(*children)

    await world.together(parent=parent)


@scenario(
    "TXN-19",
    "The connection is lost while the transaction begins",
    level="loud",
    needs=("tortoise", "server"),
    orm=OrmSetup(size=1),
)
async def lost_in_begin(world):
    """The server ends the connection at any moment around a transaction's begin: its task gets an error, the pool
    replaces the connection, and the same task's next query is outside of any transaction."""
    lost = asyncio.Event()

    async def victim(session):
        db = session.orm()
        with contextlib.suppress(Exception):
            async with db.transaction():
                await lost.wait()
                await db.write()
        await lost.wait()
        await db.read()

    async def server(session):
        await session.lose_connections()
        lost.set()

    await world.fill_orm_pool()
    await world.together(victim=victim, server=server)


@scenario(
    "TXN-20",
    "Cancel the transaction while it begins",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    during=("begin",),
    situation=cancelled("begin"),
)
async def cancel_in_begin(world, remedy):
    """A task is cancelled at any moment of entering its transaction's block, on a pool that is connected: nothing is
    stored, and the pool works afterwards."""

    async def victim(session):
        async def work(session):
            db = remedy.outer(session)
            await db.read()
            async with db.transaction() as outer:
                await db.write()
                await remedy.end_of_block(outer)

        await remedy.whole(session, work)

    await world.together(victim=victim)


@scenario(
    "TXN-21",
    "Cancel the transaction while it rolls back",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
    cancels="victim",
    during=("rollback",),
    situation=cancelled("rollback", "leave"),
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
    situation=cancelled("begin"),
)
async def cancel_in_first_begin(world):
    """A task is cancelled at any moment of entering the very first transaction, for which the pool has to connect:
    nothing is stored, and the pool works afterwards."""

    async def victim(session):
        db = session.orm()
        async with db.transaction():
            await db.write()

    await world.together(victim=victim)


@scenario(
    "TXN-23",
    "Two transactions lock two rows in opposite order",
    level="loud",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=2),
    situation=DEADLOCK,
)
async def opposite_order(world, remedy):
    """Two transactions change the same two rows in opposite order: where they deadlock the server ends one of them, its
    task gets an error and nothing of it is stored; the other one completes."""
    rows = world.counter(), world.counter()

    def worker(first, second):
        async def work(session):
            db = remedy.outer(session)
            async with db.transaction():
                await db.write()
                await db.count_up(first)
                # Last of the block: which of them the server ends shall not change what can be done next.
                await db.count_up(second)

        async def body(session):
            await remedy.whole(session, work)

        return body

    await world.together(up=worker(*rows), down=worker(*reversed(rows)))


@scenario(
    "TXN-24",
    "A row is locked, and nobody wants to wait for it",
    level="loud",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=2),
    situation=FOUND_LOCKED,
)
async def locked_row(world, remedy):
    """Two transactions each select one row for update with nowait: who finds it locked gets an error at once, and
    nothing of that transaction is stored; the other one completes."""
    counter = world.counter()

    async def work(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.write()
            await db.lock_nowait(counter)
            await db.put(counter)

    async def worker(session):
        await remedy.whole(session, work)

    await world.together(first=worker, second=worker)


@scenario(
    "TXN-25",
    "Two transactions that have both read want to write",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=1, aliases=("conn_1", "conn_2")),
    situation=BOTH_READ,
)
async def both_read_then_write(world, remedy):
    """Two transactions on connections of their own both read, then both write: all of it is stored, or one of them is
    refused, its task gets an error and nothing of it is stored; the other one completes."""

    def worker(alias):
        async def work(session):
            db = session.orm(alias)
            async with db.transaction():
                await db.read()
                await db.write()

        async def body(session):
            await remedy.whole(session, work)

        return body

    await world.together(first=worker("conn_1"), second=worker("conn_2"))


@scenario("TXN-26", "A script inside a transaction that fails", level="must", needs=("tortoise",), orm=OrmSetup(size=1))
async def script_inside(world):
    """A script that makes a table runs in a block that an exception then leaves: nothing of the block is stored."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.script()
            await db.write()
            raise session.deliberate()

    await world.together(parent=parent)


@scenario(
    "TXN-27",
    "The connection is lost while the transaction is open or commits",
    level="loud",
    needs=("tortoise", "server"),
    orm=OrmSetup(size=1),
    situation=lost_in_transaction(),
)
async def lost_inside(world):
    """The connection is ended at any moment from begin's answer to commit's: all of the transaction is stored or
    nothing, its task gets an error, and the pool replaces the connection for the same task as well."""

    async def victim(session):
        db = session.orm()
        with contextlib.suppress(Exception):
            async with db.transaction():
                await db.write()
                await db.write()
        for _ in range(3):
            with contextlib.suppress(Exception):
                await db.read()

    async def server(session):
        await session.lose_connections()

    await world.fill_orm_pool()
    await world.together(victim=victim, server=server)


@scenario(
    "TXN-28",
    "The commit is refused",
    level="must",
    needs=("tortoise", "deferred constraints"),
    orm=OrmSetup(size=1),
)
async def refused_commit(world):
    """A deferred constraint is violated, so the database refuses the commit: its task gets an error, nothing is stored,
    and whoever gets the connection next is in no transaction, in the same task as well."""

    async def parent(session):
        db = session.orm()
        with contextlib.suppress(Exception):
            async with db.transaction():
                await db.write()
                await db.orphan()
        await db.write()

    async def neighbour(session):
        db = session.orm()
        async with db.transaction():
            await db.write()

    await world.together(parent=parent, neighbour=neighbour)


# What is built, made or locked on one side of a block's edge and used on the other. A query belongs where it is
# awaited.


@scenario(
    "TXN-29", "A query built before the transaction, awaited inside", level="must", needs=("tortoise",), orm=OrmSetup()
)
async def built_before(world):
    """A bulk_create that was built before a block and is awaited inside it belongs to the block: nothing of it is
    stored when the block fails."""

    async def parent(session):
        db = session.orm()
        built = db.build_write_many()
        async with db.transaction():
            await db.write()
            await db.run(built)
            raise session.deliberate()

    await world.together(parent=parent)


@scenario(
    "TXN-30",
    "A read built before the transaction, awaited inside",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(),
)
async def look_built_before(world):
    """Queries that were built before a block and are awaited inside it see the block's own rows."""
    row = world.token()

    async def parent(session):
        db = session.orm()
        looks = [db.build_look(row, bound=bound) for bound in (False, True)]
        async with db.transaction():
            await db.write(row)
            for look in looks:
                await db.run(look)

    await world.together(parent=parent)


@scenario(
    "TXN-31",
    "A query built inside the transaction, awaited after it",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
)
async def built_inside(world):
    """A bulk_create that was built inside a block and is awaited after its end is stored as reported, whatever a
    stranger does who has got the connection, or is refused."""
    ended, begun, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            built = db.build_write_many()
        ended.set()
        await begun.wait()
        try:
            await db.run(built)
        finally:
            asked.set()

    async def stranger(session):
        db = session.orm()
        await ended.wait()
        try:
            async with db.transaction():
                await db.write()
                begun.set()
                # A client that waits for the connection is served when this has ended.
                await db.read()
                raise session.deliberate()
        finally:
            begun.set()

    await world.together(parent=parent, stranger=stranger)


@scenario(
    "TXN-32",
    "A query awaited inside the transaction and again after it",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=1),
)
async def awaited_again(world):
    """A query that was awaited inside a block and is awaited once more after its end, while a stranger has a
    transaction open, sees what anybody sees, or is refused."""
    ended, begun, row = asyncio.Event(), asyncio.Event(), world.token()

    async def parent(session):
        db = session.orm()
        look = db.build_look(row, bound=False)
        async with db.transaction():
            await db.write()
            await db.run(look)
        ended.set()
        await begun.wait()
        await db.run(look)

    async def stranger(session):
        db = session.orm()
        await ended.wait()
        try:
            async with db.transaction():
                await db.write(row)
                begun.set()
                await db.read()
                raise session.deliberate()
        finally:
            begun.set()

    await world.together(parent=parent, stranger=stranger)


@scenario(
    "TXN-33",
    "An object that was rolled back is saved once more",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(),
)
async def saved_again(world):
    """An object is saved in a block that is rolled back, and once more in the next try, as code that tries again does:
    it is stored as reported, or the second save is refused."""

    async def parent(session):
        db = session.orm()
        made = db.make()
        with contextlib.suppress(Deliberate):
            async with db.transaction():
                await db.save(made)
                raise session.deliberate()
        async with db.transaction():
            await db.write()
            await db.save(made)

    await world.together(parent=parent)


@scenario(
    "TXN-34",
    "An object of one connection is saved without using_db",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=2, aliases=("conn_1", "conn_2")),
)
async def saved_elsewhere(world):
    """An object is fetched with using_db in a block on the second connection, changed and saved without it: it is part
    of the block, which fails, so that nothing is stored, or the save is refused."""
    (spare,) = world.spare_rows(1)

    async def parent(session):
        second = session.orm("conn_2")
        async with second.transaction():
            made = await second.fetch(spare)
            await session.orm().save(made)
            raise session.deliberate()

    await world.together(parent=parent)


@scenario(
    "TXN-35",
    "A write on a second connection inside a transaction",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=2, aliases=("conn_1", "conn_2")),
)
async def second_connection_inside(world):
    """Inside a block on one connection a row is written with using_db on another one: it is stored although the block
    fails."""

    async def parent(session):
        first = session.orm("conn_1")
        async with first.transaction():
            await first.read()
            await session.orm("conn_2").write()
            raise session.deliberate()

    await world.together(parent=parent)


@scenario(
    "TXN-36",
    "A locked object is saved by a task that lives on",
    level="loud",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=1),
)
async def locked_object_lives_on(world):
    """A row is selected for update inside a block and its object saved after the block's end by a task that was started
    in it, while a stranger has a transaction open: it is stored as reported, or refused."""
    counter, ended, begun = world.counter(), asyncio.Event(), asyncio.Event()

    async def stranger(session):
        db = session.orm()
        await ended.wait()
        try:
            async with db.transaction():
                await db.write()
                begun.set()
                await db.read()
                raise session.deliberate()
        finally:
            begun.set()

    async def parent(session):
        db = session.orm()

        async def child(session):
            await begun.wait()
            await session.orm().put(counter, taken_by=db)

        async with db.transaction():
            await db.lock(counter)
            session.spawn("child", child)
        ended.set()

    await world.together(parent=parent, stranger=stranger)


# The same task goes on: it catches the cancellation, or its time limit, and reads, writes and begins again.


@scenario(
    "TXN-37",
    "Cancel the transaction at any moment; the same task goes on",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    cancels="victim",
)
async def cancelled_and_goes_on(world, remedy):
    """A task is cancelled at any moment of its transaction, from begin to end, catches that and goes on: what it writes
    next, alone and in a transaction, is stored as reported, and the pool works."""
    await _goes_on(world, remedy, again=False)


@scenario(
    "TXN-38",
    "Cancel the transaction again and again; the same task goes on",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    cancels="victim",
    situation=CANCELLED_AGAIN,
)
async def cancelled_again_and_goes_on(world):
    """A task is cancelled at any moment of its transaction and again at each await until it has left it, as anyio's and
    so Starlette's scopes do, and goes on: what it writes next is stored as reported, and the pool works."""
    await _goes_on(world, NO_REMEDY, again=True)


async def _goes_on(world, remedy, again):
    async def work(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.read()

    async def victim(session):
        db = session.orm()
        with session.outlives_cancellation(again=again):
            await remedy.whole(session, work)
        await db.write()
        async with db.transaction():
            await db.write()

    await world.fill_orm_pool()
    await world.together(victim=victim)


@scenario(
    "TXN-39",
    "A time limit around the transaction; the same task goes on",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
    python=(3, 11),
)
async def limited_and_goes_on(world, remedy):
    """A time limit ends at any moment of the transaction inside it, and the same task goes on: what it writes next,
    alone and in a transaction, is stored as reported, and the pool works."""

    async def work(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.read()

    async def victim(session):
        db = session.orm()
        async with session.time_limit(1.0):
            await remedy.whole(session, work)
        await db.write()
        async with db.transaction():
            await db.write()

    async def clock(session):
        await session.let_time_pass(1.5)

    await world.fill_orm_pool()
    await world.together(victim=victim, clock=clock)


@scenario(
    "TXN-40",
    "asyncio.timeout around in_transaction() while the network falls silent",
    level="loud",
    needs=("tortoise", "tortoise pool", "network"),
    orm=OrmSetup(size=1),
    python=(3, 11),
    situation=MET_SILENCE,
)
async def silent_transaction(world):
    """The connections fall silent at any moment of a transaction that has two seconds (asyncio.timeout), and new ones
    are served: the limit ends its block, all is stored or nothing, and the same task's next transactions work."""

    async def victim(session):
        db = session.orm()
        for _ in range(4):
            with contextlib.suppress(Exception):
                async with session.time_limit(2), db.transaction():
                    await db.write()
                    await db.write()

    async def network(session):
        await session.fall_silent(new_ones=False)

    await world.together(victim=victim, network=network)


@scenario(
    "TXN-41",
    "The commit's answer is lost, and the work is to be done once",
    level="loud",
    needs=("tortoise", "server"),
    orm=OrmSetup(size=2),
    situation=COMMIT_IN_DOUBT,
)
async def lost_and_to_be_done_once(world, remedy):
    """The connection is lost while a transaction that counts up by one commits: its task gets an error, and the work is
    done once or not at all."""
    counter = world.counter()

    async def work(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.count_up(counter)

    async def worker(session):
        with contextlib.suppress(Exception):
            await remedy.whole(session, work)

    async def server(session):
        await session.lose_connections()

    await world.fill_orm_pool()
    await world.together(worker=worker, server=server)
    world.done_once(counter)


@scenario(
    "TXN-42",
    "Two serializable transactions have each read what the other writes",
    level="loud",
    needs=("tortoise", "serialization"),
    orm=OrmSetup(size=2),
)
async def not_serializable(world, remedy):
    """Two serializable transactions each look for a row of the other's and write one: where that is as no order of the
    two would have it, one is refused, at its commit at the latest, its task gets an error and nothing of it is
    stored."""

    async def work(session):
        db = remedy.outer(session)
        async with db.transaction():
            await db.serializable()
            await db.exists(world.token())
            await db.write()

    async def worker(session):
        await remedy.whole(session, work)

    await world.together(first=worker, second=worker)


# More of what crosses a transaction's edge (TXN-29 to 36): what is derived from a query, and which connection a call
# takes that was given one. Then what an object is told of a row that is not there, or is.


@scenario(
    "TXN-43",
    "An update in the transaction, derived from a query awaited before it",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
)
async def derived_inside(world):
    """A query is awaited before a block, as to see whether anything is to be done, and an update derived from it is
    awaited inside: it belongs to the block, and nothing of it is stored when the block fails."""
    (spare,) = world.spare_rows(1)

    async def parent(session):
        db = session.orm()
        look = db.build_look(spare, spare=True)
        await db.run(look)
        async with db.transaction():
            await db.write()
            await db.change(look)
            raise session.deliberate()

    await world.together(parent=parent)


@scenario(
    "TXN-44",
    "An update derived from a query that was awaited in the transaction before",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
)
async def derived_in_the_next(world):
    """A query is awaited in one block, and an update derived from it in the next, beside another task's transactions:
    it belongs to the block that it is awaited in, which fails, or is refused."""
    (spare,) = world.spare_rows(1)

    async def parent(session):
        db = session.orm()
        look = db.build_look(spare, spare=True)
        async with db.transaction():
            await db.write()
            await db.run(look)
        async with db.transaction():
            await db.write()
            await db.change(look)
            raise session.deliberate()

    async def neighbour(session):
        db = session.orm()
        async with db.transaction():
            await db.write()

    await world.together(parent=parent, neighbour=neighbour)


@scenario(
    "TXN-45",
    "get_or_create with the transaction's client as using_db in another task",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(size=3),
)
async def ensured_on_a_handed_client(world):
    """A task outside of the transaction is given its client as using_db, and creates a row by get_or_create and one by
    update_or_create: they belong to the transaction, and are not stored when it fails."""
    got, updated = world.token(), world.token()
    handed_on, done = world.loop.create_future(), asyncio.Event()

    async def helper(session):
        block = await handed_on
        try:
            db = session.orm(inside=block)
            await db.get_or_create(got)
            await db.update_or_create(updated)
        finally:
            done.set()

    async def parent(session):
        db = session.orm()
        async with db.transaction() as block:
            await db.write()
            handed_on.set_result(block)
            await done.wait()
            raise session.deliberate()

    await world.together(parent=parent, helper=helper)


@scenario(
    "TXN-46",
    "select_for_update with values() serialises read and write",
    level="must",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=2),
)
async def locked_values(world):
    """Two tasks each read a counter by select_for_update() and values() and store it one higher, in transactions that
    are open at once: none of their increments is lost."""
    counter = world.counter()
    begun = {name: asyncio.Event() for name in ("first", "second")}

    async def worker(session):
        db = session.orm()
        async with db.transaction():
            begun[session.name].set()
            for other in begun.values():
                await other.wait()
            await db.lock(counter, values=True)
            await db.put(counter)

    await world.together(first=worker, second=worker)


@scenario(
    "TXN-47",
    "An object is saved whose row another task has deleted",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
)
async def saved_after_delete(world):
    """A task fetches an object, another one deletes its row, and the first changes the object and saves it: it is
    stored as reported, or the save is refused."""
    (spare,) = world.spare_rows(1)
    fetched, gone = asyncio.Event(), asyncio.Event()

    async def keeper(session):
        db = session.orm()
        made = await db.fetch(spare)
        fetched.set()
        await gone.wait()
        await db.save(made)

    async def remover(session):
        await fetched.wait()
        await session.orm().delete(spare)
        gone.set()

    await world.together(keeper=keeper, remover=remover)


@scenario(
    "TXN-48",
    "An object that has not changed is saved with force_update",
    level="must",
    needs=("tortoise",),
    orm=OrmSetup(),
)
async def forced_update(world):
    """An object is fetched and saved as it is, with force_update, as code does that is to fail where the row is gone:
    the row is there, and the save succeeds."""
    (spare,) = world.spare_rows(1)

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.save_unchanged(await db.fetch(spare))

    await world.together(parent=parent)


@scenario(
    "TXN-50",
    "Two transactions each look at what the other changes",
    level="info",
    needs=("tortoise", "isolation levels"),
    orm=OrmSetup(size=1, aliases=("conn_1", "conn_2")),
    situation=BOTH_READ,
)
async def write_skew(world):
    """Two transactions at the database's usual isolation level each look at a row and change the one that the other has
    looked at: one of them sees the other's change, or is refused and nothing of it is stored."""
    await _look_at_each_other(world)


@scenario(
    "TXN-51",
    "The same with SET TRANSACTION as the first statement",
    level="loud",
    needs=("tortoise", "isolation levels"),
    orm=OrmSetup(size=1, aliases=("conn_1", "conn_2")),
)
async def write_skew_with_statement(world):
    """Two transactions that make themselves serializable by their first statement each look at a row and change the one
    that the other has looked at: one of them sees the other's change, or is refused and nothing of it is stored."""
    await _look_at_each_other(world, by_statement=True)


@scenario(
    "TXN-52",
    "The same with connections whose settings ask for serializable transactions",
    level="loud",
    needs=("tortoise", "isolation levels", "serializable"),
    orm=OrmSetup(size=1, aliases=("conn_1", "conn_2"), setting="serializable"),
    fresh_connections=True,
    situation=BOTH_READ,
)
async def write_skew_with_settings(world):
    """Two transactions on connections for which Tortoise is given a setting that asks for serializable ones each look
    at a row and change the one that the other has looked at: one of them sees the other's change, or is refused and
    nothing of it is stored."""
    await _look_at_each_other(world)


async def _look_at_each_other(world, by_statement=False):
    one, other = world.counter(), world.counter()

    def worker(alias, seen, changed):
        async def body(session):
            db = session.orm(alias)
            async with db.transaction():
                if by_statement:
                    await db.serializable()
                await db.write()  # InnoDB lists no transaction, and so none that others wait for, before it has written
                await db.view(seen)
                await db.count_up(changed)

        return body

    await world.together(first=worker("conn_1", one, other), second=worker("conn_2", other, one))


@scenario(
    "TXN-53",
    "BEGIN and COMMIT as statements, over a pool",
    level="loud",
    needs=("tortoise",),
    orm=OrmSetup(size=2),
)
async def begin_by_hand(world):
    """A task sends BEGIN and COMMIT through the client as statements while another one writes: what is between them is
    stored together, the other's row as reported to it, or BEGIN is refused."""

    async def by_hand(session):
        db = session.orm()
        async with db.transaction_by_hand():
            await db.write()
            await db.write()

    async def neighbour(session):
        await session.orm().write()

    await world.together(by_hand=by_hand, neighbour=neighbour)


@scenario(
    "TXN-54",
    "A row is locked for longer than the server lets anybody wait",
    level="loud",
    needs=("tortoise", "row locks", "lock limit"),
    orm=OrmSetup(size=2, setting="lock limit"),
    situation=FOUND_LOCKED,
)
async def lock_times_out(world):
    """A transaction selects a row for update that another one has locked, and the server ends the wait by its own limit
    (lock_timeout, innodb_lock_wait_timeout): its task gets an error and nothing of it is stored; the other one
    completes."""
    counter = world.counter()
    locked = asyncio.Event()

    async def holder(session):
        db = session.orm()
        async with db.transaction():
            await db.lock(counter)
            locked.set()
            await db.put(counter)

    async def waiter(session):
        db = session.orm()
        await locked.wait()
        async with db.transaction():
            await db.write()
            await db.lock_within_limit(counter)
            await db.put(counter)

    await world.together(holder=holder, waiter=waiter)


# A statement fails, and the server ends the whole transaction with it; the block catches the error and goes on.


@scenario(
    "TXN-55",
    "A deadlock is caught inside the block, which goes on",
    level="loud",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=2),
    situation=DEADLOCK,
)
async def deadlock_caught_inside(world):
    """The server ends a deadlock, its victim catches the error inside the block, as code that passes one row over, and
    goes on: all that is reported of the block is stored, or its end says no and nothing is."""
    rows = world.counter(), world.counter()
    has_first, has_second = asyncio.Event(), asyncio.Event()

    async def light(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.count_up(rows[0])
            has_first.set()
            await has_second.wait()
            await session.orm(catching=True).count_up(rows[1])
            await db.write()

    async def heavy(session):
        db = session.orm()
        with contextlib.suppress(Exception):
            async with db.transaction():
                for _ in range(3):  # servers that choose the victim by what it has changed choose the other one
                    await db.write()
                await db.count_up(rows[1])
                has_second.set()
                await has_first.wait()
                await db.count_up(rows[0])

    await world.together(light=light, heavy=heavy)


@scenario(
    "TXN-56",
    "A row has changed since the transaction read it, and the block goes on",
    level="loud",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=2),
    situation=CHANGED_MEANWHILE,
)
async def changed_meanwhile(world):
    """A transaction has read a row, another task changes it, and the first one's own change of it is made, or refused
    and the error caught inside the block: all that is reported of the block is stored, or its end says no and nothing
    is."""
    counter, viewed = world.counter(), asyncio.Event()

    async def early(session):
        await viewed.wait()
        await session.orm().count_up(counter)

    async def late(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await db.view(counter)
            viewed.set()
            await session.orm(catching=True).count_up(counter)
            await db.write()

    await world.together(early=early, late=late)


@scenario(
    "TXN-57",
    "A statement undoes the transaction, and the block goes on",
    level="loud",
    needs=("tortoise", "undoing errors"),
    orm=OrmSetup(size=1),
)
async def undone_inside(world):
    """A statement fails and undoes its whole transaction (SQLite's OR ROLLBACK, RAISE(ROLLBACK)), its error is caught
    inside the block, which goes on: all that is reported of the block is stored, or its end says no and nothing is."""

    async def parent(session):
        db = session.orm()
        async with db.transaction():
            await db.write()
            await session.orm(catching=True).fail_undoing()
            await db.write()

    await world.together(parent=parent)


@scenario(
    "TXN-58",
    "A time limit for a lock inside the transaction; the block goes on",
    level="loud",
    needs=("tortoise", "row locks"),
    orm=OrmSetup(size=2),
    situation=TIMED_OUT,
)
async def limited_inside(world):
    """A task waits in its transaction for a row that another one has locked, with a time limit (asyncio.wait_for),
    passes over it when that has ended, and the block ends well: all that is reported of the block is stored, or its end
    says no and nothing is."""
    counter = world.counter()
    locked, asking, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def holder(session):
        db = session.orm()
        async with db.transaction():
            await db.lock(counter)
            locked.set()
            await over.wait()
            await db.put(counter)

    async def victim(session):
        db = session.orm()
        await locked.wait()
        try:
            async with db.transaction():
                await db.write()
                asking.set()
                await session.within(1.0, lambda: db.lock(counter))
                over.set()
        finally:
            asking.set()
            over.set()

    async def clock(session):
        await asking.wait()
        await session.let_time_pass(1.5)

    await world.fill_orm_pool()
    await world.together(holder=holder, victim=victim, clock=clock)


@scenario(
    "TXN-59",
    "With a router: a transaction looks for its own row",
    level="info",
    needs=("tortoise",),
    orm=OrmSetup(size=2, aliases=("conn_1", "conn_2"), reads_elsewhere=True),
)
async def routed_reads(world):
    """Where a router sends reads to a second connection, as to a replica, a query inside a block on the first one
    belongs to the block: it sees the block's own row."""
    row = world.token()

    async def parent(session):
        db = session.orm()
        async with session.orm("conn_1").transaction():
            await db.write(row)
            await db.exists(row)

    await world.together(parent=parent)
