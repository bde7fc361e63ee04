"""A shop: an order is placed in a transaction, and a letter is written beside it. shop_http.py has the HTTP."""

import asyncio

from tortoise import fields
from tortoise.models import Model
from tortoise.transactions import in_transaction


class Order(Model):
    id = fields.IntField(primary_key=True)
    customer = fields.CharField(max_length=40)

    class Meta:
        table = "shop_order"


class Line(Model):
    id = fields.IntField(primary_key=True)
    order_id = fields.IntField()
    article = fields.CharField(max_length=40)

    class Meta:
        table = "shop_line"


class Letter(Model):
    id = fields.IntField(primary_key=True)
    to = fields.CharField(max_length=40)

    class Meta:
        table = "shop_letter"


class SoldOut(Exception):
    pass


async def write_letter(customer: str) -> None:
    """In the background: the customer does not wait for it."""
    await Letter.create(to=customer)


async def reserve(order: Order, article: str) -> None:
    async with in_transaction():
        await Line.create(order_id=order.id, article=article)
        if article == "the last one":
            raise SoldOut(article)


async def place_order() -> None:
    """Fault: the letter's task is started in the block and inherits its transaction, which ends meanwhile."""
    async with in_transaction():
        await Order.create(customer="Ann")
        letter = asyncio.create_task(write_letter("Ann"))
    await letter


async def place_order_mended() -> None:
    """The task starts when the order is stored."""
    async with in_transaction():
        await Order.create(customer="Ann")
    await asyncio.create_task(write_letter("Ann"))


async def reserve_all() -> None:
    """Fault: the articles are reserved side by side in one transaction, and one of them is sold out."""
    async with in_transaction():
        order = await Order.create(customer="Ann")
        await asyncio.gather(reserve(order, "tea"), reserve(order, "the last one"), return_exceptions=True)


async def reserve_all_mended() -> None:
    """One after the other: who is sold out undoes its own line only."""
    async with in_transaction():
        order = await Order.create(customer="Ann")
        for article in ("tea", "the last one"):
            try:
                await reserve(order, article)
            except SoldOut:
                continue
