"""Warm connections before a real PostgreSQL: a session that was kept is in nothing to be told from a new one, and where
it would be it is not kept. Each of these is seen to fail when the reset is left out."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pg8000.exceptions
import pg8000.native
import pytest

from matrix import servers
from matrix.harness import warm
from matrix.harness.cell import Backing
from matrix.harness.channel import Timeline
from matrix.harness.gate import Gate
from matrix.harness.scenario import catalogue
from matrix.harness.warm import WarmConnections
from matrix.harness.witness import Address, PostgresWitness
from matrix.servers import builds

pytestmark = pytest.mark.asyncio
PID = "SELECT pg_backend_pid()"
DATABASE = "warm"
# What a driver does, and how the next one would see it.
TRACES = {
    "setting": ("SET work_mem = '7MB'", "SHOW work_mem"),
    "reported setting": ("SET TimeZone = 'Asia/Tokyo'", "SHOW TimeZone"),
    "character set": ("SET client_encoding = 'LATIN1'", "SHOW client_encoding"),
    "transactions' default": ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SHOW transaction_read_only"),
    "prepared statement": ("PREPARE own AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"),
    "temporary table": ("CREATE TEMPORARY TABLE own (id int)", "SELECT to_regclass('own')::text"),
    "cursor": ("DECLARE own CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors WHERE is_holdable"),
    "lock": ("SELECT pg_advisory_lock(77)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
    "shared lock": ("SELECT pg_advisory_lock_shared(78)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
    "channel": ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()"),
    "role": ("SET ROLE tester", "SHOW role"),  # its own: there is no other that the tests' user may take
    "sequence": ("SELECT nextval('numbers')", "SELECT currval('numbers')"),
    "last sequence": ("SELECT nextval('numbers')", "SELECT lastval()"),
    "notices": ("SET client_min_messages = 'error'", "DO $$ BEGIN RAISE WARNING 'heard'; END $$"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    found = builds.host_builds("postgres")
    try:
        made = servers.acquire(str(found[0].spec) if found else "postgres", progress=lambda _: None)
    except servers.ServerError as error:
        pytest.skip(f"no PostgreSQL at hand: {error}")
    with made:
        plain = PostgresWitness(Address("postgres", made.host, made.port, made.user, made.password, "postgres"))
        plain.execute(f"CREATE DATABASE {DATABASE}")  # in that of all, the tests' user may make nothing
        plain.close()
        yield made


@pytest.fixture
def witness(server: Any) -> Iterator[PostgresWitness]:
    made = PostgresWitness(Address("postgres", server.host, server.port, server.user, server.password, DATABASE))
    made.execute("DROP SEQUENCE IF EXISTS numbers")
    made.execute("CREATE SEQUENCE numbers")
    yield made
    made.terminate_backends()
    made.close()


class Place:
    """A server and the warm connections to it; each gate is a run's."""

    def __init__(self, server: Any, connections: WarmConnections | None) -> None:
        self.server = server
        self.connections = connections
        self.timeline = Timeline()

    async def run(self, *users: Callable[[Any], Any], **settings: Any) -> list[Any]:
        """What these users of a connection each saw, one after the other in one run."""
        numbers = itertools.count(1)
        self.gate = Gate("postgres", self.server.host, self.server.port, self.timeline, lambda: next(numbers))
        self.gate.warm = self.connections
        await self.gate.start()
        seen = [await asyncio.to_thread(self._use, user, settings) for user in users]
        while not all(wire.closed for wire in self.gate.wires):  # noqa: ASYNC110 - it is the loop's turn
            await asyncio.sleep(0)
        await self.gate.close()
        return seen

    def _use(self, user: Callable[[Any], Any], settings: Any) -> Any:
        known = {
            "user": self.server.user,
            "password": self.server.password,
            "database": DATABASE,
            "ssl_context": False,
        }
        connection = pg8000.native.Connection(host="127.0.0.1", port=self.gate.port, **{**known, **settings})
        seen = user(connection)
        connection.close()
        return seen


def asking(*statements: str) -> Callable[[Any], Any]:
    """A user that runs these statements: what the last one gave or raised, the notices, and the news."""

    def user(connection: Any) -> Any:
        seen: Any = None
        for statement in statements:
            try:
                seen = connection.run(statement)
            except pg8000.exceptions.DatabaseError as error:
                seen = error.args[0]["C"]
        notices = [notice[b"M"] for notice in connection.notices]
        return seen, notices, list(connection.notifications), dict(connection.parameter_statuses)

    return user


def number_of(connection: Any) -> Any:
    return connection.run(PID)


