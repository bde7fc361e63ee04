"""Functions as people write them, each with a fault, and mended; what test_check.py checks."""

import asyncio
import contextlib
import logging

from tortoise import connections, fields
from tortoise.exceptions import IntegrityError
from tortoise.models import Model
from tortoise.transactions import atomic, in_transaction

WAITING = []  # what a run leaves here must not be there in the next one


class Order(Model):
    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=40, unique=True)
    items: fields.ReverseRelation["Item"]

    class Meta:
        table = "shop_order"


class Item(Model):
    id = fields.IntField(primary_key=True)
    order = fields.ForeignKeyField("models.Order", related_name="items")

    class Meta:
        table = "shop_item"


async def fill():
    await Order.create(name="first")


async def log(name):
    await Order.create(name=name)


async def log_in_a_block(name):
    async with in_transaction():
        await Order.create(name=name)


async def background():
    """Fault: the task goes on after the block, in whose context it was started."""
    async with in_transaction():
        await Order.create(name="order")
        task = asyncio.create_task(log("log"))
    await task


async def background_mended():
    async with in_transaction():
        await Order.create(name="order")
    await asyncio.create_task(log("log"))


async def side_by_side():
    """Fault: two tasks open blocks in one transaction, and one of them fails and is caught."""

    async def fails():
        async with in_transaction():
            await Order.create(name="dropped")
            raise ValueError("no such item")

    async with in_transaction():
        await asyncio.gather(log_in_a_block("kept"), fails(), return_exceptions=True)


async def side_by_side_mended():
    async def fails():
        async with in_transaction():
            await Order.create(name="dropped")
            raise ValueError("no such item")

    await asyncio.gather(log_in_a_block("kept"), fails(), return_exceptions=True)


async def gathers(**how):
    """Fault: where one task raises, gather waits for the others no longer, and the block is rolled back beside them."""

    async def price(name):
        if name == "other":
            raise ValueError("no price")
        await log(name)

    with contextlib.suppress(ValueError):
        async with in_transaction():
            for ended in await asyncio.gather(price("one"), price("other"), price("third"), **how):
                if ended is not None:
                    raise ended


async def gathers_all():
    await gathers(return_exceptions=True)


async def both_end_well():
    """Fault: two tasks open blocks in one transaction; none of them fails by itself."""
    async with in_transaction():
        await asyncio.gather(log_in_a_block("one"), log_in_a_block("other"))


async def imports_what_is_not_there():
    import matrix_no_such_package  # noqa: F401


async def imports_it_in_a_task():
    asyncio.create_task(imports_what_is_not_there())  # noqa: RUF006
    await Order.all().count()


async def script_in_a_block():
    """Fault: a script commits the block on SQLite, so that the rollback undoes nothing."""
    with contextlib.suppress(ValueError):
        async with in_transaction() as connection:
            await Order.create(name="dropped")
            await connection.execute_script("SELECT 1;")
            raise ValueError("no such item")


async def past_the_block():
    """Fault: the query asks the plain connection, which waits for the block."""
    plain = connections.get("default")
    async with in_transaction():
        await Order.create(name="one")
        await Order.create(name="other", using_db=plain)


async def given_anothers_rows():
    """A driver that gives the answer of another query, once."""
    connection = connections.get("default")
    await Order.all().count()
    await Item.create(order=await Order.get(name="first"))
    fetch = connection._connection.execute_fetchall

    async def wrong(query, values):
        connection._connection.execute_fetchall = fetch
        return await fetch('SELECT * FROM "shop_item"', [])

    connection._connection.execute_fetchall = wrong
    with contextlib.suppress(Exception):
        await Order.get(name="first")


async def own_error():
    """Fault: an error of the program's own, in one of two orders at most."""

    async def pick():
        if WAITING:
            raise KeyError("taken already")
        WAITING.append(1)
        await Order.all().count()

    await asyncio.gather(pick(), pick())


@atomic()
async def buy():
    order, _ = await Order.get_or_create(name="order")
    await Item.create(order=order)


async def own_error_mended():
    """The second finds the row that the first has made."""
    WAITING.append(1)
    assert len(WAITING) == 1
    await buy()
    await buy()
    assert await Item.all().count() == 2


async def both_make_it():
    """Fault: two tasks make a row with the same name, and nobody is ready for that."""
    await asyncio.gather(log("same"), log("same"))


async def both_make_it_mended():
    async def make():
        with contextlib.suppress(IntegrityError):
            await log("same")

    await asyncio.gather(make(), make())


async def changes_its_mind():
    """Nothing wrong: a block is rolled back by hand, a task is cancelled, and both are meant."""
    async with in_transaction() as connection:
        await Order.create(name="dropped")
        await connection.rollback()
    task = asyncio.create_task(log("perhaps"))
    await Order.all().count()
    task.cancel()
    await asyncio.wait([task])


async def asks_twice():
    """One order only is there: ``fill`` has made it."""
    assert await Order.all().count() == 1
    await Order.create(name="second")


