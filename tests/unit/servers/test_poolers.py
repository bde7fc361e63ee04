"""A real PgBouncer in front of a real PostgreSQL: whose session is whose, what stays secret, and how it ends."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pg8000.native
import pytest

from matrix.harness.witness import Address, PostgresWitness
from matrix.harness.witness_pooled import PooledWitness
from matrix.servers import Pooler, Server, ServerError, acquire, builds, private, start_pooler
from tests.unit.servers.test_strangers import at_hand

TABLE = "pooled"


@pytest.fixture(scope="module")
def spec() -> str:
    """Of a PgBouncer in the real cache: nothing is fetched by a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MATRIX_CACHE", raising=False)
        found = builds.cached_builds("pgbouncer")
    if not found:
        pytest.skip("no PgBouncer in the cache: python -m matrix servers fetch pgbouncer")
    return str(found[0].spec)


@pytest.fixture(scope="module")
def behind() -> Iterator[Server]:
    """PostgreSQL with a database of its own for these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MATRIX_CACHE", raising=False)
        with acquire(at_hand("postgres")) as server:
            witness = PostgresWitness(address_of(server))
            witness.execute("CREATE DATABASE pooled")
            witness.close()
            yield dataclasses.replace(server, database="pooled")


@pytest.fixture
def pooler(behind: Server, spec: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pooler]:
    monkeypatch.delenv("MATRIX_CACHE", raising=False)
    started = start_pooler(spec, behind)
    yield started
    started.stop()


def address_of(server: Server) -> Address:
    return Address("postgres", server.host, server.port, server.user, server.password, server.database)


def client(server: Server, pooler: Pooler) -> Any:
    password, database = server.password, server.database
    return pg8000.native.Connection(server.user, "127.0.0.1", database, pooler.port, password, timeout=30)


def port_of(connection: Any) -> int:
    return int(connection._usock.getsockname()[1])


def witness_of(server: Server, pooler: Pooler) -> PooledWitness:
    console = Address("postgres", "127.0.0.1", pooler.port, server.user, server.password)
    return PooledWitness(address_of(server), console)


def test_a_client_has_a_session_for_a_transaction_only(behind: Server, pooler: Pooler) -> None:
    one, other = client(behind, pooler), client(behind, pooler)
    assert one.run("SELECT pg_backend_pid()") == other.run("SELECT pg_backend_pid()")
    one.run("BEGIN")
    assert one.run("SELECT pg_backend_pid()") != other.run("SELECT pg_backend_pid()")


def test_who_waits_for_whom_is_known_by_the_clients_ports(behind: Server, pooler: Pooler) -> None:
    witness = witness_of(behind, pooler)
    witness.execute(f"CREATE TABLE {TABLE} (n int PRIMARY KEY)")
    holder, waiter = client(behind, pooler), client(behind, pooler)
    holder.run("BEGIN")
    holder.run(f"INSERT INTO {TABLE} VALUES (1)")
    waiting = threading.Thread(target=waiter.run, args=(f"INSERT INTO {TABLE} VALUES (1)",))
    waiting.start()
    until = time.monotonic() + 30
    while not (waits := witness.lock_waits()) and time.monotonic() < until:
        time.sleep(0.005)
    holder.run("ROLLBACK")
    waiting.join()
    assert waits == {port_of(waiter): frozenset({port_of(holder)})}
    assert witness.lock_waits() == {}


def test_a_run_begins_with_new_sessions(behind: Server, pooler: Pooler) -> None:
    witness, one = witness_of(behind, pooler), client(behind, pooler)
    before = one.run("SELECT pg_backend_pid()")
    assert one.run("SELECT pg_backend_pid()") == before
    witness.begin()
    assert one.run("SELECT pg_backend_pid()") != before


def test_the_password_is_in_no_file_and_in_no_argument(behind: Server, pooler: Pooler) -> None:
    client(behind, pooler).run("SELECT 1")
    shown = [path.read_text() for path in pooler.process.folder.iterdir() if path.is_file()]
    shown.append(Path(f"/proc/{pooler.process.pid}/cmdline").read_text())
    assert not [text for text in shown if behind.password in text]


def test_it_is_gone_when_it_was_stopped(behind: Server, pooler: Pooler) -> None:
    folder = pooler.process.folder
    pooler.stop()
    pooler.stop()
    assert not folder.exists()
    with pytest.raises(pg8000.native.InterfaceError):
        client(behind, pooler)


def test_a_port_that_was_taken_meanwhile_is_not_insisted_on(
    behind: Server, pooler: Pooler, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = private.free_port()
        ports = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(private, "free_port", lambda: next(ports))
        another = start_pooler(spec, behind)
        another.stop()
    assert another.port == free


def test_one_that_does_not_start_says_why_in_one_line(
    behind: Server, spec: str, pooler: Pooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matrix.servers.poolers.SETTINGS", "[pgbouncer]\nno_such_setting = {host}\n")
    with pytest.raises(ServerError, match=r"^pgbouncer .* ended while it started: .*$"):
        start_pooler(spec, behind)
