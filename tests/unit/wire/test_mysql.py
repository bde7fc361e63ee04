"""What the MySQL tracker makes of streams written by hand: a line per message, with the answers owed after it."""

from __future__ import annotations

import struct

import pytest

from matrix.harness.wire import MySQLTracker
from tests.unit.wire.streams import (
    ALL,
    DEPRECATE_EOF,
    LOGIN_LINES,
    OPTIONAL_METADATA,
    PLAIN,
    QUERY_ATTRIBUTES,
    Script,
    column,
    command,
    cut,
    cuts_in_two,
    down,
    eof,
    err,
    greeting,
    joined,
    login,
    ok,
    outcome,
    packet,
    query,
    reply,
    row,
    told,
    up,
)

SELECT = down(packet(1, b"\x02"), column(2), column(3), eof(4), row(5, "a", None), row(6, "b", "c"), eof(7))
SELECT_LINES = ["<- ResultSet", "<- Column", "<- Column", "<- EOF", "<- Row a, NULL", "<- Row", "<- EOF"]
NO_EOF = PLAIN | DEPRECATE_EOF
CACHED = 1 << 4  # MariaDB's extended capability
MARIADB = ALL & ~1
MORE = 2 | 8
IN_TRANSACTION = 3
PREPARE_OK = b"\0\x09\0\0\0" + struct.pack("<HH", 1, 1) + b"\0\0\0"


def owing(owed: int, *lines: str) -> list[str]:
    return [f"{line} ={owed}" for line in lines]


LOGINS = {
    "fast": (
        login(),
        ["<- Greeting =0", "-> HandshakeResponse =1", "<- OK =0"],
    ),
    "caching_sha2, fast": (
        down(greeting()) + up(reply()) + down(packet(2, b"\x01\x03"), ok(3)),
        ["<- Greeting =0", "-> HandshakeResponse =1", "<- AuthMoreData =1", "<- OK =0"],
    ),
    "caching_sha2, full, by public key": (
        down(greeting())
        + up(reply())
        + down(packet(2, b"\x01\x04"))
        + up(packet(3, b"\x02"))
        + down(packet(4, b"\x01-----BEGIN PUBLIC KEY-----"))
        + up(packet(5, bytes(256)))
        + down(ok(6)),
        [
            "<- Greeting =0",
            "-> HandshakeResponse =1",
            "<- AuthMoreData =0",
            "-> AuthData =1",
            "<- AuthMoreData =0",
            "-> AuthData =1",
            "<- OK =0",
        ],
    ),
    "switched to mysql_native_password": (
        down(greeting())
        + up(reply())
        + down(packet(2, b"\xfemysql_native_password\0salt\0"))
        + up(packet(3, bytes(20)))
        + down(ok(4)),
        ["<- Greeting =0", "-> HandshakeResponse =1", "<- AuthSwitchRequest =0", "-> AuthData =1", "<- OK =0"],
    ),
    "refused": (
        down(greeting()) + up(reply()) + down(err(2, 1045, "Access denied")),
        ["<- Greeting =0", "-> HandshakeResponse =1", "<- ERR 1045 (42000) Access denied =0"],
    ),
    "not even greeted": (
        down(packet(0, b"\xff\x10\x04Too many connections")),
        ["<- ERR 1040 Too many connections =0"],
    ),
    "encrypted": (
        down(greeting())
        + up(packet(1, (PLAIN | 1 << 11).to_bytes(4, "little") + bytes(28)), b"\x16\x03\x01 hello")
        + down(b"\x16\x03\x03 hello"),
        ["<- Greeting =0", "-> SSLRequest =0", "-> raw =0", "<- raw =0"],
    ),
    "compressed": (
        down(greeting(0xFFFFFFFF)) + up(reply(PLAIN | 1 << 5)) + down(ok(2)) + up(b"zz") + down(b"zz"),
        ["<- Greeting =0", "-> HandshakeResponse =1", "<- OK =0", "-> raw =0", "<- raw =0"],
    ),
}

