"""A database in memory: sessions, transactions with savepoints, read committed. It answers at once, nobody blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SEEDS = 400


@dataclass(frozen=True)
class Answer:
    """What the server says to one statement: ``tag`` is its word for what it did, ``error`` its refusal."""

    tag: str
    value: str = ""
    error: str = ""
    aborted: bool = False  # the refusal's only reason is an earlier error in the same transaction


class Refusal(Exception):
    """The server refuses a statement."""


@dataclass
class Database:
    """Committed rows, and the sessions that hold uncommitted ones."""

    nonces: list[str] = field(default_factory=lambda: [f"n-seed-{number}" for number in range(1, SEEDS + 1)])
    entry: set[str] = field(default_factory=set)
    sessions: list[ServerSession] = field(default_factory=list)

    def visible(self) -> set[str]:
        """What anybody else sees: committed rows, and what careless sessions let be seen."""
        careless = [set(session.uncommitted) for session in self.sessions if session.careless]
        return self.entry.union(*careless)


class ServerSession:
    """The server's side of one connection. After an error a transaction takes no more statements, as in PostgreSQL;
    a savepoint replaces an older one of the same name, as in MySQL."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.open = False
        self.failed = False
        self.careless = False
        self.uncommitted: list[str] = []
        self.savepoints: list[tuple[str, int]] = []
        self.setting = "unset"
        self.lost: Callable[[], None] = lambda: None  # called when the server ends the session
        database.sessions.append(self)

    def execute(self, statement: str) -> Answer:
        word, _, rest = statement.partition(" ")
        if self.failed and word not in ("COMMIT", "ROLLBACK"):
            return Answer("ERROR", error="the transaction was aborted by an earlier error", aborted=True)
        try:
            return getattr(self, f"_{word.lower()}")(rest)
        except Refusal as refusal:
            self.failed = self.open
            return Answer("ERROR", error=str(refusal))

    def end(self) -> None:
        """The connection is gone: what was not committed never was."""
        self._close()
        if self in self.database.sessions:
            self.database.sessions.remove(self)

    def _login(self, rest: str) -> Answer:
        return Answer("WELCOME")

    def _select(self, nonce: str) -> Answer:
        if nonce not in self.database.nonces:
            raise Refusal(f"relation {nonce.removeprefix('FROM ')} does not exist")
        return Answer("SELECT", nonce)

    def _set(self, value: str) -> Answer:
        self.setting = value
        return Answer("SET")

    def _reset(self, rest: str) -> Answer:
        self.setting = "unset"
        return Answer("RESET")

    def _show(self, rest: str) -> Answer:
        return Answer("SHOW", self.setting)

    def _insert(self, token: str) -> Answer:
        if token in self.database.entry or token in self.uncommitted:
            raise Refusal(f"{token} is there already")
        if self.open:
            self.uncommitted.append(token)
        else:
            self.database.entry.add(token)
        return Answer("INSERT")

    def _begin(self, rest: str) -> Answer:
        if self.open:
            raise Refusal("a transaction is open already")
        self.open = True
        return Answer("BEGIN")

    def _commit(self, rest: str) -> Answer:
        if not self.open:
            raise Refusal("no transaction is open")
        stored = not self.failed
        if stored:
            self.database.entry.update(self.uncommitted)
        self._close()
        return Answer("COMMIT" if stored else "ROLLBACK")

    def _rollback(self, rest: str) -> Answer:
        if rest.startswith("TO "):
            place = self._place(rest[3:])
            del self.uncommitted[self.savepoints[place][1] :]
            del self.savepoints[place + 1 :]
            self.failed = False
        else:
            self._close()
        return Answer("ROLLBACK")

    def _savepoint(self, name: str) -> Answer:
        if not self.open:
            raise Refusal("no transaction is open")
        self.savepoints = [each for each in self.savepoints if each[0] != name]
        self.savepoints.append((name, len(self.uncommitted)))
        return Answer("SAVEPOINT")

    def _release(self, name: str) -> Answer:
        del self.savepoints[self._place(name) :]
        return Answer("RELEASE")

    def _place(self, name: str) -> int:
        for place, (called, _) in enumerate(self.savepoints):
            if called == name:
                return place
        raise Refusal(f"there is no savepoint {name}")

    def _close(self) -> None:
        self.open = self.failed = False
        self.uncommitted.clear()
        self.savepoints.clear()


class MiniatureWitness:
    """Reads the database past every driver; the duck type of ``tests.harness.witness.Witness``."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def stored(self, tokens: Sequence[str]) -> frozenset[str]:
        return frozenset(tokens) & self.database.visible()

    def waiting_for_locks(self) -> set[int | None]:
        return set()

    def end_session(self, number: int) -> None:
        session = next(each for each in self.database.sessions if id(each) == number)
        session.end()
        session.lost()

    def end_sessions(self) -> None:
        for session in list(self.database.sessions):
            session.end()
