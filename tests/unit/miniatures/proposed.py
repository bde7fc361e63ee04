"""Scenarios that the catalogue lacks, as the miniatures showed. They run through the real runner; promote them to
tests/compliance and delete them here."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.harness.scenario import OrmSetup, Scenario

from .driver import DriverError


async def inner_error_recovers(world: Any) -> None:
    """An inner block ends in a server's error that is caught outside of it: the outer block goes on and commits."""

    async def parent(session: Any) -> None:
        db = session.orm()
        async with db.transaction():
            await db.write()
            with contextlib.suppress(DriverError):
                async with db.transaction():
                    await db.fail()
            await db.write()

    await world.together(parent=parent)


async def parent_of_a_cancelled_child(world: Any) -> None:
    """A child is cancelled; its parent waits for it as ``asyncio.gather`` does and hears of it in the usual way."""

    async def child(session: Any) -> None:
        await session.orm().read()

    async def parent(session: Any) -> None:
        async with session.orm().transaction():
            await session.wait(session.spawn("child", child))

    async def canceller(session: Any) -> None:
        await session.step("wait for the child to be there")
        if "child" in world.sessions:
            await session.cancel("child")

    await world.together(parent=parent, canceller=canceller)


async def unknown_end_of_nested(world: Any) -> None:
    """Cancelled around the outer commit, after an inner block has ended: all of it is stored or nothing."""

    async def victim(session: Any) -> None:
        db = session.orm()
        async with db.transaction():
            await db.write()
            async with db.transaction():
                await db.write()

    async def canceller(session: Any) -> None:
        await session.cancel("victim")

    await world.together(victim=victim, canceller=canceller)


def made(program: Any, level: str = "loud") -> Scenario:
    """A scenario outside of the catalogue."""
    contract = " ".join(program.__doc__.split())
    size = OrmSetup(size=1)
    return Scenario("NST-0", program.__name__, contract, level, (), size, False, (3, 10), program, "", "", ())
