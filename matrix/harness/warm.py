"""Warm connections: a logged-in connection of the server goes on from one run to the next (PostgreSQL).

To start a process for each connection takes the server longer than most runs take altogether. So where a driver says
goodbye on a connection in a known state, the gate resets it (``DISCARD ALL``) and keeps it. A driver of a later run
that begins with the same message is told what the server had said then. Within a run no connection is used twice: each
has a process number, and a key for cancel requests, of its own. What a reset would hide is never kept: see relayed.py
for the connections, scenario.py for the scenarios.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .sockets import aside

KEPT = 4  # connections at most, of one process and database: a server's are counted
RESET_SECONDS = 5.0  # seconds that an idle server may take for a reset; one that takes longer is left alone
DISCARD = b"Q\0\0\0\x10DISCARD ALL\0"
DISCARDED, READY = b"C\0\0\0\x10DISCARD ALL\0", b"Z\0\0\0\x05I"
# Authentication whose dialogue is the same each time: none, and a password in plain text. Others draw numbers.
SAME_AGAIN = tuple(b"R\0\0\0\x08" + code.to_bytes(4, "big") for code in (0, 3))
# A setting of a name of its own (``matrix.setting``) is empty after a reset, and unknown in a new session.
OWN_SETTING = re.compile(r"(^|;)\s*set\s+((session|local)\s+)?[\w\"]+\.|\bset_config\b", re.IGNORECASE)


@dataclass
class LoginTurn:
    """Of a login: what the driver asked, whole, and what the server said until it was the driver's turn again."""

    asked: bytes
    said: bytes = b""


@dataclass
class Kept:
    """A connection of the server that waits for its next driver. ``backend_id``: the server's own of the session.
    ``cancels``: requests to cancel it that the server was through with before the session was reset."""

    turns: list[LoginTurn]
    backend_id: int | None
    connection: socket.socket
    cancels: int = 0


class WarmConnections:
    """Those of one database, by the message that a driver begins with: its user, database and settings."""

    def __init__(self) -> None:
        self._idle: list[Kept] = []
        self._of_this_run: list[Kept] = []

    def take(self, startup: bytes) -> Kept | None:
        """One whose driver began with the same message."""
        for kept in [each for each in self._idle if each.turns[0].asked == startup]:
            self._idle.remove(kept)
            if not select.select([kept.connection], [], [], 0)[0]:
                return kept
            kept.connection.close()  # the server has ended it, or has news that a new one would not hear
        return None

    def keep(self, kept: Kept) -> None:
        """Reset one and keep it for the runs to come; close it where the server does not do that at once."""
        if _is_reset(kept.connection):
            self._of_this_run.append(kept)
        else:
            kept.connection.close()

    def end_run(self, cancelled: Sequence[int | None]) -> None:
        """What was kept in this run can be taken from now on, but for sessions that somebody has asked to cancel since:
        the server may come to it late."""
        parts: dict[bool, list[Kept]] = {True: [], False: []}
        for kept in self._of_this_run:
            parts[cancelled.count(kept.backend_id) == kept.cancels].append(kept)
        whole = parts[True] + self._idle
        for kept in [*whole[KEPT:], *parts[False]]:
            kept.connection.close()
        self._idle, self._of_this_run = whole[:KEPT], []

    def close(self) -> None:
        """Keep none of them."""
        for kept in [*self._idle, *self._of_this_run]:
            kept.connection.close()
        self._idle, self._of_this_run = [], []


def _is_reset(connection: socket.socket) -> bool:
    """Whether the server has discarded all that this session had."""
    said = b""
    with contextlib.suppress(OSError):
        connection.settimeout(RESET_SECONDS)
        connection.sendall(DISCARD)
        while not said.endswith(READY) and (part := connection.recv(1 << 16)):
            said += part
        connection.setblocking(False)
    return DISCARDED in said and said.endswith(READY)


@dataclass
class Login:
    """The login of one connection of the driver: by the server, or as the server has said it before. ``reach`` is told,
    as soon as it is known, which connection of the server that is, or that it must be a new one."""

    warm: WarmConnections
    reach: Callable[[Kept | None], None]
    turns: list[LoginTurn] = field(default_factory=list)
    kept: Kept | None = None
    at: int = 0  # turns so far
    marked: bool = False  # the session keeps what no reset takes away

    def ask(self, data: bytes) -> bytes | None:
        """The next turn: its answer, or None where the server is to say it. Raises LookupError where another one was
        asked than before."""
        if not self.at:
            self.kept = self.warm.take(data)
            self.reach(self.kept)
        self.at += 1
        if self.kept is None:
            self.turns.append(LoginTurn(data))
            return None
        self.turns = self.kept.turns
        if self.at > len(self.turns) or self.turns[self.at - 1].asked != data:
            raise LookupError("the driver logs in otherwise than it did in the run before")
        return self.turns[self.at - 1].said

    def say(self, data: bytes) -> None:
        """What the server says during a login of its own."""
        if self.kept is None and self.turns:
            self.turns[-1].said += data

    def hear(self, statement: str) -> None:
        """A statement of the driver."""
        self.marked = self.marked or OWN_SETTING.search(statement) is not None

    def can_be_kept(self) -> bool:
        """Whether the next driver can be told the same."""
        return not self.marked and bool(self.turns) and self.turns[0].said.startswith(SAME_AGAIN)

    def keep(self, transport: Any, backend_id: int | None, cancels: int) -> None:
        """Take the server's connection out of the loop's hands, reset it and keep it. The server has been through with
        so many requests to cancel its session: it had sent the signal when it closed their connections, and a signal is
        over when a whole statement has ended well after it."""
        connection = aside(transport.get_extra_info("socket").dup())
        transport.abort()  # closes its own number of it only
        self.warm.keep(Kept(self.turns, backend_id, connection, cancels))
