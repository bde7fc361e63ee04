"""What the PostgreSQL tracker makes of streams written by hand: a line per message, with the answers owed after it."""

from __future__ import annotations

import struct

import pytest

from matrix.harness.wire import PostgresTracker
from tests.unit.wire.streams import (
    AUTHENTICATION_OK,
    BACKEND_KEY,
    BIND_COMPLETE,
    CLOSE,
    CLOSE_COMPLETE,
    COPY_IN,
    EMPTY,
    EXECUTE,
    FAILED,
    FLUSH,
    IDLE,
    IN_TRANSACTION,
    NO_DATA,
    PARAMETERS,
    PARSE_COMPLETE,
    SESSION,
    SESSION_LINES,
    SSL_REQUEST,
    STARTUP,
    SUSPENDED,
    SYNC,
    Script,
    bind,
    columns,
    complete,
    cut,
    cuts_in_two,
    describe,
    down,
    error,
    joined,
    message,
    outcome,
    parse,
    simple,
    told,
    untyped,
    up,
    values,
)

INT4, TEXT = 23, 25
SASL = message("R", struct.pack(">I", 10) + b"SCRAM-SHA-256\0\0")
SASL_CONTINUE = message("R", struct.pack(">I", 11) + b"r=nonce")
SASL_FINAL = message("R", struct.pack(">I", 12) + b"v=proof")
NOTICE = message("N", b"SNOTICE\0VNOTICE\0C00000\0Mbeware\0\0")
PARAMETER = message("S", b"TimeZone\0UTC\0")
NOTIFICATION = message("A", struct.pack(">I", 1) + b"channel\0payload\0")
REFUSED = "<- ErrorResponse ERROR 42601 no"

