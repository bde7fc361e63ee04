"""Runs one request of docs/patterns/web.py on a real uvicorn and writes down what happened, as data. No sleep decides:
the server is in this process, and who waits is released by what the other has done.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import fastapi
import uvicorn
from tortoise import Tortoise, connections

from docs.patterns import models, web

from .judge import Request, Write, described

PATIENCE = 20  # seconds after which a request is taken to wait for ever: an error of the measurement
CLOSING = "async_generator_athrow"  # what such a task runs
EARLIER = "of another request"  # what a second request writes before it fails


class Watched:
    """Watches one request while it runs."""

    def __init__(self, name: str) -> None:
        self.name, self.request = name, Request()
        self.ended, self.client_left = asyncio.Event(), asyncio.Event()
        self.block_over = asyncio.Event()
        self.slow_reached, self.released = asyncio.Event(), asyncio.Event()  # released: the detached task
        self.answered = self.second = False

    def block(self, real: Any) -> Any:
        """in_transaction, with what its end gives."""

        @contextlib.asynccontextmanager
        async def in_transaction(*names: str) -> AsyncIterator[Any]:
            task, own = asyncio.current_task(), not self.second
            try:
                async with real(*names) as connection:
                    yield connection
                ended = "committed"
            except BaseException as error:
                ended = f"rolled back: {described(error)}"
                raise
            finally:
                if own:
                    self.request.left_in_another_task = asyncio.current_task() is not task
                    self.request.answered_before_the_end = self.answered
                    self.request.block = ended
                    self.block_over.set()

        return in_transaction

    def create(self, real: Any) -> Any:
        async def create(text: str) -> Any:
            if text == EARLIER:
                return await real(text=text)
            inside = "Transaction" in type(connections.get("default")).__name__
            write = Write(text, inside=inside)
            self.request.writes.append(write)
            try:
                return await real(text=text)
            except asyncio.CancelledError:
                write.cancelled = True
                raise
            except Exception as error:
                write.error = described(error)
                raise

        return create

    async def slow(self) -> None:
        """Where the client goes away, or the task waits that its request does not wait for."""
        self.slow_reached.set()
        if self.name.endswith("client_leaves"):
            await self.client_left.wait()
        elif self.name == "detached":
            await self.released.wait()
        elif self.name == "middleware_stream":
            await self.block_over.wait()
        else:
            await asyncio.sleep(0)

    def around(self, app: Any) -> Any:
        """The outermost ASGI application: when it answers, and when it has ended."""

        async def outermost(scope: Any, receive: Any, send: Any) -> None:
            async def answer(message: Any) -> None:
                self.answered = self.answered or message["type"] == "http.response.start"
                await send(message)

            try:
                await app(scope, receive, answer)
            except BaseException as error:
                if not self.second:
                    self.request.raised.append(described(error))
                raise
            finally:
                self.ended.set()

        return outermost


async def run(name: str, config: dict[str, Any]) -> Request:
    """One request, up to the end of everything that it started."""
    watched = Watched(name)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: lost(watched, context))
    real = web.in_transaction, models.Note.create, web.something_slow
    await Tortoise.init(config=config, _enable_global_fallback=True)
    app = fastapi.FastAPI()
    web.in_transaction, models.Note.create = watched.block(real[0]), watched.create(real[1])  # type: ignore[method-assign]
    web.something_slow = watched.slow
    try:
        await Tortoise.generate_schemas()
        getattr(web, name)(app)
        async with serving(watched.around(app)) as server:
            await asyncio.wait_for(ask(watched, server, app), PATIENCE)
    finally:
        web.in_transaction, models.Note.create, web.something_slow = real  # type: ignore[method-assign]
        with contextlib.suppress(Exception):  # a connection that the request has spoiled
            await asyncio.wait_for(Tortoise.close_connections(), PATIENCE)
    return watched.request


def lost(watched: Watched, context: dict[str, Any]) -> None:
    error = context.get("exception")
    watched.request.raised.append(described(error) if error else str(context.get("message")))


@contextlib.asynccontextmanager
async def serving(app: Any, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[uvicorn.Server]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan=lifespan))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started or task.done())
    try:
        yield server
    finally:
        server.should_exit = True
        await task


async def ask(watched: Watched, server: uvicorn.Server, app: fastapi.FastAPI) -> None:
    watched.request.answer = await post(watched, server)
    await watched.ended.wait()
    if watched.name == "detached":
        await beside_a_second_request(watched, server, app)
    gc.collect()  # a generator that was given up is closed by the loop, in a task of its own
    await until(
        lambda: not any(type(task.get_coro()).__name__ == "async_generator_athrow" for task in asyncio.all_tasks())
    )


async def until(holds: Callable[[], bool]) -> None:
    """What others do shows in no event."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def post(watched: Watched, server: uvicorn.Server) -> int | None:
    """The status of the answer. A client that leaves does so when it has the first part of a stream, or when the
    request waits for what is slow."""
    reader, writer = await opened(address_of(server))
    if watched.name.endswith("client_leaves"):
        status, watched.request.left = None, True
        if "stream" in watched.name:
            head = await reader.readuntil(b"one")
            status = int(head.split(b" ", 2)[1])
        else:
            reached = [asyncio.ensure_future(event.wait()) for event in (watched.slow_reached, watched.ended)]
            await asyncio.wait(reached, return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        await until(lambda: not server.server_state.connections)  # until the server knows
        watched.client_left.set()
        return status
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


def address_of(server: uvicorn.Server) -> tuple[str, int]:
    """Host and port."""
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    return host, port


async def opened(address: tuple[str, int], path: str = "/") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a POST was sent."""
    host, port = address
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    return reader, writer


async def beside_a_second_request(watched: Watched, server: uvicorn.Server, app: fastapi.FastAPI) -> None:
    """Another request fails, and its transaction is open while the detached task writes."""
    watched.second = True

    @app.post("/second", dependencies=[fastapi.Depends(web.transaction)])
    async def second() -> None:
        await models.Note.create(text=EARLIER)
        watched.released.set()
        await asyncio.wait({app.state.task})
        raise fastapi.HTTPException(409)

    reader, writer = await opened(address_of(server), "/second")
    await reader.read()
    writer.close()