# name -> (login, conversation after it, lines it gives)
COMMANDS: dict[str, tuple[Script, Script, list[str]]] = {
    "ping": (login(), up(command(0x0E)) + down(ok(1)), ["-> COM_PING =1", "<- OK =0"]),
    "no answer to close, long data and quit": (
        login(),
        up(command(0x19, bytes(4)), command(0x18, bytes(9)), command(0x01)),
        ["-> COM_STMT_CLOSE =0", "-> COM_STMT_SEND_LONG_DATA =0", "-> COM_QUIT =0"],
    ),
    "reset, init db, statistics": (
        login(),
        up(command(0x1F))
        + down(ok(1))
        + up(command(0x02, "db"))
        + down(ok(1))
        + up(command(0x09))
        + down(packet(1, b"Uptime: 5")),
        [
            "-> COM_RESET_CONNECTION =1",
            "<- OK =0",
            "-> COM_INIT_DB =1",
            "<- OK =0",
            "-> COM_STATISTICS =1",
            "<- Statistics =0",
        ],
    ),
    "set option ends with EOF": (
        login(),
        up(command(0x1B, b"\0\0")) + down(eof(1)),
        ["-> COM_SET_OPTION =1", "<- EOF =0"],
    ),
    "field list": (
        login(),
        up(command(0x04, b"t\0")) + down(column(1), column(2), eof(3)),
        ["-> COM_FIELD_LIST =1", "<- Column =1", "<- Column =1", "<- EOF =0"],
    ),
    "unknown command": (
        login(),
        up(command(0x77)) + down(err(1)),
        ["-> COM_0x77 =1", "<- ERR 1064 (42000) no =0"],
    ),
    "query without result": (
        login(),
        up(query("BEGIN")) + down(ok(1, IN_TRANSACTION)),
        ["-> COM_QUERY BEGIN =1", "<- OK =0"],
    ),
    "query with error": (
        login(),
        up(query("x")) + down(err(1)),
        ["-> COM_QUERY x =1", "<- ERR 1064 (42000) no =0"],
    ),
    "result set": (
        login(),
        up(query("S")) + SELECT,
        ["-> COM_QUERY S =1", *owing(1, *SELECT_LINES[:-1]), "<- EOF =0"],
    ),
    "result set without EOF": (
        login(NO_EOF),
        up(query("S")) + down(packet(1, b"\x01"), column(2), row(3, "a"), ok(4, 2, 0xFE)),
        ["-> COM_QUERY S =1", "<- ResultSet =1", "<- Column =1", "<- Row a =1", "<- OK =0"],
    ),
    "error among rows": (
        login(),
        up(query("S")) + down(packet(1, b"\x01"), column(2), eof(3), row(4, "a"), err(5, 1317, "interrupted")),
        [
            "-> COM_QUERY S =1",
            "<- ResultSet =1",
            "<- Column =1",
            "<- EOF =1",
            "<- Row a =1",
            "<- ERR 1317 (42000) interrupted =0",
        ],
    ),
    "many results": (
        login(),
        up(query("S; D; x"))
        + down(packet(1, b"\x01"), column(2), eof(3), row(4, "a"), eof(5, MORE), ok(6, MORE), err(7)),
        [
            "-> COM_QUERY S; D; x =1",
            "<- ResultSet =1",
            "<- Column =1",
            "<- EOF =1",
            "<- Row a =1",
            "<- EOF =1",
            "<- OK =1",
            "<- ERR 1064 (42000) no =0",
        ],
    ),
    "many results without EOF": (
        login(NO_EOF),
        up(query("S; S"))
        + down(packet(1, b"\x01"), column(2), ok(3, MORE, 0xFE))
        + down(packet(4, b"\x01"), column(5), row(6, "b"), ok(7, 2, 0xFE)),
        [
            "-> COM_QUERY S; S =1",
            "<- ResultSet =1",
            "<- Column =1",
            "<- OK =1",
            "<- ResultSet =1",
            "<- Column =1",
            "<- Row b =1",
            "<- OK =0",
        ],
    ),
    "metadata left out (MySQL)": (
        login(PLAIN | OPTIONAL_METADATA),
        up(query("S")) + down(packet(1, b"\x01\x00"), eof(2), row(3, "a"), eof(4)),
        ["-> COM_QUERY S =1", "<- ResultSet =1", "<- EOF =1", "<- Row a =1", "<- EOF =0"],
    ),
    "metadata left out (MariaDB), without EOF": (
        login(NO_EOF & ~1, MARIADB, CACHED),
        up(query("S")) + down(packet(1, b"\x01\x00"), row(2, "a"), ok(3, 2, 0xFE)),
        ["-> COM_QUERY S =1", "<- ResultSet =1", "<- Row a =1", "<- OK =0"],
    ),
    "metadata sent (MariaDB)": (
        login(PLAIN & ~1, MARIADB, CACHED),
        up(query("S")) + down(packet(1, b"\x01\x01"), column(2), eof(3), row(4, "a"), eof(5)),
        ["-> COM_QUERY S =1", "<- ResultSet =1", "<- Column =1", "<- EOF =1", "<- Row a =1", "<- EOF =0"],
    ),
    "extended capability of MariaDB that only the driver has": (
        down(greeting(MARIADB, 0)) + up(reply(PLAIN & ~1, CACHED)) + down(ok(2)),
        up(query("S")) + down(packet(1, b"\x01"), column(2), eof(3), eof(4)),
        ["-> COM_QUERY S =1", "<- ResultSet =1", "<- Column =1", "<- EOF =1", "<- EOF =0"],
    ),
    "extended capability in the reply of a driver that knows nothing of MariaDB's": (
        login(PLAIN | 1, MARIADB, CACHED),
        up(query("S")) + down(packet(1, b"\x01"), column(2), eof(3), eof(4)),
        ["-> COM_QUERY S =1", "<- ResultSet =1", "<- Column =1", "<- EOF =1", "<- EOF =0"],
    ),
    "result set that ends with a long OK, as with session tracking": (
        login(NO_EOF),
        up(query("S")) + down(packet(1, b"\x01"), column(2), packet(3, b"\xfe\0\0\x03\x40\0\0\0\x0e tracked state")),
        ["-> COM_QUERY S =1", "<- ResultSet =1", "<- Column =1", "<- OK =0"],
    ),
    "query attributes": (
        login(PLAIN | QUERY_ATTRIBUTES),
        up(query("\0\1SELECT 1")) + down(ok(1)),
        ["-> COM_QUERY SELECT 1 =1", "<- OK =0"],
    ),
    "progress reports": (
        login(),
        up(query("ALTER")) + down(packet(1, b"\xff\xff\xff\x01\x01\x02"), ok(2)),
        ["-> COM_QUERY ALTER =1", "<- Progress =1", "<- OK =0"],
    ),
    "local file": (
        login(),
        up(query("LOAD"))
        + down(packet(1, b"\xfbrows.tsv"))
        + up(packet(2, b"1\tone\n"), packet(3, b"2\ttwo\n"), packet(4, b""))
        + down(ok(5)),
        [
            "-> COM_QUERY LOAD =1",
            "<- LocalInfile =0",
            "-> LocalData =0",
            "-> LocalData =0",
            "-> LocalDataEnd =1",
            "<- OK =0",
        ],
    ),
    "prepare, execute, reset, close": (
        login(),
        up(command(0x16, "S ?"))
        + down(packet(1, PREPARE_OK), column(2), eof(3), column(4), eof(5))
        + up(command(0x17, b"\x09\0\0\0\0\1\0\0\0"))
        + down(packet(1, b"\x02"), column(2, 3), column(3), eof(4))
        + down(packet(5, b"\0\0\x2a\0\0\0\x01x"), packet(6, b"\0\x04\0\0\0\0"), eof(7))
        + up(command(0x1A, b"\x09\0\0\0"))
        + down(ok(1))
        + up(command(0x19, b"\x09\0\0\0")),
        [
            "-> COM_STMT_PREPARE S ? =1",
            "<- PrepareOK =1",
            "<- Definition =1",
            "<- EOF =1",
            "<- Definition =1",
            "<- EOF =0",
            "-> COM_STMT_EXECUTE S ? =1",
            "<- ResultSet =1",
            "<- Column =1",
            "<- Column =1",
            "<- EOF =1",
            "<- Row 42, x =1",
            "<- Row =1",
            "<- EOF =0",
            "-> COM_STMT_RESET =1",
            "<- OK =0",
            "-> COM_STMT_CLOSE =0",
        ],
    ),
    "prepare without EOF": (
        login(NO_EOF),
        up(command(0x16, "S ?")) + down(packet(1, PREPARE_OK), column(2), column(3)),
        ["-> COM_STMT_PREPARE S ? =1", "<- PrepareOK =1", "<- Definition =1", "<- Definition =0"],
    ),
    "prepare without metadata": (
        login(PLAIN | OPTIONAL_METADATA),
        up(command(0x16, "S ?")) + down(packet(1, PREPARE_OK + b"\0")),
        ["-> COM_STMT_PREPARE S ? =1", "<- PrepareOK =0"],
    ),
    "prepare of a statement without parameters or columns, and of a bad one": (
        login(),
        up(command(0x16, "D")) + down(packet(1, b"\0\x01\0\0\0" + bytes(7))) + up(command(0x16, "x")) + down(err(1)),
        ["-> COM_STMT_PREPARE D =1", "<- PrepareOK =0", "-> COM_STMT_PREPARE x =1", "<- ERR 1064 (42000) no =0"],
    ),
    "cursor": (
        login(),
        up(command(0x17, b"\x09\0\0\0\1\1\0\0\0"))
        + down(packet(1, b"\x01"), column(2), eof(3, 2 | 64))
        + up(command(0x1C, b"\x09\0\0\0\x01\0\0\0"))
        + down(packet(1, b"\0\0\x01x"), eof(2, 2 | 64)),
        [
            "-> COM_STMT_EXECUTE =1",
            "<- ResultSet =1",
            "<- Column =1",
            "<- EOF =0",
            "-> COM_STMT_FETCH =1",
            "<- Row =1",
            "<- EOF =0",
        ],
    ),
    "change user": (
        login(),
        up(command(0x11, b"u\0"))
        + down(packet(1, b"\xfecaching_sha2_password\0salt\0"))
        + up(packet(2, bytes(32)))
        + down(packet(3, b"\x01\x03"), ok(4)),
        ["-> COM_CHANGE_USER =1", "<- AuthSwitchRequest =0", "-> AuthData =1", "<- AuthMoreData =1", "<- OK =0"],
    ),
    "replication": (
        login(),
        up(command(0x12, bytes(10))) + down(b"anything"),
        ["-> COM_BINLOG_DUMP =0", "<- raw =0"],
    ),
    "two commands at once": (
        login(),
        up(query("A"), query("B")) + SELECT + down(ok(1)),
        ["-> COM_QUERY A =1", "-> COM_QUERY B =2", *owing(2, *SELECT_LINES[:-1]), "<- EOF =1", "<- OK =0"],
    ),
    "error in the pipeline": (
        login(),
        up(query("A"), query("x"), command(0x19, bytes(4)), query("C"))
        + down(ok(1), err(1), packet(1, b"\x01"), column(2), eof(3), row(4, "c"), eof(5)),
        [
            "-> COM_QUERY A =1",
            "-> COM_QUERY x =2",
            "-> COM_STMT_CLOSE =2",
            "-> COM_QUERY C =3",
            "<- OK =2",
            "<- ERR 1064 (42000) no =1",
            "<- ResultSet =1",
            "<- Column =1",
            "<- EOF =1",
            "<- Row c =1",
            "<- EOF =0",
        ],
    ),
    "a command that the server reads as part of a file": (
        login(),
        up(query("LOAD"), query("B"))
        + down(packet(1, b"\xfbrows.tsv"))
        + up(packet(2, b"1\n"), packet(3, b""))
        + down(err(4)),
        [
            "-> COM_QUERY LOAD =1",
            "-> COM_QUERY B =2",
            "<- LocalInfile =0",
            "-> LocalData [sequence 2, expected 1] =0",
            "-> LocalDataEnd =1",
            "<- ERR 1064 (42000) no =0",
        ],
    ),
    "a file sent ahead of the request for it": (
        login(),
        up(query("LOAD"), packet(2, b"1\n"), packet(3, b"")) + down(packet(1, b"\xfbrows.tsv"), ok(4)),
        [
            "-> COM_QUERY LOAD =1",
            "-> COM_0x31 [sequence 2, expected 0] =2",
            "-> COM_SLEEP [sequence 3, expected 0] =3",
            "<- LocalInfile =1",
            "<- OK =0",
        ],
    ),
    "a command that the server reads as a password": (
        login(),
        up(command(0x11, b"u\0"), query("B"), query("C"))
        + down(packet(1, b"\xfemysql_native_password\0salt\0"), err(1, 1045), ok(1)),
        [
            "-> COM_CHANGE_USER =1",
            "-> COM_QUERY B =2",
            "-> COM_QUERY C =3",
            "<- AuthSwitchRequest =2",
            "<- ERR 1045 (42000) no =1",
            "<- OK =0",
        ],
    ),
    "odd sequence ids": (
        login(),
        up(command(0x0E, sequence=3)) + down(ok(4)) + up(command(0x0E)) + down(ok(9)),
        ["-> COM_PING [sequence 3, expected 0] =1", "<- OK =0", "-> COM_PING =1", "<- OK [sequence 9, expected 1] =0"],
    ),
    "good-bye of the server": (
        login(),
        down(packet(0, b"\xff\xbf\x0f#HY000inactive")),
        ["<- ERR 4031 (HY000) inactive =0"],
    ),
    "a password in a statement": (
        login(),
        up(query("CREATE USER u IDENTIFIED BY 'sec\\'ret'")) + down(err(1, 1064, "near 'IDENTIFIED BY 's'' at 1")),
        ["-> COM_QUERY CREATE USER u IDENTIFIED BY '***' =1", "<- ERR 1064 (42000) near '***' =0"],
    ),
    "an answer that nobody asked for": (
        login(),
        down(ok(1), b"more"),
        ["<- garbage the server spoke although no answer was due =0", "<- raw =0"],
    ),
    "an answer of no known shape": (
        login(),
        up(command(0x0E)) + down(packet(1, b"\x42")),
        ["-> COM_PING =1", "<- garbage answer to COM_PING begins with neither OK, EOF nor ERR =0"],
    ),
}

