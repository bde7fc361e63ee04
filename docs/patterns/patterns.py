"""Patterns that people write with Tortoise. The page 'Is my code safe?' shows them; a test executes each.

The names are those in patterns.toml, which says which scenario measures the pattern.
"""

import asyncio

from tortoise.transactions import in_transaction

from docs.patterns.models import Note


async def gather_queries():
    async with in_transaction():
        await asyncio.gather(
            Note.create(text="one"),
            Note.create(text="two"),
        )


async def gather_transactions():
    async def child(text):
        async with in_transaction():
            await Note.create(text=text)

    async with in_transaction():
        await Note.create(text="parent")
        await asyncio.gather(child("one"), child("two"))


async def one_sibling_fails():
    async def child(text):
        async with in_transaction():
            await Note.create(text=text)

    async def failing(text):
        try:
            async with in_transaction():
                await Note.create(text=text)
                raise ValueError("not this one")
        except ValueError:
            pass  # its row is rolled back, the others go on

    async with in_transaction():
        await asyncio.gather(child("kept"), failing("dropped"))


async def child_while_parent_queries():
    async def child():
        async with in_transaction():
            await Note.create(text="child")

    async with in_transaction():
        await Note.create(text="parent")
        task = asyncio.create_task(child())
        await Note.all().count()
        await Note.create(text="parent again")
        await task


async def background_write():
    async def audit(saved):
        await saved.wait()
        await Note.create(text="audit")

    saved = asyncio.Event()
    async with in_transaction():
        await Note.create(text="order")
        task = asyncio.create_task(audit(saved))
    saved.set()  # the block is over, the task lives on
    await task


async def background_transaction():
    async def send_mail(saved):
        await saved.wait()
        async with in_transaction():
            await Note.create(text="mail")

    saved = asyncio.Event()
    async with in_transaction():
        await Note.create(text="order")
        task = asyncio.create_task(send_mail(saved))
    saved.set()  # the block is over, the task lives on
    await task


async def task_group():
    async def failing():
        await Note.all().count()
        raise ValueError("one of the tasks fails")

    async with in_transaction():
        await Note.create(text="parent")
        async with asyncio.TaskGroup() as group:
            group.create_task(Note.create(text="sibling"))
            group.create_task(failing())


async def streaming():
    async def rows():  # such as a fixture with yield
        async with in_transaction():
            await Note.create(text="first")
            yield "first"
            await Note.create(text="second")
            yield "second"

    stream = rows()
    await asyncio.create_task(anext(stream))  # each part is taken in another task
    await asyncio.create_task(anext(stream))
    await asyncio.create_task(stream.aclose())


async def worker_inside():
    async def worker(queue):
        while (text := await queue.get()) is not None:
            async with in_transaction():
                await Note.create(text=text)

    queue = asyncio.Queue()
    async with in_transaction():
        await Note.create(text="first use starts the worker")
        task = asyncio.create_task(worker(queue))
    await queue.put("job")
    await queue.put(None)
    await task


async def fixture_around_a_test():
    async def place_orders():  # the code under test: each order is a transaction
        async def place(text):
            async with in_transaction():
                await Note.create(text=text)

        await asyncio.gather(place("one"), place("two"))

    async with in_transaction():  # the fixture, which is to roll back whatever the test writes
        await place_orders()


async def timeout_around_a_transaction():
    async def save():
        async with in_transaction():
            await Note.create(text="one")
            await Note.create(text="two")

    try:
        async with asyncio.timeout(5):  # or the client of a web server goes away
            await save()
    except TimeoutError:
        pass
    await Note.create(text="the same task goes on")


async def gather_one_fails():
    async def price(text):
        if text == "unknown":
            raise ValueError("there is no price")
        await Note.create(text=text)

    try:
        async with in_transaction():
            await Note.create(text="order")
            await asyncio.gather(price("one"), price("unknown"), price("two"))
    except ValueError:
        pass  # nothing of it is to be stored


async def query_from_before():
    await Note.create(text="draft")
    drafts = Note.filter(text="draft")
    if not await drafts:  # is there anything to do?
        return
    try:
        async with in_transaction():
            await Note.create(text="order")
            await drafts.update(text="sent")
            raise ValueError("the order is refused")
    except ValueError:
        pass  # the draft is to stay one


async def get_or_create_with_the_client():
    async def tag(handed_on):
        await Note.get_or_create(text="tag", using_db=await handed_on)

    handed_on = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(tag(handed_on))
    async with in_transaction() as connection:
        await Note.create(text="order")
        handed_on.set_result(connection)
        await task


async def lock_values():
    number = await Note.create(text="1")

    async with in_transaction():
        row = await Note.select_for_update().get(id=number.id).values("text")
        await Note.filter(id=number.id).update(text=str(int(row["text"]) + 1))


async def saved_once_more():
    order = Note(text="order")
    try:
        async with in_transaction():
            await order.save()
            raise ValueError("try again")
    except ValueError:
        pass
    await order.save()  # an UPDATE of the row that was rolled back


async def forced_update():
    note = await Note.create(text="as it was")
    await note.save(force_update=True)  # is to fail where the row is gone
