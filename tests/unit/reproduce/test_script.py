"""Scripts as text: straight code of what the tasks did, exact pins, no import of ours, nothing hostile in it runs."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
import types

import pytest

from matrix.harness.drivers import Script
from matrix.harness.sentences import words
from matrix.reproduce import NotWritten, symptom
from matrix.reproduce.declared import Declared
from matrix.reproduce.reconstruct import Item, Task
from matrix.reproduce.run import pins_of
from matrix.reproduce.runtime import PARTS
from matrix.reproduce.script import script
from matrix.reproduce.writer import Writer
from tests.unit.report.hostile import TEXT
from tests.unit.reproduce import recorded

MORE = {"asyncodbc": ["pyodbc"], "psycopg": ["psycopg_pool"]}
OF_A_CRASH = "odbc-asyncodbc CAN-4"
OF_A_WORD = "sqlite-aiosqlite TXN-45"  # a hang in which a task waits for what another one was to say: test_network.py
WRITTEN = [name for name in recorded.names() if name not in (OF_A_CRASH, OF_A_WORD)]


EVIL = '"""\n__import__("os").abort()\n\'\'\' \\ ' + TEXT + "\n__import__('os').abort() #"


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
    assert found - set(sys.stdlib_module_names) <= {driver, "tortoise", *MORE.get(driver, ())}


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
    assert len(source.splitlines()) < 370
    assert len(program(source).splitlines()) < 60
    assert max(map(len, source.splitlines())) < 170


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


def test_who_goes_on_when_its_time_is_over_has_caught_the_error():
    code = program(written("postgres-asyncpg TXN-58"))
    limited = 'await do("B", "select c-1 for update", lambda: asyncio.wait_for(lock("victim", "c-1"), 0.3))'
    assert f"        try:\n            {limited}\n        except Exception:\n            pass\n" in code
    assert 'lambda: store("holder")' in code


def test_counters_are_looked_at_and_locked_as_the_program_did():
    code = program(written("mariadb-aiomysql TXN-56"))
    assert 'lambda: view("c-1")' in code
    assert 'lambda: count_up("c-1")' in code
    code = program(written("mariadb-aiomysql TXN-46"))
    assert 'lambda: lock_values("first", "c-1")' in code
    assert 'lambda: store_values("first")' in code


def test_what_another_task_has_locked_is_not_stored_by_guess():
    line = recorded.line("postgres-asyncpg TXN-58")
    evidence = line["evidence"]
    evidence["history"] = [each for each in evidence["history"] if each["fact"].get("kind") != "take"]
    with pytest.raises(NotWritten, match="stores what another task has locked"):
        script(line, recorded.header("postgres-asyncpg TXN-58"))


def test_a_cancellation_is_a_step_of_its_own():
    code = program(written("postgres-asyncpg ORM-4"))
    assert re.search(r'await turn\("[A-E]"\)\n    tasks\["victim"\]\.cancel\(\)', code)


def constant(source: str, names: str) -> object:
    """What the script's head says of these names."""
    (node,) = (n for n in ast.parse(source).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == names)
    return ast.literal_eval(node.value)


def test_a_sweep_cancels_where_the_order_says_so_and_counts_nothing():
    source = written("mysql-aiomysql TXN-22")
    assert recorded.line("mysql-aiomysql TXN-22")["schedule"] == "A@9.A.1.1.1.1.1"
    assert constant(source, "ORDER") == "A.1.1.1.1.1.A@9"
    assert constant(source, "VICTIM") == "victim"
    assert 'elif "@" in token:\n            tasks[VICTIM].cancel()' in source
    assert "swept" not in source


def test_a_cancellation_as_a_wait_ends_is_counted_in_the_operations_that_are_swept():
    source = written("mysql-aiomysql TXN-16")
    assert recorded.line("mysql-aiomysql TXN-16")["schedule"] == "B@1+.A.1.1.1.B.C.A.1.A.1"
    assert constant(source, "ORDER") == "A.1.1.1.B.C.A.1.A.1"
    assert constant(source, "(VICTIM, WAIT, DURING)") == ("victim", 1, ("begin ",))
    assert "told[what] = await (swept(statement()) if watched else statement())" in source
    assert '"@" in token' not in source


def test_without_a_sweep_there_is_nothing_of_it():
    source = written("mysql-aiomysql NST-3")
    assert not re.search("swept|VICTIM|frame_size|# IF|# ALL", source)


