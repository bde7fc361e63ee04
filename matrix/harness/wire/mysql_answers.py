"""The shapes of MySQL's answers: each function reads one message of an answer and names the step that reads the next.

A step takes (answer, session, payload, size) and returns the frame's kind and text; it sets `answer.turn` when the
answer is over. `payload` may be cut after 16 MB, `size` is the whole message's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from matrix.harness.wire.frames import TEXT_LIMIT, Garbage, shortened, speaks_of_secrets

CONTINUES, ASKS, ENDS = range(3)

OK, INFILE, EOF, ERR = 0x00, 0xFB, 0xFE, 0xFF
FAST_LOGIN = b"\x01\x03"  # caching_sha2_password: the scramble was right, an OK follows without a turn of the driver's

# capabilities, as in the greeting and in the driver's reply
LONG_PASSWORD = 1 << 0  # called CLIENT_MYSQL by MariaDB, whose servers leave it out to announce their own flags
COMPRESS = 1 << 5
PROTOCOL_41 = 1 << 9
SSL = 1 << 11
DEPRECATE_EOF = 1 << 24
OPTIONAL_METADATA = 1 << 25
ZSTD = 1 << 26
QUERY_ATTRIBUTES = 1 << 27
CACHE_METADATA = 1 << 4  # of MariaDB's own
SSL_REQUEST_SIZE = 32

# status flags
IN_TRANSACTION = 1 << 0
MORE_RESULTS = 1 << 3
CURSOR_EXISTS = 1 << 6

_STATEMENTS_REMEMBERED = 1000


class ConnectionState:
    """What the connection has learned so far and what the shape of answers depends on."""

    def __init__(self) -> None:
        self.thread_id: int | None = None
        self.ready = False
        self.in_transaction: bool | None = None
        self.server_flags = 0
        self.server_extra = 0
        self.no_eof = False  # rows end with an OK under an EOF's header, and definitions end with nothing
        self.metadata_flag = False  # a column count is followed by a byte: definitions are sent or not
        self.prepare_flag = False  # the same in the answer to a prepare (MySQL only)
        self.attributes = False
        self.compressed = False
        self.statements: dict[bytes, str] = {}  # statement id as on the wire -> its SQL

    def negotiate(self, payload: bytes, size: int) -> bool:
        """Take the capabilities that both sides have; False when the driver asks for encryption."""
        flags = int.from_bytes(payload[:4], "little")
        if len(payload) < SSL_REQUEST_SIZE or not flags & PROTOCOL_41:
            raise Garbage("a login older than MySQL 4.1")
        if flags & SSL and size == SSL_REQUEST_SIZE:
            return False
        common = flags & self.server_flags
        extra = 0 if flags & LONG_PASSWORD else int.from_bytes(payload[28:32], "little") & self.server_extra
        self.no_eof = bool(common & DEPRECATE_EOF)
        self.prepare_flag = bool(common & OPTIONAL_METADATA)
        self.metadata_flag = self.prepare_flag or bool(extra & CACHE_METADATA)
        self.attributes = bool(common & QUERY_ATTRIBUTES)
        self.compressed = bool(common & (COMPRESS | ZSTD))
        return True

    def status(self, flags: int) -> None:
        self.in_transaction = bool(flags & IN_TRANSACTION)

    def query_of(self, payload: bytes) -> bytes:
        """Return the SQL of a COM_QUERY."""
        if not self.attributes or payload[1:3] == b"\x00\x01":
            return payload[3 if self.attributes else 1 :]
        return b"(with query attributes)"

    def remember(self, statement: bytes, sql: str) -> None:
        if len(self.statements) >= _STATEMENTS_REMEMBERED:
            self.statements.pop(next(iter(self.statements)))
        self.statements[statement] = sql


Step = Callable[["Answer", ConnectionState, bytes, int], tuple[str, str]]


class Answer:
    """One command and how far its answer has come."""

    __slots__ = (
        "binary",
        "columns",
        "command",
        "definitions",
        "empty",
        "rows",
        "sequence",
        "step",
        "text",
        "turn",
        "types",
        "unanswered",
    )

    def __init__(self, command: str, step: Step, sequence: int) -> None:
        self.command = command
        self.step = step
        self.sequence = sequence  # the id due next, whoever speaks
        self.turn = CONTINUES
        self.unanswered = False
        self.empty = False
        self.binary = False
        self.columns = 0  # of the result
        self.definitions: list[int] = []  # how many are to come, group by group
        self.rows = 0
        self.types: list[int] = []
        self.text = ""


# -- login


def greeting(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    if payload[:1] == b"\xff":
        answer.turn = ENDS
        return "ERR", error_text(payload)
    zero = payload.find(b"\x00", 1)
    if zero < 0 or len(payload) < zero + 16:
        raise Garbage("a greeting that is cut short")
    fields = payload[zero + 1 :]
    state.thread_id = int.from_bytes(fields[:4], "little")
    low, high = int.from_bytes(fields[13:15], "little"), int.from_bytes(fields[18:20], "little")
    state.server_flags = low | high << 16
    if not state.server_flags & LONG_PASSWORD:
        state.server_extra = int.from_bytes(fields[27:31], "little")
    answer.turn, answer.step = ASKS, capabilities
    return "Greeting", ""


def capabilities(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    """Not a step of the server's: marks that the driver's capabilities come next."""
    raise Garbage("the server spoke before the driver's first message")


def login(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    if not payload:
        raise Garbage("an empty message in the login")
    head = payload[0]
    if head == OK:
        state.ready = True
        return _ok(answer, state, payload)
    if head == ERR:
        answer.turn = ENDS
        return "ERR", error_text(payload)
    if payload == FAST_LOGIN:
        return "AuthMoreData", ""
    answer.turn = ASKS
    return ("AuthSwitchRequest" if head == EOF else "AuthMoreData"), ""


# -- commands


def simple(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    head = payload[0] if payload else -1
    if head == OK:
        return _ok(answer, state, payload)
    if head == ERR:
        return _error(answer, payload)
    if head == EOF:
        return _end(answer, state, payload)
    raise Garbage(f"answer to {answer.command} begins with neither OK, EOF nor ERR")


def statistics(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    if payload[:1] == b"\xff":
        return _error(answer, payload)
    answer.turn = ENDS
    return "Statistics", ""


def result(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    """The first message of a result: OK, ERR, a request for a file, or a column count."""
    if not payload:
        raise Garbage("an empty message where a result was due")
    head = payload[0]
    if head == OK:
        return _ok(answer, state, payload)
    if head == ERR:
        return _error(answer, payload)
    if head == INFILE and not answer.binary:
        answer.turn, answer.step = ASKS, after_file
        return "LocalInfile", ""
    count, width = length_encoded(payload, 0)
    if not count or size != width + state.metadata_flag:
        raise Garbage("neither OK, ERR nor a column count where a result was due")
    answer.columns = count
    answer.rows = 0
    answer.types = []
    sent = not state.metadata_flag or payload[width] != 0
    answer.definitions = [count] if sent else [0]
    answer.step = definitions
    if not sent and state.no_eof:
        answer.step = rows
    return "ResultSet", ""


def binary_result(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    answer.binary = True
    return result(answer, state, payload, size)


def after_file(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    answer.step = result
    return simple(answer, state, payload, size)


def definitions(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    """Column definitions of a result, and the EOF behind them unless both sides do without."""
    left = answer.definitions[0]
    if payload[:1] == b"\xff":
        return _error(answer, payload)
    if left:
        if answer.binary:
            answer.types.append(_column_type(payload))
        answer.definitions[0] = left - 1
        if left == 1 and state.no_eof:
            answer.step = rows
        return "Column", ""
    status = _eof_status(payload, size)
    state.status(status)
    answer.step = rows
    if answer.binary and status & CURSOR_EXISTS:
        answer.turn = ENDS  # the rows are to be fetched
    return "EOF", ""


def rows(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    head = payload[0] if payload else -1
    if head == EOF and size < (0xFFFFFF if state.no_eof else 9):
        return _end(answer, state, payload)
    if head == ERR:
        return _error(answer, payload)
    answer.rows += 1
    if answer.rows > 1:
        return "Row", ""
    return "Row", _row_text(answer, payload)


def fetched(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    """Rows of a cursor; their column types were said in another answer, so that no text is made of them."""
    answer.binary = True
    return rows(answer, state, payload, size)


def field_list(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    head = payload[0] if payload else -1
    if head == ERR:
        return _error(answer, payload)
    if head == EOF and size < (0xFFFFFF if state.no_eof else 9):
        return _end(answer, state, payload)
    return "Column", ""


def prepared(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    if payload[:1] == b"\xff":
        return _error(answer, payload)
    if payload[:1] != b"\x00" or len(payload) < 9:
        raise Garbage("neither PrepareOK nor ERR where one was due")
    state.remember(payload[1:5], answer.text)
    columns, parameters = struct.unpack_from("<HH", payload, 5)
    skipped = state.prepare_flag and len(payload) > 12 and payload[12] == 0
    groups = [] if skipped else [count for count in (parameters, columns) if count]
    answer.definitions = groups
    if groups:
        answer.step = prepared_definitions
    else:
        answer.turn = ENDS
    return "PrepareOK", ""


def prepared_definitions(answer: Answer, state: ConnectionState, payload: bytes, size: int) -> tuple[str, str]:
    """Definitions of parameters, then of columns, each group with an EOF behind it unless both sides do without."""
    groups = answer.definitions
    if payload[:1] == b"\xff":
        return _error(answer, payload)
    if groups[0]:
        groups[0] -= 1
        kind = "Definition"
        if groups[0] or not state.no_eof:
            return kind, ""
    else:
        state.status(_eof_status(payload, size))
        kind = "EOF"
    groups.pop(0)
    if not groups:
        answer.turn = ENDS
    return kind, ""


# -- messages that many steps share


def _ok(answer: Answer, state: ConnectionState, payload: bytes) -> tuple[str, str]:
    status = _ok_status(payload)
    state.status(status)
    _end_or_next(answer, status)
    return "OK", ""


def _end(answer: Answer, state: ConnectionState, payload: bytes) -> tuple[str, str]:
    """The end of rows: an EOF, or an OK under its header."""
    status = _ok_status(payload) if state.no_eof else _eof_status(payload, len(payload))
    state.status(status)
    _end_or_next(answer, status)
    return ("OK" if state.no_eof else "EOF"), ""


def _end_or_next(answer: Answer, status: int) -> None:
    if status & MORE_RESULTS and answer.step in _MANY_RESULTS:
        answer.step = binary_result if answer.binary else result
    else:
        answer.turn = ENDS


_MANY_RESULTS: tuple[Step, ...] = (result, binary_result, rows)


def _error(answer: Answer, payload: bytes) -> tuple[str, str]:
    if payload[1:3] == b"\xff\xff":
        return "Progress", ""
    answer.turn = ENDS
    return "ERR", error_text(payload)


def _ok_status(payload: bytes) -> int:
    _, width = length_encoded(payload, 1)
    position = 1 + width
    _, width = length_encoded(payload, position)
    position += width
    if len(payload) < position + 2:
        raise Garbage("an OK that is cut short")
    return payload[position] | payload[position + 1] << 8


def _eof_status(payload: bytes, size: int) -> int:
    if payload[:1] != b"\xfe" or size != 5:
        raise Garbage("no EOF where one was due")
    return payload[3] | payload[4] << 8


def error_text(payload: bytes) -> str:
    """Return code, state and message of an ERR, such as '1064 (42000) You have an error ...'."""
    state, message = "", payload[3:].decode("utf-8", "replace")
    if message.startswith("#"):
        state, message = f" ({message[1:6]})", message[6:]
    before, near, statement = message.partition("near '")
    if speaks_of_secrets(statement):
        message = f"{before}{near}***'"  # the server quotes the statement that it did not understand
    return shortened(f"{int.from_bytes(payload[1:3], 'little')}{state} {message}")


def length_encoded(payload: bytes, position: int) -> tuple[int, int]:
    """Read a length-encoded integer; returns (value, bytes used). Raises Garbage where there is none."""
    if position >= len(payload):
        raise Garbage("a message that is cut short")
    head = payload[position]
    if head < INFILE:
        return head, 1
    width = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(head)
    if width is None or len(payload) < position + 1 + width:
        raise Garbage("no length where one was due")
    return int.from_bytes(payload[position + 1 : position + 1 + width], "little"), 1 + width


def _row_text(answer: Answer, payload: bytes) -> str:
    """Columns of a row for people; '' where they cannot be read, which says nothing against the stream."""
    try:
        return _binary_row(payload, answer.types) if answer.binary else _text_row(payload, answer.columns)
    except (Garbage, IndexError, struct.error):
        return ""


def _text_row(payload: bytes, columns: int) -> str:
    values = []
    position = length = 0
    for _ in range(columns):
        if payload[position : position + 1] == b"\xfb":
            values.append("NULL")
            position += 1
        else:
            size, width = length_encoded(payload, position)
            position += width
            values.append(payload[position : position + min(size, TEXT_LIMIT)].decode("utf-8", "replace"))
            position += size
        length += len(values[-1])
        if length > TEXT_LIMIT:
            break
    return shortened(", ".join(values))


def _column_type(payload: bytes) -> int:
    position = 0
    for _ in range(6):  # catalog, schema, table, original table, name, original name
        size, width = length_encoded(payload, position)
        position += width + size
    # The fixed part has 12 bytes and stands at the end in MySQL; MariaDB may put extended type information before it,
    # so that its own length byte is looked for from the end.
    fixed = len(payload) - 12
    return payload[fixed + 6] if fixed > 0 and payload[fixed - 1] == 12 else -1


_FIXED_TYPES = {1: "<b", 2: "<h", 3: "<i", 4: "<f", 5: "<d", 8: "<q", 9: "<i", 13: "<H"}
_STRING_TYPES = {0, 15, 16, 245, 246, 247, 248, 249, 250, 251, 252, 253, 254, 255}


def _binary_row(payload: bytes, types: list[int]) -> str:
    """Columns of a binary row, up to the first whose type is not a number or a string."""
    values: list[str] = []
    position = 1 + (len(types) + 9) // 8
    for index, kind in enumerate(types):
        bit = index + 2
        if payload[1 + bit // 8] >> bit % 8 & 1:
            values.append("NULL")
        elif kind in _FIXED_TYPES:
            values.append(str(struct.unpack_from(_FIXED_TYPES[kind], payload, position)[0]))
            position += struct.calcsize(_FIXED_TYPES[kind])
        elif kind in _STRING_TYPES:
            size, width = length_encoded(payload, position)
            position += width
            values.append(payload[position : position + min(size, TEXT_LIMIT)].decode("utf-8", "replace"))
            position += size
        else:
            values.append("…")
            break
    return shortened(", ".join(values))
