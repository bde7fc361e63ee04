"""What PostgreSQL's messages say, as text for people: errors, rows, the SQL behind prepared statements and portals.

Nothing here decides whose turn it is; what cannot be read gives '' and no error.
"""

from __future__ import annotations

import struct
from typing import Any

from matrix.harness.wire.frames import TEXT_LIMIT, shortened, sql_text

_INTEGERS = {20, 21, 23, 26}
_STRINGS = {18, 19, 25, 1042, 1043}
_FLOATS = {700: ">f", 701: ">d"}
_BOOL, _UUID, _JSONB = 16, 2950, 3802


class Statement:
    """A prepared statement: its SQL and, once described, the types (OIDs) of its columns."""

    __slots__ = ("columns", "sql")

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.columns: list[int] = []


class Book:
    """Statements and portals by name, as the driver asked for them; the oldest are forgotten beyond a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._statements: dict[bytes, Statement] = {}
        self._portals: dict[bytes, tuple[Statement | None, bool | None]] = {}

    def enter(self, request: Any, kind: str, body: bytes) -> str:
        """Note a message of the extended protocol in the book and on its request; return the text of its frame."""
        if kind == "Parse":
            name, _, rest = body.partition(b"\0")
            request.statement = _put(self._statements, name, Statement(sql_text(rest.partition(b"\0")[0])), self._limit)
        elif kind == "Bind":
            portal, _, rest = body.partition(b"\0")
            name, _, rest = rest.partition(b"\0")
            request.statement = self._statements.get(name)
            _put(self._portals, portal, (request.statement, _result_format(rest)), self._limit)
        elif kind == "Execute":
            portal = body.partition(b"\0")[0]
            request.statement, request.binary = self._portals.get(portal, (None, None))
            request.columns = request.statement.columns if request.statement else []
        else:
            name = body[1:].partition(b"\0")[0]
            if body[:1] == b"S":
                request.statement = self._statements.get(name)
            else:
                request.statement = self._portals.get(name, (None, None))[0]
        return request.statement.sql if request.statement else ""

    def described(self, request: Any, body: bytes) -> None:
        """Take the columns of a RowDescription for the rows that follow it, or for those of later Executes."""
        types = column_types(body)
        if request.kind == "Query":
            request.rows = 0
            request.columns, request.binary = types, False
        elif request.statement is not None:
            # In place: an Execute that was sent ahead of this description holds the same list.
            request.statement.columns[:] = types


def _put(book: dict[bytes, Any], name: bytes, entry: Any, limit: int) -> Any:
    if len(book) >= limit and name not in book:
        book.pop(next(iter(book)))
    book[name] = entry
    return entry


def _result_format(rest: bytes) -> bool | None:
    """Return whether a Bind asks for binary rows; None where columns differ or it cannot be read."""
    try:
        count = int.from_bytes(rest[:2], "big")
        position = 2 + 2 * count
        parameters = int.from_bytes(rest[position : position + 2], "big")
        position += 2
        for _ in range(parameters):
            (size,) = struct.unpack_from(">i", rest, position)
            position += 4 + max(size, 0)
        count = int.from_bytes(rest[position : position + 2], "big")
        formats = set(struct.unpack_from(f">{count}h", rest, position + 2))
    except struct.error:
        return None
    return None if len(formats) > 1 else formats == {1}


def column_types(body: bytes) -> list[int]:
    """Return the type OIDs of a RowDescription's columns."""
    types = []
    position = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        zero = body.find(b"\0", position)
        if zero < 0:
            break
        types.append(int.from_bytes(body[zero + 7 : zero + 11], "big"))
        position = zero + 19
    return types


def row(body: bytes, columns: list[int], binary: bool | None) -> str:
    """Return the columns of a DataRow, separated by commas; bytes of types unknown here as hexadecimal digits."""
    values = []
    position = 2
    length = 0
    for index in range(int.from_bytes(body[:2], "big")):
        size = int.from_bytes(body[position : position + 4], "big", signed=True)
        position += 4
        if size < 0:
            values.append("NULL")
        else:
            value = body[position : position + size]
            kind = columns[index] if index < len(columns) else None
            values.append(_binary(value, kind) if binary else value[:TEXT_LIMIT].decode("utf-8", "replace"))
            position += size
        length += len(values[-1])
        if length > TEXT_LIMIT:
            break
    return shortened(", ".join(values))


def _binary(value: bytes, kind: int | None) -> str:
    if kind in _INTEGERS:
        return str(int.from_bytes(value, "big", signed=True))
    if kind in _STRINGS:
        return value[:TEXT_LIMIT].decode("utf-8", "replace")
    if kind == _BOOL:
        return "true" if value == b"\1" else "false"
    if kind in _FLOATS and len(value) == struct.calcsize(_FLOATS[kind]):
        return str(struct.unpack(_FLOATS[kind], value)[0])
    if kind == _JSONB:
        return value[1:TEXT_LIMIT].decode("utf-8", "replace")
    return "0x" + value[: TEXT_LIMIT // 2].hex()


def error(body: bytes) -> tuple[str, str]:
    """Return (severity in English, text such as 'ERROR 42601 syntax error ...') of an ErrorResponse."""
    fields = {field[:1]: field[1:].decode("utf-8", "replace") for field in body.split(b"\0") if field}
    severity = fields.get(b"V") or fields.get(b"S", "ERROR")
    return severity, shortened(f"{severity} {fields.get(b'C', '?????')} {fields.get(b'M', '')}")


def notice(body: bytes) -> str:
    """Return the text of a NoticeResponse, in the form of an error's."""
    return error(body)[1]