SCRIPTS = {f"login: {name}": script for name, (script, _) in LOGINS.items()}
SCRIPTS |= {name: before + script for name, (before, script, _) in COMMANDS.items()}


@pytest.mark.parametrize("name", LOGINS)
def test_login(name: str) -> None:
    """Each turn of a login is one answer; no password or scramble is shown."""
    script, lines = LOGINS[name]
    assert told("mysql", script) == lines


@pytest.mark.parametrize("name", COMMANDS)
def test_command(name: str) -> None:
    """Each command is owed exactly the answers that the server gives."""
    before, script, lines = COMMANDS[name]
    assert told("mysql", before + script)[LOGIN_LINES:] == lines


@pytest.mark.parametrize("name", SCRIPTS)
def test_cutting_changes_nothing(name: str) -> None:
    """Wherever the bytes are cut, the same frames come, and the server's bytes come out unchanged."""
    script = SCRIPTS[name]
    whole = outcome("mysql", script)
    assert whole[1] == b"".join(data for way, data in script if way == "<-")
    for size in (1, 2, 3, 5, 7):
        assert outcome("mysql", cut(script, size)) == whole
    for variant in cuts_in_two(script):
        assert outcome("mysql", variant) == whole
    assert outcome("mysql", joined(script)) == whole


def test_what_the_session_says() -> None:
    """Thread id, login and transaction state are the server's own words."""
    tracker = MySQLTracker()
    assert (tracker.owed, tracker.backend_id, tracker.ready, tracker.in_transaction) == (1, None, False, None)
    tracker.server(greeting())
    tracker.client(reply())
    assert (tracker.backend_id, tracker.ready, tracker.in_transaction) == (77, False, None)
    tracker.server(ok(2))
    assert (tracker.ready, tracker.in_transaction) == (True, False)
    tracker.client(query("BEGIN"))
    tracker.server(ok(1, IN_TRANSACTION))
    assert tracker.in_transaction is True
    tracker.client(query("x"))
    tracker.server(err(1))
    assert tracker.in_transaction is True, "an ERR says nothing of the transaction"