@pytest.mark.parametrize(("name", "login"), [("mysql-aiomysql TXN-16", False), ("mysql-aiomysql TXN-22", True)])
def test_answers_are_held_frame_by_frame_and_the_login_only_where_it_was(name, login):
    source = written(name)
    assert "answers.append(functools.partial(writer.write, rest[: frame_size(rest)]))" in source
    assert ("            if not holding:" in source) is login
    assert ("def is_login" in source) is not login


def test_frames_are_cut_as_the_protocol_says():
    known: dict = {}
    for name, data in (
        ("mysql-aiomysql TXN-16", b"\x07\0\0\x01" + 7 * b"x"),
        ("postgres-asyncpg TXN-20", b"Z\0\0\0\5I"),
    ):
        part = re.search(r"def frame_size\(.*?\n\n", written(name), re.DOTALL)
        exec(part[0], known)
        assert known["frame_size"](data + b"more") == len(data)


def test_a_cancellation_that_is_on_its_way_when_the_task_asks():
    code = program(written("mysql-aiomysql CAN-3"))
    assert (
        '    await turn("A")\n    asyncio.current_task().cancel()  # arrives at the driver\'s first await\n'
        '    await do(None, "read n-1"'
    ) in code


def test_a_pool_is_filled_before_and_its_connections_are_lost_in_a_step():
    source = written("mysql-aiomysql TXN-19")
    assert '    await turn("B")\n    cut()' in program(source)
    begin = source.index("async with in_transaction():")
    assert begin < source.index("holding = True", begin) < source.index("await conduct(ORDER)")


def test_what_is_acquired_is_given_back_as_the_program_did_when_it_was_cancelled():
    code = program(written("mysql-aiomysql POOL-8")).split("async def waiter")[0]
    assert re.search(
        r"    connection = await do\(.*, acquire\)\n    try:\n        await do\(.*read\(connection, .*\n"
        r"    finally:\n        await do\(.*release\(connection\)\)\n",
        code,
    )


def test_tasks_that_do_the_same_are_told_apart():
    source = written("mysql-aiomysql POOL-2")
    names = re.findall(r'await do\("[AB]", "([^"]*)"', program(source))
    assert len(names) == len(set(names)) == 6
    assert '"77" in map(str, told.get("look at the setting (neighbour, operation 5)") or ())' in source


def test_a_block_that_is_ended_by_hand():
    code = program(written("mysql-aiomysql NST-9"))
    assert 'async with block("A", "parent\'s nested transaction 2", in_transaction) as client_2:' in code
    assert "lambda: client_2.rollback()" in code


def test_a_transaction_that_another_task_leaves():
    """Nobody's ``async with`` can say that: it is entered and left by hand."""
    parent, closer = program(written("mysql-aiomysql CTX-6")).split("async def closer")
    name = 'opened["parent\'s transaction 1"]'
    assert f"    await {name}.__aenter__()" in parent
    assert f'    {name}.who = "B"\n    await {name}.__aexit__(None, None, None)' in closer


def test_generated_programs_are_judged_as_any_other():
    name = "sqlite-aiosqlite NST-5"
    line = recorded.line(name)
    plain = script(line, recorded.header(name))
    line["finding"] = {"kind": "of_programs", "count": 3, "programs": 15, "finding": line["finding"]}
    line["violations"] = []
    assert script(line, recorded.header(name)) == plain


def test_what_is_asked_while_a_hung_run_is_taken_down_is_no_part_of_the_symptom():
    name = "sqlite-aiosqlite ORM-11"
    line = recorded.line(name)
    plain = script(line, recorded.header(name))
    history = line["evidence"]["history"]
    last, session = history[-1]["n"], "second"
    note = {**history[-1], "n": last + 1, "session": session, "event": "note", "operation": None}
    waits = {"kind": "wait", "sessions": [session], "settles": False}
    line["evidence"]["history"] += [
        {**note, "session": "closer", "fact": waits},
        {
            **note,
            "n": last + 2,
            "session": "closer",
            "event": "invoke",
            "what": "rollback",
            "operation": 99,
            "fact": {"kind": "rollback", "block": "x", "by_hand": False, "again": False},
        },
    ]
    assert symptom.of(line).shows.replace("told.", "by_then.") in plain


def test_an_iteration_asks_for_all_of_its_rows():
    code = program(written("mysql-aiomysql CON-3"))
    assert (
        'async with contextlib.aclosing(rows(connection, ["n-1", "n-2", "n-3"])) as answers:' in code
    )  # left where it ends
    assert 'await do("A", "fetch n-2", lambda: anext(answers, "the end"))' in code


