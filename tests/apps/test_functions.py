"""Each function once, on SQLite in memory, as a test suite does: ``pytest -p tortoise_guard.plugin`` watches."""

import contextlib
import importlib
import sys
from pathlib import Path

import pytest
from tortoise import Tortoise

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
FUNCTIONS = {
    "shop": ("place_order", "reserve_all"),
    "worker": ("batch", "two_take"),
    "suite": ("both_visits_are_there", "a_visit_is_counted"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["", "_mended"])
@pytest.mark.parametrize(("app", "name"), [(app, name) for app, names in FUNCTIONS.items() for name in names])
async def test_it_runs(app: str, name: str, end: str) -> None:
    module = importlib.import_module(app)
    await Tortoise.init(db_url="sqlite://:memory:", modules={"models": [app]}, _enable_global_fallback=True)
    try:
        await Tortoise.generate_schemas()
        if app == "worker":
            await module.fill()
        with contextlib.suppress(Exception) if not end else contextlib.nullcontext():  # a fault may show in any order
            await getattr(module, name + end)()
    finally:
        await Tortoise.close_connections()