def test_message_of_more_than_one_packet() -> None:
    """16 MB and more go in several packets, which are one message each way; a last packet may be empty."""
    tracker = MySQLTracker()
    for way, data in login():
        tracker.client(data) if way == "->" else tracker.server(data)
    full = 0xFFFFFF
    big = b"\x03INSERT" + bytes(full - 7)
    (frame,) = tracker.client(packet(0, big) + packet(1, b"tail"))
    assert (frame.kind, frame.length, tracker.owed) == ("COM_QUERY", full + 4 + 8, 1)
    tracker.server(packet(2, b"\x01") + column(3) + eof(4))
    value = b"\xfe" + (full - 9).to_bytes(8, "little") + b"v" * (full - 9)  # begins like an EOF
    stream = packet(5, value) + packet(6, b"") + eof(7)
    pieces = [piece for start in range(0, len(stream), 1 << 20) for piece in tracker.server(stream[start:][: 1 << 20])]
    assert [(piece.frame.kind, len(piece.data), piece.ends_answer) for piece in pieces] == [
        ("Row", full + 8, False),
        ("EOF", 9, True),
    ]
    assert "sequence" not in pieces[0].frame.text
    assert b"".join(piece.data for piece in pieces) == stream
    assert tracker.owed == 0


def test_an_empty_row_of_sixteen_megabytes_is_no_end_without_eof_either() -> None:
    """With CLIENT_DEPRECATE_EOF the header 0xFE means the end only in a message of less than 16 MB."""
    tracker = MySQLTracker()
    for way, data in login(NO_EOF) + up(query("S")) + down(packet(1, b"\x01"), column(2)):
        tracker.client(data) if way == "->" else tracker.server(data)
    full = 0xFFFFFF
    value = b"\xfe" + (full - 9).to_bytes(8, "little") + b"v" * (full - 9)
    assert [piece.frame.kind for piece in tracker.server(packet(3, value) + packet(4, b""))] == ["Row"]
    assert [piece.ends_answer for piece in tracker.server(ok(5, 2, 0xFE))] == [True]


@pytest.mark.parametrize("stream", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(20), b"\xff" * 20, b"SSH-2.0-x\r\n"])
def test_no_mysql_server(stream: bytes) -> None:
    """Something else than a MySQL server is known by its first bytes and passed on blindly."""
    tracker = MySQLTracker()
    pieces = tracker.server(stream)
    assert [piece.frame.kind for piece in pieces] == ["garbage"]
    assert pieces[0].data == stream
    assert (tracker.blind, tracker.owed) == (True, 0)
    assert tracker.server(b"x")[0].frame.kind == "raw"