def test_sessions_that_the_server_ends():
    source = written("postgres-asyncpg POOL-6")
    assert "await end_sessions()" in program(source)
    assert "pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port IN" in source  # of the driver's only
    assert "pg_terminate_backend" not in written("postgres-asyncpg TXN-20")
    assert "asked = asked or ends_login(data)" in source


def test_a_plain_client_is_passed_where_the_program_passed_it():
    code = program(written("sqlite-aiosqlite TXN-14"))
    assert 'Entry.create(token="w-1"))' in code
    assert 'Entry.create(token="w-2", using_db=plain))' in code


def test_named_connections_are_those_of_the_program():
    source = written("mysql-aiomysql ORM-7")
    code = program(source)
    assert code.count('lambda: in_transaction("conn_1")') == 2
    assert code.count('using_db=connections.get("conn_1")') == 2
    assert 'read("n-1", connections.get("conn_2"))' in code
    assert 'config = {"connections": {"conn_1": engine, "conn_2": engine}, "apps": apps}' in source
    assert source.index("close_all(discard=True)") < source.index("holding = True", source.index("async def main"))
    assert "shows = len(held) > 2" in source


def test_a_transaction_that_is_left_open_while_an_outer_one_commits():
    parent = program(written("sqlite-aiosqlite CTX-13"))
    inner = 'opened["parent\'s transaction 2"]'
    assert re.search(rf"    async with block.*\n.*write w-1.*\n.*\n        await {re.escape(inner)}.__aenter__", parent)
    assert '\n    await do("A", "write w-2"' in parent


def test_a_client_that_another_task_uses_has_a_name_for_both():
    source = written("postgres-asyncpg NST-16")
    code = program(source)
    assert "    global client_2\n" in code
    assert "in_transaction) as client_2:" in code
    assert re.search(r"async def with_using_db\(\):\n    await do\(.*client_2\)", code)
    assert '__name__ == "InterfaceError"' in source  # refused, where more is promised


def test_a_thread_has_a_loop_of_its_own_and_goes_on_from_there():
    source = written("sqlite-aiosqlite CTX-11")
    code = program(source)
    assert "    async def in_thread():\n" in code
    assert 'await turn("B")\n    await asyncio.to_thread(asyncio.run, in_thread())' in code
    assert "call_soon_threadsafe(waiting.set_result, None)" in source
    assert source.count("async def main():") == 1  # a task of that name is called otherwise
    assert 'start("main", task_main)' in source


def test_a_generator_that_is_given_up():
    source = written("sqlite-aiosqlite CTX-12")
    code = program(source)
    assert re.search(r"            async with block.*\n.*write w-1.*\n                yield\n        finally:", code)
    assert "    async for _ in rows():\n        break" in code
    assert "(asyncio.CancelledError, GeneratorExit)" in source


def test_those_who_come_too_early_end_before_the_others_begin():
    source = written("sqlite-aiosqlite ORM-6")
    rest = program(source).split("async def the_rest")[1]
    assert rest.index("asyncio.wait(") < rest.index("reachable(True)")
    assert source.index("reachable(False)") < source.index('start("too early"')
    assert source.rstrip().count("reachable(True)") == 2  # in the end as well, whatever came of it


def test_a_remedy_is_part_of_its_script():
    assert "async with lock:" in program(written("mysql-aiomysql FIX-4-CTX-2"))
    before = written("sqlite-aiosqlite FIX-3a-NST-3")
    assert 'start("child 1", child_1, context=before.copy())' in before
    assert "before = contextvars.copy_context()" in before
    empty = written("sqlite-aiosqlite FIX-3b-NST-3")
    assert 'start("child 1", child_1, context=contextvars.Context())' in empty
    assert "Tortoise.init(config=config, _enable_global_fallback=True)" in empty
    named = program(written("sqlite-aiosqlite FIX-1a-NST-3"))
    assert 'block("A", "parent\'s transaction 1", lambda: in_transaction("conn_1"))' in named
    assert 'block("B", "child 1\'s transaction 2", lambda: in_transaction("conn_2"))' in named
    assert "using_db" not in named


