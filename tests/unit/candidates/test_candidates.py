"""The candidates on a real SQLite, each in a process of its own: they replace Tortoise's classes for good."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from matrix import candidates
from matrix.runs import cells

ROOT = Path(__file__).parents[3]
PROGRAM = """
import asyncio, os, sys, tempfile
from matrix.candidates import wrappers
if sys.argv[1]:
    wrappers.apply(sys.argv[1])
from tortoise import Tortoise, connections
from tortoise.exceptions import TransactionManagementError
from tortoise.transactions import in_transaction
from matrix.harness.models import Entry


async def stored():
    return sorted([entry.token for entry in await Entry.all()])


async def told(work):
    try:
        await work
    except (Exception, asyncio.CancelledError) as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


async def main():
    folder = tempfile.mkdtemp()
    await Tortoise.init(db_url=f"sqlite://{folder}/x.db", modules={"models": ["matrix.harness.models"]})
    await Tortoise.generate_schemas()
    try:
        print(await PROGRAMS[sys.argv[2]]())
    finally:
        await Tortoise.close_connections()


async def beside():
    "A task of the outer block writes while a nested block is open, which then ends or fails."
    async with in_transaction():
        said = None
        try:
            async with in_transaction():
                pass
            async with in_transaction():
                child = asyncio.create_task(told(Entry.create(token="inside")))
                await asyncio.sleep(0.05)
            await child
            started, child = asyncio.Event(), None

            async def outside():
                await started.wait()
                return await told(Entry.create(token="outside"))

            child = asyncio.create_task(outside())
            async with in_transaction():
                started.set()
                await asyncio.sleep(0.05)
                raise KeyError("the nested block fails")
        except KeyError:
            said = await child
    return said, await stored()


async def late():
    "A task outlives the transaction."
    over = asyncio.Event()

    async def child():
        await over.wait()
        return [await told(Entry.create(token="late")), await told(in_transaction().__aenter__())]

    async with in_transaction():
        task = asyncio.create_task(child())
    over.set()
    return await task, await stored()


async def begin_cancelled():
    "A transaction is cancelled while it begins; the next one begins."
    await stored()
    task = asyncio.create_task(told(in_transaction().__aenter__()))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    async def follows():
        async with in_transaction():
            await Entry.create(token="next")

    return task.result()[:14], await told(asyncio.wait_for(follows(), 2)), await stored()


async def elsewhere():
    "A generator with a block is left in another task."
    async def block():
        async with in_transaction():
            await Entry.create(token="kept")
            yield

    generator = block()
    await asyncio.create_task(anext(generator))
    said = await asyncio.create_task(told(anext(generator)))
    return said.partition(":")[0], await stored()


async def crossed():
    "The outer block ends while a task's nested one is open."
    opened, end = asyncio.Event(), asyncio.Event()

    async def child():
        async with in_transaction():
            await Entry.create(token="inner")
            opened.set()
            await end.wait()

    async def parent():
        async with in_transaction():
            await Entry.create(token="outer")
            tasks.append(asyncio.create_task(told(child())))
            await opened.wait()
            asyncio.get_running_loop().call_later(0.05, end.set)

    tasks = []
    return await told(parent()), await tasks[0], await stored()


PROGRAMS = {each.__name__: each for each in (beside, late, begin_cancelled, elsewhere, crossed)}


async def limited():
    done, _ = await asyncio.wait([asyncio.create_task(main())], timeout=10)
    if not done:
        print("it never ends", flush=True)
        os._exit(0)  # threads that wait for ever must not keep the interpreter


asyncio.run(limited())
"""


def run(tmp_path, candidate, program):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, file, candidate, program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


OVER = "TransactionManagementError: Transaction already finalised"
INNER = "TransactionManagementError: Another block is open inside this one on the same connection"
OPEN = "TransactionManagementError: A block inside this one was still open; everything has been rolled back"


@pytest.mark.parametrize(
    ("candidate", "program", "says"),
    [
        # What the task of the outer block writes is not undone with the nested block: it waits, or is refused.
        ("one_lock", "beside", "('ok', ['inside', 'outside'])"),
        ("refuse", "beside", f"('{INNER}', ['inside'])"),
        ("one_lock", "late", f"(['{OVER}', '{OVER}'], [])"),
        ("refuse", "late", f"(['{OVER}', '{OVER}'], [])"),
        ("one_lock", "begin_cancelled", "('CancelledError', 'ok', ['next'])"),
        ("refuse", "begin_cancelled", "('CancelledError', 'ok', ['next'])"),
        ("one_lock", "elsewhere", "('StopAsyncIteration', ['kept'])"),
        ("refuse", "elsewhere", "('StopAsyncIteration', ['kept'])"),
        ("one_lock", "crossed", "('ok', 'ok', ['inner', 'outer'])"),
        ("refuse", "crossed", f"('{OPEN}', 'ok', [])"),
    ],
)
def test_a_candidate_keeps_what_it_promises(tmp_path, candidate, program, says):
    assert run(tmp_path, candidate, program) == says


@pytest.mark.parametrize("program", ["beside", "late", "begin_cancelled", "elsewhere"])
def test_the_release_does_not(tmp_path, program):
    """Or these programs would show nothing."""
    good = {
        "beside": "('ok', ['inside', 'outside'])",
        "late": f"(['{OVER}', '{OVER}'], [])",
        "begin_cancelled": "('CancelledError', 'ok', ['next'])",
        "elsewhere": "('StopAsyncIteration', ['kept'])",
    }
    assert run(tmp_path, "", program) != good[program]


@pytest.mark.parametrize("name", candidates.NAMES)
def test_a_cell_names_its_candidate_and_installs_the_release(name):
    text = f"mysql-aiomysql-tortoise{candidates.FOR}+{name}"
    cell = cells.read(text)
    assert (str(cell), cell.candidate, cell.default) == (text, name, False)
    assert f"tortoise-orm=={candidates.FOR}" in cells.requirements(cell)


@pytest.mark.parametrize("text", ["mysql-aiomysql-tortoise1.1.9+other", "mysql-aiomysql-tortoise1.1.8+refuse"])
def test_what_is_no_candidate_is_told(text):
    with pytest.raises(ValueError, match=r"candidates are tortoise1\.1\.9\+one_lock and tortoise1\.1\.9\+refuse"):
        cells.read(text)
