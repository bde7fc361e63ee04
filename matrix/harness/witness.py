"""The witness: an independent synchronous client of another make than the driver, connected past the gate.

It prepares the database, reads what is stored, and asks the server who waits for a lock. pg8000 for PostgreSQL,
mysql-connector-python or PyMySQL for MySQL and MariaDB; for SQLite a child process with apsw (witness_sqlite.py): two
copies of SQLite in one process would undo each other's file locks.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENTRY, SEED, COUNTER = "entry", "seed", "counter"
ORPHAN = "orphan"  # no row of it can be committed: that of SEED which it names must be there by then, and never is
LOGIN_SECONDS = 30  # of real time that a server may take to let a witness in
SEEDS = 400  # more questions than any run asks


@dataclass(frozen=True)
class Address:
    """Where a database is. ``file`` for SQLite. The password is not shown."""

    kind: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    file: str = ""


class WitnessError(Exception):
    """The server does not answer the witness, or refuses it something: one line that says what. ``denied``: it does not
    let this user in."""

    def __init__(self, text: str, *, denied: bool = False) -> None:
        super().__init__(text)
        self.denied = denied


DENIED = ("28000", "28P01", 1044, 1045, 1698)  # codes of a log-in that was refused for who it was


LockWaits = dict[int, frozenset[int]]  # a session whose request waits for a lock -> the sessions that hold it


def cycle(waits: LockWaits) -> LockWaits:
    """Those of the waits that are part of a cycle, or wait for one: the server ends one of them by itself."""
    left = dict(waits)
    while free := [session for session, holders in left.items() if not holders & left.keys()]:
        for session in free:
            del left[session]
    return left


class Witness:
    """What all witnesses can do. Raises WitnessError when the server is gone."""

    key = "id serial PRIMARY KEY"
    engine = ""  # that tables are made with; it has no deferred constraints
    one_writer = False  # the database lets one transaction write at a time, and only who has seen its newest state

    def __init__(self, address: Address) -> None:
        self.address = address

    def prepare(self, seeds: Sequence[str]) -> None:
        """Make the tables, and store the values that reads ask for."""
        for statement in self.tables():
            self.execute(statement)
        for start in range(0, len(seeds), 100):
            values = ", ".join(f"('{seed}')" for seed in seeds[start : start + 100])
            self.execute(f"INSERT INTO {SEED} (nonce) VALUES {values}")

    def tables(self) -> list[str]:
        """The statements that make the tables."""
        columns = f"{self.key}, {{}} varchar(64) NOT NULL UNIQUE"
        made = [
            f"CREATE TABLE {ENTRY} ({columns.format('token')}, value int DEFAULT 0)",
            f"CREATE TABLE {SEED} ({columns.format('nonce')})",
            f"CREATE TABLE {COUNTER} ({columns.format('name')}, value int NOT NULL)",
        ]
        if self.engine:
            return [f"{each} {self.engine}" for each in made]
        return [*made, f"CREATE TABLE {ORPHAN} (seed int REFERENCES {SEED} (id) DEFERRABLE INITIALLY DEFERRED)"]

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement; the rows it gives, if any."""
        raise NotImplementedError

    def stored(self, tokens: Sequence[str]) -> frozenset[str]:
        """Which of these rows are there, as anybody else sees it now."""
        if not tokens:
            return frozenset()
        listed = ", ".join(f"'{token}'" for token in tokens)
        return frozenset(str(row[0]) for row in self.execute(f"SELECT token FROM {ENTRY} WHERE token IN ({listed})"))

    def store(self, tokens: Sequence[str]) -> None:
        """Store rows for the program to change."""
        self.execute(f"INSERT INTO {ENTRY} (token) VALUES " + ", ".join(f"('{token}')" for token in tokens))

    def store_counter(self, name: str) -> None:
        """Store a counter that is 0."""
        self.execute(f"INSERT INTO {COUNTER} (name, value) VALUES ('{name}', 0)")

    def counter(self, name: str) -> int:
        """A counter's value, as anybody else sees it now."""
        return int(self.execute(f"SELECT value FROM {COUNTER} WHERE name = '{name}'")[0][0])

    def begin(self) -> None:
        """A run begins: what stands between driver and server goes on with new sessions, as a driver does."""

    def hide(self, hidden: bool) -> None:
        """Put a database that is a file where nobody finds it, or back. A server is hidden by the gate."""

    def locked(self) -> bool:
        """Whether a connection that nobody uses any more keeps everybody from writing (SQLite)."""
        return False

    def lock_waits(self) -> LockWaits:
        """Whose request waits for a lock, and for whom, as far as the server says. A wait counts once the server has
        looked whether it closes a cycle."""
        return {}

    def terminate_backend(self, number: int) -> None:
        """End one session by the server's own id of it, as an administrator would."""
        raise NotImplementedError

    def terminate_backends(self) -> None:
        """End every other session in this database."""

    def kind(self) -> str:
        """What kind of server answers, by its own word: as in addresses (mysql, mariadb, …), or another make's name."""
        return self.address.kind

    def databases(self) -> list[str]:
        """The names of the server's databases, as far as this user is let see them."""
        return []

    def in_use(self, database: str) -> bool:
        """Whether anybody is logged in to another database of this server."""
        return True

    def lacks(self) -> str:
        """What this user may not ask, what comes of it and how it is granted, in two lines; empty for nothing."""
        return ""

    def server_string(self) -> str:
        """What the server calls itself."""
        raise NotImplementedError

    def close(self) -> None:
        """Disconnect. Never raises."""


