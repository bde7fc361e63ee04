"""Follows one connection of the PostgreSQL protocol (version 3) and knows how many answers the server owes.

The messages of both sides are cut and named here, and the queue of what the server has still to answer is kept; the
contents of rows and errors are turned into text in postgres_text.py.
"""

from __future__ import annotations

from collections import deque

from matrix.harness.wire import postgres_text as texts
from matrix.harness.wire.frames import FramedTracker, Garbage, sql_text

_LENGTH_LIMIT = 1 << 30
_STARTUP_LIMIT = 10_000  # the server's own limit
_STATEMENTS_REMEMBERED = 1000

_CANCEL, _SSL, _GSS = 80877102, 80877103, 80877104

_FROM_CLIENT = {
    ord("Q"): "Query",
    ord("P"): "Parse",
    ord("B"): "Bind",
    ord("D"): "Describe",
    ord("E"): "Execute",
    ord("C"): "Close",
    ord("H"): "Flush",
    ord("S"): "Sync",
    ord("F"): "FunctionCall",
    ord("d"): "CopyData",
    ord("c"): "CopyDone",
    ord("f"): "CopyFail",
    ord("p"): "AuthData",
    ord("X"): "Terminate",
}
_FROM_SERVER = {
    ord("R"): "Authentication",
    ord("S"): "ParameterStatus",
    ord("K"): "BackendKeyData",
    ord("v"): "NegotiateProtocolVersion",
    ord("Z"): "ReadyForQuery",
    ord("E"): "ErrorResponse",
    ord("N"): "NoticeResponse",
    ord("A"): "NotificationResponse",
    ord("1"): "ParseComplete",
    ord("2"): "BindComplete",
    ord("3"): "CloseComplete",
    ord("t"): "ParameterDescription",
    ord("T"): "RowDescription",
    ord("n"): "NoData",
    ord("D"): "DataRow",
    ord("C"): "CommandComplete",
    ord("I"): "EmptyQueryResponse",
    ord("s"): "PortalSuspended",
    ord("G"): "CopyInResponse",
    ord("H"): "CopyOutResponse",
    ord("W"): "CopyBothResponse",
    ord("d"): "CopyData",
    ord("c"): "CopyDone",
    ord("V"): "FunctionCallResponse",
}
_ANY_TIME = {"ParameterStatus", "NoticeResponse", "NotificationResponse"}
_OF_QUERY = {
    "RowDescription",
    "DataRow",
    "CommandComplete",
    "EmptyQueryResponse",
    "CopyInResponse",
    "CopyOutResponse",
    "CopyBothResponse",
    "CopyData",
    "CopyDone",
    "ReadyForQuery",
}
_ANSWERS = {
    "Startup": {"Authentication", "BackendKeyData", "NegotiateProtocolVersion", "ReadyForQuery"},
    "Query": _OF_QUERY,
    "FunctionCall": {"FunctionCallResponse", "ReadyForQuery"},
    "Sync": {"ReadyForQuery"},
    "Parse": {"ParseComplete"},
    "Bind": {"BindComplete"},
    "Close": {"CloseComplete"},
    "Describe": {"ParameterDescription", "RowDescription", "NoData"},
    "Execute": _OF_QUERY - {"RowDescription", "ReadyForQuery"} | {"PortalSuspended"},
}
_LAST_OF = {
    "Parse": {"ParseComplete"},
    "Bind": {"BindComplete"},
    "Close": {"CloseComplete"},
    "Describe": {"RowDescription", "NoData"},
    "Execute": {"CommandComplete", "EmptyQueryResponse", "PortalSuspended"},
}
_EXTENDED = set(_LAST_OF)
_COUNTED = {"Startup", "Encryption", "Query", "FunctionCall", "Sync", "Flush"}  # what an answer is owed for
_COPY_ENDS = {"CopyDone", "CopyFail"}
_STATUS = {b"I": "idle", b"T": "in transaction", b"E": "failed transaction"}
_AUTH_FINAL = {0, 12}  # AuthenticationOk and SASLFinal are followed by more; every other one is the driver's turn


class _Request:
    """A message of the driver that the server has still to answer."""

    __slots__ = ("binary", "columns", "kind", "rows", "statement")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.rows = 0
        self.statement: texts.Statement | None = None
        self.binary: bool | None = None  # format of an Execute's rows, where its Bind said it
        self.columns: list[int] = []


