"""Scripts as text: straight code of what the tasks did, exact pins, no import of ours, nothing hostile in it runs."""

from __future__ import annotations

import ast
import re
import sys

import pytest

from matrix.reproduce import NotWritten
from matrix.reproduce.run import pins_of
from matrix.reproduce.script import script
from tests.unit.report.hostile import TEXT
from tests.unit.reproduce import recorded

NOT_ON_THE_WIRE = "postgres-asyncpg CON-4"
WRITTEN = [name for name in recorded.names() if name != NOT_ON_THE_WIRE]


def written(name: str) -> str:
    return script(recorded.line(name), recorded.header(name))


def program(source: str) -> str:
    return source.split("# -- the program")[1].split("# -- run it")[0]


@pytest.mark.parametrize("name", WRITTEN)
def test_it_imports_the_driver_tortoise_and_the_standard_library_only(name):
    tree = ast.parse(written(name))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    driver = recorded.header(name)["axes"]["driver"]
    assert found - set(sys.stdlib_module_names) <= {driver, "tortoise"}


@pytest.mark.parametrize("name", WRITTEN)
def test_its_metadata_pins_what_it_imports_and_nothing_of_the_suite(name):
    pins = dict(pin.split("==") for pin in pins_of(written(name)))
    head = recorded.header(name)
    assert pins[head["axes"]["driver"]] == head["axes"]["driver_version"]
    assert ("tortoise-orm" in pins) == ("from tortoise" in written(name))
    assert not {"pytest", "apsw", "pg8000", "mysql-connector-python"} & set(pins)


@pytest.mark.parametrize("name", WRITTEN)
def test_it_is_short_enough_to_be_read(name):
    source = written(name)
    assert len(source.splitlines()) < 310
    assert len(program(source).splitlines()) < 60
    assert max(map(len, source.splitlines())) < 160


def test_children_start_where_the_parent_started_them():
    code = program(written("sqlite-aiosqlite NST-5"))
    assert (
        'async def parent():\n    async with block("A", "parent\'s transaction 1", in_transaction):\n'
        '        await do("A", "write w-1", lambda: Entry.create(token="w-1"))\n'
        '        start("child", child)\n        start("failing child", failing_child)\n'
        '        await asyncio.gather(tasks["child"], tasks["failing child"])\n'
    ) in code


def test_a_block_that_failed_on_purpose_and_was_caught_does_so_again():
    code = program(written("sqlite-aiosqlite NST-5"))
    child = code.split("async def failing_child")[1]
    assert "    try:\n        async with block" in child
    assert 'raise Stop("failing child fails on purpose")\n    except Exception:\n        pass' in child


def test_a_task_of_a_group_that_fails_outside_of_a_block_does_so_again():
    source = written("mysql-aiomysql CTX-4")
    code = program(source)
    assert "async with asyncio.TaskGroup() as group:" in code
    assert 'start("failing child", failing_child, group.create_task)' in code
    assert code.split("async def failing_child")[1].rstrip().endswith('raise Stop("failing child fails on purpose")')
    assert '# requires-python = ">=3.11"' in source


def test_a_task_that_ran_out_of_time_is_given_one():
    code = program(written("mysql-aiomysql CAN-2"))
    assert 'lambda: asyncio.wait_for(read(connection, "n-1"), 0.3)' in code
    assert "await let_time_pass()" in code


def test_a_cancellation_is_a_step_of_its_own():
    code = program(written("postgres-asyncpg TXN-5"))
    assert 'await turn("B")\n    tasks["victim"].cancel()' in code


def test_a_crowd_is_one_function():
    source = written("mysql-aiomysql CON-5")
    assert 'start(f"reader {number}", reader(letter, f"n-{number}"))' in source
    assert "async def reader_2" not in source


def test_the_next_user_asks_no_more_than_what_shows_it():
    code = program(written("mysql-aiomysql CON-5"))
    assert code.split("async def the_next_user")[1].count("await do(") == 1
    assert "the_next_user" not in written("mysql-aiomysql NST-3")


