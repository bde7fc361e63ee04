"""What a cell asks a server before anything is judged there: what it is, what the user may ask, whether it serves."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from matrix.harness.adapters.base import Adapter
from matrix.harness.cell import Backing, Cell, CellError
from matrix.harness.scenario import Scenario
from matrix.harness.witness import Address, MySQLWitness, PostgresWitness, SQLiteWitness, WitnessError, _code


def saying(make: type, version: str, comment: str = "", refuses: str = "") -> Any:
    """A witness of a server that says this of itself and refuses statements that contain ``refuses``."""

    class Said(make):  # type: ignore[misc]
        def __init__(self) -> None:
            self.address = Address("mysql" if make is MySQLWitness else "postgres", "db.example", 3306)
            self.asked: list[str] = []

        def execute(self, statement: str) -> list[tuple[Any, ...]]:
            self.asked.append(statement)
            if refuses and refuses in statement:
                raise WitnessError("mysql says: 1227 (42000): Access denied; you need the PROCESS privilege")
            if "CURRENT_USER" in statement:
                return [("small@10.%",)]
            return [("InnoDB", "", "")] if "STATUS" in statement else [(version, comment)]

    return Said()


def log_in(kind: str, witness: Any) -> None:
    """What a cell asks when it has logged in. Raises CellError where it refuses."""
    cell = Cell.__new__(Cell)
    server = SimpleNamespace(kind=kind, host="db.example", port=3306, given=True)
    cell._is_what_it_should_be(server, witness)


@pytest.mark.parametrize(
    ("kind", "make", "version", "comment"),
    [
        ("mysql", MySQLWitness, "9.7.4-2", "(Debian)"),
        ("mysql", MySQLWitness, "8.0.36-28", "Percona Server (GPL), Release 28"),
        ("mariadb", MySQLWitness, "5.5.5-10.11.19-MariaDB-deb12", "Debian 12"),
        ("postgres", PostgresWitness, "PostgreSQL 17.4 on x86_64", ""),
    ],
)
def test_a_server_is_what_the_address_says(kind, make, version, comment):
    log_in(kind, saying(make, version, comment))


@pytest.mark.parametrize(
    ("kind", "make", "version", "comment", "found"),
    [
        ("mysql", MySQLWitness, "11.8.9-MariaDB", "Debian", "mariadb"),
        ("mysql", MySQLWitness, "11.8.9", "mariadb.org binary distribution", "mariadb"),
        ("mariadb", MySQLWitness, "9.7.4", "MySQL Community Server", "mysql"),
        ("mysql", MySQLWitness, "8.0.11-TiDB-v7.5.0", "TiDB Server", "tidb"),
        ("postgres", PostgresWitness, "CockroachDB CCL v24.1", "", "cockroachdb"),
    ],
)
def test_another_make_of_server_is_refused_in_two_lines(kind, make, version, comment, found):
    with pytest.raises(CellError) as refused:
        log_in(kind, saying(make, version, comment))
    lines = str(refused.value).splitlines()
    assert len(lines) == 2
    assert f"MATRIX_{kind.upper()}_URL names db.example:3306" in lines[0]
    assert version in lines[0]
    assert f"the cells of {found}" in lines[1]


def test_a_user_without_the_process_privilege_is_told_the_statement_that_grants_it():
    with pytest.raises(CellError) as refused:
        log_in("mysql", saying(MySQLWitness, "9.7.4", refuses="INNODB STATUS"))
    first, second = str(refused.value).splitlines()
    assert "PROCESS" in first
    assert "GRANT PROCESS ON *.* TO 'small'@'10.%'" in second


def test_a_server_that_does_not_say_what_it_is_is_refused():
    with pytest.raises(CellError, match="does not say what it is"):
        log_in("mysql", saying(MySQLWitness, "", refuses="VERSION"))


class Failing(SQLiteWitness):
    """Refuses what contains a word, as a server whose disk is full."""

    refuses = ""

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        if self.refuses and self.refuses in statement:
            raise WitnessError("it says: 53100 disk full")
        return super().execute(statement)


@pytest.mark.parametrize(
    ("refuses", "writes", "said"),
    [("", True, ""), ("SELECT", False, "is gone"), ("INSERT", False, ""), ("INSERT", True, "takes no rows any more")],
)
def test_a_server_that_is_gone_or_full_ends_the_run(tmp_path, refuses, writes, said):
    address = Address("sqlite", file=str(tmp_path / "matrix.db"))
    backing = Backing(cast(Any, None), "sqlite", address, Failing(address), None)
    try:
        backing.witness.refuses = refuses  # type: ignore[attr-defined]
        failing = backing.failing(writes=writes)
        assert (said in failing) if said else not failing
        assert backing.answers(5)
    finally:
        backing.witness.close()


def answers_with(said: bytes) -> int:
    """The port of a server that says this, whatever it is asked, and then nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.sendall(said)
            connection.recv(1000)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


GREETING = b"\x4a\x00\x00\x00\x0a9.7.4\x00" + bytes(200)


@pytest.mark.parametrize(
    ("make", "said"),
    [(MySQLWitness, b"\xff" * 200), (MySQLWitness, GREETING), (PostgresWitness, b"N" * 50), (PostgresWitness, b"\xff")],
)
def test_what_a_client_makes_of_what_is_no_server_is_told_in_a_line(make, said, monkeypatch):
    monkeypatch.setattr("matrix.harness.witness.LOGIN_SECONDS", 1)  # of the first, who waits for 16 MB
    kind = "postgres" if make is PostgresWitness else "mysql"
    with pytest.raises(WitnessError, match=r"at 127\.0\.0\.1:") as refused:
        make(Address(kind, "127.0.0.1", answers_with(said), "me", "pw", ""))
    assert len(str(refused.value).splitlines()) == 1
    assert not refused.value.denied


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Exception({"S": "FATAL", "C": "28P01", "M": "password authentication failed"}), "28P01"),
        (Exception(1045, "Access denied"), 1045),
        (OSError(111, "refused"), 111),
        (Exception(), None),
    ],
)
def test_the_code_of_a_refusal_is_found_where_the_clients_keep_it(error, code):
    assert _code(error) == code


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sqlite-aiosqlite-tls", "there is no TLS to sqlite"),
        ("sqlite-aiosqlite-pgbouncer", "pgbouncer is a pooler for PostgreSQL"),
        ("sqlite-aiosqlite-unprepared", "aiosqlite has no setting 'unprepared'; there are: none"),
    ],
)
def test_a_way_that_the_driver_has_not_is_refused_before_anything_is_started(name: str, says: str) -> None:
    with pytest.raises(CellError, match=says):
        Cell(name)


def test_through_a_pooler_it_is_not_asked_for_the_end_of_sessions(monkeypatch) -> None:
    adapter = Adapter()
    adapter.settings = {"unprepared": {"statement_cache_size": 0}}
    monkeypatch.setattr("matrix.harness.cell.load", lambda name: adapter)
    scenario = Scenario("POOL-0", "made up", "Made up.", "must", ("server",), None, False, (3, 10), None, "", "", ())
    pooled = Cell("postgres-asyncpg-pgbouncer-unprepared")
    assert pooled.adapter.chosen == {"statement_cache_size": 0}
    assert "a pooler stands between" in str(pooled.unmet(scenario))
    straight = Cell("postgres-asyncpg")
    assert (straight.unmet(scenario), straight.adapter.chosen) == (None, {})
