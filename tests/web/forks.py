"""``python -m tests.web.forks asyncpg --json results/web.json``: a process forks when Tortoise has been used, and
parent and child both go on: the child in a loop of its own, or in its copy of the parent's.

Who comes next is forced: everybody waits at a pipe until the one before has been told something, so that no two ask at
the same time. Each writes a row and reads it again.
"""

from __future__ import annotations

import asyncio
import functools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from tortoise import Tortoise

from docs.patterns.models import Note

from . import programs
from .judge import described

BEFORE, CHILD, PARENT, AGAIN, AFTER = "parent_before", "child", "parent", "child_again", "parent_after"
TURN = b"."
Config = dict[str, Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


class Side:
    """One of the two processes. ``told``: what it was told, by place."""

    def __init__(self, reads: int, writes: int) -> None:
        self.reads, self.writes = reads, writes
        self.told: dict[str, str | None] = {}

    def wait(self) -> None:
        """Until the other one has been told something, or has ended."""
        os.read(self.reads, 1)

    def next(self) -> None:
        """The other one's turn, if it is there."""
        os.write(self.writes, TURN)

    async def ask(self, place: str) -> None:
        """Write a row and read it again. Who was told nothing once asks no more."""
        if None in self.told.values():
            return
        self.told[place] = await told(write_and_read(place))


async def told(work: Coroutine[Any, Any, None]) -> str | None:
    """The error that came of it, empty for none; None where nothing came: which is not cancelled then."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=programs.PATIENCE)
    error = task.exception() if done else None
    return (described(error) if error else "") if done else None


async def write_and_read(text: str) -> None:
    await Note.create(text=text)
    found = [note.text for note in await Note.filter(text=text)]
    if found != [text]:
        raise programs.Wrong(f"asked for {text} and was given {found}")


async def in_the_child(side: Side, config: Config, anew: bool) -> None:
    if anew:
        await Tortoise.init(config=config)  # connects to nothing yet
    await side.ask(CHILD)
    side.next()
    side.wait()
    await side.ask(AGAIN)
    if None not in side.told.values():  # as who ends well does
        closed = await told(Tortoise.close_connections())
        if closed != "" and not side.told[AGAIN]:
            side.told[AGAIN] = closed and f"in closing, {closed}"


def child(run: Run, side: Side, config: Config, anew: bool, report: int) -> None:
    """What the other process does."""
    run(in_the_child(side, config, anew))
    os.write(report, json.dumps(side.told).encode())
    os._exit(0)


def by_fork(target: Callable[..., None], *given: Any) -> Callable[[], None]:
    if not (pid := os.fork()):
        try:
            target(*given)
        finally:
            os._exit(1)
    return functools.partial(os.kill, pid, signal.SIGKILL)


def by_multiprocessing(target: Callable[..., None], *given: Any) -> Callable[[], None]:
    process = multiprocessing.get_context("fork").Process(target=target, args=given, daemon=True)
    process.start()
    return process.kill


WAYS = {"fork": by_fork, "multiprocessing": by_multiprocessing}
HOW = ("own_loop", "same_loop", "init")  # of the child; init: in a loop of its own, where it initialises Tortoise anew


async def use(config: Config) -> None:
    await Tortoise.init(config=config, _enable_global_fallback=True)
    await Tortoise.generate_schemas()


def parent(way: str, how: str, config: Config) -> programs.Told:
    """Everything, from before the fork on. Raises RuntimeError where the child says nothing at all."""
    (child_reads, wakes_child), (parent_reads, wakes_parent), (reads, report) = os.pipe(), os.pipe(), os.pipe()
    side, loop = Side(parent_reads, wakes_child), asyncio.new_event_loop()
    run = loop.run_until_complete
    run(use(config))
    run(side.ask(BEFORE))
    run_child = run if how == "same_loop" else asyncio.run
    end = WAYS[way](child, run_child, Side(child_reads, wakes_parent), config, how == "init", report)
    os.close(report)
    os.close(wakes_parent)  # whose other end is read here: who has ended wakes it, too
    side.wait()
    run(side.ask(PARENT))
    side.next()
    text = os.read(reads, 1 << 16)  # until it has said everything, or has ended
    run(side.ask(AFTER))
    end()
    if not text:
        raise RuntimeError("the child ended without a word")
    said = {**side.told, **json.loads(text)}
    return {place: said[place] for place in (BEFORE, CHILD, PARENT, AGAIN, AFTER) if place in said}


def program(way: str, how: str) -> programs.Program:
    return lambda config: parent(way, how, config)


ALL = {f"{way}_{how}": program(way, how) for how in HOW for way in WAYS}

if __name__ == "__main__":
    raise SystemExit(programs.main("fork", "tests.web.forks", ALL, lambda name: ()))