def test_a_shield_is_around_what_the_remedy_shields():
    commit = program(written("mysql-aiomysql FIX-10-TXN-6"))
    assert 'await asyncio.shield(start("victim\'s shielded commit", lambda: do(None, ' in commit
    source = written("mysql-aiomysql FIX-11-NST-10")
    assert 'await asyncio.shield(start("victim\'s shielded work", victim_s_shielded_work))' in program(source)
    assert recorded.line("mysql-aiomysql FIX-11-NST-10")["schedule"].startswith("B@2+.")
    assert constant(source, "(VICTIM, WAIT, DURING)") == ("victim", 1, ("",))  # its wait for the other is the first
    assert "in (tasks.get(VICTIM), tasks.get(WORK))" in source


def test_its_title_names_the_remedy_and_what_it_was_to_cure():
    title = ast.get_docstring(ast.parse(written("mysql-aiomysql FIX-4-CTX-2"))).splitlines()[0]
    assert title.startswith("FIX-4-CTX-2: One lock around what the children do (CTX-2: A child outlives")


def test_odbc_is_ordered_by_what_the_threads_hand_over():
    source = written("odbc-asyncodbc CON-4")
    assert set(constant(source, "ORDER").split(".")) == {"A", "B", "1"}  # nothing of the wire
    assert "len(sys.argv) != 3" in source
    assert "Usage: DATABASE_PASSWORD=... uv run repro.py postgres://user@host:port/database ODBC_DRIVER" in source
    assert "MATRIX_" not in source
    assert {"asyncodbc", "pyodbc"} <= {pin.split("==")[0] for pin in pins_of(source)}


def test_what_follows_a_begin_that_nobody_ends_is_not_lost():
    code = program(written("odbc-asyncodbc POOL-1"))
    assert re.search(r"begin, and never end it.*\n.*write w-1.*\n.*give connection object 1 back", code)


def test_the_number_of_a_closed_socket_goes_to_another_one():
    source = written("postgres-psycopg POOL-10")
    assert "os.dup2(idle[-1].fileno(), number)" in source
    assert "import socket\n" in source


@pytest.mark.parametrize("name", ["postgres-asyncpg ORM-4", "sqlite-aiosqlite ORM-11"])
def test_who_waits_for_a_pool_is_looked_at_before_the_connections_are_cut(name):
    """A pool may connect anew for who waits when its connections are lost: while the tables are dropped."""
    end = written(name).split("# -- run it")[1]
    assert end.index("by_then = dict(told)") < end.index("cut()")
    shown = end[end.index("shows = ") :]
    assert "by_then" in shown and not re.search(r"\btold\b(?! so far)", shown)


def test_who_listens_is_looked_at_before_the_connections_are_cut():
    source = written("postgres-psycopg CON-35")
    assert "hear(connection, 1)" in program(source)
    assert "os.dup2(" not in source  # it polls because nothing has been sent: no socket was closed
    end = source.split("# -- run it")[1]
    assert end.index("by_then = dict(told)") < end.index("cut()")
    assert 'by_then.get("read n-2") is NOTHING' in end


def test_what_who_waits_for_another_asks_when_the_run_is_taken_down_is_no_symptom():
    assert symptom.of(recorded.line("mysql-asyncmy NST-22")).shows == (
        'told.get("begin child\'s nested transaction 3") is NOTHING'
    )


def test_what_begins_with_its_task_waits_for_no_turn():
    source = written("mysql-asyncmy CTX-7")  # tasks that begin to run while they are created
    assert 'block("A", "parent\'s transaction 1", in_transaction, at_once=True)' in program(source)
    assert 'await do(None, "read n-1"' in program(source)
    assert 'block("B", "child 1\'s nested transaction 2", in_transaction):' in program(source)
    assert "at_once" not in written("mysql-asyncmy NST-22")


def test_a_connection_on_which_something_is_answered_is_needed():
    name = "postgres-psycopg CON-35"
    line = recorded.line(name)
    assert line["evidence"]["setup"]["connections"] == 2
    answer = next(step for step in line["evidence"]["steps"] if step["fact"]["kind"] == "deliver")
    answer["fact"]["wire"] = 2
    with pytest.raises(NotWritten, match="more than one connection"):
        script(line, recorded.header(name))


def test_a_pipeline_is_begun_and_ended_by_its_task():
    code = program(written("postgres-psycopg CON-36"))
    begun = code.index("mode = connection.pipeline()")
    assert (
        begun
        < code.index("mode.__aenter__()")
        < code.index('"read n-1"')
        < code.index("mode.__aexit__(None, None, None)")
    )
    assert 'type(told.get("read n-2")).__name__ == "AttributeError"' in written("postgres-psycopg CON-36")


