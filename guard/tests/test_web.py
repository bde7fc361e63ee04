"""FastAPI, where a dependency holds the transaction of a request: right as documented, wrong with a task that stays."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import corpus
import pytest
from tortoise.transactions import in_transaction

from docs.patterns.models import Note

fastapi = pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

application = fastapi.FastAPI()
stayed: list[tuple[asyncio.Event, asyncio.Task[Any]]] = []  # what releases a task that outlives its request, and it


async def transaction() -> AsyncIterator[Any]:
    async with in_transaction() as connection:
        yield connection


Transaction = Annotated[Any, fastapi.Depends(transaction)]


@application.post("/right")
async def right(connection: Transaction) -> int:
    await asyncio.gather(Note.create(text="one"), Note.create(text="two"))
    async with in_transaction():
        await Note.create(text="three")
    return await Note.all().count()


@application.post("/wrong")
async def wrong(connection: Transaction) -> None:
    released = asyncio.Event()

    async def mail() -> None:
        await released.wait()
        await Note.create(text="mail")

    stayed.append((released, asyncio.create_task(mail())))


@application.middleware("http")
async def middleware(request: Any, call_next: Any) -> Any:  # as many have: it runs the rest in a task of its own
    return await call_next(request)


def asking(path: str) -> Any:
    async def program() -> None:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = await asyncio.gather(*(client.post(path) for _ in range(3)))
        assert [answer.status_code for answer in answers] == [200] * 3
        while stayed:
            released, task = stayed.pop()
            released.set()
            await task

    return program


def test_a_transaction_per_request_is_right():
    found, error = asyncio.run(corpus.findings(asking("/right")))
    assert ([finding.sentence for finding in found], error) == ([], None)


def test_a_task_that_stays_after_the_request_is_found():
    found, error = asyncio.run(corpus.findings(asking("/wrong")))
    assert error is None
    assert {finding.rule for finding in found} == {"late-query"}
