"""Each function once, on SQLite in memory, as a test suite does: ``pytest -p tortoise_guard.plugin`` watches."""

import contextlib
import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import tomllib
from tortoise import Tortoise

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
FAULTS = tomllib.loads((HERE / "apps.toml").read_text("utf-8"))["fault"]


def named(target: str) -> Callable[[], Awaitable[None]]:
    module, _, name = target.partition(":")
    function: Callable[[], Awaitable[None]] = getattr(importlib.import_module(module), name)
    return function


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["", "_mended"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["function"])
async def test_it_runs(fault: dict[str, str], end: str) -> None:
    app = fault["function"].partition(":")[0]
    function = named(fault["function"] + end)
    await Tortoise.init(db_url="sqlite://:memory:", modules={"models": [app]}, _enable_global_fallback=True)
    try:
        await Tortoise.generate_schemas()
        if "setup" in fault:
            await named(fault["setup"])()
        with contextlib.suppress(Exception) if not end else contextlib.nullcontext():  # a fault may show in any order
            await function()
    finally:
        await Tortoise.close_connections()