def test_what_no_order_of_calls_decides_is_not_written():
    with pytest.raises(NotWritten, match="a race in the C library"):
        crash = {"finding": {"kind": "process_ended", "signal": "SIGSEGV", "proof": None, "step": None}}
        script(recorded.line(OF_A_CRASH) | crash, recorded.header(OF_A_CRASH))
    name = "postgres-psycopg POOL-10"
    line = recorded.line(name)
    line["evidence"]["setup"] |= {"pools": [], "connections": 1}
    with pytest.raises(NotWritten, match="the number of a closed socket"):
        script(line, recorded.header(name))
    line = recorded.line("odbc-asyncodbc CON-4")
    line["finding"]["database"] = "mariadb"
    with pytest.raises(NotWritten, match="asyncodbc on mariadb"):
        script(line, recorded.header("odbc-asyncodbc CON-4"))


def test_hostile_kinds_of_operations_stay_text():
    name = "mysql-aiomysql TXN-16"
    line = recorded.line(name)
    line["evidence"]["declared"] |= {"cancels": "victim", "during": [EVIL, "begin"]}
    source = script(line, recorded.header(name))
    assert constant(source, "(VICTIM, WAIT, DURING)") == ("victim", 1, (f"{EVIL} ", "begin "))


def test_a_wait_is_ended_by_its_answer_and_by_a_cancellation_in_one_instant():
    """The statement's second wait ends with an answer; the task is cancelled before it sees that."""

    async def statement(waits: list, seen: list) -> None:
        for wait in waits:
            seen.append(await wait)

    async def run() -> tuple[bool, list, list]:
        loop = asyncio.get_running_loop()
        waits, seen = [loop.create_future() for _ in range(3)], []
        known = {"asyncio": asyncio, "types": types, "tasks": {}, "VICTIM": "victim", "WAIT": 2}
        exec((PARTS / "sweep.py.txt").read_text(encoding="utf-8"), known)

        async def victim() -> None:
            await known["swept"](statement(waits, seen))

        task = known["tasks"]["victim"] = loop.create_task(victim())
        for number in range(2):
            await asyncio.sleep(0)
            waits[number].set_result(number)
            await asyncio.sleep(0)
        await asyncio.wait([task])
        return task.cancelled(), seen, [wait.done() for wait in waits]

    assert asyncio.run(run()) == (True, [0], [True, True, False])


def test_a_crowd_is_one_function():
    source = written("mysql-aiomysql CON-5")
    assert 'start(f"reader {number}", reader(letter, f"n-{number}"))' in source
    assert "async def reader_2" not in source


def test_the_next_task_asks_no_more_than_what_shows_it():
    code = program(written("mysql-aiomysql CAN-2"))
    assert code.split("async def the_next_task")[1].count("await do(") == 1
    assert "the_next_task" not in written("mysql-aiomysql NST-3")


def test_a_row_that_was_seen_too_early_is_looked_for_right_after_its_write():
    code = program(written("mysql-asyncmy CON-4"))
    assert re.search(r'"write w-1".*\n        await look\("w-1"\)', code)


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("sqlite-aiosqlite NST-5", '"w-2" not in rows'),
        ("sqlite-aiosqlite ORM-4", 'by_then.get("begin committing\'s transaction 2") is NOTHING'),
        ("mysql-asyncmy CON-1", 'told.get("read n-2") not in ("n-2", NOTHING)'),
        ("mysql-aiomysql NST-3", 'failed("write w-2") and "w-2" in rows'),
        ("mysql-aiomysql CAN-2", 'type(told.get("read n-2")).__name__ == "InterfaceError"'),
        ("mysql-asyncmy CON-4", 'seen.get("w-1", False)'),
    ],
)
def test_it_looks_at_what_decided(name, shows):
    source = written(name)
    assert shows in source[source.index("    shows =") :]


def test_what_no_client_can_see_is_not_written():
    name = "postgres-asyncpg CON-4"
    wire = {"kind": "travelled", "session": "a", "owner": "b", "row": "w-x-1", "connection": 1}
    with pytest.raises(NotWritten, match="on the wire only: a's row w-1 travelled"):
        script(recorded.line(name) | {"finding": wire, "violations": []}, recorded.header(name))