def test_a_row_that_was_seen_too_early_is_looked_for_right_after_its_write():
    code = program(written("mysql-asyncmy CON-4"))
    assert re.search(r'"write w-1".*\n        await look\("w-1"\)', code)


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("sqlite-aiosqlite NST-5", '"w-2" not in rows'),
        ("sqlite-aiosqlite TXN-5", 'told.get("read n-1") is NOTHING'),
        ("mysql-asyncmy CON-1", 'told.get("read n-2") not in ("n-2", NOTHING)'),
        ("mysql-aiomysql NST-3", 'failed("write w-2") and "w-2" in rows'),
        ("mysql-aiomysql CAN-2", 'type(told.get("read n-2")).__name__ == "InterfaceError"'),
        ("mysql-asyncmy CON-4", 'seen.get("w-1", False)'),
        ("postgres-asyncpg TXN-5", "open_transactions > 0"),
    ],
)
def test_it_looks_at_what_decided(name, shows):
    source = written(name)
    assert shows in source[source.index("    shows =") :]


def test_what_no_client_can_see_is_not_written():
    with pytest.raises(NotWritten, match="on the wire only"):
        written(NOT_ON_THE_WIRE)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"evidence": None}, "nothing was recorded"),
        ({"schedule": None}, "no schedule decides"),
        ({"reason": "something new", "violations": []}, "something new"),
    ],
)
def test_lines_that_lack_something_are_not_written(change, why):
    name = "sqlite-aiosqlite NST-5"
    with pytest.raises(NotWritten, match=why):
        script({**recorded.line(name), **change}, recorded.header(name))


def test_results_of_an_older_suite_are_not_guessed_at():
    name = "sqlite-aiosqlite NST-5"
    old = recorded.line(name)
    del old["evidence"]["setup"]
    with pytest.raises(NotWritten, match="run the cell again"):
        script(old, recorded.header(name))


def test_a_driver_in_a_c_library_is_not_written():
    name = "sqlite-aiosqlite NST-5"
    head = recorded.header(name)
    head["axes"] |= {"driver": "asyncodbc", "server": "odbc"}
    with pytest.raises(NotWritten, match="C library"):
        script(recorded.line(name), head)


EVIL = '"""\n__import__("os").abort()\n\'\'\' \\ ' + TEXT + "\n__import__('os').abort() #"


@pytest.mark.parametrize("name", WRITTEN)
def test_hostile_texts_stay_text(name):
    """Every text of the line and of the names in it is hostile: the script still parses and calls nothing new."""
    line, head = recorded.line(name), recorded.header(name)
    sessions = {event["session"] for event in line["evidence"]["history"]}
    evil = {each: f"{each}{EVIL}" for each in sessions if not str(each).startswith("the next user")}
    changed = renamed(line, evil)
    changed |= {"title": EVIL, "contract": EVIL}
    head["axes"]["driver_version"] = EVIL
    source = script(changed, head)
    tree = ast.parse(source)
    assert "__import__" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def renamed(value, names):
    """The value with the tasks' names replaced wherever they stand."""
    if isinstance(value, dict):
        return {key: renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, names) for item in value]
    if isinstance(value, str):
        for name, evil in names.items():
            value = re.sub(rf"\b{re.escape(name)}(?=\b)(?! \d)", lambda _, evil=evil: evil, value)
    return value


@pytest.mark.parametrize(("where", "text"), [("version", "1.0\nimport os"), ("version", '1"'), ("name", "x\n#")])
def test_a_package_that_is_none_is_not_pinned(where, text):
    name = "sqlite-aiosqlite NST-5"
    head = recorded.header(name)
    head["packages"] |= {"extra": text} if where == "version" else {text: "1"}
    with pytest.raises(NotWritten, match="no package"):
        script(recorded.line(name), head)
