"""What queries and blocks take through Tortoise, in a cell's environment: ``python -m matrix.bench.blocks CELL``.

Prints a line of JSON: microseconds of this process's own processor time for one plain query, for one transaction with a
query, and for one with a nested block too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from matrix.harness.cell import Cell

ROUNDS, EACH = 12, 60  # the quickest of so many rounds of so many


async def _measure(cell: Cell) -> dict[str, float]:
    from tortoise import Tortoise
    from tortoise.transactions import in_transaction

    from matrix.harness.models import Seed

    (backing,) = cell.backings[:1]
    credentials = cell.adapter.credentials(backing.address(None), 2)
    config = {
        "connections": {"default": {"engine": cell.adapter.engine, "credentials": credentials}},
        "apps": {"models": {"models": ["matrix.harness.models"], "default_connection": "default"}},
    }
    await Tortoise.init(config=config)

    async def query() -> None:
        await Seed.filter(nonce=backing.nonces[0]).first()

    async def transaction() -> None:
        async with in_transaction():
            await query()

    async def nested() -> None:
        async with in_transaction():
            await transaction()

    found = {each.__name__: await _one(each) for each in (query, transaction, nested)}
    await Tortoise.close_connections()
    return found


async def _one(work: Callable[[], Awaitable[None]]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(EACH):
            await work()
        rounds.append((time.process_time() - began) / EACH)
    return min(rounds) * 1e6  # what else the machine does only ever adds to it


def main(name: str) -> int:
    cell = Cell(name, progress=lambda text: print(text, file=sys.stderr))
    try:
        cell.open()
        print(json.dumps(asyncio.run(_measure(cell))))
    finally:
        cell.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
