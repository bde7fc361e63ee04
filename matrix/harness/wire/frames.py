"""What every protocol tracker speaks: frames, pieces, the tracker's interface, and the reading
of a stream into messages.

Nothing here opens a socket or knows a protocol; see mysql.py and postgres.py for those.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

TO_SERVER = "->"
TO_DRIVER = "<-"
TEXT_LIMIT = 300  # characters of a frame's text

_QUOTE = re.compile(r"""['"$]""")


@dataclass(frozen=True, init=False)
class Frame:
    """One message of the protocol, described for people and for the record; never carries authentication data."""

    direction: str  # "->" driver to server, "<-" server to driver
    kind: str  # "COM_QUERY", "Bind", "OK", "Row", ...; "garbage" where a stream is not understood, "raw" when blind
    length: int  # bytes on the wire, headers included
    text: str  # SQL of a query, code and message of an error, columns of a result's first row; '' otherwise

    # The generated __init__ of a frozen class takes three times as long, and two of these are made for each message.
    def __init__(self, direction: str, kind: str, length: int, text: str) -> None:
        fields = self.__dict__
        fields["direction"] = direction
        fields["kind"] = kind
        fields["length"] = length
        fields["text"] = text


@dataclass(frozen=True, init=False)
class Piece:
    """The raw bytes of exactly one message of the server (when the tracker is blind: of one feeding)."""

    data: bytes
    frame: Frame
    ends_answer: bool  # with this message (at least) one owed answer is complete

    def __init__(self, data: bytes, frame: Frame, ends_answer: bool) -> None:
        fields = self.__dict__
        fields["data"] = data
        fields["frame"] = frame
        fields["ends_answer"] = ends_answer


class Tracker(Protocol):
    """Follows both directions of one connection; feeding never raises, whatever the bytes are.

    An *answer* is what the server says until it is the driver's turn again: a login of three turns is three answers,
    and so is a request for a local file or for the rows of a COPY. Two commands sent at once are owed two answers.
    """

    @property
    def backend_id(self) -> int | None:
        """The server's own id of the session: MySQL's thread id, PostgreSQL's process id."""

    @property
    def owed(self) -> int:
        """Answers that the server still owes, after everything fed so far; 0: it has nothing to say."""

    @property
    def ready(self) -> bool:
        """The login is complete."""

    @property
    def at_rest(self) -> bool:
        """Logged in, in no transaction, and all that was asked is answered: a reset is understood."""

    @property
    def cancels(self) -> int | None:
        """The session that a cancel request of the protocol asks for; None on any other connection."""

    @property
    def blind(self) -> bool:
        """Encrypted, compressed, replication or not understood: bytes pass as they come and nothing is owed."""

    @property
    def ended(self) -> bool:
        """The server has said its last words, and hangs up by itself."""

    @property
    def in_transaction(self) -> bool | None:
        """What the server said last; None before it said anything."""

    def client(self, data: bytes) -> list[Frame]:
        """Take bytes from the driver; give the messages that they complete."""

    def server(self, data: bytes) -> list[Piece]:
        """Take bytes from the server; give the messages that they complete, which joined are the stream unchanged."""


class Inbox:
    """Bytes of a message that is not complete yet."""

    __slots__ = ("_chunks", "_needed", "_size")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._needed = 0

    def take(self, data: bytes) -> bytes:
        """Return everything held plus `data`, or b'' while that is known to be less than one message."""
        data = bytes(data)
        if not self._chunks:
            return data
        self._chunks.append(data)
        self._size += len(data)
        return self.drain() if self._size >= self._needed else b""

    def hold(self, rest: bytes, needed: int) -> None:
        """Keep `rest` until at least `needed` bytes are there, counted from its start. Call after `take` gave bytes."""
        if rest:
            self._chunks.append(rest)
            self._size = len(rest)
            self._needed = needed

    def drain(self) -> bytes:
        """Return whatever is held, complete or not."""
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return data


class FramedTracker(ABC):
    """The reading of both streams, whatever the protocol; subclasses cut one message off and take it in.

    Bytes are passed on whatever they are: where they are not understood, the tracker goes blind.
    """

    def __init__(self) -> None:
        self.owed = 0
        self.blind = False
        self.ended = False
        self.cancels: int | None = None
        self._from_client = Inbox()
        self._from_server = Inbox()

    @abstractmethod
    def _client_message(self, data: bytes, position: int) -> tuple[int, str, str]:
        """Take in the driver's message that begins at `position`: where it ends, its kind and its text. Where it is not
        complete, how far the bytes must reach to try again, and nothing is taken in. May raise anything for garbage."""

    @abstractmethod
    def _server_message(self, data: bytes, position: int) -> tuple[int, str, str]:
        """The same for the server's."""

    @property
    def at_rest(self) -> bool:
        return False

    def _go_blind(self) -> None:
        self.blind = True
        self.owed = 0

    def client(self, data: bytes) -> list[Frame]:
        """Take bytes from the driver; give the messages that they complete."""
        return [piece.frame for piece in self._pieces(TO_SERVER, self._from_client, data, self._client_message)]

    def server(self, data: bytes) -> list[Piece]:
        """Take bytes from the server; give the messages that they complete, which joined are the stream unchanged."""
        return self._pieces(TO_DRIVER, self._from_server, data, self._server_message)

    def _pieces(
        self, direction: str, inbox: Inbox, data: bytes, take: Callable[[bytes, int], tuple[int, str, str]]
    ) -> list[Piece]:
        if self.blind:
            return _rest(direction, "raw", inbox.drain() + data)
        data = inbox.take(data)
        pieces: list[Piece] = []
        position = 0
        try:
            while position < len(data) and not self.blind:
                owed = self.owed
                end, kind, text = take(data, position)
                if end > len(data):
                    inbox.hold(data[position:], end - position)
                    return pieces
                raw = data[position:end]
                pieces.append(Piece(raw, Frame(direction, kind, len(raw), text), self.owed < owed))
                position = end
        except Exception as problem:  # whatever the bytes are, they must be passed on
            self._go_blind()
            return pieces + _rest(direction, "garbage", data[position:], reason_of(problem))
        return pieces + _rest(direction, "raw", data[position:])


def _rest(direction: str, kind: str, data: bytes, text: str = "") -> list[Piece]:
    """What is passed on as it is."""
    return [Piece(data, Frame(direction, kind, len(data), text), False)] if data else []


class Garbage(Exception):
    """The bytes are not of the protocol; the message says why, without quoting them. Never leaves a tracker."""


def sql_text(statement: bytes) -> str:
    """Return a statement as the text of a frame: cut at TEXT_LIMIT, and at the first literal where one may be secret.

    Which quote ends a literal depends on the server and its settings, so that nothing behind the first one is shown.
    """
    text = statement[: 4 * TEXT_LIMIT].decode("utf-8", "replace")[:TEXT_LIMIT]
    if not speaks_of_secrets(text):
        return text
    before, *rest = _QUOTE.split(text, maxsplit=1)
    return before + "'***'" if rest else text


def speaks_of_secrets(text: str) -> bool:
    """Tell whether a statement may have a password among its literals."""
    lower = text.lower()
    return "password" in lower or "identified" in lower


def reason_of(problem: Exception) -> str:
    """Return the text of a "garbage" frame: why the bytes were not understood, never the bytes themselves."""
    return str(problem) if isinstance(problem, Garbage) else f"not understood ({type(problem).__name__})"


def shortened(text: str) -> str:
    """Return at most TEXT_LIMIT characters of a text."""
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