async def sleeps():
    """Fault: it relies on the log being written after a tenth of a second."""
    task = asyncio.create_task(log("log"))
    await asyncio.sleep(0.1)
    assert await Order.filter(name="log").count() == 1
    await task


async def sleeps_mended():
    task = asyncio.create_task(log("log"))
    await asyncio.sleep(3600)
    await task
    assert await Order.filter(name="log").count() == 1


async def in_turn():
    """Nothing wrong: the shorter sleep ends first, whatever happens."""
    ended = []

    async def nap(seconds):
        await asyncio.sleep(seconds)
        ended.append(seconds)
        await Order.all().count()

    await asyncio.gather(nap(2), nap(1))
    assert ended == [1, 2]


async def has_a_limit():
    """Nothing wrong: where the time is over, the order is not there."""
    await asyncio.wait_for(log("order"), 5)


async def stores_in_spite_of_a_limit():
    """Fault: it takes a time limit for a sign that nothing is stored."""
    try:
        await asyncio.wait_for(log("order"), 5)
    except asyncio.TimeoutError:
        assert await Order.all().count() == 0


async def sleeps_for_ever():
    while not WAITING:  # noqa: ASYNC110
        await asyncio.sleep(1)


async def is_not_to_be_stopped():
    """A driver that swallows the cancellation of a query: its task goes on."""
    connection = connections.get("default")
    await Order.all().count()
    fetch = connection._connection.execute_fetchall

    async def swallowing(query, values):
        try:
            return await fetch(query, values)
        except asyncio.CancelledError:
            return await fetch(query, values)

    connection._connection.execute_fetchall = swallowing
    await Order.all().count()


async def catches_it():
    """Nothing wrong: it catches its own cancellation."""
    with contextlib.suppress(asyncio.CancelledError):
        await Order.all().count()


async def takes_two():
    """Fault, when it is cancelled between the two: they belong together."""
    await Order.create(name="one")
    await Order.create(name="other")


async def takes_two_mended():
    """Shielded: whoever asks may be cancelled, the work is not."""

    @atomic()
    async def both():
        await Order.create(name="one")
        await Order.create(name="other")

    await asyncio.shield(asyncio.create_task(both()))


def resize():
    return 7


async def resizes():
    await Order.all().count()
    assert await asyncio.to_thread(resize) == 7
    await Order.create(name="picture")


async def charge():
    await asyncio.open_connection("127.0.0.1", 9)


async def no_charge():
    await Order.all().count()


async def charges():
    await charge()
    await Order.create(name="paid")


async def in_a_thread():
    await asyncio.to_thread(print)


async def opens_a_socket():
    await Order.all().count()
    await asyncio.open_connection("127.0.0.1", 9)


def no_coroutine():
    pass


@atomic()
async def one_and_other():
    await Order.create(name="one")
    await Order.create(name="other")


async def shields_two_gathered():
    await asyncio.shield(asyncio.gather(log_in_a_block("one"), log_in_a_block("other")))


async def shields_a_group():
    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one_and_other())

    await asyncio.shield(group())


async def keeps_it_until_the_end():
    """Kept in a set, and waited for at the end, however that comes."""
    tasks = set()
    try:
        tasks.add(asyncio.create_task(one_and_other()))
        await Order.all().count()
    finally:
        await asyncio.wait(tasks)


async def gives_it_to_a_worker():
    """The worker is stopped when it has nothing to do, and never before."""
    queue = asyncio.Queue()

    async def works():
        while True:
            await (await queue.get())()
            queue.task_done()

    worker = asyncio.create_task(works())
    queue.put_nowait(one_and_other)
    try:
        await asyncio.shield(queue.join())
    finally:
        await queue.join()
        worker.cancel()


async def takes_two_at_once():
    """Fault, when it is cancelled between the two: whoever waits passes the cancellation on."""
    await asyncio.gather(takes_two())


async def waits_for_one_and_shields_another():
    """Which of the two tasks is started first is a choice."""

    async def plainly():
        await Order.all().count()
        await asyncio.create_task(log("plain"))

    async def shielded():
        await Order.all().count()
        await asyncio.shield(one_and_other())

    await asyncio.gather(plainly(), shielded())


async def gets_what_is_not_there():
    await Order.get(name="first")


async def asks_nothing():
    await asyncio.sleep(0)


async def logs_and_prints():
    print("as people do")
    logging.getLogger("shop").error("not paid", exc_info=ValueError("no money"))
    await Order.all().count()


async def left_alone():
    async def charges():
        await Order.all()
        raise KeyError("nobody asks for it")

    task = asyncio.create_task(charges())
    await Order.all()
    WAITING.append(task)


async def left_alone_and_asked():
    async def charges():
        await Order.all()
        raise KeyError("somebody asks for it")

    tasks = [asyncio.create_task(charges()) for _ in range(4)]
    found = await asyncio.gather(tasks[0], return_exceptions=True)
    await asyncio.wait(tasks)
    found.append(tasks[1].exception())
    for again in (tasks[2], asyncio.shield(tasks[3])):
        with contextlib.suppress(KeyError):
            await again
