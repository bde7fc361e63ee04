"""Messages of both protocols made by hand, and the player that feeds them to a tracker and writes down what it says."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from matrix.harness.wire import Frame, Tracker, tracker_for

Step = tuple[str, bytes]  # "->" or "<-", and bytes
Script = list[Step]


def up(*messages: bytes) -> Script:
    """Messages from the driver."""
    return [("->", message) for message in messages]


def down(*messages: bytes) -> Script:
    """Messages from the server."""
    return [("<-", message) for message in messages]


def feed(tracker: Tracker, direction: str, data: bytes) -> tuple[list[Frame], bytes]:
    """Feed bytes; returns the frames, and for the server's direction the bytes that came out."""
    if direction == "->":
        return tracker.client(data), b""
    owed = tracker.owed
    pieces = tracker.server(data)
    if len(pieces) == 1 and not tracker.blind:
        assert pieces[0].ends_answer == (tracker.owed < owed)
    for piece in pieces:
        assert piece.frame.length == len(piece.data)
    return [piece.frame for piece in pieces], b"".join(piece.data for piece in pieces)


def told(kind: str, script: Script) -> list[str]:
    """Play a script to a new tracker; a line per message: direction, kind, text, and the answers owed after it."""
    tracker = tracker_for(kind)
    lines = []
    for direction, data in script:
        frames, _ = feed(tracker, direction, data)
        lines += [f"{frame.direction} {frame.kind} {frame.text}".rstrip() + f" ={tracker.owed}" for frame in frames]
    return lines


def outcome(kind: str, steps: Iterable[Step]) -> tuple[list[Frame], bytes, object]:
    """Play steps; returns what must not depend on where the bytes were cut: frames, bytes let through, final state."""
    tracker = tracker_for(kind)
    frames: list[Frame] = []
    through = b""
    for direction, data in steps:
        new, out = feed(tracker, direction, data)
        frames += new
        through += out
    state = (tracker.owed, tracker.ready, tracker.blind, tracker.backend_id, tracker.in_transaction)
    return _merged(frames), through, state


def _merged(frames: list[Frame]) -> list[Frame]:
    """Join bytes that were passed on blindly: how many frames they are is a matter of how they arrived."""
    merged: list[Frame] = []
    for frame in frames:
        last = merged[-1] if merged else None
        if last and frame.kind == "raw" and last.kind in ("raw", "garbage") and last.direction == frame.direction:
            merged[-1] = Frame(last.direction, last.kind, last.length + frame.length, last.text)
        else:
            merged.append(frame)
    return merged


def cut(script: Script, size: int) -> Script:
    """The same bytes in parts of `size`."""
    return [(way, data[start : start + size]) for way, data in script for start in range(0, len(data), size)]


def cuts_in_two(script: Script) -> Iterable[Script]:
    """The same bytes with one step cut in two, for each step and each position."""
    for index, (way, data) in enumerate(script):
        for position in range(1, len(data)):
            yield [*script[:index], (way, data[:position]), (way, data[position:]), *script[index + 1 :]]


def joined(script: Script) -> Script:
    """The same bytes with neighbouring steps of one direction in one."""
    together: Script = []
    for way, data in script:
        if together and together[-1][0] == way:
            together[-1] = (way, together[-1][1] + data)
        else:
            together.append((way, data))
    return together


# -- MySQL

PLAIN = 0x00A2_A20F & ~(1 << 11) | 1 << 9 | 1 << 0  # capabilities of a driver such as aiomysql
DEPRECATE_EOF = 1 << 24
OPTIONAL_METADATA = 1 << 25
QUERY_ATTRIBUTES = 1 << 27
ALL = 0xFFFF_FFFF & ~(1 << 5) & ~(1 << 26)  # all but compression


