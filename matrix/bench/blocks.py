"""What a candidate costs, in a cell's environment: ``python -m matrix.bench.blocks CELL CANDIDATE FILE``.

Writes JSON: microseconds of processor time of a plain query, of a transaction with a query, and of one with a
nested block too, each with Tortoise's own classes and with the candidate's, turn about in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from matrix import files
from matrix.candidates import wrappers
from matrix.harness.cell import Cell

ROUNDS, EACH = 60, 15  # the quickest of so many rounds of so many
Sides = list[list[tuple[dict[str, Any], dict[str, Any]]]]


def both_sides(candidate: str) -> Sides:
    """Tortoise's own classes and the candidate's: for each module its names, and what they stand for."""
    modules = [wrappers.base]
    for place, *_ in wrappers.PLACES:
        with contextlib.suppress(ImportError):
            modules.append(importlib.import_module(place))
    before = [dict(vars(module)) for module in modules]
    wrappers.apply(candidate)
    changed = [
        {k: v for k, v in vars(m).items() if old.get(k) is not v} for m, old in zip(modules, before, strict=True)
    ]
    own = [{name: old[name] for name in new} for old, new in zip(before, changed, strict=True)]
    return [[(vars(module), each) for module, each in zip(modules, side, strict=True)] for side in (own, changed)]


async def _measure(cell: Cell, both: Sides) -> dict[str, list[float]]:
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

    found = {each.__name__: await _one(each, both) for each in (query, transaction, nested)}
    await Tortoise.close_connections()
    return found


async def _one(work: Callable[[], Awaitable[None]], both: Sides) -> list[float]:
    best = [float("inf")] * len(both)  # what else the machine does only ever adds to it
    for _ in range(ROUNDS):
        for number, side in enumerate(both):
            for names, values in side:
                names.update(values)
            began = time.process_time()
            for _ in range(EACH):
                await work()
            best[number] = min(best[number], (time.process_time() - began) / EACH * 1e6)
    return best


def main(name: str, candidate: str, file: str) -> int:
    cell = Cell(name, progress=lambda text: print(text, file=sys.stderr))
    try:
        cell.open()
        files.write(Path(file), json.dumps(asyncio.run(_measure(cell, both_sides(candidate)))))
    finally:
        cell.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
