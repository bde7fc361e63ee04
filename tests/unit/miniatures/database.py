"""A database in memory: sessions, transactions with savepoints, row locks, read committed. It answers at once, but for
who waits for a row that another session's open transaction has locked. Who would close a cycle of waits is refused,
and its transaction is undone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from matrix.harness.history import SEEN, UNSEEN
from matrix.harness.witness import LockWaits

SEEDS = 400


@dataclass(frozen=True)
class Answer:
    """What the server says to one statement: ``tag`` is its word for what it did, ``error`` its refusal."""

    tag: str
    value: str = ""
    error: str = ""
    aborted: bool = False  # the refusal's only reason is an earlier error in the same transaction


GONE = " gone"  # behind the token of a row that is deleted


class Refusal(Exception):
    """The server refuses a statement."""


class Locked(Exception):
    """Another session's open transaction holds the row."""

    def __init__(self, holder: ServerSession) -> None:
        self.holder = holder


@dataclass
class Database:
    """Committed rows, and the sessions that hold uncommitted ones."""

    nonces: list[str] = field(default_factory=lambda: [f"n-seed-{number}" for number in range(1, SEEDS + 1)])
    entry: set[str] = field(default_factory=set)
    sessions: list[ServerSession] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    locks: dict[str, ServerSession] = field(default_factory=dict)
    waiting: list[tuple[ServerSession, str]] = field(default_factory=list)
    listeners: list[tuple[str, ServerSession]] = field(default_factory=list)
    altered: set[str] = field(default_factory=set)
    tables: dict[str, str] = field(default_factory=dict)  # made by scripts: the value in each
    impatient: bool = False  # it ends each wait for a lock by its own limit: who would wait is refused

    def visible(self) -> set[str]:
        """What anybody else sees: committed rows, and what careless sessions let be seen."""
        careless = [set(session.uncommitted) for session in self.sessions if session.careless]
        return self.entry.union(*careless)

    def unlock(self, holder: ServerSession) -> None:
        """Let go of a session's rows, and let those go on who waited for them."""
        self.locks = {row: session for row, session in self.locks.items() if session is not holder}
        waiting, self.waiting = self.waiting, []
        for session, statement in waiting:
            session.waits_for = None
            answer = session.execute(statement)
            if answer is not None:
                session.answered(answer)