class PostgresTracker(FramedTracker):
    """Tracker of one PostgreSQL connection; see frames.Tracker for what the attributes promise.

    A Sync, a Query and a Flush with something to flush are each owed one answer. Where an error makes the server skip
    what was flushed, one message may end several answers: `owed` is then the number to go by.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backend_id: int | None = None
        self.ready = False
        self.in_transaction: bool | None = None
        self._started = False  # the driver's startup message was seen: messages have types from there on
        self._queue: deque[_Request] = deque()
        self._skipping = False  # after an error in the extended protocol the server discards everything up to a Sync
        self._copying: _Request | None = None  # the server takes rows from the driver for this request
        self._copied = False  # ... and has had a message since it said so
        self._swallowed_sync = False  # a Sync sent behind the COPY, which the server reads (and ignores) within it
        self._over = False  # the server said good-bye, or was told to go
        self._book = texts.Book(_STATEMENTS_REMEMBERED)

    @property
    def at_rest(self) -> bool:
        answered = self.ready and not self.blind and not self._queue and not self._skipping and self._copying is None
        return answered and self.in_transaction is False

    # -- from the driver

    def _client_message(self, data: bytes, position: int) -> tuple[int, str, str]:
        end = _end_of_typed(data, position, _FROM_CLIENT) if self._started else _end_of_startup(data, position)
        if end > len(data):
            return end, "", ""
        if self._started:
            return end, *self._asked_for(_FROM_CLIENT[data[position]], data[position + 5 : end])
        return end, *self._startup(data[position + 4 : end])

    def _startup(self, body: bytes) -> tuple[str, str]:
        code = int.from_bytes(body[:4], "big")
        if code in (_SSL, _GSS):
            self._push("Encryption")
            return ("SSLRequest" if code == _SSL else "GSSENCRequest"), ""
        self._started = True
        if code == _CANCEL:
            self._over = True
            self.cancels = int.from_bytes(body[4:8], "big")
            return "CancelRequest", f"pid {self.cancels}"
        if code >> 16 != 3:
            raise Garbage(f"protocol version {code >> 16}.{code & 0xFFFF}")
        self._push("Startup")
        return "StartupMessage", ""

    def _asked_for(self, kind: str, body: bytes) -> tuple[str, str]:
        if self._over or kind == "Terminate":
            self._over = True
            return kind, ""
        request = _Request(kind)
        text = ""
        if kind == "Query":
            text = sql_text(body.rstrip(b"\0"))
        elif kind in _EXTENDED:
            text = self._book.enter(request, kind, body)
        if self._copying is not None and self._belongs_to_copy(self._copying, kind):
            return kind, text
        if kind == "Sync":
            self._skipping = False
        if self._is_to_be_answered(kind):
            request.kind = "Startup" if kind == "AuthData" else kind
            self._queue.append(request)
            self.owed += request.kind in _COUNTED
        return kind, text

    def _is_to_be_answered(self, kind: str) -> bool:
        if self._skipping or kind == "CopyData":
            return False
        if kind == "Flush":
            return bool(self._queue) and self._queue[-1].kind in _EXTENDED  # else nothing will come
        # The end of a COPY is kept while something is due that may yet turn out to be one, else the server ignores it.
        return kind not in _COPY_ENDS or bool(self._queue)

    def _belongs_to_copy(self, request: _Request, kind: str) -> bool:
        """Take a message while the server reads rows of a COPY; False for one that makes it stop with an error."""
        self._copied = True
        if kind in ("CopyData", "Flush", "Sync"):
            return True
        self._end_copy(request)
        return kind in _COPY_ENDS

    def _end_copy(self, request: _Request) -> None:
        self._copying = None
        if request.kind == "Query":  # the answer to an Execute is owed with the Sync behind it
            self.owed += 1

    # -- from the server

    def _server_message(self, data: bytes, position: int) -> tuple[int, str, str]:
        if self._queue and self._queue[0].kind == "Encryption" and data[position] in b"NSG":
            return position + 1, *self._encryption(data[position : position + 1])
        end = _end_of_typed(data, position, _FROM_SERVER)
        if end > len(data):
            return end, "", ""
        return end, *self._answered(_FROM_SERVER[data[position]], data[position + 5 : end])

    def _encryption(self, raw: bytes) -> tuple[str, str]:
        if raw == b"N":
            self._pop()
            return "EncryptionRefused", ""
        self._go_blind()
        return "EncryptionAccepted", ""

    def _answered(self, kind: str, body: bytes) -> tuple[str, str]:
        if kind in _ANY_TIME:
            return kind, texts.notice(body) if kind == "NoticeResponse" else ""
        if kind == "ErrorResponse":
            return kind, self._error(body)
        head = self._queue[0] if self._queue else None
        if kind == "ReadyForQuery":
            return kind, self._ready(head, body)
        if head is None or kind not in _ANSWERS.get(head.kind, ()):
            raise Garbage(f"{kind} came when {head.kind if head else 'nothing'} was to be answered")
        text = self._answer(head, kind, body)
        if kind in _LAST_OF.get(head.kind, ()):
            self._pop()
            if self._queue and self._queue[0].kind == "Flush":
                self._pop()
        return kind, text

    def _answer(self, head: _Request, kind: str, body: bytes) -> str:
        if kind == "DataRow":
            head.rows += 1
            return texts.row(body, head.columns, head.binary) if head.rows == 1 else ""
        if kind == "RowDescription":
            self._book.described(head, body)
        elif kind == "CommandComplete":
            head.rows = 0
        elif kind == "BackendKeyData":
            self.backend_id = int.from_bytes(body[:4], "big")
        elif kind == "Authentication" and int.from_bytes(body[:4], "big") not in _AUTH_FINAL:
            self._pop()
        elif kind == "CopyInResponse":
            self._ask_for_rows(head)
        elif kind == "CopyBothResponse":
            self._go_blind()
        return ""

    def _ready(self, head: _Request | None, body: bytes) -> str:
        if body not in _STATUS:
            raise Garbage("ReadyForQuery with an unknown status")
        self.in_transaction = body != b"I"
        self.ready = True
        if head is None:
            return _STATUS[body]  # of a Sync that was taken for swallowed by a COPY, but was not (see _error)
        if "ReadyForQuery" not in _ANSWERS.get(head.kind, ()):
            raise Garbage(f"ReadyForQuery came when {head.kind} was to be answered")
        self._pop()
        return _STATUS[body]

    def _error(self, body: bytes) -> str:
        severity, text = texts.error(body)
        copying, self._copying = self._copying, None
        if severity in ("FATAL", "PANIC"):
            self._queue.clear()
            self.owed = 0
            self._over = self.ended = True
            return text
        head = self._queue[0] if self._queue else None
        if head is None:
            return text
        if copying is not None and copying.kind == "Query":
            self.owed += 1  # the server ends the COPY by itself: ReadyForQuery is due without a turn of the driver
        if head.kind in ("Encryption", "Startup"):
            self._pop()
        elif head.kind in _EXTENDED:
            if copying is not None and self._swallowed_sync and not self._copied:
                self._push("Sync")  # the server had not yet come to read it within the COPY
            self._skip_to_sync()
        return text

    def _skip_to_sync(self) -> None:
        while self._queue and self._queue[0].kind != "Sync":
            self._pop()
        self._skipping = not self._queue

    def _ask_for_rows(self, head: _Request) -> None:
        """The server reads rows from the driver. What the driver had sent ahead is what the server reads now."""
        self._copying = head
        self._copied = self._swallowed_sync = False
        if head.kind == "Query":
            self.owed -= 1
        while len(self._queue) > 1 and self._copying is not None:
            ahead = self._queue[1].kind
            if ahead in ("Sync", "Flush"):
                self._swallowed_sync |= ahead == "Sync"
                self.owed -= 1
            else:
                self._end_copy(head)
                if ahead not in _COPY_ENDS:
                    return  # a message that makes the server stop with an error, which ends the session
            del self._queue[1]

    # -- both

    def _push(self, kind: str) -> None:
        self._queue.append(_Request(kind))
        self.owed += 1

    def _pop(self) -> None:
        self.owed -= self._queue.popleft().kind in _COUNTED
        while self._queue and self._queue[0].kind in _COPY_ENDS:
            self._queue.popleft()  # the server ignores it where there is no COPY

    def _go_blind(self) -> None:
        super()._go_blind()
        self._queue.clear()
        self._copying = None


def _end_of_typed(data: bytes, position: int, kinds: dict[int, str]) -> int:
    """Return where the message at `position` ends, or a position behind `data` that is worth waiting for."""
    if data[position] not in kinds:
        raise Garbage("a message of unknown type")
    body = position + 5
    if body > len(data):
        return body
    length = int.from_bytes(data[position + 1 : body], "big")
    if not 4 <= length < _LENGTH_LIMIT:
        raise Garbage("a message of impossible length")
    return position + 1 + length


def _end_of_startup(data: bytes, position: int) -> int:
    """Return where the untyped message at `position` ends, or a position behind `data` that is worth waiting for."""
    if data[position] != 0:
        raise Garbage("no startup message")
    body = position + 4
    if body > len(data):
        return body
    length = int.from_bytes(data[position:body], "big")
    if not 8 <= length <= _STARTUP_LIMIT:
        raise Garbage("a startup message of impossible length")
    return position + length