LOGINS = {
    "trusted": (
        SESSION,
        ["-> StartupMessage =1", "<- Authentication =1", "<- BackendKeyData =1", "<- ReadyForQuery idle =0"],
    ),
    "SASL": (
        up(STARTUP)
        + down(SASL)
        + up(message("p", b"SCRAM-SHA-256\0first"))
        + down(SASL_CONTINUE)
        + up(message("p", b"last"))
        + down(SASL_FINAL, AUTHENTICATION_OK, PARAMETER, BACKEND_KEY, IDLE),
        [
            "-> StartupMessage =1",
            "<- Authentication =0",
            "-> AuthData =1",
            "<- Authentication =0",
            "-> AuthData =1",
            "<- Authentication =1",
            "<- Authentication =1",
            "<- ParameterStatus =1",
            "<- BackendKeyData =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "encryption refused": (
        up(SSL_REQUEST) + down(b"N") + SESSION,
        [
            "-> SSLRequest =1",
            "<- EncryptionRefused =0",
            "-> StartupMessage =1",
            "<- Authentication =1",
            "<- BackendKeyData =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "GSS, then TLS": (
        up(untyped(80877104)) + down(b"N") + up(SSL_REQUEST) + down(b"S") + up(b"\x16\x03") + down(b"\x16\x03"),
        [
            "-> GSSENCRequest =1",
            "<- EncryptionRefused =0",
            "-> SSLRequest =1",
            "<- EncryptionAccepted =0",
            "-> raw =0",
            "<- raw =0",
        ],
    ),
    "refused": (
        up(STARTUP) + down(error("28P01", "FATAL", "password authentication failed")),
        ["-> StartupMessage =1", "<- ErrorResponse FATAL 28P01 password authentication failed =0"],
    ),
    "cancel request": (
        up(untyped(80877102, struct.pack(">II", 4711, 12345))),
        ["-> CancelRequest pid 4711 =0"],
    ),
    "TLS at once": (
        up(b"\x16\x03\x01\x02\x00"),
        ["-> garbage no startup message =0"],
    ),
    "older protocol version offered": (
        up(untyped(196610, b"user\0u\0\0")) + down(message("v", struct.pack(">II", 0, 0)), AUTHENTICATION_OK, IDLE),
        ["-> StartupMessage =1", "<- NegotiateProtocolVersion =1", "<- Authentication =1", "<- ReadyForQuery idle =0"],
    ),
}

COMMANDS: dict[str, tuple[Script, list[str]]] = {
    "simple query": (
        up(simple("SELECT 1")) + down(columns(INT4), values(b"1"), values(b"2"), complete(), IDLE),
        [
            "-> Query SELECT 1 =1",
            "<- RowDescription =1",
            "<- DataRow 1 =1",
            "<- DataRow =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "several statements in one": (
        up(simple("A; B; "))
        + down(columns(TEXT), values(b"a"), complete(), columns(TEXT), values(None), complete(), FAILED),
        [
            "-> Query A; B;  =1",
            "<- RowDescription =1",
            "<- DataRow a =1",
            "<- CommandComplete =1",
            "<- RowDescription =1",
            "<- DataRow NULL =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery failed transaction =0",
        ],
    ),
    "empty query": (
        up(simple("")) + down(EMPTY, IDLE),
        ["-> Query =1", "<- EmptyQueryResponse =1", "<- ReadyForQuery idle =0"],
    ),
    "error in a simple query": (
        up(simple("x")) + down(error(), IDLE),
        ["-> Query x =1", f"{REFUSED} =1", "<- ReadyForQuery idle =0"],
    ),
    "messages that may come at any time": (
        down(NOTICE, NOTIFICATION, PARAMETER)
        + up(parse("S"))
        + down(NOTICE)
        + up(SYNC)
        + down(PARAMETER, PARSE_COMPLETE, NOTIFICATION, IDLE, NOTIFICATION),
        [
            "<- NoticeResponse NOTICE 00000 beware =0",
            "<- NotificationResponse =0",
            "<- ParameterStatus =0",
            "-> Parse S =0",
            "<- NoticeResponse NOTICE 00000 beware =0",
            "-> Sync =1",
            "<- ParameterStatus =1",
            "<- ParseComplete =1",
            "<- NotificationResponse =1",
            "<- ReadyForQuery idle =0",
            "<- NotificationResponse =0",
        ],
    ),
    "extended query": (
        up(parse("S"), bind(binary=True), describe(what="P"), EXECUTE, CLOSE, SYNC)
        + down(PARSE_COMPLETE, BIND_COMPLETE, columns(INT4, TEXT), values(struct.pack(">i", -5), b"x"), complete())
        + down(CLOSE_COMPLETE, IN_TRANSACTION),
        [
            "-> Parse S =0",
            "-> Bind S =0",
            "-> Describe S =0",
            "-> Execute S =0",
            "-> Close S =0",
            "-> Sync =1",
            "<- ParseComplete =1",
            "<- BindComplete =1",
            "<- RowDescription =1",
            "<- DataRow -5, x =1",
            "<- CommandComplete =1",
            "<- CloseComplete =1",
            "<- ReadyForQuery in transaction =0",
        ],
    ),
    "prepared with a flush, then executed (as asyncpg does)": (
        up(parse("S", "s"), describe("s"), FLUSH)
        + down(PARSE_COMPLETE, PARAMETERS, columns(INT4))
        + up(bind("s", binary=True), EXECUTE, SYNC)
        + down(BIND_COMPLETE, values(struct.pack(">i", 7)), SUSPENDED, IDLE),
        [
            "-> Parse S =0",
            "-> Describe S =0",
            "-> Flush =1",
            "<- ParseComplete =1",
            "<- ParameterDescription =1",
            "<- RowDescription =0",
            "-> Bind S =0",
            "-> Execute S =0",
            "-> Sync =1",
            "<- BindComplete =1",
            "<- DataRow 7 =1",
            "<- PortalSuspended =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "flush with nothing to flush": (
        up(FLUSH, simple("A"), FLUSH) + down(complete(), IDLE) + up(FLUSH),
        [
            "-> Flush =0",
            "-> Query A =1",
            "-> Flush =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery idle =0",
            "-> Flush =0",
        ],
    ),
    "an answer that comes before anybody asked to flush it": (
        up(parse("A"))
        + down(PARSE_COMPLETE)
        + up(FLUSH, describe())
        + down(PARAMETERS, NO_DATA)
        + up(SYNC)
        + down(IDLE),
        [
            "-> Parse A =0",
            "<- ParseComplete =0",
            "-> Flush =0",
            "-> Describe A =0",
            "<- ParameterDescription =0",
            "<- NoData =0",
            "-> Sync =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "two syncs at once": (
        up(parse("A"), bind(), EXECUTE, SYNC, parse("B"), bind(), EXECUTE, SYNC)
        + down(PARSE_COMPLETE, BIND_COMPLETE, complete(), IDLE, PARSE_COMPLETE, BIND_COMPLETE, complete(), IDLE),
        [
            "-> Parse A =0",
            "-> Bind A =0",
            "-> Execute A =0",
            "-> Sync =1",
            "-> Parse B =1",
            "-> Bind B =1",
            "-> Execute B =1",
            "-> Sync =2",
            "<- ParseComplete =2",
            "<- BindComplete =2",
            "<- CommandComplete =2",
            "<- ReadyForQuery idle =1",
            "<- ParseComplete =1",
            "<- BindComplete =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "two simple queries at once": (
        up(simple("A"), simple("B")) + down(complete(), IDLE, error(), IDLE),
        [
            "-> Query A =1",
            "-> Query B =2",
            "<- CommandComplete =2",
            "<- ReadyForQuery idle =1",
            f"{REFUSED} =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "error in the pipeline": (
        up(parse("A"), bind(), EXECUTE, parse("B"), bind(), EXECUTE, SYNC, parse("C"), SYNC)
        + down(PARSE_COMPLETE, error(), IDLE, PARSE_COMPLETE, IDLE),
        [
            "-> Parse A =0",
            "-> Bind A =0",
            "-> Execute A =0",
            "-> Parse B =0",
            "-> Bind B =0",
            "-> Execute B =0",
            "-> Sync =1",
            "-> Parse C =1",
            "-> Sync =2",
            "<- ParseComplete =2",
            f"{REFUSED} =2",
            "<- ReadyForQuery idle =1",
            "<- ParseComplete =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "error in what was flushed; everything up to the sync is skipped": (
        up(parse("A"), describe(), FLUSH)
        + down(error())
        + up(parse("B"), FLUSH, simple("C"), SYNC)
        + down(IDLE)
        + up(simple("D"))
        + down(complete(), IDLE),
        [
            "-> Parse A =0",
            "-> Describe A =0",
            "-> Flush =1",
            f"{REFUSED} =0",
            "-> Parse B =0",
            "-> Flush =0",
            "-> Query C =0",
            "-> Sync =1",
            "<- ReadyForQuery idle =0",
            "-> Query D =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "error with two flushes and a query behind it": (
        up(parse("A"), FLUSH, describe(), FLUSH, simple("B"), SYNC) + down(error(), IDLE),
        [
            "-> Parse A =0",
            "-> Flush =1",
            "-> Describe A =1",
            "-> Flush =2",
            "-> Query B =3",
            "-> Sync =4",
            f"{REFUSED} =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "error that is told before anybody asked": (
        up(parse("x")) + down(error()) + up(SYNC) + down(IDLE),
        ["-> Parse x =0", f"{REFUSED} =0", "-> Sync =1", "<- ReadyForQuery idle =0"],
    ),
    "error at the sync itself": (
        up(parse("A"), bind(), EXECUTE, SYNC) + down(PARSE_COMPLETE, BIND_COMPLETE, complete(), error("23503"), IDLE),
        [
            "-> Parse A =0",
            "-> Bind A =0",
            "-> Execute A =0",
            "-> Sync =1",
            "<- ParseComplete =1",
            "<- BindComplete =1",
            "<- CommandComplete =1",
            "<- ErrorResponse ERROR 23503 no =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "function call": (
        up(message("F", bytes(10))) + down(message("V", bytes(4)), IDLE),
        ["-> FunctionCall =1", "<- FunctionCallResponse =1", "<- ReadyForQuery idle =0"],
    ),
    "copy in": (
        up(simple("COPY t FROM STDIN"))
        + down(COPY_IN)
        + up(message("d", b"1\n"), message("c"))
        + down(complete("COPY 1"), IDLE),
        [
            "-> Query COPY t FROM STDIN =1",
            "<- CopyInResponse =0",
            "-> CopyData =0",
            "-> CopyDone =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "copy in, rows sent ahead (as asyncpg does)": (
        up(simple("COPY"), message("d", b"1\n"), message("c")) + down(COPY_IN, complete("COPY 1"), IDLE),
        [
            "-> Query COPY =1",
            "-> CopyData =1",
            "-> CopyDone =1",
            "<- CopyInResponse =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "copy in, ended by an error of the server": (
        up(simple("COPY")) + down(COPY_IN) + up(message("d", b"x\n")) + down(error()) + up(message("c")) + down(IDLE),
        [
            "-> Query COPY =1",
            "<- CopyInResponse =0",
            "-> CopyData =0",
            f"{REFUSED} =1",
            "-> CopyDone =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "copy in, given up by the driver": (
        up(simple("COPY")) + down(COPY_IN) + up(message("f", b"enough\0")) + down(error("57014"), IDLE),
        [
            "-> Query COPY =1",
            "<- CopyInResponse =0",
            "-> CopyFail =1",
            "<- ErrorResponse ERROR 57014 no =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "copy in by the extended protocol: the server ignores a sync within it": (
        up(parse("COPY"), bind(), EXECUTE, SYNC)
        + down(PARSE_COMPLETE, BIND_COMPLETE, COPY_IN)
        + up(message("d", b"1\n"), SYNC, message("c"), SYNC)
        + down(complete("COPY 1"), IDLE),
        [
            "-> Parse COPY =0",
            "-> Bind COPY =0",
            "-> Execute COPY =0",
            "-> Sync =1",
            "<- ParseComplete =1",
            "<- BindComplete =1",
            "<- CopyInResponse =0",
            "-> CopyData =0",
            "-> Sync =0",
            "-> CopyDone =0",
            "-> Sync =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "copy in by the extended protocol, refused before a row was read": (
        up(parse("COPY"), bind(), EXECUTE, SYNC) + down(PARSE_COMPLETE, BIND_COMPLETE, COPY_IN, error(), IDLE),
        [
            "-> Parse COPY =0",
            "-> Bind COPY =0",
            "-> Execute COPY =0",
            "-> Sync =1",
            "<- ParseComplete =1",
            "<- BindComplete =1",
            "<- CopyInResponse =0",
            f"{REFUSED} =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "copy in by the extended protocol, refused while rows were on their way": (
        up(parse("COPY"), bind(), EXECUTE, SYNC)
        + down(PARSE_COMPLETE, BIND_COMPLETE, COPY_IN)
        + up(message("d", b"1\n"))
        + down(error(), IDLE)
        + up(message("c"), SYNC)
        + down(IDLE),
        [
            "-> Parse COPY =0",
            "-> Bind COPY =0",
            "-> Execute COPY =0",
            "-> Sync =1",
            "<- ParseComplete =1",
            "<- BindComplete =1",
            "<- CopyInResponse =0",
            "-> CopyData =0",
            f"{REFUSED} =0",
            "<- ReadyForQuery idle =0",
            "-> CopyDone =0",
            "-> Sync =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "a query sent into a copy": (
        up(simple("COPY"), simple("B")) + down(COPY_IN, error("08P01"), error("08P01", "FATAL")),
        [
            "-> Query COPY =1",
            "-> Query B =2",
            "<- CopyInResponse =2",
            "<- ErrorResponse ERROR 08P01 no =2",
            "<- ErrorResponse FATAL 08P01 no =0",
        ],
    ),
    "copy out": (
        up(simple("COPY"))
        + down(message("H", b"\0\0\0"), message("d", b"1\n"), message("c"), complete("COPY 1"), IDLE),
        [
            "-> Query COPY =1",
            "<- CopyOutResponse =1",
            "<- CopyData =1",
            "<- CopyDone =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "leftovers of a copy are ignored": (
        up(message("d", b"1"), message("c"), simple("A"), message("f", b"\0"), simple("B"))
        + down(complete(), IDLE, complete(), IDLE),
        [
            "-> CopyData =0",
            "-> CopyDone =0",
            "-> Query A =1",
            "-> CopyFail =1",
            "-> Query B =2",
            "<- CommandComplete =2",
            "<- ReadyForQuery idle =1",
            "<- CommandComplete =1",
            "<- ReadyForQuery idle =0",
        ],
    ),
    "replication": (
        up(simple("START_REPLICATION")) + down(message("W", b"\0\0\0"), b"anything"),
        ["-> Query START_REPLICATION =1", "<- CopyBothResponse =0", "<- raw =0"],
    ),
    "good-bye of the server in mid-query": (
        up(simple("A"), simple("B")) + down(error("57P01", "FATAL")) + up(simple("C")),
        ["-> Query A =1", "-> Query B =2", "<- ErrorResponse FATAL 57P01 no =0", "-> Query =0"],
    ),
    "good-bye of the driver": (
        up(simple("A"), message("X")) + down(complete(), IDLE),
        ["-> Query A =1", "-> Terminate =1", "<- CommandComplete =1", "<- ReadyForQuery idle =0"],
    ),
    "a password in a statement": (
        up(simple("ALTER ROLE u PASSWORD 'sec''ret'")) + down(complete(), IDLE),
        ["-> Query ALTER ROLE u PASSWORD '***' =1", "<- CommandComplete =1", "<- ReadyForQuery idle =0"],
    ),
    "an answer that nobody asked for": (
        down(complete()),
        ["<- garbage CommandComplete came when nothing was to be answered =0"],
    ),
    "an answer to something else": (
        up(parse("A"), SYNC) + down(BIND_COMPLETE),
        ["-> Parse A =0", "-> Sync =1", "<- garbage BindComplete came when Parse was to be answered =0"],
    ),
    "a message of unknown type": (
        up(b"!"),
        ["-> garbage a message of unknown type =0"],
    ),
}

SCRIPTS = {f"login: {name}": script for name, (script, _) in LOGINS.items()}
SCRIPTS |= {name: SESSION + script for name, (script, _) in COMMANDS.items()}


@pytest.mark.parametrize("name", LOGINS)
def test_login(name: str) -> None:
    """Each turn of a login is one answer; no authentication data is shown."""
    script, lines = LOGINS[name]
    assert told("postgres", script) == lines


@pytest.mark.parametrize("name", COMMANDS)
def test_command(name: str) -> None:
    """Each Sync, Query and Flush is owed exactly the answer that the server gives."""
    script, lines = COMMANDS[name]
    assert told("postgres", SESSION + script)[SESSION_LINES:] == [line.replace("  =", " =") for line in lines]


@pytest.mark.parametrize("name", SCRIPTS)
def test_cutting_changes_nothing(name: str) -> None:
    """Wherever the bytes are cut, the same frames come, and the server's bytes come out unchanged."""
    script = SCRIPTS[name]
    whole = outcome("postgres", script)
    assert whole[1] == b"".join(data for way, data in script if way == "<-")
    for size in (1, 2, 3, 5, 7):
        assert outcome("postgres", cut(script, size)) == whole
    for variant in cuts_in_two(script):
        assert outcome("postgres", variant) == whole
    assert outcome("postgres", joined(script)) == whole


def test_what_the_session_says() -> None:
    """Process id, login and transaction state are the server's own words."""
    tracker = PostgresTracker()
    assert (tracker.owed, tracker.backend_id, tracker.ready, tracker.in_transaction) == (0, None, False, None)
    tracker.client(STARTUP)
    tracker.server(AUTHENTICATION_OK + BACKEND_KEY)
    assert (tracker.owed, tracker.backend_id, tracker.ready) == (1, 4711, False)
    tracker.server(IDLE)
    assert (tracker.owed, tracker.ready, tracker.in_transaction) == (0, True, False)
    tracker.client(simple("BEGIN"))
    tracker.server(complete("BEGIN") + IN_TRANSACTION)
    assert tracker.in_transaction is True
    tracker.client(simple("x"))
    tracker.server(error() + FAILED)
    assert tracker.in_transaction is True


@pytest.mark.parametrize("stream", [b"HTTP/1.1 400 Bad Request\r\n", bytes(20), b"\xff" * 20, b"\x0a8.4.0\0"])
def test_no_postgres_server(stream: bytes) -> None:
    """Something else than a PostgreSQL server is known by its first bytes and passed on blindly."""
    tracker = PostgresTracker()
    tracker.client(STARTUP)
    pieces = tracker.server(stream)
    assert [piece.frame.kind for piece in pieces] == ["garbage"]
    assert pieces[0].data == stream
    assert (tracker.blind, tracker.owed) == (True, 0)
