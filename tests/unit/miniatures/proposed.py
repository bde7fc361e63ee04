"""Programs that are no scenarios of the catalogue, for tests of what the checker says of the right miniatures."""

from __future__ import annotations

from typing import Any

from matrix.harness.scenario import OrmSetup, Scenario


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
