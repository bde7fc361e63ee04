"""Requests of FastAPI that hold a transaction, as people write them. The page 'Is my code safe?' shows them, and
tests/web runs each on a real uvicorn; web.toml says what the request is about.

A function adds a path to the application. ``something_slow`` is a call of another service: the measurement lets the
client go away meanwhile, where the request is about that.
"""

import asyncio

from fastapi import BackgroundTasks, Depends, HTTPException
from fastapi.responses import StreamingResponse
from tortoise.transactions import in_transaction

from docs.patterns.models import Note


async def something_slow():
    await asyncio.sleep(0)


async def transaction():
    async with in_transaction():
        yield


def dependency(app):
    @app.post("/", dependencies=[Depends(transaction)])
    async def save():
        await Note.create(text="one")
        await Note.create(text="two")


def dependency_fails(app):
    @app.post("/", dependencies=[Depends(transaction)])
    async def save():
        await Note.create(text="one")
        raise HTTPException(409)


def dependency_client_leaves(app):
    @app.post("/", dependencies=[Depends(transaction)])
    async def save():
        await Note.create(text="one")
        await something_slow()
        await Note.create(text="two")


def dependency_stream(app):
    @app.post("/", dependencies=[Depends(transaction)])
    async def save():
        async def rows():
            for text in ("one", "two"):
                await Note.create(text=text)
                yield text

        return StreamingResponse(rows())


def dependency_stream_client_leaves(app):
    @app.post("/", dependencies=[Depends(transaction)])
    async def save():
        async def rows():
            for text in ("one", "two"):
                await Note.create(text=text)
                yield text
                await something_slow()

        return StreamingResponse(rows())


def stream(app):
    @app.post("/")
    async def save():
        async def rows():
            async with in_transaction():
                for text in ("one", "two"):
                    await Note.create(text=text)
                    yield text

        return StreamingResponse(rows())


def stream_client_leaves(app):
    @app.post("/")
    async def save():
        async def rows():
            async with in_transaction():
                for text in ("one", "two"):
                    await Note.create(text=text)
                    yield text
                    await something_slow()

        return StreamingResponse(rows())


def middleware(app):
    @app.middleware("http")  # Starlette's BaseHTTPMiddleware
    async def transaction_around(request, call_next):
        async with in_transaction():
            return await call_next(request)

    @app.post("/")
    async def save():
        await Note.create(text="one")
        await Note.create(text="two")


def middleware_fails(app):
    @app.middleware("http")
    async def transaction_around(request, call_next):
        async with in_transaction():
            return await call_next(request)

    @app.post("/")
    async def save():
        await Note.create(text="one")
        raise HTTPException(409)


def middleware_client_leaves(app):
    @app.middleware("http")
    async def transaction_around(request, call_next):
        async with in_transaction():
            return await call_next(request)

    @app.post("/")
    async def save():
        await Note.create(text="one")
        await something_slow()
        await Note.create(text="two")


def middleware_stream(app):
    @app.middleware("http")
    async def transaction_around(request, call_next):
        async with in_transaction():
            return await call_next(request)

    @app.post("/")
    async def save():
        async def rows():
            for text in ("one", "two"):
                await something_slow()
                await Note.create(text=text)
                yield text

        return StreamingResponse(rows())


def background(app):
    async def audit():
        await Note.create(text="audit")

    @app.post("/", dependencies=[Depends(transaction)])
    async def save(tasks: BackgroundTasks):
        await Note.create(text="one")
        tasks.add_task(audit)


def background_fails(app):
    async def mail():
        raise ConnectionError("the mail server is down")

    @app.post("/", dependencies=[Depends(transaction)])
    async def save(tasks: BackgroundTasks):
        await Note.create(text="one")
        tasks.add_task(mail)


def detached(app):
    async def audit():
        await something_slow()
        await Note.create(text="audit")

    @app.post("/", dependencies=[Depends(transaction)])
    async def save():
        await Note.create(text="one")
        app.state.task = asyncio.create_task(audit())


def answer_before_the_end(app):
    async def checked():
        async with in_transaction():
            yield
            raise ValueError("what was saved does not add up")  # as a commit that fails does

    @app.post("/", dependencies=[Depends(checked)])
    async def save():
        await Note.create(text="one")


def in_the_handler(app):
    async def mail():
        raise ConnectionError("the mail server is down")

    @app.post("/")
    async def save(tasks: BackgroundTasks):
        async with in_transaction():
            await Note.create(text="one")
        tasks.add_task(mail)


def in_the_handler_fails(app):
    @app.post("/")
    async def save():
        async with in_transaction():
            await Note.create(text="one")
            raise ValueError("what was saved does not add up")


def in_the_handler_client_leaves(app):
    @app.post("/")
    async def save():
        async with in_transaction():
            await Note.create(text="one")
            await something_slow()
            await Note.create(text="two")
