"""Remedies as code, for the page 'Is my code safe?'; a test executes each. The names are those in patterns.toml.

Which of them holds, and on which driver, is not said here: the results of FIX-... say it.
"""

import asyncio
import contextvars

from tortoise.transactions import in_transaction

from docs.patterns.models import Note


async def second_connection():
    async def child(text):
        async with in_transaction("second") as connection:
            await Note.create(text=text, using_db=connection)

    async with in_transaction("default") as connection:
        await Note.create(text="parent", using_db=connection)
        await asyncio.gather(child("one"), child("two"))


async def start_after():
    async def child(text):
        async with in_transaction():
            await Note.create(text=text)

    async with in_transaction():
        await Note.create(text="parent")
    await asyncio.gather(child("one"), child("two"))


async def context_from_before():
    async def child(text):
        async with in_transaction():
            await Note.create(text=text)

    before = contextvars.copy_context()  # no transaction yet
    async with in_transaction():
        await Note.create(text="parent")
        await asyncio.create_task(child("one"), context=before)


async def empty_context():
    async def child(text):
        async with in_transaction():
            await Note.create(text=text)

    # Tortoise.init(..., _enable_global_fallback=True) where the release has it
    async with in_transaction():
        await Note.create(text="parent")
        await asyncio.create_task(child("one"), context=contextvars.Context())


async def one_lock():
    lock = asyncio.Lock()

    async def child(text):
        async with lock, in_transaction():
            await Note.create(text=text)

    async with in_transaction():
        await Note.create(text="parent")
        ended = await asyncio.gather(child("one"), child("two"), return_exceptions=True)
        for error in ended:  # one that went on would write after the rollback
            if isinstance(error, BaseException):
                raise error


async def no_nested_block():
    async with in_transaction():
        await Note.create(text="parent")
        ended = await asyncio.gather(
            Note.create(text="one"),
            Note.create(text="two"),
            return_exceptions=True,
        )
        for error in ended:  # one that went on would write after the rollback
            if isinstance(error, BaseException):
                raise error


async def wait_for_all():
    async def child(text):  # queries, and may fail
        await Note.create(text=text)

    async with in_transaction():
        await Note.create(text="parent")
        ended = await asyncio.gather(child("one"), child("two"), return_exceptions=True)
        for error in ended:  # one that went on would write after the rollback
            if isinstance(error, BaseException):
                raise error


async def worker_outside():
    async def worker(queue):
        while (text := await queue.get()) is not None:
            async with in_transaction():
                await Note.create(text=text)

    queue = asyncio.Queue()
    task = asyncio.create_task(worker(queue))  # before any transaction
    async with in_transaction():
        await Note.create(text="parent")
        await queue.put("job")
    await queue.put(None)
    await task


async def shield():
    async def save():
        async with in_transaction():
            await Note.create(text="one")
            await Note.create(text="two")

    await asyncio.shield(asyncio.create_task(save()))


async def query_inside():
    async with in_transaction():
        drafts = Note.filter(text="draft")  # built where it is awaited
        if await drafts:
            await drafts.update(text="sent")
        await Note.create(text="one")


async def create_with_the_client():
    async def tag(handed_on):
        await Note.create(text="one", using_db=await handed_on)  # one query, and no block of its own

    handed_on = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(tag(handed_on))
    async with in_transaction() as connection:
        await Note.create(text="order")
        handed_on.set_result(connection)
        await task


async def lock_objects():
    async with in_transaction():
        await Note.create(text="one")
        row = await Note.select_for_update().get(text="one")  # fails where it is gone
        row.text = "two"
        await row.save()


async def made_anew():
    async with in_transaction():
        order = Note(text="one")  # in each try another one
        await order.save()
        # of an object from elsewhere: whether its row is there or not
        await Note.update_or_create(defaults={"text": "two"}, id=order.id)


# For one pattern, as people would write it there


async def one_lock_when_one_fails():
    lock = asyncio.Lock()

    async def child(text):
        async with lock, in_transaction():
            await Note.create(text=text)

    async def failing(text):
        try:
            async with lock, in_transaction():
                await Note.create(text=text)
                raise ValueError("not this one")
        except ValueError:
            pass  # its row is rolled back, the others go on

    async with in_transaction():
        work = child("kept"), failing("dropped"), child("kept too")
        ended = await asyncio.gather(*work, return_exceptions=True)
        for error in ended:  # one that went on would write after the rollback
            if isinstance(error, BaseException):
                raise error


async def background_after():
    async def audit():
        await Note.create(text="audit")

    async with in_transaction():
        await Note.create(text="order")
    task = asyncio.create_task(audit())  # no transaction any more; not reached when the block fails
    await task


async def background_transaction_after():
    async def send_mail():
        async with in_transaction():
            await Note.create(text="mail")

    async with in_transaction():
        await Note.create(text="order")
    task = asyncio.create_task(send_mail())  # no transaction any more; not reached when the block fails
    await task
