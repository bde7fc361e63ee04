"""Real private servers of every kind at hand, as another user of the machine meets them: he learns no password, gets
in nowhere, and who did get in reads and writes no files."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mysql.connector
import pg8000.native
import pytest

from matrix import maker
from matrix.harness.cell import Cell
from matrix.harness.drivers import drivers
from matrix.harness.witness import Address, MySQLWitness, PostgresWitness, Witness, WitnessError
from matrix.servers import acquire, builds, start
from matrix.servers import mysql as mysql_family
from matrix.servers.server import Server

ROOT = Path(__file__).parents[3]
STRANGER: Mapping[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
COMMAND_LINES = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
SERVERS_OWN = {"mysql.infoschema", "mysql.session", "mysql.sys", "mariadb.sys"}  # nobody can log in as these
LISTENS = "0A"  # the state in /proc/net/tcp
LOOPBACK = "0100007F"
ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root has rights to drop")


@dataclass(frozen=True)
class Met:
    """A running server, the arguments of every process that its start began, and all that a stranger sees."""

    server: Server
    arguments: str
    command_lines: str

    @property
    def kind(self) -> str:
        return self.server.kind

    def login(self, user: str, password: str, **more: Any) -> Any:
        """A connection over TCP, or what is raised."""
        server = self.server
        if server.kind == "postgres":
            return pg8000.native.Connection(user, server.host, "postgres", server.port, password or None, **more)
        return mysql.connector.connect(host=server.host, port=server.port, user=user, password=password, **more)

    def witness(self, database: str = "") -> Witness:
        server = self.server
        address = Address(server.kind, server.host, server.port, server.user, server.password, database)
        return (PostgresWitness if server.kind == "postgres" else MySQLWitness)(address)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        witness = self.witness()
        try:
            return witness.execute(statement)
        finally:
            witness.close()


def at_hand(kind: str) -> str:
    """The spec of a server that is on the machine or in the real cache: nothing is fetched by a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MATRIX_CACHE", raising=False)
        found = [*builds.host_builds(kind), *builds.cached_builds(kind)]
    if not found:
        pytest.skip(f"no {kind} on this machine or in the cache: python -m matrix servers fetch {kind}")
    return str(found[0].spec)


def meet(kind: str, folder: Path, rights: Sequence[str] = mysql_family.RIGHTS) -> Iterator[Met]:
    """A server of this kind. What is patched is so while it starts, and no longer."""
    began = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: Any, *rest: Any, **options: Any) -> None:
            began.append(str(command))
            super().__init__(command, *rest, **options)

    with contextlib.ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            spec = at_hand(kind)
            patch.delenv("MATRIX_CACHE", raising=False)
            patch.delenv(f"MATRIX_{kind.upper()}_URL", raising=False)
            patch.setenv("MATRIX_RUN", str(folder / "run"))
            patch.setattr(subprocess, "Popen", Recorded)
            patch.setattr(mysql_family, "RIGHTS", rights)
            # Its data is made anew: what the cache has may have been made by other code.
            templates = folder / secrets.token_hex(4)
            patch.setattr(start, "_template_entry", lambda build: templates / build.key)
            server = running.enter_context(acquire(spec))
        seen = subprocess.run(["sh", "-c", COMMAND_LINES], cwd="/", capture_output=True, text=True, **STRANGER)
        yield Met(server, "\n".join(began), seen.stdout)


@pytest.fixture(scope="module", params=["postgres", "mysql", "mariadb"])
def met(request: pytest.FixtureRequest, shared_folder: Path) -> Iterator[Met]:
    yield from meet(request.param, shared_folder)


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def with_file_right(request: pytest.FixtureRequest, shared_folder: Path) -> Iterator[Met]:
    """A server whose user was given the right that he does not have."""
    yield from meet(request.param, shared_folder, (*mysql_family.RIGHTS, "FILE"))


def test_no_argument_of_any_process_holds_the_password(met: Met) -> None:
    assert f"{met.server.port}" in met.command_lines  # the server's own line was seen
    assert "_supervisor.py" in met.arguments
    assert met.server.password not in met.command_lines
    assert met.server.password not in met.arguments


def test_nobody_gets_in_without_the_password(met: Met) -> None:
    met.login(met.server.user, met.server.password).close()
    refused = (mysql.connector.Error, pg8000.exceptions.Error)
    over_socket = {"unix_sock" if met.kind == "postgres" else "unix_socket": met.server.socket}
    if met.kind == "postgres":
        over_socket["unix_sock"] += f"/.s.PGSQL.{met.server.port}"
    for user in (met.server.user, "root", "postgres", "mysql", "nobody"):
        for password in ("", user, "root"):
            for more in ({}, over_socket):
                with pytest.raises(refused):
                    met.login(user, password, **more).close()