@pytest.fixture
def place(server: Any, witness: PostgresWitness) -> Iterator[Place]:
    made = Place(server, WarmConnections())
    yield made
    assert made.connections is not None
    made.connections.close()
    assert not made.timeline.failures


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("trace", TRACES)
async def test_what_one_driver_leaves_the_next_does_not_find(place, server, trace, reset, monkeypatch):
    if not reset:
        monkeypatch.setattr(warm, "_is_reset", lambda connection: connection.setblocking(False) is None)
    leave, look = TRACES[trace]
    [as_new] = await Place(server, None).run(asking(look))
    first = (await place.run(lambda connection: (connection.run(leave), connection.run(PID))[1]))[0]
    assert await place.run(number_of) == [first]  # it is the same session
    seen = await place.run(asking(look))
    assert (seen == [as_new]) is reset


async def test_news_that_nobody_has_read_reach_nobody_else(place):
    await place.run(asking("LISTEN news", "NOTIFY news, 'for the first'"))
    assert (await place.run(asking("SELECT 1")))[0][1:3] == ([], [])


async def test_a_new_driver_hears_what_the_server_had_said(place, server):
    [(_, _, _, statuses)] = await Place(server, None).run(asking("SELECT 1"))
    await place.run(number_of)
    assert (await place.run(asking("SELECT 1")))[0][3] == statuses


# -- what is not kept ------------------------------------------------------------------------------------------------


async def kept_after(place: Place, *statements: str) -> bool:
    """Whether the session in which this was done serves the next run."""

    def user(connection: Any) -> Any:
        for statement in statements:
            connection.run(statement)
        return connection.run(PID)

    return await place.run(user) == await place.run(number_of)


async def test_a_connection_that_did_nothing_special_is_kept(place):
    assert await kept_after(place, "SELECT 1", "BEGIN", "SELECT 1", "COMMIT")


@pytest.mark.parametrize(
    "statements",
    [
        ("BEGIN",),
        ("BEGIN", "SAVEPOINT within"),
        ("SET matrix.setting = 77",),
        ('set session "matrix".setting = 77',),
        ("SELECT 1; SET matrix.setting TO 77",),
        ("SELECT set_config('matrix.setting', '77', false)",),
    ],
)
async def test_what_a_reset_would_hide_is_not_kept(place, statements):
    assert not await kept_after(place, *statements)


async def test_a_setting_of_its_own_is_to_be_seen_after_a_reset(place, monkeypatch):
    """Why such a connection is not kept."""
    monkeypatch.setattr(warm, "OWN_SETTING", re.compile("nothing like it"))
    look = asking("SELECT current_setting('matrix.setting', true)")
    [(before, *_)] = await place.run(look)
    await place.run(asking("SET matrix.setting = 77"))
    [(after, *_)] = await place.run(look)
    assert (before, after) == ([[None]], [[""]])


async def test_within_a_run_each_connection_is_a_session_of_its_own(place):
    first, second = await place.run(number_of, number_of)
    assert first != second
    assert sorted(await place.run(number_of, number_of)) == sorted([first, second])


def cancel(place: Place, connection: Any) -> socket.socket:
    """Send a request to cancel what a session does; the connection that it came on."""
    process, key = connection._backend_key_data[:4], connection._backend_key_data[4:]
    other = socket.create_connection(("127.0.0.1", place.gate.port))
    length = len(process + key) + 8
    other.sendall(length.to_bytes(4, "big") + (80877102).to_bytes(4, "big") + process + key)
    return other


async def test_a_session_that_was_cancelled_is_kept_when_the_server_is_through_with_that(place, witness):
    [number] = await place.run(number_of)

    def cancelled(connection: Any) -> Any:
        assert number == connection.run(PID)

        def while_it_sleeps() -> None:
            while not witness.execute(
                f"SELECT 1 FROM pg_stat_activity WHERE pid = {number[0][0]} AND query LIKE '%pg_sleep%' "
                "AND state = 'active'"
            ):
                pass
            for wire in place.gate.wires:
                wire.heard()  # else the request waits until the server has begun with the statement
            with cancel(place, connection) as other:
                assert other.recv(1) == b""

        thread = threading.Thread(target=while_it_sleeps)
        thread.start()
        with pytest.raises(pg8000.exceptions.DatabaseError, match="57014"):
            connection.run("SELECT pg_sleep(60)")
        thread.join()

    await place.run(cancelled)
    assert await place.run(number_of) == [number]