class ServerSession:
    """The server's side of one connection. After an error a transaction takes no more statements, as in PostgreSQL;
    a savepoint replaces an older one of the same name, as in MySQL."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.open = False
        self.failed = False
        self.orphaned = False  # it may not be committed
        self.careless = False
        self.waits_for: ServerSession | None = None
        self.answered: Callable[[Answer], None] = lambda answer: None  # told what had to wait for a lock
        self.notified: Callable[[Answer], None] = lambda news: None
        self.uncommitted: list[str] = []
        self.savepoints: list[tuple[str, int]] = []
        self.setting = "unset"
        self.autocommit = True
        self.lost: Callable[[], None] = lambda: None  # called when the server ends the session
        database.sessions.append(self)

    def execute(self, statement: str) -> Answer | None:
        """The answer; None when it will come by ``answered``."""
        word, _, rest = statement.partition(" ")
        if self.failed and word not in ("COMMIT", "ROLLBACK"):
            return Answer("ERROR", error="the transaction was aborted by an earlier error", aborted=True)
        try:
            return getattr(self, f"_{word.lower()}")(rest)
        except Locked as locked:
            return self._wait(statement, locked.holder)
        except Refusal as refusal:
            self.failed = self.open
            return Answer("ERROR", error=str(refusal))

    def _wait(self, statement: str, holder: ServerSession) -> Answer | None:
        """Wait for a row, unless its holder waits for this session: then this transaction is undone."""
        each: ServerSession | None = holder
        while each is not None and each is not self:
            each = each.waits_for
        if each is None and self.database.impatient:
            self.failed = self.open
            return Answer("ERROR", error="the wait for a lock took too long")
        if each is None:
            self.waits_for = holder
            self.database.waiting.append((self, statement))
            return None
        return self.undone("deadlock detected")

    def undone(self, error: str) -> Answer:
        """An error with which the whole transaction is undone."""
        self._close()
        self.open = self.failed = True
        return Answer("ERROR", error=error)

    def end(self) -> None:
        """The connection is gone: what was not committed never was."""
        self.database.waiting = [each for each in self.database.waiting if each[0] is not self]
        self._close()
        if self in self.database.sessions:
            self.database.sessions.remove(self)

    def lock(self, row: str) -> None:
        """Wait for a row; keep it until the end of the transaction, if one is open."""
        holder = self.database.locks.get(row, self)
        if holder is not self:
            raise Locked(holder)
        if self.open:
            self.database.locks[row] = self

    def _login(self, rest: str) -> Answer:
        return Answer("WELCOME")

    def _select(self, nonces: str) -> Answer:
        if not set(nonces.split()) <= set(self.database.nonces):
            raise Refusal(f"relation {nonces.removeprefix('FROM ')} does not exist")
        return Answer("SELECT", nonces)

    def _ping(self, rest: str) -> Answer:
        return Answer("PONG")

    def _listen(self, channel: str) -> Answer:
        self.database.listeners.append((channel, self))
        return Answer("LISTEN")

    def _notify(self, text: str) -> Answer:
        channel, _, said = text.partition(", ")
        for listened, session in self.database.listeners:
            if listened == channel:
                session.notified(Answer("NOTIFICATION", said.strip("'")))
        return Answer("NOTIFY")

    def _create(self, text: str) -> Answer:
        _, name, *rest = text.split()
        self.database.tables[name] = rest[-3].strip("'") if "AS" in rest else ""
        return Answer("CREATE")

    def _alter(self, text: str) -> Answer:
        self.database.altered.add(text.split()[1])
        return Answer("ALTER")

    def _rows(self, table: str) -> Answer:
        return Answer("SELECT", self.database.tables[table])

    def _undo(self, rest: str) -> Answer:
        return self.undone("the statement has undone the transaction")

    def _orphan(self, rest: str) -> Answer:
        self.orphaned = self.open
        return Answer("INSERT")

    def _set(self, value: str) -> Answer:
        name, _, mode = value.partition(" = ")
        if name == "autocommit":
            self.autocommit = mode == "1"
        else:
            self.setting = value
        return Answer("SET")

    def _reset(self, rest: str) -> Answer:
        self.setting = "unset"
        return Answer("RESET")

    def _show(self, rest: str) -> Answer:
        return Answer("SHOW", self.setting)

    def _look(self, ending: str) -> Answer:
        rows = self.database.visible().union(self.uncommitted)
        return Answer("SELECT", SEEN if any(row.endswith(ending) for row in rows) else UNSEEN)

    def _insert(self, tokens: str) -> Answer:
        for token in tokens.split():
            self.lock(token)
            if token in self.database.entry or token in self.uncommitted:
                raise Refusal(f"{token} is there already")
        self._write(*tokens.split())
        return Answer("INSERT")

    def _update(self, rest: str) -> Answer:
        """Give rows other tokens: UPDATE old old TO new new. The old ones are nobody's concern."""
        old, _, new = rest.partition(" TO ")
        for token in old.split():
            self.lock(token)
            if token not in self.database.entry and token not in self.uncommitted:
                raise Refusal(f"there is no row {token}")
        self._write(*new.split())
        return Answer("UPDATE")

    def _delete(self, token: str) -> Answer:
        self.lock(token)
        self._write(f"{token}{GONE}")
        return Answer("DELETE")

    def _take(self, name: str) -> Answer:
        self.lock(name)
        return self._count(name)

    def _seize(self, name: str) -> Answer:
        """Lock a row, or be refused at once."""
        try:
            return self._take(name)
        except Locked:
            raise Refusal(f"{name} is locked") from None

    def _add(self, name: str) -> Answer:
        return self._put(f"{name}={int(self._take(name).value) + 1}")

    def _count(self, name: str) -> Answer:
        own = [each.partition("=")[2] for each in self.uncommitted if each.startswith(f"{name}=")]
        return Answer("SELECT", own[-1] if own else str(self.database.counters[name]))

    def _put(self, assignment: str) -> Answer:
        self.lock(assignment.partition("=")[0])
        self._write(assignment)
        return Answer("UPDATE")

    def _write(self, *changes: str) -> None:
        self.open = self.open or not self.autocommit
        self.uncommitted.extend(changes)
        if not self.open:
            self._store()

    def _store(self) -> None:
        for change in self.uncommitted:
            name, is_counter, value = change.partition("=")
            if is_counter:
                self.database.counters[name] = int(value)
            elif change.endswith(GONE):
                self.database.entry.discard(change.removesuffix(GONE))
            else:
                self.database.entry.add(change)
        self.uncommitted.clear()

    def _begin(self, rest: str) -> Answer:
        if self.open:
            raise Refusal("a transaction is open already")
        self.open = True
        return Answer("BEGIN")

    def _commit(self, rest: str) -> Answer:
        if not self.open:
            raise Refusal("no transaction is open")
        if self.orphaned:
            self._close()
            raise Refusal("a row is there whose parent is not")
        stored = not self.failed
        if stored:
            self._store()
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
        self.open = self.failed = self.orphaned = False
        self.uncommitted.clear()
        self.savepoints.clear()
        self.database.unlock(self)


class MiniatureWitness:
    """Reads the database past every driver; the duck type of ``matrix.harness.witness.Witness``."""

    one_writer = False

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin(self) -> None:
        """Nothing stands between a miniature and its database."""

    def stored(self, tokens: Sequence[str]) -> frozenset[str]:
        return frozenset(tokens) & self.database.visible()

    def store(self, tokens: Sequence[str]) -> None:
        self.database.entry.update(tokens)

    def store_counter(self, name: str) -> None:
        self.database.counters[name] = 0

    def counter(self, name: str) -> int:
        return self.database.counters[name]

    def hide(self, hidden: bool) -> None:
        """The gate hides it."""

    def lock_waits(self) -> LockWaits:
        return {id(session): frozenset({id(session.waits_for)}) for session, _ in self.database.waiting}

    def terminate_backend(self, number: int) -> None:
        session = next(each for each in self.database.sessions if id(each) == number)
        session.end()
        session.lost()

    def terminate_backends(self) -> None:
        for session in list(self.database.sessions):
            session.end()