def packet(sequence: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


def text(value: str) -> bytes:
    """A length-encoded string of less than 251 bytes."""
    return bytes([len(value)]) + value.encode()


def greeting(flags: int = ALL, extra: int = 0) -> bytes:
    payload = b"\x0a8.4.0\0" + (77).to_bytes(4, "little") + b"saltsalt\0"
    payload += (flags & 0xFFFF).to_bytes(2, "little") + b"\xff\x02\x00" + (flags >> 16).to_bytes(2, "little") + b"\x15"
    payload += bytes(6) + extra.to_bytes(4, "little") + b"saltsaltsalt\0caching_sha2_password\0"
    return packet(0, payload)


def reply(flags: int = PLAIN, extra: int = 0, sequence: int = 1) -> bytes:
    payload = flags.to_bytes(4, "little") + bytes(4) + b"\x2d" + bytes(19) + extra.to_bytes(4, "little")
    return packet(sequence, payload + b"root\0\x20" + bytes(32) + b"caching_sha2_password\0")


def ok(sequence: int, status: int = 2, header: int = 0) -> bytes:
    return packet(sequence, bytes([header, 0, 0]) + status.to_bytes(2, "little") + b"\0\0")


def eof(sequence: int, status: int = 2) -> bytes:
    return packet(sequence, b"\xfe\0\0" + status.to_bytes(2, "little"))


def err(sequence: int, code: int = 1064, message: str = "no") -> bytes:
    return packet(sequence, b"\xff" + code.to_bytes(2, "little") + b"#42000" + message.encode())


def column(sequence: int, kind: int = 253) -> bytes:
    names = b"".join(text(name) for name in ("def", "db", "t", "t", "c", "c"))
    return packet(sequence, names + b"\x0c\x2d\0" + bytes(4) + bytes([kind]) + bytes(5))


def row(sequence: int, *values: str | None) -> bytes:
    return packet(sequence, b"".join(b"\xfb" if value is None else text(value) for value in values))


def command(code: int, argument: str | bytes = b"", sequence: int = 0) -> bytes:
    return packet(sequence, bytes([code]) + (argument.encode() if isinstance(argument, str) else argument))


def query(statement: str) -> bytes:
    return command(3, statement)


def login(flags: int = PLAIN, server: int = ALL, extra: int = 0) -> Script:
    """A login without further turns."""
    return down(greeting(server, extra)) + up(reply(flags, extra)) + down(ok(2))


LOGIN_LINES = 3  # that `told` gives for `login`


# -- PostgreSQL


def message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack(">I", len(body) + 4) + body


def untyped(code: int, body: bytes = b"") -> bytes:
    return struct.pack(">II", len(body) + 8, code) + body


STARTUP = untyped(196608, b"user\0postgres\0\0")
SSL_REQUEST = untyped(80877103)
AUTHENTICATION_OK = message("R", struct.pack(">I", 0))
BACKEND_KEY = message("K", struct.pack(">II", 4711, 99))
IDLE, IN_TRANSACTION, FAILED = (message("Z", status) for status in (b"I", b"T", b"E"))
PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE = message("1"), message("2"), message("3")
PARAMETERS, NO_DATA, SUSPENDED, EMPTY = message("t", b"\0\0"), message("n"), message("s"), message("I")
SYNC, FLUSH = message("S"), message("H")
COPY_IN = message("G", b"\0\0\0")
SESSION = up(STARTUP) + down(AUTHENTICATION_OK, BACKEND_KEY, IDLE)
SESSION_LINES = 4


def simple(statement: str) -> bytes:
    return message("Q", statement.encode() + b"\0")


def parse(statement: str, name: str = "") -> bytes:
    return message("P", name.encode() + b"\0" + statement.encode() + b"\0\0\0")


def bind(name: str = "", binary: bool = False) -> bytes:
    return message("B", b"\0" + name.encode() + b"\0" + b"\0\0" + b"\0\0" + (b"\0\1\0\1" if binary else b"\0\0"))


def describe(name: str = "", what: str = "S") -> bytes:
    return message("D", what.encode() + name.encode() + b"\0")


EXECUTE = message("E", b"\0" + bytes(4))
CLOSE = message("C", b"S\0")


def columns(*types: int) -> bytes:
    each = b"".join(b"c\0" + struct.pack(">IhIhih", 0, 0, oid, 4, -1, 0) for oid in types)
    return message("T", struct.pack(">h", len(types)) + each)


def values(*cells: bytes | None) -> bytes:
    each = b"".join(struct.pack(">i", -1) if cell is None else struct.pack(">i", len(cell)) + cell for cell in cells)
    return message("D", struct.pack(">h", len(cells)) + each)


def complete(tag: str = "SELECT 1") -> bytes:
    return message("C", tag.encode() + b"\0")


def error(code: str = "42601", severity: str = "ERROR", words: str = "no") -> bytes:
    return message("E", f"S{severity}\0V{severity}\0C{code}\0M{words}\0\0".encode())
