"""What server programs are told, without running one: their words, their environment, whose rights they have."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from matrix.servers import mysql, postgres, tools
from matrix.servers.builds import Build
from matrix.servers.errors import ServerError
from matrix.servers.tools import Account

ACCOUNT = Account(65534, 65534)


def build(kind: str, folder: Path) -> Build:
    return Build(kind, "1", "1.2", "made up", folder / "bin" / kind, ("loader",), folder / "share", folder / "plugins")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, Any]]]:
    """The words and options of each program that is run, none of which runs."""
    asked: list[tuple[list[str], dict[str, Any]]] = []
    monkeypatch.setattr(tools, "run", lambda words, **options: asked.append(([*map(str, words)], options)))
    return asked


def system_tables(share: Path, *lacking: str) -> None:
    """As MariaDB 10.11 has them: some names have the old prefix, some the new one, some none."""
    share.mkdir()
    names = ("mysql_system_tables", "mariadb_performance_tables", "mysql_system_tables_data")
    for name in (*names, "maria_add_gis_sp_bootstrap", "mariadb_sys_schema"):
        if name not in lacking:
            (share / f"{name}.sql").write_text(f"-- {name}")


def test_a_database_s_own_tables_are_made_in_their_order_and_root_is_gone_afterwards(tmp_path: Path) -> None:
    system_tables(tmp_path / "share")
    said = mysql.bootstrap_statements(tmp_path / "share")
    assert said.startswith("create database if not exists mysql;\nuse mysql;\n")
    assert re.findall(r"^-- (\w+)$", said, re.MULTILINE) == [
        "mysql_system_tables",
        "mariadb_performance_tables",
        "mysql_system_tables_data",
        "maria_add_gis_sp_bootstrap",
        "mariadb_sys_schema",
    ]
    assert said.endswith("\nDELETE FROM mysql.global_priv WHERE User='root';\n")


def test_an_older_release_has_no_sys_schema_and_what_else_lacks_is_named(tmp_path: Path) -> None:
    system_tables(tmp_path / "old", "mariadb_sys_schema")
    assert "maria_add_gis_sp_bootstrap" in mysql.bootstrap_statements(tmp_path / "old")
    system_tables(tmp_path / "cut", "mariadb_performance_tables", "mariadb_sys_schema")
    with pytest.raises(ServerError, match=r"^\S*/cut holds no performance_tables\.sql$"):
        mysql.bootstrap_statements(tmp_path / "cut")
    with pytest.raises(ServerError, match=r"^MariaDB's folder of system tables was not found$"):
        mysql.bootstrap_statements(None)


@pytest.mark.parametrize(
    ("kind", "make"),
    [("mysql", mysql.make_data), ("mariadb", mysql.make_data), ("postgres", postgres.make_data)],
)
def test_data_is_made_with_no_rights_and_nothing_of_the_users_environment(
    tmp_path: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch, kind: str, make: Callable[..., None]
) -> None:
    monkeypatch.setenv("PGDATA", "/elsewhere")
    system_tables(tmp_path / "share")
    (tmp_path / "data").mkdir()
    make(build(kind, tmp_path), tmp_path / "data", ACCOUNT)
    ((words, options),) = told
    assert options["account"] == ACCOUNT
    assert options["environment"] == tools.plain_environment()
    if kind == "postgres":
        assert words == [f"{tmp_path}/bin/initdb", "-D", f"{tmp_path}/data", "-U", "postgres", "-A", "trust", "-E",
                         "UTF8", "--no-locale", "--no-sync", "--wal-segsize=1"]  # fmt: skip
        assert (tmp_path / "data" / "pg_hba.conf").read_text() == (
            "local all all password\nhost all all 127.0.0.1/32 password\n"
        )
        return
    base = mysql.command(build(kind, tmp_path), *[tmp_path] * 3, 5, tmp_path)[:8]
    if kind == "mysql":
        assert words == [*base, "--initialize-insecure", f"--datadir={tmp_path}/data", "--innodb-flush-method=nosync"]
    else:
        assert words == [
            *(*base, "--bootstrap", f"--datadir={tmp_path}/data", "--skip-networking", "--max-allowed-packet=8M"),
            *("--net-buffer-length=16K", "--innodb-flush-method=nosync"),
        ]
    assert options.get("input_text") == (None if kind == "mysql" else mysql.bootstrap_statements(tmp_path / "share"))


def test_the_user_is_made_over_a_pipe(tmp_path: Path, told: list[Any]) -> None:
    postgres.make_user(build("postgres", tmp_path), tmp_path / "data", "secret", ACCOUNT)
    ((words, options),) = told
    assert words == [
        *("loader", f"{tmp_path}/bin/postgres", "--single", "-D", f"{tmp_path}/data"),
        *("-c", "exit_on_error=on", "-c", "fsync=off", "-c", "password_encryption=scram-sha-256"),
        *("-c", "log_min_error_statement=panic", "postgres"),
    ]
    assert (options["account"], options["environment"]) == (ACCOUNT, tools.plain_environment())
    said = (
        r"CREATE ROLE tester LOGIN CREATEDB PASSWORD 'SCRAM-SHA-256\$1:(\S+)\$\S+:\S+'\nALTER ROLE postgres NOLOGIN\n"
    )
    assert re.fullmatch(said, options["input_text"])
    assert "secret" not in f"{words}{options}"


def test_what_is_stored_of_a_password_is_as_rfc_7677_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    salt = "W22ZaJ0SNY7soEsUEjb6gQ=="
    monkeypatch.setattr(os, "urandom", lambda count: base64.b64decode(salt))
    assert postgres.scram_verifier("pencil", 4096) == (
        f"SCRAM-SHA-256$4096:{salt}$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_what_a_postgres_is_started_with(tmp_path: Path) -> None:
    words = postgres.command(build("postgres", tmp_path), tmp_path / "data", tmp_path / "socket", 5)
    assert words[:8] == ["loader", f"{tmp_path}/bin/postgres", "-D", f"{tmp_path}/data", "-p", "5", "-k",
                         f"{tmp_path}/socket"]  # fmt: skip
    assert words[8::2] == ["-c"] * len(postgres.SETTINGS)
    assert words[9::2] == [f"{name}={value}" for name, value in postgres.SETTINGS.items()]
    assert "listen_addresses=127.0.0.1" in words


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("mysql", ["--secure-file-priv=NULL", "--innodb-redo-log-capacity=8M"]),
        ("mariadb", ["--secure-file-priv=/dev/null", "--innodb-log-file-size=8M"]),
    ],
)
def test_what_a_server_of_mysqls_family_is_started_with(tmp_path: Path, kind: str, own: list[str]) -> None:
    places = tmp_path / "data", tmp_path / "tmp", tmp_path / "socket"
    words = mysql.command(build(kind, tmp_path), *places, 5, tmp_path / "users.sql")
    assert words == [
        *("loader", f"{tmp_path}/bin/{kind}", "--no-defaults"),
        *(f"--lc-messages-dir={tmp_path}/share", f"--character-sets-dir={tmp_path}/share/charsets"),
        f"--plugin-dir={tmp_path}/plugins",
        *own,
        *mysql.SETTINGS,
        *(f"--datadir={tmp_path}/data", "--port=5", f"--socket={tmp_path}/socket"),
        *(f"--pid-file={tmp_path}/data/server.pid", f"--tmpdir={tmp_path}/tmp", f"--init-file={tmp_path}/users.sql"),
        *(["--mysqlx=OFF"] if kind == "mysql" else []),
    ]
    assert {"--bind-address=127.0.0.1", "--local-infile=OFF", "--skip-name-resolve"} <= {*words}
    plain = mysql.command(Build(kind, "1", "1.2", "made up", tmp_path / kind), *places, 5, tmp_path / "users.sql")
    assert plain[:3] == [str(tmp_path / kind), "--no-defaults", own[0]]


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_who_may_log_in_is_told_in_a_file_of_the_server_alone(tmp_path: Path, kind: str) -> None:
    mysql.write_users_file(build(kind, tmp_path), tmp_path / "users.sql", "secret")
    assert (tmp_path / "users.sql").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "users.sql").read_text().splitlines() == [
        "CREATE USER 'tester'@'%' IDENTIFIED BY 'secret';",
        f"GRANT {', '.join(mysql.RIGHTS)} ON *.* TO 'tester'@'%';",
        *(["DROP USER 'root'@'localhost';"] if kind == "mysql" else []),
    ]


@pytest.mark.parametrize(
    ("lines", "ready"),
    [
        (["7", "", "", "", "", "", "", "ready   "], True),
        (["8", "", "", "", "", "", "", "ready   "], False),
        (["7", "", "", "", "", "", "", "starting"], False),
        (["7", "", "", "", "", "", ""], False),
        (None, False),
    ],
)
def test_a_postgres_is_ready_when_this_very_one_says_so(tmp_path: Path, lines: list[str] | None, ready: bool) -> None:
    if lines is not None:
        (tmp_path / "postmaster.pid").write_text("\n".join(lines))
    assert postgres.is_ready(tmp_path, 7) is ready
