"""Follows one connection of the MySQL protocol (MySQL and MariaDB) and knows how many answers the server owes.

The shape of each answer is in mysql_answers.py; here are packets, commands, the login and the queue of answers owed.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from matrix.harness.wire import mysql_answers as answers
from matrix.harness.wire.frames import FramedTracker, Garbage, sql_text
from matrix.harness.wire.mysql_answers import Answer, ConnectionState

_HEADER = 4
_FULL_PACKET = 0xFFFFFF  # a packet of this length is continued in the next one
_GREETING_LIMIT = 4096

_COMMANDS = {
    0x00: "COM_SLEEP",
    0x01: "COM_QUIT",
    0x02: "COM_INIT_DB",
    0x03: "COM_QUERY",
    0x04: "COM_FIELD_LIST",
    0x05: "COM_CREATE_DB",
    0x06: "COM_DROP_DB",
    0x07: "COM_REFRESH",
    0x08: "COM_SHUTDOWN",
    0x09: "COM_STATISTICS",
    0x0A: "COM_PROCESS_INFO",
    0x0C: "COM_PROCESS_KILL",
    0x0D: "COM_DEBUG",
    0x0E: "COM_PING",
    0x11: "COM_CHANGE_USER",
    0x12: "COM_BINLOG_DUMP",
    0x13: "COM_TABLE_DUMP",
    0x15: "COM_REGISTER_SLAVE",
    0x16: "COM_STMT_PREPARE",
    0x17: "COM_STMT_EXECUTE",
    0x18: "COM_STMT_SEND_LONG_DATA",
    0x19: "COM_STMT_CLOSE",
    0x1A: "COM_STMT_RESET",
    0x1B: "COM_SET_OPTION",
    0x1C: "COM_STMT_FETCH",
    0x1E: "COM_BINLOG_DUMP_GTID",
    0x1F: "COM_RESET_CONNECTION",
    0x20: "COM_CLONE",
    0xFA: "COM_STMT_BULK_EXECUTE",
}
_UNANSWERED = {"COM_QUIT", "COM_STMT_SEND_LONG_DATA", "COM_STMT_CLOSE"}
_OF_STATEMENT = {"COM_STMT_EXECUTE", "COM_STMT_BULK_EXECUTE", "COM_STMT_FETCH"}
_STREAMS = {"COM_BINLOG_DUMP", "COM_BINLOG_DUMP_GTID", "COM_TABLE_DUMP", "COM_CLONE"}
_FIRST_STEP = {
    "COM_QUERY": answers.result,
    "COM_PROCESS_INFO": answers.result,
    "COM_STMT_EXECUTE": answers.binary_result,
    "COM_STMT_BULK_EXECUTE": answers.binary_result,
    "COM_STMT_FETCH": answers.fetched,
    "COM_STMT_PREPARE": answers.prepared,
    "COM_FIELD_LIST": answers.field_list,
    "COM_STATISTICS": answers.statistics,
    "COM_CHANGE_USER": answers.login,
}


class MySQLTracker(FramedTracker):
    """Tracker of one MySQL or MariaDB connection; see frames.Tracker for what the attributes promise."""

    def __init__(self) -> None:
        super().__init__()
        self.owed = 1  # the greeting
        self._state = ConnectionState()
        # Commands in the order sent, the head being answered. Unanswered ones are kept only behind an answered one,
        # because a server that asks for more (a file, a password) reads whatever comes next as that.
        self._queue: deque[Answer] = deque([Answer("login", answers.greeting, 0)])
        self._asked: Answer | None = None  # the answer for which the server waits for the driver; then it is the queue

    @property
    def backend_id(self) -> int | None:
        return self._state.thread_id

    @property
    def ready(self) -> bool:
        return self._state.ready

    @property
    def in_transaction(self) -> bool | None:
        return self._state.in_transaction

    # -- from the driver

    def _client_message(self, data: bytes, position: int) -> tuple[int, str, str]:
        message = _message(data, position)
        return (message, "", "") if isinstance(message, int) else (message.end, *self._asked_for(message))

    def _asked_for(self, message: _Message) -> tuple[str, str]:
        if self._state.thread_id is None:
            raise Garbage("the driver spoke before the server's greeting")
        asked = self._asked
        if asked is not None:
            text = _noting("", message.first, asked.sequence)
            asked.sequence = message.after
            return self._give(asked, message), text
        if not self._state.ready and message.first != 0:
            # A turn of the login ahead of its time; ids tell it from a command, which begins with 0.
            self._queue.append(Answer("login", answers.login, message.after))
            self.owed += 1
            return "AuthData", ""
        return self._command(message)

    def _command(self, message: _Message) -> tuple[str, str]:
        payload = message.payload
        code = payload[0] if payload else 0
        command = _COMMANDS.get(code) or f"COM_0x{code:02X}"
        text = self._command_text(command, payload)
        if command in _STREAMS:
            self._go_blind()
            return command, ""
        unanswered = command in _UNANSWERED
        if not unanswered:
            self.owed += 1
        if self._queue or not unanswered:
            answer = Answer(command, _FIRST_STEP.get(command, answers.simple), message.after)
            answer.unanswered = unanswered
            answer.empty = message.size == 0
            answer.text = text
            self._queue.append(answer)
        return command, _noting(text, message.first, 0)

    def _command_text(self, command: str, payload: bytes) -> str:
        if command == "COM_QUERY":
            return sql_text(self._state.query_of(payload))
        if command == "COM_STMT_PREPARE":
            return sql_text(payload[1:])
        if command in _OF_STATEMENT:
            return self._state.statements.get(payload[1:5], "")
        if command == "COM_STMT_CLOSE":
            self._state.statements.pop(payload[1:5], None)
        return ""

    def _give(self, asked: Answer, message: _Message) -> str:
        """The driver gives what the server asked for; returns the kind of the frame."""
        kind = "AuthData"
        if asked.step is answers.after_file:
            if message.size:
                return "LocalData"
            kind = "LocalDataEnd"
        elif asked.step is answers.capabilities:
            asked.step = answers.login
            if not self._state.negotiate(message.payload, message.size):
                self._go_blind()
                return "SSLRequest"
            kind = "HandshakeResponse"
        self._asked = None
        self.owed += 1
        return kind

    # -- from the server

    def _server_message(self, data: bytes, position: int) -> tuple[int, str, str]:
        if self._state.thread_id is None:
            _expect_greeting(data[position : position + _HEADER + 1])
        message = _message(data, position)
        return (message, "", "") if isinstance(message, int) else (message.end, *self._answered(message))

    def _answered(self, message: _Message) -> tuple[str, str]:
        if not self._queue or self._asked is not None:
            return _unasked(message.payload)
        answer = self._queue[0]
        kind, text = answer.step(answer, self._state, message.payload, message.size)
        text = _noting(text, message.first, answer.sequence)
        answer.sequence = message.after
        if answer.turn != answers.CONTINUES:
            self.owed -= 1
            if answer.turn == answers.ASKS:
                self._ask(answer)
            else:
                self._finish()
        return kind, text

    def _finish(self) -> None:
        queue = self._queue
        queue.popleft()
        while queue and queue[0].unanswered:
            queue.popleft()
        if self._state.compressed and self._state.ready:
            self._go_blind()

    def _ask(self, answer: Answer) -> None:
        """The server waits for the driver. What the driver had sent ahead is what the server reads now."""
        queue = self._queue
        answer.turn = answers.CONTINUES
        self._asked = answer
        while len(queue) > 1 and self._asked is not None:
            ahead = queue[1]
            del queue[1]
            self.owed -= not ahead.unanswered
            answer.sequence = ahead.sequence
            if answer.step is not answers.after_file or ahead.empty:
                self._asked = None
                self.owed += 1

    def _go_blind(self) -> None:
        super()._go_blind()
        self._queue.clear()
        self._asked = None


class _Message(NamedTuple):
    """One message cut from a stream."""

    end: int  # position behind it
    first: int  # sequence id of its first packet
    after: int  # the id due next
    payload: bytes  # of the first packet only, which is all that anybody reads of a message of more than 16 MB
    size: int  # of the whole payload


def _message(data: bytes, position: int) -> _Message | int:
    """Cut the message that begins at `position`; while it is incomplete, how far the bytes must reach to try again."""
    start = position
    size = 0
    while True:
        body = start + _HEADER
        if body > len(data):
            return body
        length = data[start] | data[start + 1] << 8 | data[start + 2] << 16
        end = body + length
        if end > len(data):
            return end
        size += length
        if length != _FULL_PACKET:
            first = position + _HEADER
            payload = data[first : min(end, first + _FULL_PACKET)]
            return _Message(end, data[position + 3], (data[start + 3] + 1) & 0xFF, payload, size)
        start = end


def _expect_greeting(head: bytes) -> None:
    """Tell at once, from the first five bytes, that this is no MySQL server."""
    if len(head) > _HEADER and (int.from_bytes(head[:3], "little") > _GREETING_LIMIT or head[4] not in (10, 0xFF)):
        raise Garbage("no greeting of a MySQL server")


def _unasked(payload: bytes) -> tuple[str, str]:
    """A server may say good-bye at any time (killed, idle for too long, shut down); nothing else comes unasked."""
    if payload[:1] != b"\xff":
        raise Garbage("the server spoke although no answer was due")
    return "ERR", answers.error_text(payload)


def _noting(text: str, sequence: int, expected: int) -> str:
    """Return the text, with a note where a sequence id is not the one due."""
    return text if sequence == expected else f"{text} [sequence {sequence}, expected {expected}]".strip()