def test_a_transaction_left_open_is_asked_for_where_the_server_tells_everybody():
    left = {"finding": {"kind": "transaction_open", "channel": "connection 1"}, "violations": []}
    line = recorded.line("postgres-asyncpg ORM-4") | left
    with pytest.raises(NotWritten):
        symptom.of(line)
    line["evidence"]["frames"] = [{"kind": "ReadyForQuery"}]
    assert symptom.of(line).shows == "open_transactions > 0"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"evidence": None}, "nothing was recorded"),
        ({"schedule": None}, "no schedule decides"),
        ({"finding": words("something new"), "violations": []}, "something new"),
        ({"finding": None}, "run the cell again"),
    ],
)
def test_lines_that_lack_something_are_not_written(change, why):
    name = "sqlite-aiosqlite NST-5"
    with pytest.raises(NotWritten, match=why):
        script({**recorded.line(name), **change}, recorded.header(name))


def test_results_of_an_older_suite_are_not_guessed_at():
    name = "sqlite-aiosqlite NST-5"
    old = recorded.line(name)
    del old["evidence"]["declared"]
    with pytest.raises(NotWritten, match="run the cell again"):
        script(old, recorded.header(name))


@pytest.mark.parametrize("name", WRITTEN)
def test_hostile_texts_stay_text(name):
    """Every text of the line and of the names in it is hostile: the script still parses and calls nothing new."""
    line, head = recorded.line(name), recorded.header(name)
    sessions = {event["session"] for event in line["evidence"]["history"]}
    sessions -= {
        each for each in sessions if "'s shielded " in each
    }  # that ending says what it is; its victim is named
    evil = {each: f"{each}{EVIL}" for each in sessions if not str(each).startswith("the next task")}
    changed = renamed(line, evil)
    changed |= {"title": EVIL, "contract": EVIL}
    head["axes"]["driver_version"] = EVIL
    source = script(changed, head)
    tree = ast.parse(source)
    assert "__import__" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def renamed(value, names):
    """The value with the tasks' names replaced wherever they stand."""
    if isinstance(value, dict):
        kept = ("kind", "shields")  # what a fact is, no name
        return {key: item if key in kept else renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, names) for item in value]
    if isinstance(value, str):
        for name, evil in names.items():
            value = re.sub(rf"(?<!the next )\b{re.escape(name)}(?=\b)(?! \d)", lambda _, evil=evil: evil, value)
    return value


@pytest.mark.parametrize(("where", "text"), [("version", "1.0\nimport os"), ("version", '1"'), ("name", "x\n#")])
def test_a_package_that_is_none_is_not_pinned(where, text):
    name = "sqlite-aiosqlite NST-5"
    head = recorded.header(name)
    head["packages"] |= {"extra": text} if where == "version" else {text: "1"}
    with pytest.raises(NotWritten, match="no package"):
        script(recorded.line(name), head)


def test_a_next_user_alone_may_name_a_connection():
    """Where only the next task's questions name one, the script's functions take one all the same."""
    name = "sqlite-aiosqlite FIX-1a-NST-3"
    line = recorded.line(name)
    asked = next(e for e in line["evidence"]["history"] if e["event"] == "invoke" and "using" in e["fact"])
    assert asked["session"] == "the next task"
    error = {"type": "E", "message": ""}
    fact = {"kind": "next_user_failed", "operations": [asked["operation"]], "asked": asked["fact"], "error": error}
    for event in line["evidence"]["history"]:
        if event["operation"] == asked["operation"] and event is not asked and event["event"] == "ok":
            event |= {"event": "error", "error": error}
    source = script(line | {"finding": fact, "violations": []}, recorded.header(name))
    assert 'connections.get("conn_1"))' in source
    assert "async def read(nonce, db=None)" in source


@pytest.mark.parametrize(("aliases", "named"), [(("conn_1",), ""), (("default", "second"), '"default"')])
def test_a_time_limit_around_a_block_ends_its_begin_on_the_connection_that_it_is_of(aliases, named):
    """As GEN-6 on asyncpg: without the limit nobody is cancelled, and without a name Tortoise refuses to begin."""
    known = Declared("", (), False, False, "", False, False, False, False)
    task = Task("a", "A", [Item("block", "a's transaction 1", outcome="cancelled", limited=True)], "done")
    code = "\n".join(Writer([task], aliases, Script("asyncpg"), "postgres", known).function(task))
    assert f"lambda: asyncio.wait_for(in_transaction({named}).__aenter__(), 0.3))" in code
    assert "except Exception:" in code  # the task goes on
    task.items[0].limited = False
    assert f"in_transaction({named})" in code
    assert "wait_for" not in "\n".join(Writer([task], aliases, Script("asyncpg"), "postgres", known).function(task))
