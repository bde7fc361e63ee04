"""What people type: specs, and addresses of servers of their own."""

from __future__ import annotations

import socket
import threading

import pytest

from matrix.servers import ServerError, Spec, acquire, address, parse_spec
from matrix.servers.address import given_address, parse_address
from matrix.servers.catalogue import catalogue
from matrix.servers.server import Server


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("postgres", Spec("postgres")),
        ("postgres-17", Spec("postgres", "17")),
        ("mariadb-10.11", Spec("mariadb", "10.11")),
        (" MySQL-9.7 ", Spec("mysql", "9.7")),
        ("sqlite", Spec("sqlite")),
    ],
)
def test_spec_is_read(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "known kinds are sqlite, postgres, mariadb, mysql"),
        ("maria", "known kinds"),
        ("postgres-99", "known versions of postgres are 13, 14, 15, 16, 17, 18"),
        ("mariadb-", "known versions of mariadb are 10.5, 10.6, 10.11, 11.4, 11.8"),
        ("sqlite-3", "written without a version"),
    ],
)
def test_bad_spec_is_refused_in_one_line_that_names_the_known_ones(text: str, reason: str) -> None:
    with pytest.raises(ServerError) as caught:
        parse_spec(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_address_is_decoded() -> None:
    address = parse_address("mysql://us%40er:p%2Fa%3As@[::1]:3307/base?charset=utf8", catalogue().kinds["mysql"])
    assert (address.user, address.password, address.host, address.port) == ("us@er", "p/a:s", "::1", 3307)
    assert (address.database, address.query) == ("base", "charset=utf8")


def test_address_without_port_has_the_usual_one() -> None:
    assert parse_address("postgresql://me:pw@db/", catalogue().kinds["postgres"]).port == 5432


def test_socket_instead_of_host() -> None:
    assert parse_address("mysql://me:pw@/?socket=/run/my.sock", catalogue().kinds["mysql"]).socket == "/run/my.sock"


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "postgres://me:hunter2@db/",
        "mysql://me:hunter2@db:port/",
        "mysql://me:hunter2@db:99999/",
        "mysql://me:hunter2#@db/",
        "mysql://me:hunter2/@db/",
        "mysql://:hunter2@db/",
        "mysql://me:hunter2@[db/",
    ],
)
def test_malformed_address_names_the_variable_and_never_the_password(text: str) -> None:
    with pytest.raises(ServerError) as caught:
        given_address(catalogue().kinds["mysql"], {"MATRIX_MYSQL_URL": text})
    message = str(caught.value)
    assert "MATRIX_MYSQL_URL" in message
    assert "mysql://user:password@host:port/" in message
    assert "hunter2" not in message
    assert caught.value.__cause__ is None


def test_server_hides_its_password_everywhere_but_in_url() -> None:
    server = Server("mysql", "9.7", "::1", 3306, "us/er", "hunter/2", query="password=hunter2")
    assert server.url == "mysql://us%2Fer:hunter%2F2@[::1]:3306/?password=hunter2"
    for shown in (str(server), repr(server), server.public_url):
        assert "hunter" not in shown
    assert server.public_url == "mysql://us%2Fer@[::1]:3306/"


def test_url_of_a_server_can_be_given_back() -> None:
    server = Server("postgres", "17", "127.0.0.1", 5433, "a@b", "p:/?#%", database="x")
    address = parse_address(server.url, catalogue().kinds["postgres"])
    assert (address.user, address.password, address.port, address.database) == ("a@b", "p:/?#%", 5433, "x")


def test_given_address_is_used_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("MATRIX_ORACLE_URL", f"oracle://me:pw@127.0.0.1:{port}/XE")
        server = acquire("oracle")
        assert server.given
        assert server.alive()
        assert server.pid is None
        server.stop()
        assert server.alive()


def test_unreachable_address_is_two_lines_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("MATRIX_MYSQL_URL", f"mysql://me:hunter2@127.0.0.1:{port}/")
    with pytest.raises(ServerError, match=rf"MATRIX_MYSQL_URL names 127\.0\.0\.1:{port}.*refused") as caught:
        acquire("mysql-9.7")
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "says", "problem"),
    [
        ("mysql", b"", "no answer within"),
        ("postgres", b"", "no answer within"),
        ("mysql", b"HTTP/1.1 400 Bad Request\r\n", "is no mysql server"),
        ("postgres", b"HTTP/1.1 400 Bad Request\r\n", "is no postgres server"),
        ("mariadb", b"SSH-2.0-OpenSSH_9.2\r\n", "is no mariadb server"),
        ("mysql", b"\xff\xfe\xfd\xfc\xfb\xfa", "is no mysql server"),
        ("mysql", b"\x4a\x00\x00\x00\x0a9.7.4\x00", ""),
        ("mariadb", b"\x17\x00\x00\x00\xff\x10\x04Too many connections", ""),
        ("postgres", b"N", ""),
    ],
)
def test_what_is_no_server_of_its_kind_is_told_before_anybody_logs_in(
    monkeypatch: pytest.MonkeyPatch, kind: str, says: bytes, problem: str
) -> None:
    monkeypatch.setattr(address, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(says)
                connection.recv(100)
                connection.recv(100)

        threading.Thread(target=serve, daemon=True).start()
        scheme = "postgres" if kind == "postgres" else "mysql"
        monkeypatch.setenv(f"MATRIX_{kind.upper()}_URL", f"{scheme}://me:pw@127.0.0.1:{listener.getsockname()[1]}/")
        if not problem:
            assert acquire(kind).given
            return
        with pytest.raises(ServerError, match=problem) as caught:
            acquire(kind)
    first, second = str(caught.value).splitlines()
    assert f"MATRIX_{kind.upper()}_URL names 127.0.0.1" in first
    assert "unset it" in second


@pytest.mark.parametrize(("kind", "says"), [("mssql", "set MATRIX_MSSQL_URL"), ("sqlite", "embedded")])
def test_server_that_cannot_be_started_says_what_to_do(kind: str, says: str) -> None:
    with pytest.raises(ServerError, match=says):
        acquire(kind)