SHORT_TIMEOUT = 0.01  # seconds of ``deadlock_timeout`` (a private server's is 0.001) that are waited for
WAITING_BACKENDS = """
SELECT pid, holders, query, now FROM (
    SELECT pid, pg_blocking_pids(pid) AS holders, query_start::text AS query,
        extract(epoch FROM clock_timestamp())::float8 AS now FROM pg_stat_activity
) AS backend WHERE cardinality(holders) > 0
"""


def _runs(pid: int) -> bool:
    """Whether a server's process is at work, or is to be: False where it is not on this machine."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "R"
    except OSError:
        return False


class PostgresWitness(Witness):
    """pg8000 (pure Python, no libpq)."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        import pg8000.exceptions
        import pg8000.native

        self._errors = (pg8000.exceptions.Error, OSError)
        self._timeout: float | None = None
        self._waits: dict[
            tuple[int, frozenset[int], str], float
        ] = {}  # since when each was seen, by the server's clock
        try:
            self._connection = pg8000.native.Connection(
                address.user,
                host=address.host,
                port=address.port,
                password=address.password or None,
                database=address.database or "postgres",
                timeout=LOGIN_SECONDS,
            )
        except Exception as error:  # whatever a client makes of what answers there
            raise WitnessError(
                f"PostgreSQL at {address.host}:{address.port}: {_first_line(error)}", denied=_code(error) in DENIED
            ) from None

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        try:
            return [tuple(row) for row in self._connection.run(statement) or []]
        except self._errors as error:
            raise WitnessError(f"PostgreSQL says: {_first_line(error)}") from None

    def lock_waits(self) -> LockWaits:
        waits = {}
        since = {}
        for pid, holders, query, now in self.execute(WAITING_BACKENDS):
            wait = pid, frozenset(holders), query
            since[wait] = self._waits.get(wait, now)
            if now - since[wait] >= self._until_checked() and not _runs(pid):
                waits[pid] = frozenset(holders)
        self._waits = since
        return waits

    def _until_checked(self) -> float:
        """Seconds after which a waiting session has looked for a cycle: it does so once, when ``deadlock_timeout`` has
        gone by. Who looks first when there is one is its victim; so that this is who came last, those before it must
        have looked. With a longer timeout than a private server's it is who came first, and there is no need to wait.
        """
        if self._timeout is None:
            milliseconds = self.execute("SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout'")[0][0]
            self._timeout = float(milliseconds) / 1000
        return 3 * self._timeout if self._timeout <= SHORT_TIMEOUT else 0.0

    def terminate_backend(self, number: int) -> None:
        self.execute(f"SELECT pg_terminate_backend({number})")

    def terminate_backends(self) -> None:
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def databases(self) -> list[str]:
        return [str(name) for (name,) in self.execute("SELECT datname FROM pg_database")]

    def in_use(self, database: str) -> bool:
        return bool(self.execute(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{database}' LIMIT 1"))

    def kind(self) -> str:
        word = self.server_string().split()[0]
        return "postgres" if word == "PostgreSQL" else word.lower()

    def server_string(self) -> str:
        return str(self.execute("SELECT version()")[0][0])

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.close()


_RECORD_LOCK = re.compile(
    r"RECORD LOCKS (?P<page>space id \d+ page no \d+) .*? lock[_ ]mode (?P<mode>\w+)(?P<rest>.*)\n"
    r"(?P<records>(?:(?!RECORD LOCKS|TABLE LOCK|---).*\n?)*)"
)


def innodb_lock_waits(status: str) -> LockWaits:
    """The waits that ``SHOW ENGINE INNODB STATUS`` tells of. Who holds what it says where
    ``innodb_status_output_locks`` is on, as in a private server. (``performance_schema`` would know, and is off
    there.)"""
    waiting: dict[int, list[tuple[str, str]]] = {}
    held: dict[int, list[tuple[str, str]]] = {}
    for part in status.split("---TRANSACTION ")[1:]:
        thread = re.search(r"(?:MySQL|MariaDB) thread id (\d+)", part)
        if thread is None:
            continue
        session = int(thread.group(1))
        if "LOCK WAIT" in part.split("thread id")[0]:
            waiting[session] = []
        for lock in _RECORD_LOCK.finditer(part):
            records = re.findall(r"Record lock, heap no (\d+)", lock["records"])
            locks = waiting if lock["rest"].endswith(" waiting") else held
            mode = lock["mode"] + lock["rest"].removesuffix(" waiting")
            locks.setdefault(session, []).extend((f"{lock['page']} {record}", mode) for record in records)
    return {
        session: frozenset(
            other
            for other, locks in held.items()
            if other != session and any(_holds_up(lock, wanted) for lock in locks for wanted in wants)
        )
        for session, wants in waiting.items()
    }


def _holds_up(lock: tuple[str, str], wanted: tuple[str, str]) -> bool:
    """Whether one record lock is in the way of another. Two shared ones are not, nor is a row's when the gap before it
    is wanted."""
    (place, mode), (wanted_place, wanted_mode) = lock, wanted
    if place != wanted_place or (mode[0] == wanted_mode[0] == "S"):
        return False
    return "rec but not gap" not in mode if "insert intention" in wanted_mode else "gap before rec" not in mode


class MySQLWitness(Witness):
    """mysql-connector-python, for MySQL and MariaDB."""

    key = "id int AUTO_INCREMENT PRIMARY KEY"
    engine = "ENGINE=InnoDB"
    module = "mysql.connector"
    # Without what it tells the server of itself (CLIENT_CONNECT_ATTRS): it starts lsb_release for each connection.
    settings: Mapping[str, Any] = {"collation": "utf8mb4_general_ci", "client_flags": [-(1 << 20)]}

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._client = importlib.import_module(self.module)
        self._errors = (self._client.Error, OSError, AttributeError)
        try:
            self._connection: Any = self._connect(address)
            self._cursor = self._connection.cursor()  # a new one asks the server first whether it is there
        except Exception as error:  # whatever a client makes of what answers there
            raise WitnessError(
                f"{address.kind} at {address.host}:{address.port}: {_first_line(error)}", denied=_code(error) in DENIED
            ) from None

    def _connect(self, address: Address) -> Any:
        """In plain text where nothing leaves the machine: quicker, and a forked child may go on with the connection
        while its parent waits (isolated.py); TLS counts on each side and would not survive it."""
        connect = functools.partial(
            self._client.connect,
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            database=address.database or None,
            autocommit=True,
            charset="utf8mb4",
            connect_timeout=LOGIN_SECONDS,
            **self.settings,
        )
        near = address.host in ("127.0.0.1", "localhost")
        connection: Any = connect(ssl_disabled=near and address.kind == "mariadb")
        if near and address.kind == "mysql":
            # MySQL takes a password over plain TCP once it has seen it by TLS; it may be set up never to. Then TLS it
            # is: nothing forks beside a MySQL witness (isolated drivers have none), and reading is the same.
            with contextlib.suppress(*self._errors):
                plain = connect(ssl_disabled=True)
                connection.close()
                return plain
        return connection

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        try:
            self._cursor.execute(statement)
            return list(self._cursor.fetchall()) if self._cursor.description else []
        except self._errors as error:
            raise WitnessError(f"{self.address.kind} says: {_first_line(error)}") from None

    def lock_waits(self) -> LockWaits:
        # Not information_schema.innodb_trx: it shows a copy that may be 0.1 s old.
        return innodb_lock_waits(str(self.execute("SHOW ENGINE INNODB STATUS")[0][2]))

    def terminate_backend(self, number: int) -> None:
        self.execute(f"KILL {number}")

    def terminate_backends(self) -> None:
        rows = self.execute(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        for (number,) in rows:
            with contextlib.suppress(WitnessError):  # it may have ended by itself
                self.execute(f"KILL {number}")

    def databases(self) -> list[str]:
        return [str(name) for (name,) in self.execute("SHOW DATABASES")]

    def in_use(self, database: str) -> bool:
        return bool(self.execute(f"SELECT 1 FROM information_schema.processlist WHERE db = '{database}' LIMIT 1"))

    def kind(self) -> str:
        version = " ".join(map(str, self.execute("SELECT VERSION(), @@version_comment")[0])).lower()
        return next((make for make in ("mariadb", "tidb", "vitess") if make in version), "mysql")

    def lacks(self) -> str:
        try:
            self.lock_waits()
        except WitnessError as error:
            user, _, host = str(self.execute("SELECT CURRENT_USER()")[0][0]).rpartition("@")
            return (
                f"{error}: who waits for a lock cannot be asked\n"
                f"As an administrator: GRANT PROCESS ON *.* TO '{user}'@'{host}'"
            )
        return ""

    def server_string(self) -> str:
        version, comment = self.execute("SELECT VERSION(), @@version_comment")[0]
        return f"{'MariaDB' if 'mariadb' in str(version).lower() else 'MySQL'} {version} ({comment})"

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.close()


class PyMySQLWitness(MySQLWitness):
    """PyMySQL, for drivers of the other one's make."""

    module = "pymysql"
    settings: Mapping[str, Any] = {}


class SQLiteWitness(Witness):
    """apsw, with a SQLite of its own, in a process of its own."""

    key = "id integer PRIMARY KEY AUTOINCREMENT"
    one_writer = True

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "matrix.harness.witness_sqlite", address.file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.execute("PRAGMA journal_mode=WAL")

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(statement) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError as error:
            raise WitnessError(f"the SQLite witness is gone: {error}") from None
        if not line:
            raise WitnessError("the SQLite witness is gone (is apsw installed?)")
        answer = json.loads(line)
        if "error" in answer:
            raise WitnessError(f"SQLite says: {answer['error']}")
        return [tuple(row) for row in answer["rows"]]

    def locked(self) -> bool:
        self.execute("PRAGMA busy_timeout=0")
        try:
            self.execute("BEGIN IMMEDIATE")
            self.execute("ROLLBACK")
        except WitnessError:
            return True
        finally:
            self.execute("PRAGMA busy_timeout=5000")
        return False

    def hide(self, hidden: bool) -> None:
        folder = Path(self.address.file).parent
        away = folder.with_name(f"{folder.name}-hidden")
        source, target = (folder, away) if hidden else (away, folder)
        if source.exists():
            source.rename(target)

    def server_string(self) -> str:
        import sqlite3

        return (
            f"SQLite {sqlite3.sqlite_version} (the witness reads with {self.execute('SELECT sqlite_version()')[0][0]})"
        )

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait(5)


WITNESSES: dict[str, type[Witness]] = {  # by their names in drivers.toml
    "pg8000": PostgresWitness,
    "mysql-connector-python": MySQLWitness,
    "pymysql": PyMySQLWitness,
    "apsw": SQLiteWitness,
}


def _code(error: BaseException) -> object:
    """The server's own code: pg8000 has a SQLSTATE among a dictionary, the others a number first or as errno."""
    first = error.args[0] if error.args else None
    return first.get("C") if isinstance(first, dict) else getattr(error, "errno", first)


def _first_line(error: BaseException) -> str:
    detail = error.args[0] if error.args else ""
    if isinstance(detail, dict):  # pg8000 gives the server's message as a dict: M is its text
        detail = detail.get("M", detail)
    text = str(detail if isinstance(detail, str) and detail else error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
