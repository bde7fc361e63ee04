"""A worker: jobs are put into a queue, and two tasks take them from there."""

import asyncio

from tortoise import fields
from tortoise.models import Model
from tortoise.transactions import in_transaction


class Job(Model):
    id = fields.IntField(primary_key=True)
    state = fields.CharField(max_length=10, default="new")

    class Meta:
        table = "worker_job"


class Result(Model):
    id = fields.IntField(primary_key=True)
    job_id = fields.IntField()

    class Meta:
        table = "worker_result"


async def fill() -> None:
    for _ in range(2):
        await Job.create()


async def work(queue: asyncio.Queue[Job]) -> None:
    """Each job is a transaction: its result and its new state, or neither."""
    while not queue.empty():
        job = queue.get_nowait()
        async with in_transaction():
            await Result.create(job_id=job.id)
            await Job.filter(id=job.id).update(state="done")


async def batch() -> None:
    """Fault: the tasks are started in the block that has read the jobs; what they think are transactions are nested in
    that one, and side by side."""
    queue: asyncio.Queue[Job] = asyncio.Queue()
    async with in_transaction():
        for job in await Job.all():
            queue.put_nowait(job)
        await asyncio.gather(work(queue), work(queue))


async def batch_mended() -> None:
    """The block ends before the tasks begin."""
    queue: asyncio.Queue[Job] = asyncio.Queue()
    async with in_transaction():
        jobs = await Job.all()
    for job in jobs:
        queue.put_nowait(job)
    await asyncio.gather(work(queue), work(queue))


async def take() -> None:
    """Fault: between the look and the write another task looks, too."""
    job = await Job.filter(state="new").order_by("id").first()
    if job is not None:
        job.state = "taken"
        await job.save(update_fields=["state"])
        await Result.create(job_id=job.id)


async def two_take() -> None:
    await asyncio.gather(take(), take())


async def take_mended() -> None:
    """The database decides who was first: one UPDATE that names the state it expects."""
    for job in await Job.filter(state="new").order_by("id"):
        if await Job.filter(id=job.id, state="new").update(state="taken"):
            await Result.create(job_id=job.id)
            return


async def two_take_mended() -> None:
    await asyncio.gather(take_mended(), take_mended())
