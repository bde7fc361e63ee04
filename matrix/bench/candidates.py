"""What a candidate costs, in pairs with the release, and what Tortoise's own tests say of it.

``python -m matrix.bench.candidates CELL … --pairs 5`` and ``… --tests FOLDER``, where an unpacked sdist of Tortoise is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matrix import candidates
from matrix.bench.pairs import ROOT, spent, tested
from matrix.runs import cells, environments

KINDS = {"query": "a plain query", "transaction": "a transaction with a query", "nested": "with a nested block too"}
# Beside Tortoise: what its tests import, and what they are run with.
NEEDED: tuple[str, ...] = ("pytest", "pytest-asyncio", "pytest-xdist", "pytest-codspeed", "pytz", "cryptography")
NEEDED += ("pydantic", "fastapi", "asgi_lifespan", "httpx", "quart", "sanic", "sanic-testing", "blacksheep", "aiohttp")
# The fixtures of Tortoise's own conftest.py, which its sdist leaves out; as its documentation of tests has them.
FIXTURES = """
import os
import pytest_asyncio
from tortoise.context import tortoise_test_context
from tortoise.contrib.test import truncate_all_models

URL = os.environ.get("TORTOISE_TEST_DB", "sqlite://:memory:")


def context():
    return tortoise_test_context(["tests.testmodels"], db_url=URL, app_label="models", connection_label="models")


@pytest_asyncio.fixture(scope="module")
async def db_module():
    async with context() as made:
        yield made


@pytest_asyncio.fixture
async def db_isolated():
    async with context() as made:
        yield made


@pytest_asyncio.fixture
async def db_simple(db_module):
    yield db_module


@pytest_asyncio.fixture
async def db_truncate(db_module):
    yield db_module
    await truncate_all_models()


@pytest_asyncio.fixture
async def db(db_module):
    block = db_module.db()._in_transaction()
    await block.__aenter__()
    yield db_module
    error = RuntimeError("the test's rows go again")
    await block.__aexit__(type(error), error, None)
"""


def cost(base: str, pairs: int) -> None:
    """Print what each kind takes with the release, and how many times as long with each candidate."""
    name = cells.read(base)
    python = environments.interpreter(None)
    locked = environments.resolve(cells.requirements(name), python)
    program = cells.environment(name, locked, python)
    taken: dict[str, list[dict[str, list[float]]]] = {}
    for _ in range(pairs):
        for candidate in candidates.NAMES:
            with tempfile.TemporaryDirectory(prefix="matrix-bench-") as scratch:
                measured = Path(scratch) / "measured.json"
                one = spent([str(program), "-m", "matrix.bench.blocks", base, candidate, str(measured)], ROOT, {})
                if one.code:
                    raise SystemExit(f"{base}: {one.last_line}")
                taken.setdefault(candidate, []).append(json.loads(measured.read_text("utf-8")))
    for kind, what in KINDS.items():
        release = min(each[kind][0] for found in taken.values() for each in found)
        ratios = [statistics.median(each[kind][1] / each[kind][0] for each in found) for found in taken.values()]
        print(f"| {base} | {what} | {release:.0f} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |", flush=True)


def own_tests(folder: Path, database: str, extra: Sequence[str], only: Sequence[str]) -> None:
    """Print how many of Tortoise's own tests pass with the release and with each candidate, and which fail."""
    python = environments.interpreter(None)
    wanted = [f"tortoise-orm[asyncpg,psycopg,asyncmy]=={candidates.FOR}", *NEEDED, *extra]
    program = environments.environment(environments.resolve(wanted, python), python).python
    own = folder / "conftest.py"
    if not own.exists():
        own.write_text(FIXTURES, "utf-8")
    path = os.pathsep.join([str(folder), str(ROOT)])
    for candidate in ("", *candidates.NAMES):
        with tempfile.TemporaryDirectory() as scratch:
            command = [str(program), "-m", "pytest", "-n", "2", "--basetemp", scratch, *(only or ["tests"])]
            command += ["-p", "matrix.candidates.plugin"] if candidate else []
            variables = {"PYTHONPATH": path, "MATRIX_CANDIDATE": candidate, "TORTOISE_TEST_DB": database}
            one, tests = tested(command, folder, variables)
        sums = ", ".join(f"{count} {word}" for word, count in sorted(Counter(tests.values()).items()))
        print(f"| {candidate or 'release'} | {sums or one.last_line} | {one.wall:.0f} s |", flush=True)
        for test in (name for name, word in tests.items() if word in ("failure", "error")):
            print(f"    {test}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix.bench.candidates", description=__doc__)
    parser.add_argument("cells", nargs="*", help="such as sqlite-aiosqlite: what blocks take there")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="processes of each")
    parser.add_argument("--tests", type=Path, metavar="FOLDER", help="an unpacked sdist of Tortoise: run its own tests")
    parser.add_argument("--database", default="sqlite://:memory:", metavar="URL", help="for them, as Tortoise has it")
    parser.add_argument("--install", action="append", default=[], metavar="PACKAGE", help="for them, such as asyncpg")
    parser.add_argument("--only", action="append", default=[], metavar="PATH", help="these of them")
    options = parser.parse_args(arguments)
    for name in options.cells:
        cost(name, options.pairs)
    if options.tests:
        own_tests(options.tests.resolve(), options.database, options.install, options.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