async def test_requests_that_came_too_late_meet_nobody_afterwards(place):
    """The server is told to cancel a session that does nothing: none of the next driver's statements is cancelled."""

    def cancelled(connection: Any) -> Any:
        for _ in range(20):
            with cancel(place, connection) as other:
                assert other.recv(1) == b""
        return connection.run(PID)

    [number] = await place.run(cancelled)
    for _ in range(10):
        assert (await place.run(asking("SELECT pg_sleep(0.01)", PID)))[0][0] == number
        assert await place.run(cancelled) == [number]


@pytest.mark.parametrize("through", [True, False])
async def test_a_session_is_not_kept_while_a_request_to_cancel_it_is_under_way(place, through, monkeypatch):
    reach = Gate._reach

    def not_reached(gate: Gate, wire: Any, kept: Any = None) -> None:
        if through or wire.tracker.cancels is None:
            reach(gate, wire, kept)

    monkeypatch.setattr(Gate, "_reach", not_reached)

    def cancelled(connection: Any) -> Any:
        with cancel(place, connection) as other:
            while not any(wire.tracker.cancels for wire in place.gate.wires):
                pass
            assert not through or other.recv(1) == b""
            return connection.run(PID)

    [number] = await place.run(cancelled)
    assert (await place.run(number_of) == [number]) is through


async def test_a_session_that_somebody_asks_to_cancel_when_it_is_kept_already_serves_nobody(place):
    held: list[Any] = []

    def late(connection: Any) -> Any:
        held.append(connection)
        return connection.run(PID)

    def of_the_one_before(connection: Any) -> Any:
        with cancel(place, held[-1]) as other:
            return other.recv(1)

    number, answer = await place.run(late, of_the_one_before)
    assert answer == b""
    assert number not in await place.run(number_of, number_of)


async def test_a_session_that_the_server_has_ended_serves_nobody(place, witness):
    [number] = await place.run(number_of)
    witness.terminate_backends()
    while witness.execute(f"SELECT 1 FROM pg_stat_activity WHERE pid = {number[0][0]}"):
        pass
    assert await place.run(number_of) != [number]


async def test_another_database_or_setting_is_another_connection(place):
    [number] = await place.run(number_of)
    assert await place.run(number_of, application_name="other") != [number]
    assert await place.run(number_of, database="template1") != [number]
    assert await place.run(number_of) == [number]


async def test_another_password_than_before_is_no_ones_login(place):
    await place.run(number_of)
    with pytest.raises(pg8000.exceptions.InterfaceError):
        await place.run(number_of, password="wrong")
    assert "otherwise" in place.timeline.failures.pop()
    await place.gate.close()


async def test_a_login_that_draws_numbers_is_the_servers_each_time(place, server, tmp_path):
    turns = [warm.LoginTurn(b"startup", b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0")]
    assert not warm.Login(place.connections, lambda _: None, turns).can_be_kept()
    turns = [warm.LoginTurn(b"startup", b"R\0\0\0\x08\0\0\0\x03")]
    assert warm.Login(place.connections, lambda _: None, turns).can_be_kept()


async def test_no_more_are_kept_than_a_server_can_spare(place):
    await place.run(*[number_of] * (warm.KEPT + 2))
    assert len(place.connections._idle) == warm.KEPT


# -- which scenarios and cells ---------------------------------------------------------------------------------------

ABOUT_SESSIONS = re.compile(
    r"\b(opened\(\)|still_open|refuse_connections|reach_server|lose_connections|cut_connections|end_server_sessions|"
    r"change_setting|look_at_setting|close_orm)\b"
)


@pytest.mark.parametrize(
    "scenario", [each for each in catalogue().values() if not each.cures], ids=lambda each: each.id
)
async def test_a_scenario_about_sessions_begins_its_own(scenario):
    if ABOUT_SESSIONS.search(inspect.getsource(scenario.program)):
        assert scenario.needs_fresh_connections, f"declare {scenario.id} with fresh_connections=True"


async def test_most_scenarios_do_not():
    assert sum(not each.needs_fresh_connections for each in catalogue().values()) > 80


@pytest.mark.parametrize(
    ("kind", "given", "isolated", "word", "keeps"),
    [
        ("postgres", False, False, "", True),
        ("postgres", False, False, "0", False),
        ("postgres", True, False, "", False),
        ("postgres", False, True, "", False),
        ("mysql", False, False, "", False),
    ],
)
async def test_connections_are_kept_in_a_server_of_the_cells_own(kind, given, isolated, word, keeps, monkeypatch):
    monkeypatch.setenv("MATRIX_WARM", word)
    witness: Any = SimpleNamespace(server_string=lambda: "", prepare=lambda _: None)
    adapter: Any = SimpleNamespace(isolated=isolated)
    backing = Backing(adapter, kind, Address(kind), witness, SimpleNamespace(given=given))
    assert (backing.warm is not None) is keeps
