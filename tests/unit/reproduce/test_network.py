"""Scripts in which the network falls silent or resets, and tasks that go on behind a limit or a cancellation; queries
and objects that are used elsewhere than they were made."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from matrix.reproduce import NotWritten
from matrix.reproduce.runtime import part
from matrix.reproduce.script import script
from tests.unit.reproduce import recorded


def written(name: str) -> str:
    return script(recorded.line(name), recorded.header(name))


def program(source: str) -> str:
    return source.split("# -- the program")[1].split("# -- run it")[0]


def test_a_limit_counts_in_seconds_and_the_task_goes_on_behind_it():
    source = written("postgres-psycopg CAN-9")
    code = program(source)
    limited = 'await do("A", "read n-1", lambda: within("victim", 1, lambda: read(connection, "n-1")))'
    assert f"    try:\n        {limited}\n    except Exception:\n        pass\n    await do(" in code
    assert "fall_silent(True, True)" in code
    assert 'shows = over.get("victim", 0) > 1' in source
    assert int(re.search(r"QUIET, PATIENCE = [\d.]+, (\d+)", source).group(1)) >= 14  # it took 11 s
    assert '">=3.11"' in source


def test_who_hangs_is_looked_at_before_the_connections_are_cut():
    source = written("postgres-asyncpg TXN-40")
    end = source.split("# -- run it")[1]
    assert end.index("by_then = dict(told)") < end.index("cut()")
    assert "shows = by_then.get(" in end
    assert "fall_silent(True, False)" in source


def test_a_reset_and_a_server_out_of_reach_are_steps_of_a_task():
    assert '    await turn("C")\n    reset_connections()' in program(written("mysql-aiomysql POOL-29"))
    code = program(written("mysql-aiomysql CAN-12"))
    assert [code.index(f"reachable({now})") for now in (False, True)] == sorted(
        code.index(f"reachable({now})") for now in (False, True)
    )
    assert "let_time_pass(1.5)" in code
    assert "the_rest" not in code


def test_a_clock_that_moved_by_minutes_is_waited_for_a_few_seconds():
    code = program(written("mysql-aiomysql POOL-25"))
    assert "let_time_pass(2.5)" in code
    assert '"holder" in over' in written("mysql-aiomysql POOL-25")


def test_no_script_limits_a_transactions_end():
    line = recorded.line("postgres-asyncpg TXN-40")
    for event in line["evidence"]["history"]:
        if event["event"] == "cancelled" and event["what"] == "write":
            event["event"] = "ok"
        if event.get("operation") == 3:
            event["event"] = "cancelled" if event["event"] != "invoke" else "invoke"
    rollback = next(e for e in line["evidence"]["history"] if e.get("operation") == 3)
    line["evidence"]["history"].insert(
        line["evidence"]["history"].index(rollback) + 1, {**rollback, "event": "cancelled", "n": rollback["n"]}
    )
    with pytest.raises(NotWritten, match="limits the time of a transaction's end"):
        script(line, recorded.header("postgres-asyncpg TXN-40"))


def test_a_cancellation_is_outlived():
    code = program(written("sqlite-aiosqlite TXN-37"))
    caught = "    except asyncio.CancelledError:\n        while asyncio.current_task().cancelling():\n"
    assert f"{caught}            asyncio.current_task().uncancel()\n    await do(" in code
    source = written("postgres-psycopg TXN-38")
    assert 'scope.append("victim")' in source
    assert "    finally:\n        scope.clear()" in source
    assert "cancel_victim()" in source
    assert "cancel_victim()" not in written("sqlite-aiosqlite TXN-37")


def test_a_cancellation_behind_the_whole_answer_is_in_a_wait_that_ends_by_itself():
    source = written("mysql-aiomysql TXN-37")
    assert 'VICTIM, WAIT, DURING = "victim", 10' in source
    assert "@" not in source.split("ORDER = ")[1].split("\n")[0]


def test_queries_are_built_where_they_were_and_awaited_where_they_were():
    before = program(written("sqlite-aiosqlite TXN-29"))
    assert before.index("query_1 = Entry.bulk_create(") < before.index("async with block(") < before.index(": query_1)")
    inside = program(written("sqlite-aiosqlite TXN-31"))
    assert inside.index("async with block(") < inside.index("query_1 = Entry.") < inside.index(": query_1)")
    assert program(written("sqlite-aiosqlite TXN-32")).count(": query_1)") == 2  # once inside, once after


def test_an_object_is_kept():
    twice = program(written("sqlite-aiosqlite TXN-33"))
    assert twice.count("entry = Entry()") == 1
    assert twice.count("save(entry, ") == 2
    fetched = written("sqlite-aiosqlite TXN-34")
    assert 'entry = await do("A", "fetch w-1", lambda: Entry.filter(token="w-1").using_db(' in fetched
    assert '"INSERT INTO repro_entry (token) VALUES (%s)", "w-1"' in fetched


def test_an_update_is_derived_from_a_query_whose_row_is_there_before():
    source = written("postgres-psycopg TXN-43")
    code = program(source)
    assert code.index("query_1 = Entry.filter(") < code.index("async with block(") < code.index("query_1.update(token=")
    assert source.count("INSERT INTO repro_entry") == 1


def test_a_row_is_deleted_under_an_object_and_an_object_is_saved_as_it_is():
    deleted = written("postgres-psycopg TXN-47")
    assert 'Entry.filter(token="w-1").delete()' in deleted
    assert "not in rows" in deleted
    assert "entry.save(force_update=True)" in written("mysql-aiomysql TXN-48")


def test_what_is_created_on_a_client_of_another_task_is_looked_for_when_that_has_rolled_back():
    source = written("postgres-psycopg TXN-45")
    assert 'Entry.get_or_create(token="w-1", using_db=client_1)' in source
    assert 'Entry.update_or_create(token="w-2", using_db=client_1)' in source
    assert '"w-1" in rows' in source


def test_no_script_waits_for_what_another_task_was_to_say():
    with pytest.raises(NotWritten, match="waits for what another one was to say"):
        written("sqlite-aiosqlite TXN-45")


# -- the relay of the parts, run ---------------------------------------------------------------------------------------
FLAGS = {"login", "frames", "kills", "mysql", "unreachable", "silence", "resets"}


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def gate(port: int, **on: bool):
    """The part of a script that relays, in front of a server on this port."""
    flags = dict.fromkeys(FLAGS, False) | on
    names = {
        "asyncio": asyncio,
        "socket": socket,
        "sys": __import__("sys"),
        "HOST": "127.0.0.1",
        "PORT": port,
        "held": {},
        "owed": set(),
        "moved": 0,
        "holding": False,
        "is_login": lambda data: False,
        "ends_login": lambda data: True,
    }
    exec(part("wire", flags), names)
    return names


async def _through(names, steps):
    """A client behind the relay, with a server that echoes; what ``steps`` return."""

    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)

    server = await asyncio.start_server(echo, "127.0.0.1", names["PORT"])
    relay = await asyncio.start_server(names["relay"], "127.0.0.1", 0)
    port = relay.sockets[0].getsockname()[1]
    try:
        return await asyncio.wait_for(steps(lambda: asyncio.open_connection("127.0.0.1", port)), 10)
    finally:
        names["cut"]()
        for each in (relay, server):
            each.close()


async def _asks(reader, writer, text: bytes):
    """The answer, or None where none comes in a while."""
    writer.write(text)
    try:
        return await asyncio.wait_for(reader.read(100), 0.3)
    except asyncio.TimeoutError:
        return None


@pytest.mark.parametrize(("old", "new"), [(True, True), (True, False), (False, True)])
@pytest.mark.asyncio
async def test_what_is_silent_gives_no_answer_and_no_end(free_port, old, new):
    names = gate(free_port, silence=True)

    async def steps(connect):
        first = await connect()
        assert await _asks(*first, b"one") == b"one"
        names["fall_silent"](old, new)
        second = await connect()
        return await _asks(*first, b"two"), await _asks(*second, b"three")

    assert await _through(names, steps) == (None if old else b"two", None if new else b"three")
    assert not names["owed"]


@pytest.mark.asyncio
async def test_new_connections_are_served_again_and_old_ones_stay_silent(free_port):
    names = gate(free_port, silence=True)

    async def steps(connect):
        first = await connect()
        await _asks(*first, b"one")
        names["fall_silent"](True, True)
        names["fall_silent"](False, False)
        return await _asks(*first, b"two"), await _asks(*await connect(), b"three")

    assert await _through(names, steps) == (None, b"three")


@pytest.mark.asyncio
async def test_a_reset_is_a_reset_and_no_end(free_port):
    names = gate(free_port, resets=True)

    async def steps(connect):
        first = await connect()
        await _asks(*first, b"one")
        names["reset_connections"]()
        with pytest.raises(ConnectionResetError):
            await first[0].read(100)
        return await _asks(*await connect(), b"two")

    assert await _through(names, steps) == b"two"
