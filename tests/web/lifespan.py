"""``python -m tests.web.lifespan asyncpg --json results/web.json``: Tortoise is initialised in the start-up of a
framework, by hand or by Tortoise's own helper for it, and a request writes a row, and so does a task that the start-up
begins.

Each application is served in this process over a real database. Nobody waits for time to go by: the task is awaited
when the request has been answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web as aiohttp
from fastapi import FastAPI
from quart import Quart
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tortoise import Tortoise
from tortoise.contrib import aiohttp as helps_aiohttp
from tortoise.contrib import fastapi as helps_fastapi
from tortoise.contrib import quart as helps_quart
from tortoise.contrib import starlette as helps_starlette

from docs.patterns.models import Note

from . import programs
from .judge import described
from .measure import address_of, opened, serving

REQUEST, TASK = "request", "task"
WAYS = ("init", "fallback", "helper")  # Tortoise.init(), the same with its global fallback, tortoise.contrib's own
Hook = Callable[[], Awaitable[None]]


class Application:
    """What is in each of them. ``told``: what who wrote was told, by place."""

    def __init__(self, way: str, config: dict[str, Any]) -> None:
        self.way, self.config = way, config
        self.told: dict[str, str] = {}
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def helped(self) -> bool:
        return self.way == "helper"

    async def start(self) -> None:
        """The start-up; with a helper, behind it."""
        if not self.helped:
            fallback = {"_enable_global_fallback": True} if self.way == "fallback" else {}
            await Tortoise.init(config=self.config, **fallback)
        await Tortoise.generate_schemas()
        self.tasks.append(asyncio.create_task(self.write(TASK)))

    async def write(self, place: str) -> None:
        try:
            await Note.create(text=place)
            self.told[place] = ""
        except Exception as error:
            self.told[place] = described(error)

    async def answer(self) -> str:
        await self.write(REQUEST)
        return self.told[REQUEST]

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        await self.start()
        yield


def starlette(made: Application) -> Any:
    async def save(_: Any) -> PlainTextResponse:
        return PlainTextResponse(await made.answer())

    app = Starlette(routes=[Route("/", save, methods=["POST"])], lifespan=made.lifespan)
    if made.helped:
        helps_starlette.register_tortoise(app, config=made.config)
    return app


def fastapi(made: Application) -> Any:
    @contextlib.asynccontextmanager
    async def helped(app: FastAPI) -> AsyncIterator[None]:
        async with helps_fastapi.RegisterTortoise(app, config=made.config), made.lifespan(app):
            yield

    app = FastAPI(lifespan=helped if made.helped else made.lifespan)
    app.post("/")(made.answer)
    return app


def quart(made: Application) -> Any:
    app = Quart(__name__)
    if made.helped:
        helps_quart.register_tortoise(app, config=made.config)
    app.before_serving(made.start)
    app.post("/")(made.answer)
    return app


@contextlib.asynccontextmanager
async def asgi(app: Any) -> AsyncIterator[tuple[str, int]]:
    async with serving(app, lifespan="on") as server:
        yield address_of(server)


@contextlib.asynccontextmanager
async def of_aiohttp(made: Application) -> AsyncIterator[tuple[str, int]]:
    async def save(_: Any) -> aiohttp.Response:
        return aiohttp.Response(text=await made.answer())

    async def start(_: Any) -> None:
        await made.start()

    app = aiohttp.Application()
    app.router.add_post("/", save)
    if made.helped:
        helps_aiohttp.register_tortoise(app, config=made.config)
    app.on_startup.append(start)
    runner = aiohttp.AppRunner(app)
    await runner.setup()
    try:
        site = aiohttp.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][:2]
    finally:
        await runner.cleanup()


SERVED = {
    "starlette": lambda made: asgi(starlette(made)),
    "fastapi": lambda made: asgi(fastapi(made)),
    "quart": lambda made: asgi(quart(made)),
    "aiohttp": of_aiohttp,
}


async def _run(framework: str, made: Application) -> None:
    """One application, up to the end of its request and its task."""
    async with SERVED[framework](made) as place:
        reader, writer = await opened(place)
        head = await reader.readline()
        writer.close()
        await asyncio.gather(*made.tasks)
        if b" 200 " not in head:
            raise RuntimeError(f"the request was answered {head.decode().strip()}")


def program(framework: str, way: str) -> programs.Program:
    """What who writes in an application is told, by place."""

    def tell(config: dict[str, Any]) -> programs.Told:
        made = Application(way, config)
        asyncio.run(asyncio.wait_for(_run(framework, made), programs.PATIENCE))
        return made.told

    return tell


ALL = {f"{framework}_{way}": program(framework, way) for framework in SERVED for way in WAYS}

if __name__ == "__main__":
    raise SystemExit(programs.main("lifespan", "tests.web.lifespan", ALL, lambda name: (name.partition("_")[0],)))
