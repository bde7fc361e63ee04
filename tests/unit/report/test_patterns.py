"""'Is my code safe?': the code runs as it stands, the words are those of the results."""

from __future__ import annotations

import asyncio
import inspect
import re

import pytest

from docs.patterns import patterns as code
from docs.patterns import remedies
from matrix.report import patterns, view
from matrix.results.read import read_folder
from tests.unit.results.samples import header, remedy, scenario, write_cell

# What each snippet does on SQLite, which needs no server. 'waits' is a deadlock: SQLite has one writer at a time, and
# a task waits for the block that waits for it.
ON_SQLITE = {
    "gather_queries": ["one", "two"],
    "gather_transactions": "OperationalError",
    "one_sibling_fails": "OperationalError",
    "child_while_parent_queries": ["parent", "parent again", "child"],
    "background_write": ["order", "audit"],
    "background_transaction": ["order", "mail"],
    "task_group": "ExceptionGroup",
    "streaming": "waits",
    "worker_inside": ["first use starts the worker", "job"],
    "timeout_around_a_transaction": ["one", "two"],
    "second_connection": ["parent", "one", "two"],
    "start_after": ["parent", "one", "two"],
    "context_from_before": "waits",
    "empty_context": "waits",
    "one_lock": ["parent", "one", "two"],
    "no_nested_block": ["parent", "one", "two"],
    "worker_outside": ["parent", "job"],
    "shield": ["one", "two"],
}
CREATE = 'CREATE TABLE "note" (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, text TEXT NOT NULL)'


def snippets():
    for module in (code, remedies):
        for name, function in vars(module).items():
            if inspect.iscoroutinefunction(function) and function.__module__ == module.__name__:
                yield name, function


async def run(function, folder, names, patience):
    """The rows that are stored afterwards, the type of the error, or ``waits``."""
    import aiosqlite
    from tortoise import Tortoise

    for name in names:
        async with aiosqlite.connect(folder / f"{name}.sqlite3") as connection:
            await connection.execute(CREATE)
            await connection.commit()
    connections = {name: f"sqlite://{folder / name}.sqlite3" for name in names}
    app = {"models": ["docs.patterns.models"], "default_connection": "default"}
    await Tortoise.init(config={"connections": connections, "apps": {"models": app}}, _enable_global_fallback=True)
    told = None
    try:
        _, waiting = await asyncio.wait({task := asyncio.ensure_future(function())}, timeout=patience)
        if waiting:
            told = "waits"
            task.cancel()
            await asyncio.wait({task})
        elif task.exception() is not None:
            told = type(task.exception()).__name__
    finally:
        await asyncio.wait_for(Tortoise.close_connections(), 5)
    rows = []
    for name in names:
        async with aiosqlite.connect(folder / f"{name}.sqlite3") as connection:
            rows += [text for (text,) in await connection.execute_fetchall("SELECT text FROM note ORDER BY id")]
    return told or rows


@pytest.mark.parametrize(("name", "function"), list(snippets()))
def test_every_snippet_runs(name, function, tmp_path):
    names = ["default", "second"] if name == "second_connection" else ["default"]
    patience = 1 if ON_SQLITE[name] == "waits" else 60
    with asyncio.Runner() as runner:
        assert runner.run(run(function, tmp_path, names, patience)) == ON_SQLITE[name]


def test_every_text_belongs_to_code_and_the_other_way_round():
    table = view.build([], patterns.FOLDER)
    found = patterns.build(table)
    assert len(found) == 10
    named = {pattern.code.split("(")[0].removeprefix("async def ") for pattern in found}
    assert named == set(patterns.functions(patterns.FOLDER / "patterns.py"))
    assert set(ON_SQLITE) == named | set(patterns.functions(patterns.FOLDER / "remedies.py"))
    assert not any(pattern.measured for pattern in found)


def pattern_of(folder, title):
    table = view.build(read_folder(folder), folder)
    (found,) = [pattern for pattern in patterns.build(table) if pattern.title.startswith(title)]
    return found


def test_the_verdict_and_the_remedy_come_from_the_results(tmp_path):
    cure = {"reason": "so", "violations": [], "schedule": "A", "evidence": None, "without": "lies"}
    good, bad = {**cure, "verdict": "safe", "complies": True}, {**cure, "verdict": "lies", "complies": False}
    for cell, second in (("mysql-aiomysql", good), ("mysql-asyncmy", bad)):
        lines = [scenario("NST-3", "lies", reason="swapped"), remedy("FIX-2b", "holds", {"NST-3": second})]
        lines += [remedy("FIX-4", "partly", {"NST-3": good}), remedy("FIX-1a", "fails", {"NST-3": bad})]
        write_cell(tmp_path, header(cell), lines)
    found = pattern_of(tmp_path, "gather() of tasks")
    assert [place.word for place in found.places] == ["lies", "lies"]
    assert found.seen.reason == "swapped"
    assert [(one.scenario, one.holds, one.tried) for one in found.cures] == [
        ("FIX-4", 2, 2),
        ("FIX-2b", 1, 2),
        ("FIX-1a", 0, 2),
    ]
    assert found.advice.scenario == "FIX-4"
    assert "async with lock" in found.advice.code


def test_a_pattern_that_is_safe_gets_no_blame_and_no_advice(tmp_path):
    write_cell(tmp_path, header(), [scenario("TXN-3")])
    found = pattern_of(tmp_path, "gather() of plain")
    assert (found.seen, found.advice, found.measured) == (None, None, True)


def test_without_a_remedy_that_complies_none_is_shown(tmp_path):
    bad = {"verdict": "lies", "complies": False, "reason": "", "violations": []}
    lines = [scenario("NST-3", "lies"), remedy("FIX-2b", "fails", {"NST-3": bad})]
    write_cell(tmp_path, header(), lines)
    assert pattern_of(tmp_path, "gather() of tasks").advice is None


def test_a_remedy_that_holds_is_named_though_it_has_no_code(tmp_path):
    good = {"verdict": "safe", "complies": True, "reason": "", "violations": []}
    write_cell(tmp_path, header(), [scenario("NST-3", "lies"), remedy("FIX-99", "holds", {"NST-3": good})])
    found = pattern_of(tmp_path, "gather() of tasks")
    assert (found.advice.scenario, found.advice.code) == ("FIX-99", "")


def test_the_code_of_each_remedy_is_of_that_remedy():
    """What the suite calls the remedy whose verdicts stand beside a piece of code."""
    data = patterns.tomllib.loads((patterns.FOLDER / "patterns.toml").read_text("utf-8"))
    suite = (patterns.FOLDER.parents[1] / "tests" / "compliance" / "remedies.py").read_text("utf-8")
    titles = dict(re.findall(r'@remedy\(\s*"(FIX-[0-9a-z]+)",\s*"([^"]+)"', suite))
    assert {code: titles.get(name) for name, code in data["remedies"].items() if name.startswith("FIX")} == {
        "start_after": "Start the task after the block",
        "worker_outside": "Hand the work to a worker started outside",
        "no_nested_block": "No nested blocks in children",
        "second_connection": "A second named connection, using_db everywhere",
        "context_from_before": "Start the task in a context captured before the transaction",
        "empty_context": "Start the task in an empty context",
        "one_lock": "One lock around what the children do",
        "shield": "Shield the whole transaction",
    }