def test_there_is_no_account_but_that_of_the_tests(met: Met) -> None:
    if met.kind == "postgres":
        asked = "SELECT rolname FROM pg_roles WHERE rolcanlogin"
    else:
        asked = "SELECT user FROM mysql.user"
    assert {name for (name,) in met.execute(asked)} - SERVERS_OWN == {met.server.user}


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_it_listens_on_loopback_alone(met: Met) -> None:
    links = [str(each.readlink()) for each in Path(f"/proc/{met.server.pid}/fd").iterdir() if each.is_symlink()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = []
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
        found += [row[1] for row in rows if row[3] == LISTENS and row[9] in inodes]
    assert found == [f"{LOOPBACK}:{met.server.port:04X}"]


@ROOT_ONLY
def test_it_runs_without_roots_rights(met: Met) -> None:
    status = Path(f"/proc/{met.server.pid}/status").read_text()
    for ids in re.findall(r"^(?:Uid|Gid):(.*)$", status, re.MULTILINE):
        assert "0" not in ids.split()
    (groups,) = re.findall(r"^Groups:(.*)$", status, re.MULTILINE)
    assert "0" not in groups.split()


def test_its_user_has_no_right_beyond_his_own_data(met: Met) -> None:
    if met.kind == "postgres":
        asked = (
            "SELECT rolsuper, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        assert met.execute(asked) == [(False,) * 4]
        assert met.execute("SELECT count(*) FROM pg_auth_members WHERE member = current_user::regrole") == [(0,)]
        for statement in (
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('PG_VERSION')",
            "ALTER SYSTEM RESET ALL",
        ):
            with pytest.raises(WitnessError, match=r"permission denied|must be superuser"):
                met.execute(statement)
        return
    (granted,) = (text for (text,) in met.execute("SHOW GRANTS") if " ON *.* " in text)
    assert not re.search(r"\b(ALL|FILE|SUPER|SHUTDOWN|RELOAD|CREATE USER|GRANT OPTION|\w+_ADMIN)\b", granted)


@pytest.fixture
def everybodys(shared_folder: Path) -> Iterator[Path]:
    """A folder in which every user of the machine may read and write."""
    folder = shared_folder / "everybodys"
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("statement", ["SELECT 1 INTO OUTFILE '{}'", "SELECT 1 INTO DUMPFILE '{}'"])
def test_no_statement_writes_a_file(with_file_right: Met, everybodys: Path, statement: str) -> None:
    for path in (everybodys / "x", f"/dev/null/../..{everybodys}/x"):
        with pytest.raises(WitnessError, match=r"secure.file.priv"):
            with_file_right.execute(statement.format(path))
    assert list(everybodys.iterdir()) == []


def test_no_statement_reads_a_file(with_file_right: Met, everybodys: Path) -> None:
    path = everybodys / "x"
    path.write_text("1")
    path.chmod(0o644)
    assert with_file_right.execute(f"SELECT LOAD_FILE('{path}')") == [(None,)]
    client = with_file_right.login(
        with_file_right.server.user, with_file_right.server.password, allow_local_infile=True
    )
    cursor = client.cursor()
    cursor.execute("CREATE DATABASE matrix_files")
    cursor.execute("CREATE TABLE matrix_files.t (a int)")
    for word in ("", "LOCAL"):
        with pytest.raises(mysql.connector.Error):
            cursor.execute(f"LOAD DATA {word} INFILE '{path}' INTO TABLE matrix_files.t")
    cursor.execute("DROP DATABASE matrix_files")
    client.close()


def test_the_file_with_the_password_is_its_owners_alone(tmp_path: Path) -> None:
    class Build:
        kind = "mysql"

    mysql_family.write_users_file(Build(), tmp_path / "users.sql", "secret")  # type: ignore[arg-type]
    assert (tmp_path / "users.sql").stat().st_mode & 0o777 == 0o600


def test_a_cell_leaves_no_database_at_a_given_address(met: Met, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is still in it: the server is somebody's. It takes what killed runs have left there, and nothing else."""
    monkeypatch.setenv(f"MATRIX_{met.kind.upper()}_URL", met.server.url)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    asked = "SELECT datname FROM pg_database" if met.kind == "postgres" else "SHOW DATABASES"
    over = subprocess.run(
        [sys.executable, "-c", "from matrix import maker; print(maker.mark())"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()
    kept = ["precious", f"{maker.mark()}_a1b2c3", f"precious_{over}_a1b2c3"]
    for name in (*kept, f"{over}_a1b2c3", f"repro_{over}_1f"):
        met.execute(f"CREATE DATABASE {name}")
    before = [row for row in met.execute(asked) if not str(row[0]).startswith((over, f"repro_{over}"))]
    cell = Cell("sqlite-aiosqlite")
    cell.kind, cell.specs = met.kind, {met.kind: met.kind}
    of_its_kind = drivers()["asyncpg" if met.kind == "postgres" else "aiomysql"]
    cell.table = dataclasses.replace(cell.table, witnesses=of_its_kind.witnesses)
    try:
        cell.open()
        assert len(met.execute(asked)) == len(before) + 1
        (backing,) = cell.backings
        left = met.witness(backing.database.database)
    finally:
        cell.close()
        gc.unfreeze()
    assert sorted(met.execute(asked)) == sorted(before)
    left.close()
    for name in kept:
        met.execute(f"DROP DATABASE {name}")
