"""Functions as people write them, each with a fault, and mended; what test_check.py checks."""

import asyncio
import contextlib

from tortoise import fields
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
    """Both tasks may want to make the row; the one that is too late takes the other's. A time limit that is kept."""
    WAITING.append(1)
    assert len(WAITING) == 1
    await buy()
    await asyncio.wait_for(buy(), 5)
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


async def in_a_thread():
    await asyncio.to_thread(print)


async def opens_a_socket():
    await Order.all().count()
    await asyncio.open_connection("127.0.0.1", 9)


def no_coroutine():
    pass
