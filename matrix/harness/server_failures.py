"""The server failed, or the machine did: by the server's own codes, never by what a message says.

A run in which such a code is seen says nothing of the driver and is an ``error``. Codes are read in two places: off the
wire, where every error of the server goes by whatever the driver makes of it, and off the exceptions that tasks were
given (SQLite has no wire, an encrypted one cannot be read). What the program provoked itself is left to the checker: a
code of ENDS means that somebody ended the session, and where the harness did, that is no failure. Too many connections
count as the server's failure whoever holds them: a driver that leaks them gets an ``error`` that names the code.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

# PostgreSQL, Appendix A "PostgreSQL Error Codes" (errcodes.txt); by ODBC too, which passes the server's SQLSTATE on.
SQLSTATES = {
    "08004": "the server rejected the connection",
    "25006": "read-only transaction",
    "25P03": "idle in a transaction for too long",
    "28000": "invalid authorization specification: not let in, or not without TLS",
    "28P01": "invalid password",
    "42501": "insufficient privilege",
    "53000": "insufficient resources",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "53400": "configuration limit exceeded",
    "57P01": "admin shutdown",
    "57P02": "crash shutdown",
    "57P03": "cannot connect now: starting up or shutting down",
    "57P04": "database dropped",
    "57P05": "idle for too long",
    "58000": "system error",
    "58030": "input or output error",
    "58P01": "a file is missing",
    "F0000": "configuration file error",
    "XX001": "data corrupted",
    "XX002": "index corrupted",
}
# MySQL: "Server Error Message Reference" and "Global Error Message Reference" (3, 5) of the 9.x manual. MariaDB:
# "MariaDB Error Codes"; up to 1900 and 3159 they are the same, 1927 and 4151 are its own.
NUMBERS = {
    3: "error writing file",
    5: "out of memory",
    1021: "disk full",
    1024: "error on read",
    1026: "error on write",
    1030: "error of the storage engine",
    1037: "out of memory",
    1038: "out of sort memory",
    1040: "too many connections",
    1041: "out of resources",
    1044: "access denied to the database",
    1045: "access denied",
    1053: "server shutdown in progress",
    1077: "normal shutdown",
    1079: "shutdown complete",
    1114: "the table is full",
    1129: "the host is blocked",
    1130: "the host is not allowed to connect",
    1135: "cannot create a thread",
    1142: "a statement on a table is denied",
    1143: "a statement on a column is denied",
    1203: "too many connections of this user",
    1206: "the lock table is full",
    1226: "the user has used up a resource",
    1227: "a privilege is needed",
    1290: "an option of the server prevents the statement",
    1637: "too many concurrent transactions",
    1698: "access denied without a password",
    1792: "read-only transaction",
    1820: "the password must be changed",
    1836: "read-only mode",
    1862: "the password has expired",
    1874: "InnoDB is read-only",
    1927: "connection was killed",
    3032: "offline mode",
    3118: "the account is locked",
    3159: "secure transport required",
    3168: "the server is not available",
    3169: "session was killed",
    3955: "the account is blocked for a while",
    4031: "idle for too long",
    4151: "the account is locked",
}
# SQLite, "Result and Error Codes": primary ones, which are the low byte of an extended one. Not SQLITE_CORRUPT: threads
# of a driver can do that.
SQLITE = {7: "out of memory", 8: "read-only", 10: "disk I/O error", 13: "database or disk is full", 14: "cannot open"}
# The machine's own word, errno(3), wherever an OSError has it.
MACHINE = {
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files in the system",
    errno.ENOMEM: "out of memory",
    errno.ENOBUFS: "no buffer space",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "disk quota exceeded",
    errno.EADDRNOTAVAIL: "no port is left",
}
ENDS = frozenset({"57P01", 1053, 1927, 3169, 4031})  # also what a session that is ended by KILL is told
Code = str | int | None
DEPTH = 20  # wrapped errors that are looked through


def on_the_wire(kind: str, message: bytes, *, ended: bool) -> str:
    """What an error message of the server (ERR, ErrorResponse, whole) says of its own failure, such as 'postgres says
    53100, disk full'; empty if nothing. ``ended``: the harness has ended this session."""
    if kind == "postgres":
        fields = (field for field in message[5:].split(b"\0") if field)
        code: Code = next((field[1:].decode(errors="replace") for field in fields if field[:1] == b"C"), None)
    else:
        code = int.from_bytes(message[5:7], "little")  # behind the header of 4 bytes and 0xFF
    return "" if ended and code in ENDS else _failure(kind, code)


def _failure(kind: str, code: Code) -> str:
    if code is None:
        return ""
    if isinstance(code, str):
        meaning = SQLSTATES.get(code)
    else:
        meaning = SQLITE.get(code & 0xFF) if kind == "sqlite" else NUMBERS.get(code)
    return f"{kind} says {code}, {meaning}" if meaning else ""


def in_error(kind: str, error: BaseException, code_of: Callable[[BaseException], Code]) -> str:
    """The same of an exception, or of what it wraps. ``code_of`` knows where a driver's exceptions keep the server's
    code: a SQLSTATE as text, an error number as a number. What the end of a session says is not counted here."""
    for each in _wrapped(error):
        if isinstance(each, OSError) and each.errno in MACHINE:
            return f"the machine says {errno.errorcode[each.errno]}, {MACHINE[each.errno]}"
        code = code_of(each)
        if code not in ENDS and (failure := _failure(kind, code)):
            return failure
    return ""


def _wrapped(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it wraps: causes, contexts, groups, and what Tortoise puts into the arguments."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting and len(seen) < DEPTH:
        each = waiting.pop(0)
        if any(each is other for other in seen):
            continue
        seen.append(each)
        yield each
        inner = [each.__cause__, each.__context__, *each.args, *getattr(each, "exceptions", ())]
        waiting += [other for other in inner if isinstance(other, BaseException)]
