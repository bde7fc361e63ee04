"""What the scheduler sees of a connection, however the driver has it: the channel, the transactions that its statements
tell of, and the record of its frames."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

TOKEN = re.compile(rb"(?:w|n|c)-[0-9a-z]+-[0-9]+")
_BEGIN = re.compile(r"\s*(begin|start\s+transaction)\b", re.IGNORECASE)
_SAVEPOINT = re.compile(r"\s*(?P<verb>savepoint|release)\s+(?:savepoint\s+)?(?P<name>\w+)", re.IGNORECASE)
_AUTOCOMMIT = re.compile(r"\s*set\s+(session\s+)?(@@)?autocommit\s*=\s*(?P<on>\w+)", re.IGNORECASE)
_END = re.compile(r"\s*(commit|end|rollback(?!\s+(work\s+)?to\b))\b", re.IGNORECASE)


class FrameRecord(NamedTuple):
    """One frame as the evidence shows it. ``seconds`` since the start of the run."""

    sequence: int
    seconds: float
    wire: int
    direction: str
    kind: str
    length: int
    text: str
    overlap: bool = False
    held: bool = False


@dataclass
class Timeline:
    """The one numbering and the one clock of a run; history and frames share it."""

    started: float = field(default_factory=time.monotonic)
    sequence: int = 0
    frames: list[FrameRecord] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # the server's or the machine's own: such a run is not judged
    _lock: threading.Lock = field(default_factory=threading.Lock)  # workers and other threads' loops number too

    def next(self) -> int:
        with self._lock:
            self.sequence += 1
            return self.sequence

    def elapsed(self) -> float:
        return time.monotonic() - self.started


class Segments:
    """Which server transaction each token travelled in, read off the statements on one connection.

    ``placed`` maps a token to its transaction: a tuple of wire number and ordinal, or None for outside of any.
    """

    def __init__(self, wire: int, *, begin_commits: bool = False, savepoint_begins: bool = False) -> None:
        self.wire = wire
        self.begin_commits = begin_commits  # MySQL: BEGIN ends the transaction that is open; others refuse it or warn
        self.savepoint_begins = savepoint_begins  # SQLite: outside of a transaction a savepoint is one, until released
        self._ordinal = 0
        self._outermost = ""
        self._implicit = False  # MySQL without autocommit: each statement outside of a transaction begins one
        self.open = False
        self.placed: dict[str, tuple[int, int] | None] = {}

    def statement(self, text: str) -> None:
        if switch := _AUTOCOMMIT.match(text):
            self._implicit = switch["on"].lower() in ("0", "off", "false")
            self.open = self.open and self._implicit
        elif _BEGIN.match(text):
            self._ordinal += not self.open or self.begin_commits
            self.open = True
        elif _END.match(text):
            self.open = False
            self._outermost = ""
        elif self.savepoint_begins and (savepoint := _SAVEPOINT.match(text)):
            self._savepoint(savepoint["verb"].lower(), savepoint["name"])
        elif self._implicit and not self.open:
            self._ordinal += 1
            self.open = True

    def _savepoint(self, verb: str, name: str) -> None:
        if verb == "savepoint" and not self.open:
            self._ordinal += 1
            self.open = True
            self._outermost = name
        elif verb == "release" and name == self._outermost:
            self.open = False
            self._outermost = ""

    def token(self, token: str) -> None:
        self.placed[token] = (self.wire, self._ordinal) if self.open else None


class Channel:
    """What the scheduler sees of a connection: the wires of the gate and the worker threads look alike."""

    number: int
    label: str
    segments: Segments
    holding: bool

    def busy(self) -> bool:
        """Something moves on it: bytes are in flight, the server or the worker owes an answer."""
        raise NotImplementedError

    def due(self) -> bool:
        """It is busy, and what it waits for wakes the loop: the server's answer, or its end."""
        return False

    def heard(self) -> bool:
        """The server has begun with all that it was asked. Returns whether it is not so any more: what waited for this
        was sent to it."""
        return False

    def deliverable(self) -> bool:
        """At least one complete answer is held."""
        raise NotImplementedError

    def deliver(self) -> dict[str, Any]:
        """Let the next held answer (or frame of it) through. What it was: its ``pieces`` (kind and text), and whether
        the connection ``ends`` behind them."""
        raise NotImplementedError

    def in_flight(self) -> str:
        """What is held or due on it, in words; empty for nothing."""
        raise NotImplementedError

    def hold(self) -> None:
        """Hold answers from now on."""
        self.holding = True

    def release(self) -> None:
        """Hold nothing any more; everything held goes through."""
        raise NotImplementedError

    def cut(self) -> None:
        """End it from outside, as a network failure would."""
        raise NotImplementedError

    def reset(self) -> None:
        """End it as a firewall does that forgot it, where there is a wire."""
        self.cut()

    def backend_id(self) -> int | None:
        """The server's own id of the session, where there is a server."""
        return None

    def expect_end(self) -> None:
        """The server is about to end the session: what is in flight is lost, the end itself is held like an answer."""
        raise NotImplementedError

    def in_transaction(self) -> bool:
        """Whether a transaction is open on it, by the server's last word, or by the statements where there is none."""
        return self.segments.open
