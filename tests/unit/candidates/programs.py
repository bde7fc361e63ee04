"""``python -m tests.unit.candidates.programs CANDIDATE PROGRAM``: what a program does with a candidate in place, or
without one where none is named.
"""

import asyncio
import os
import sys
import tempfile

from tortoise import Tortoise
from tortoise.transactions import in_transaction

from matrix.candidates import wrappers
from matrix.harness.models import Entry


async def stored():
    return sorted([entry.token for entry in await Entry.all()])


async def told(work):
    try:
        await work
    except (Exception, asyncio.CancelledError) as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


async def main():
    folder = tempfile.mkdtemp()
    await Tortoise.init(db_url=f"sqlite://{folder}/x.db", modules={"models": ["matrix.harness.models"]})
    await Tortoise.generate_schemas()
    try:
        print(await PROGRAMS[sys.argv[2]]())
    finally:
        await Tortoise.close_connections()


async def beside():
    """A task of the outer block writes while a nested block is open, which then ends or fails."""
    async with in_transaction():
        said = None
        try:
            async with in_transaction():
                pass
            async with in_transaction():
                child = asyncio.create_task(told(Entry.create(token="inside")))
                await asyncio.sleep(0.05)
            await child
            started, child = asyncio.Event(), None

            async def outside():
                await started.wait()
                return await told(Entry.create(token="outside"))

            child = asyncio.create_task(outside())
            async with in_transaction():
                started.set()
                await asyncio.sleep(0.05)
                raise KeyError("the nested block fails")
        except KeyError:
            said = await child
    return said, await stored()


async def late():
    """A task outlives the transaction."""
    over = asyncio.Event()

    async def child():
        await over.wait()
        return [await told(Entry.create(token="late")), await told(in_transaction().__aenter__())]

    async with in_transaction():
        task = asyncio.create_task(child())
    over.set()
    return await task, await stored()


async def begin_cancelled():
    """A transaction is cancelled while it begins; the next one begins."""
    await stored()
    task = asyncio.create_task(told(in_transaction().__aenter__()))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    async def follows():
        async with in_transaction():
            await Entry.create(token="next")

    return task.result()[:14], await told(asyncio.wait_for(follows(), 2)), await stored()


async def elsewhere():
    """A generator with a block is left in another task."""

    async def block():
        async with in_transaction():
            await Entry.create(token="kept")
            yield

    generator = block()
    await asyncio.create_task(anext(generator))
    said = await asyncio.create_task(told(anext(generator)))
    return said.partition(":")[0], await stored()


async def crossed():
    """The outer block ends while a task's nested one is open."""
    opened, end = asyncio.Event(), asyncio.Event()

    async def child():
        async with in_transaction():
            await Entry.create(token="inner")
            opened.set()
            await end.wait()

    async def parent():
        async with in_transaction():
            await Entry.create(token="outer")
            tasks.append(asyncio.create_task(told(child())))
            await opened.wait()
            asyncio.get_running_loop().call_later(0.05, end.set)

    tasks = []
    return await told(parent()), await tasks[0], await stored()


PROGRAMS = {each.__name__: each for each in (beside, late, begin_cancelled, elsewhere, crossed)}


async def limited():
    # With the release some never end, and no other word of it is waited for; with a candidate none may.
    done, _ = await asyncio.wait([asyncio.create_task(main())], timeout=10 if sys.argv[1] else 2)
    if not done:
        print("it never ends", flush=True)
        os._exit(0)  # threads that wait for ever must not keep the interpreter


if __name__ == "__main__":
    if sys.argv[1]:
        wrappers.apply(sys.argv[1])
    asyncio.run(limited())
