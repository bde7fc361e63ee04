"""'Is my code safe?': the code runs as it stands, the words are those of the results."""

from __future__ import annotations

import asyncio
import inspect
import re

import pytest

from docs.patterns import patterns as code
from docs.patterns import remedies
from matrix.report import patterns, view
from matrix.results import keeps
from matrix.results.read import read_folder
from tests.unit.results.samples import header, remedy, scenario, write_cell

# What each snippet does on SQLite, which needs no server. 'waits' is a deadlock: SQLite has one writer at a time, and
# a task waits for the block that waits for it.
ON_SQLITE = {
    "gather_queries": ["one", "two"],
    "gather_one_fails": ["two"],  # although its block is rolled back
    "gather_transactions": "OperationalError",
    "one_sibling_fails": "OperationalError",
    "child_while_parent_queries": ["parent", "parent again", "child"],
    "background_write": ["order", "audit"],
    "background_transaction": ["order", "mail"],
    "task_group": "ExceptionGroup",
    "streaming": "waits",
    "worker_inside": ["first use starts the worker", "job"],
    "fixture_around_a_test": "OperationalError",
    "timeout_around_a_transaction": ["one", "two", "the same task goes on"],
    "query_from_before": "waits",
    "get_or_create_with_the_client": "waits",
    "lock_values": ["2"],
    "saved_once_more": [],  # although it was told to be saved
    "forced_update": ["as it was"],
    "second_connection": ["parent", "one", "two"],
    "start_after": ["parent", "one", "two"],
    "context_from_before": "waits",
    "empty_context": "waits",
    "one_lock": ["parent", "one", "two"],
    "no_nested_block": ["parent", "one", "two"],
    "wait_for_all": ["parent", "one", "two"],
    "worker_outside": ["parent", "job"],
    "shield": ["one", "two"],
    "query_inside": ["one"],
    "create_with_the_client": ["order", "one"],
    "lock_objects": ["two"],
    "made_anew": ["two"],
    "one_lock_when_one_fails": ["kept", "kept too"],
    "background_after": ["order", "audit"],
    "background_transaction_after": ["order", "mail"],
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
    table = view.build([], keeps.FOLDER)
    found = patterns.build(table)
    assert len(found) == 17
    named = {pattern.code.split("(")[0].removeprefix("async def ") for pattern in found}
    assert named == set(patterns.functions(keeps.FOLDER / "patterns.py"))
    assert set(ON_SQLITE) == named | set(patterns.functions(keeps.FOLDER / "remedies.py"))
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


def paid(cure):
    return cure.keeps, cure.meant


def recommended(folder, pattern, measured, over):
    """A pattern by results in which each remedy complies with so many of three drivers, or of as many as are named."""
    cells = ("mysql-aiomysql", "mysql-asyncmy", "postgres-asyncpg")
    for place, cell in enumerate(cells):
        lines = [scenario(over, "lies")]
        for name, places in measured.items():
            holds, tried = places if isinstance(places, tuple) else (places, len(cells))
            if place >= tried:
                continue
            verdict = {"verdict": "safe", "complies": True} if place < holds else {"verdict": "lies", "complies": False}
            lines.append(remedy(name, "holds", {over: {"reason": "", "violations": [], **verdict}}))
        write_cell(folder, header(cell), lines)
    return pattern_of(folder, pattern)


@pytest.mark.parametrize(
    ("measured", "order"),
    [
        # Of those that hold alike, the one that keeps one transaction comes before the one that makes two of it.
        ({"FIX-2b": 3, "FIX-7": 3, "FIX-6": 3}, ["FIX-6", "FIX-2b", "FIX-7"]),
        # ... also where another was run, and holds, in more places.
        ({"FIX-2b": 3, "FIX-6": (2, 2)}, ["FIX-6", "FIX-2b"]),
        # One that holds in two of three places keeps nothing in the third.
        ({"FIX-2b": 3, "FIX-6": 2}, ["FIX-2b", "FIX-6"]),
        # Where none holds everywhere: the one that holds in most, then the one that keeps most.
        ({"FIX-2b": 2, "FIX-6": 1, "FIX-7": 2}, ["FIX-2b", "FIX-7", "FIX-6"]),
    ],
)
def test_the_remedy_that_keeps_most_of_what_was_meant_comes_first(measured, order, tmp_path):
    found = recommended(tmp_path, "A task opens a transaction while", measured, "NST-4")
    assert [cure.scenario for cure in found.cures] == order


def test_what_a_pattern_means_decides_what_is_recommended_for_it(tmp_path):
    """One lock keeps that a child is rolled back by itself, which only this pattern means."""
    both = {"FIX-4": 3, "FIX-6": 3}
    locked = recommended(tmp_path / "a", "One of the tasks fails", both, "NST-5")
    assert locked.advice.scenario == "FIX-4"
    assert recommended(tmp_path / "b", "gather() of tasks", both, "NST-3").advice.scenario == "FIX-6"
    # ... and its code is that pattern's, where there is one.
    assert 'raise ValueError("not this one")' in locked.advice.code
    assert "raise ValueError" not in recommended(tmp_path / "c", "gather() of tasks", both, "NST-3").cures[1].code


def test_what_a_remedy_gives_up_is_said_in_one_sentence_with_it(tmp_path):
    inside = recommended(tmp_path / "a", "A TaskGroup", {"FIX-2b": 3}, "CTX-4").advice
    assert inside.sentence == (
        "The title of FIX-2b; its cost: parent and child are two transactions, what one has stored stays when the "
        "other fails; each child takes a connection"
    )
    apart = recommended(tmp_path / "f", "A TaskGroup", {"FIX-7": 3}, "CTX-4").advice
    assert "stays when the other fails" in keeps.cost(*paid(apart))
    assert "when the parent fails afterwards" not in keeps.cost(*paid(apart))  # not twice
    # A task for after the block was never to be stored with it.
    late = recommended(tmp_path / "b", "A background task that opens", {"FIX-2b": 3}, "CTX-2").advice
    assert keeps.cost(*paid(late)) == "each child takes a connection"
    worker = recommended(tmp_path / "c", "A background task that opens", {"FIX-7": 3}, "CTX-2").advice
    assert "the child's rows stay when the parent fails afterwards" in keeps.cost(*paid(worker))
    assert "when its caller is cancelled" in keeps.cost(*paid(worker))
    shield = recommended(tmp_path / "d", "A timeout", {"FIX-11": 3}, "TXN-5").advice
    goes_on, but, silent = keeps.cost(*paid(shield)).split("; ")
    assert goes_on == "the work goes on when its caller is cancelled, and is stored if it comes to its end"
    assert but == "wait for shielded tasks before you close the connections and end"
    assert silent == "on a silent network the work keeps its connection"
    unknown = recommended(tmp_path / "e", "A timeout", {"FIX-99": 3}, "TXN-5").advice
    assert keeps.cost(*paid(unknown)) == "what it keeps was not measured"


def test_every_pattern_says_what_it_means_in_words_that_remedies_are_measured_by():
    data = keeps.patterns()
    known = {word for own in data["keeps"].values() for word in own}
    assert {word for each in data["pattern"] for word in each["meant"]} <= known
    assert set(keeps.IF_MEANT) | set(keeps.ALWAYS) | {"in_turn", "connections", "but"} == known
    assert {own["connections"] for own in data["keeps"].values()} <= set(keeps.CONNECTIONS)


def test_a_pattern_that_is_safe_gets_no_blame_and_no_advice(tmp_path):
    write_cell(tmp_path, header(), [scenario("TXN-3")])
    found = pattern_of(tmp_path, "gather() of plain")
    assert (found.seen, found.advice, found.measured) == (None, None, True)


def test_a_remedy_over_what_is_safe_without_it_is_not_needed_there(tmp_path):
    well = {"verdict": "safe", "complies": True, "reason": "", "violations": []}
    for cell, without in (("postgres-psycopg", "safe"), ("postgres-asyncpg", "breaks"), ("mysql-aiomysql", "refuses")):
        cures = {"NST-4": {**well, "without": without}}
        write_cell(tmp_path, header(cell), [scenario("NST-4", without), remedy("FIX-6", "holds", cures)])
    advice = pattern_of(tmp_path, "A task opens a transaction while").advice
    assert {mark.href.split("/")[1]: mark.word for mark in advice.marks} == {
        "postgres-psycopg": "not needed",
        "postgres-asyncpg": "safe",
        "mysql-aiomysql": "safe",
    }
    assert (advice.holds, advice.tried) == (3, 3)


def test_what_is_not_mended_by_its_remedies_says_what_to_do_and_what_measures_it(tmp_path):
    well = {"verdict": "safe", "complies": True, "reason": "", "violations": [], "without": "lies"}
    lines = [scenario("NST-3", "lies"), scenario("TXN-2"), remedy("FIX-2b", "holds", {"NST-3": well})]
    write_cell(tmp_path, header(), lines)
    advice = pattern_of(tmp_path, "A test's fixture").advice
    assert (advice.scenario, advice.holds, advice.price) == ("TXN-2", 1, "")
    assert advice.sentence.startswith("Give each test a database of its own")
    assert pattern_of(tmp_path, "gather() of tasks").advice.scenario == "FIX-2b"


def test_each_driver_has_a_sentence_of_what_goes_wrong_the_worst_of_its_servers(tmp_path):
    for cell, word, reason in (
        ("mysql-aiomysql", "breaks", "an internal error"),
        ("mariadb-aiomysql", "lies", "rows are swapped"),
        ("mysql-asyncmy", "lies", "rows are swapped"),
        ("postgres-asyncpg", "refuses", "another operation is in progress"),
        ("postgres-psycopg", "safe", ""),
    ):
        write_cell(tmp_path, header(cell), [scenario("NST-3", word, reason=reason)])
    assert set(pattern_of(tmp_path, "gather() of tasks").per_driver) == {
        ("aiomysql, asyncmy", "lies", "rows are swapped"),
        ("asyncpg", "refuses", "another operation is in progress"),
    }


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
    data = keeps.patterns()
    suite = (keeps.FOLDER.parents[1] / "tests" / "compliance" / "remedies.py").read_text("utf-8")
    titles = dict(re.findall(r'@remedy\(\s*"(FIX-[0-9a-z]+)",\s*"([^"]+)"', suite))
    assert {code: titles.get(name) for name, code in data["remedies"].items() if name.startswith("FIX")} == {
        "start_after": "Start the task after the block",
        "worker_outside": "Hand the work to a worker started outside",
        "no_nested_block": "No nested blocks in children, all of them waited for",
        "wait_for_all": "Wait for all children, then raise the first error",
        "second_connection": "A second named connection, using_db everywhere",
        "context_from_before": "Start the task in a context captured before the transaction",
        "empty_context": "Start the task in an empty context, with Tortoise's global fallback",
        "one_lock": "One lock around what the children do",
        "shield": "Shield the whole transaction",
    }
