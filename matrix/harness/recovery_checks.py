"""What the next user finds when the program is over: sentinel questions, a full pool, no transaction left open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from matrix.words import RECOVERY

from .driver_port import DriverPort
from .history import CANCELLED
from .ports import OrmPort, Port
from .sentences import NEXT_USER
from .session import Session

if TYPE_CHECKING:
    from .world import World

SENTINELS = 2
AT_ONCE = 4  # transactions at once that a larger pool is asked for


async def check_recovery(world: World) -> None:
    """Ask as the next user would, and record it. Errors are findings, not failures of the harness."""
    if not world.judge_afterwards:
        return
    user = Session(world, NEXT_USER, "-", ())
    for connection in world.connections:
        await _use_driver(DriverPort(user, connection))
    for pool, size in world.pools:
        await _use_pool(world, user, pool, size)
    if world.orm is not None:
        await world.conductor.nothing_in_flight()  # a connection that the driver has just closed is still closing
        _no_open_transaction(world)
        for alias in world.orm.aliases:
            port = user.orm(alias if len(world.orm.aliases) > 1 else None)
            await _use(port)
        await _fill_orm_pool(world)
        await world.conductor.nothing_in_flight()
        _no_open_transaction(world)


async def _use_driver(port: DriverPort) -> None:
    """As ``_use``, in a transaction where the connection has begun one by itself."""
    if port.world.autocommit:
        await _use(port)
        return
    async with port.transaction(implicit=True):
        await _use(port)


async def _use(port: Port) -> bool:
    """Two questions and a row; False when the connection does not serve.

    Each when nothing is in flight: on a connection that is out of step the answer to the one before may still be, and
    whether the pool sees it there must not depend on how fast the server is.
    """
    try:
        for _ in range(SENTINELS):
            await port.read()
            await port.world.conductor.nothing_in_flight()
        await port.write()
        await port.world.conductor.nothing_in_flight()
    except Exception as error:
        _record_error(port.session, error)
        return False
    port.world.recording.aftermath.append(({"kind": "answered"}, True))
    return True


def _record_error(user: Session, error: BaseException) -> None:
    world = user.world
    if world.recording.classify(error) == CANCELLED:
        raise error
    seen = {"type": type(error).__name__, "message": str(error)}
    world.recording.aftermath.append(({"kind": "was_told", "error": seen}, False))


async def _use_pool(world: World, user: Session, pool: Any, size: int) -> None:
    """Take every connection of the pool at once: none may be lost, each must serve, none may be in a transaction."""
    taken = []
    try:
        for _ in range(size):
            taken.append(await user.acquire(pool))
    except Exception as error:
        _record_error(user, error)
    for connection in taken:
        await _use_driver(DriverPort(user, connection))
    for connection in taken:
        try:
            await user.release(pool, connection)
        except Exception as error:
            _record_error(user, error)


def _no_open_transaction(world: World) -> None:
    """Nobody is in a transaction now, by the server's own word on the wire."""
    for channel in world.gates.channels():
        if channel.in_transaction():
            world.recording.claim(RECOVERY, False, "transaction_open", channel=channel.label, foreign_state=True)


async def _fill_orm_pool(world: World) -> None:
    """As many transactions at once as the pool has connections (up to AT_ONCE): all of them must get one and commit."""
    size = min(world.orm.size, AT_ONCE)
    begun = asyncio.Event()
    count = 0

    async def one(number: int) -> None:
        nonlocal count
        user = Session(world, f"{NEXT_USER} {number}" if size > 1 else NEXT_USER, "-", ())
        port: OrmPort = user.orm(world.orm.aliases[0] if len(world.orm.aliases) > 1 else None)
        try:
            async with port.transaction():
                count += 1
                if count == size:
                    begun.set()
                await begun.wait()
                await world.conductor.nothing_in_flight()
                await port.write()
                await world.conductor.nothing_in_flight()
        except Exception as error:
            _record_error(user, error)
            begun.set()

    await asyncio.gather(*(one(number + 1) for number in range(size)))
