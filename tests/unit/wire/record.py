"""Records what a real driver and a real server say to each other, as the captures that the tests replay.

    python -m tests.unit.wire.record DRIVER URL NAME    # with the driver's own Python, from the project's root

DRIVER is aiomysql, asyncmy, connector (mysql.connector, which sends what those two never do: prepared statements,
cursors, a change of user; it needs a user whom another driver has logged in before), asyncpg or psycopg. The URL (such
as `python -m matrix servers start mysql` prints) is of a throw-away server with a throw-away password;
NAME names the server in the file's name. Each scenario gives captures/NAME-DRIVER-SCENARIO.json.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

CAPTURES = Path(__file__).parent / "captures"

Chunks = list[tuple[str, str]]  # direction and bytes in hexadecimal digits


class Recorder:
    """A relay that writes down every chunk of every connection."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.connections: list[Chunks] = []
        self.port = 0

    async def start(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chunks: Chunks = []
        self.connections.append(chunks)
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(
                self._pump("->", reader, upstream_writer, chunks), self._pump("<-", upstream_reader, writer, chunks)
            )

    async def _pump(
        self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunks: Chunks
    ) -> None:
        while data := await reader.read(1 << 16):
            chunks.append((direction, data.hex()))
            writer.write(data)
            await writer.drain()
        writer.close()


Connect = Callable[..., Awaitable[Any]]
Scenario = Callable[[Connect], Awaitable[None]]


# -- aiomysql and asyncmy have one interface


async def mysql_ordinary(connect: Connect) -> None:
    connection = await connect()
    async with connection.cursor() as cursor:
        await cursor.execute("DROP TABLE IF EXISTS wire")
        await cursor.execute("CREATE TABLE wire (id INT PRIMARY KEY, name VARCHAR(20), price DECIMAL(8,2))")
        await connection.begin()
        await cursor.execute("INSERT INTO wire VALUES (1, 'one', 1.5), (2, NULL, 2)")
        await cursor.execute("SELECT * FROM wire ORDER BY id")
        await cursor.fetchall()
        await connection.rollback()
        await cursor.execute("SELECT * FROM wire")
        with contextlib.suppress(Exception):
            await cursor.execute("SELEKT 1")
        with contextlib.suppress(Exception):
            await cursor.execute("SELECT 1 FROM nowhere")
    await connection.ping()
    await connection.ensure_closed()


async def mysql_many_results(connect: Connect) -> None:
    connection = await connect(client_flag=1 << 16)  # CLIENT_MULTI_STATEMENTS
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT 1; DO 1; SELECT 'two', 3 UNION ALL SELECT 'four', 5; SELECT 6 FROM nowhere")
        with contextlib.suppress(Exception):
            while await cursor.nextset():
                pass
        await cursor.execute("SELECT 7")
    await connection.ensure_closed()


async def mysql_unbuffered(connect: Connect, cursor_class: Any) -> None:
    connection = await connect()
    async with connection.cursor(cursor_class) as cursor:
        await cursor.execute("SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3")
        await cursor.fetchone()
    await connection.ensure_closed()


async def mysql_overlap(connect: Connect) -> None:
    connection = await connect()

    async def ask(statement: str) -> None:
        async with connection.cursor() as cursor:
            await cursor.execute(statement)

    asked = [ask("SELECT SLEEP(0.2), 'first'"), ask("SELECT 1 FROM nowhere"), ask("SELECT 'third'")]
    tasks = [asyncio.create_task(one) for one in asked]
    # The server answers all of them, whether anybody reads it or not; some drivers wait for ever.
    await asyncio.wait(tasks, timeout=1)
    await asyncio.sleep(0.5)
    connection.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def mysql_local_file(connect: Connect) -> None:
    connection = await connect(local_infile=True)
    async with connection.cursor() as cursor:
        await cursor.execute("SET GLOBAL local_infile = 1")
        await cursor.execute("DROP TABLE IF EXISTS wire")
        await cursor.execute("CREATE TABLE wire (id INT PRIMARY KEY, name VARCHAR(20))")
        with tempfile.NamedTemporaryFile("w", prefix="wire-rows-") as rows:
            rows.write("1\tone\n2\ttwo\n")
            rows.flush()
            with contextlib.suppress(Exception):
                await cursor.execute(f"LOAD DATA LOCAL INFILE '{rows.name}' INTO TABLE wire")
        await cursor.execute("SELECT * FROM wire")
    await connection.ensure_closed()


async def mysql_bad_login(connect: Connect) -> None:
    with contextlib.suppress(Exception):
        await connect(password="wrong")


async def mysql_killed(connect: Connect) -> None:
    victim, killer = await connect(), await connect()
    async with killer.cursor() as cursor:
        await cursor.execute(f"KILL {victim.thread_id()}")
        await asyncio.sleep(0.3)
    await killer.ensure_closed()
    with contextlib.suppress(Exception):
        async with victim.cursor() as cursor:
            await cursor.execute("SELECT 1")
    victim.close()


# -- mysql.connector, for what the asynchronous drivers never send


def _prepared(connect: Callable[..., Any]) -> None:
    connection = connect()
    cursor = connection.cursor(prepared=True)
    cursor.execute("SELECT ? AS number, ? AS word, NULL", (42, "x"))
    cursor.fetchall()
    cursor.execute("SELECT ? AS number, ? AS word, NULL", (43, "y"))
    cursor.fetchall()
    with contextlib.suppress(Exception):
        cursor.execute("SELEKT ?", (1,))
    cursor.close()
    statement = connection.cmd_stmt_prepare(b"SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3")["statement_id"]
    connection.cmd_stmt_execute(statement, flags=1)  # opens a cursor
    for _ in range(2):
        with contextlib.suppress(Exception):
            connection.cmd_stmt_fetch(statement, 2)
            connection._socket.recv()
            while connection._socket.recv()[4] != 0xFE:
                pass
    connection.cmd_stmt_close(statement)
    connection.close()


def _session(connect: Callable[..., Any]) -> None:
    connection = connect()
    for call in (
        connection.cmd_ping,
        connection.cmd_statistics,
        lambda: connection.cmd_init_db("mysql"),
        connection.cmd_process_info,
        lambda: connection.cmd_change_user(connection._user, connection._password),
        connection.cmd_reset_connection,
        connection.cmd_debug,
    ):
        with contextlib.suppress(Exception):
            call()
    connection.close()


async def connector_prepared(connect: Connect) -> None:
    await asyncio.to_thread(_prepared, await connect())


async def connector_session(connect: Connect) -> None:
    await asyncio.to_thread(_session, await connect())


# -- asyncpg


async def asyncpg_ordinary(connect: Connect) -> None:
    connection = await connect()
    await connection.execute("DROP TABLE IF EXISTS wire; CREATE TABLE wire (id int PRIMARY KEY, name text)")
    async with connection.transaction():
        await connection.execute("INSERT INTO wire VALUES ($1, $2)", 1, "one")
        await connection.fetch("SELECT id, name, 1.5::float8, NULL FROM wire WHERE id = $1", 1)
    with contextlib.suppress(Exception):
        await connection.fetch("SELECT 1/0")
    with contextlib.suppress(Exception):
        async with connection.transaction():
            await connection.fetch("SELEKT 1")
    async with connection.transaction():
        async for _ in connection.cursor("SELECT generate_series(1, 7)", prefetch=3):
            pass
    await connection.executemany("INSERT INTO wire VALUES ($1, $2)", [(20, "a"), (21, "b")])
    await connection.close()


async def asyncpg_copy(connect: Connect) -> None:
    connection = await connect()
    await connection.execute("DROP TABLE IF EXISTS wire; CREATE TABLE wire (id int PRIMARY KEY, name text)")
    await connection.copy_records_to_table("wire", records=[(number, "x") for number in range(3)])
    with contextlib.suppress(Exception):
        await connection.copy_records_to_table("wire", records=[(1, "twice")])
    await connection.copy_from_query("SELECT * FROM wire", output=Path("/dev/null"))
    await connection.close()


async def asyncpg_overlap(connect: Connect) -> None:
    connection = await connect()
    await asyncio.gather(connection.fetch("SELECT 11"), connection.fetch("SELECT 22"), return_exceptions=True)
    await connection.close()


async def asyncpg_cancel(connect: Connect) -> None:
    connection = await connect()
    task = asyncio.create_task(connection.fetch("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await connection.add_listener("wire", lambda *_: None)
    await connection.execute("NOTIFY wire, 'hello'")
    await connection.close()


# -- psycopg


async def psycopg_ordinary(connect: Connect) -> None:
    connection = await connect()
    await connection.execute("DROP TABLE IF EXISTS wire")
    await connection.execute("CREATE TABLE wire (id int PRIMARY KEY, name text)")
    await connection.execute("INSERT INTO wire VALUES (%s, %s)", (1, "one"))
    await connection.execute("SELECT id, name FROM wire WHERE id = %s", (1,), binary=True)
    for _ in range(7):  # becomes a prepared statement
        await connection.execute("SELECT name FROM wire WHERE id = %s", (1,))
    await connection.commit()
    with contextlib.suppress(Exception):
        await connection.execute("SELECT 1/0")
    await connection.rollback()
    async with connection.cursor("named") as cursor:
        await cursor.execute("SELECT generate_series(1, 7)")
        await cursor.fetchmany(3)
    await connection.close()


async def psycopg_pipeline(connect: Connect) -> None:
    connection = await connect(autocommit=True)
    with contextlib.suppress(Exception):
        async with connection.pipeline() as pipeline:
            await connection.execute("SELECT 1")
            await connection.execute("SELECT 1/0")
            await connection.execute("SELECT 2")
            with contextlib.suppress(Exception):
                await pipeline.sync()
            await connection.execute("SELECT 3")
    await connection.execute("SELECT 4")
    await connection.close()


async def psycopg_copy(connect: Connect) -> None:
    connection = await connect(autocommit=True)
    await connection.execute("DROP TABLE IF EXISTS wire")
    await connection.execute("CREATE TABLE wire (id int PRIMARY KEY, name text)")
    cursor = connection.cursor()
    for statement, parameters in (("COPY wire FROM STDIN", None), ("COPY wire FROM STDIN", ())):
        with contextlib.suppress(Exception):  # the second time: duplicate keys
            async with cursor.copy(statement, parameters) as copy:
                await copy.write_row((1, "one"))
                await copy.write_row((2, "two"))
    with contextlib.suppress(ZeroDivisionError):
        async with cursor.copy("COPY wire FROM STDIN") as copy:
            await copy.write_row((3, "three"))
            raise ZeroDivisionError
    async with cursor.copy("COPY wire TO STDOUT") as copy:
        async for _ in copy:
            pass
    await connection.execute("SELECT 1")
    await connection.close()


async def psycopg_overlap(connect: Connect) -> None:
    connection = await connect(autocommit=True)
    await asyncio.gather(
        connection.execute("SELECT pg_sleep(0.1), 'first'"),
        connection.execute("SELECT 'second'"),
        return_exceptions=True,
    )
    await connection.close()


# -- which driver records what


def scenarios_of(driver: str) -> dict[str, Scenario]:
    if driver in ("aiomysql", "asyncmy"):
        cursors = __import__(f"{driver}.cursors", fromlist=["SSCursor"])
        found = {name[6:]: value for name, value in globals().items() if name.startswith("mysql_")}
        found["unbuffered"] = lambda connect: mysql_unbuffered(connect, cursors.SSCursor)
        return found
    return {name[len(driver) + 1 :]: value for name, value in globals().items() if name.startswith(f"{driver}_")}


def connector(driver: str, url: SplitResult, port: int) -> Connect:
    module: Any = __import__("mysql.connector").connector if driver == "connector" else __import__(driver)
    user, password = unquote(url.username or ""), unquote(url.password or "")

    async def connect(**settings: Any) -> Any:
        settings = {"host": "127.0.0.1", "port": port, "user": user, "password": password, **settings}
        if driver in ("aiomysql", "asyncmy"):
            return await module.connect(**{"db": "wire_capture", **settings})
        if driver == "connector":
            return functools.partial(module.connect, use_pure=True, ssl_disabled=True, **settings)
        if driver == "asyncpg":
            return await module.connect(database="postgres", **settings)
        return await module.AsyncConnection.connect(dbname="postgres", **settings)

    return connect


async def record(driver: str, url: SplitResult, name: str) -> None:
    if driver in ("aiomysql", "asyncmy"):
        plain = await connector(driver, url, url.port or 0)(db=None)
        async with plain.cursor() as cursor:
            await cursor.execute("CREATE DATABASE IF NOT EXISTS wire_capture")
        await plain.ensure_closed()
    for scenario, run in scenarios_of(driver).items():
        recorder = Recorder(url.hostname or "127.0.0.1", url.port or 0)
        await recorder.start()
        try:
            await asyncio.wait_for(run(connector(driver, url, recorder.port)), 30)
        except Exception as problem:  # what the driver makes of it is not what is recorded
            print(f"{scenario}: {type(problem).__name__}: {problem}")
        await asyncio.sleep(0.2)  # the last bytes
        target = CAPTURES / f"{name}-{driver}-{scenario}.json"
        target.write_text(json.dumps(recorder.connections, indent=0) + "\n")
        print(target.name, [len(chunks) for chunks in recorder.connections])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(record(sys.argv[1], urlsplit(sys.argv[2]), sys.argv[3]))
