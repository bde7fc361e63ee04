"""Scenarios that the catalogue lacks, as the miniatures showed. They run through the real runner; promote them to
tests/compliance and delete them here."""

from __future__ import annotations

import contextlib
from typing import Any

from tests.harness.scenario import OrmSetup, Scenario

from .driver import DriverError


async def caught_error_then_commit(world: Any) -> None:
    """A statement fails, its error is caught, the block ends well: all its rows are stored, or its end says no."""

    async def parent(session: Any) -> None:
        db = session.orm()
        async with db.transaction():
            await db.write()
            with contextlib.suppress(DriverError):
                await db.fail()

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


def made(program: Any, level: str = "loud") -> Scenario:
    """A scenario outside of the catalogue."""
    contract = " ".join(program.__doc__.split())
    size = OrmSetup(size=1)
    return Scenario("NST-0", program.__name__, contract, level, (), size, False, (3, 10), program, "", "", ())
