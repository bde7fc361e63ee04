"""One cell: the adapter, the server, the witness, the prepared database, and the versions that the result names."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.metadata
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matrix import maker
from matrix.lines import Axes, Header
from matrix.words import SCHEMA

from .adapters.base import CAPABILITIES, Adapter, load
from .cell_name import UVLOOP, CellName, parse
from .drivers import distribution, drivers
from .loop import MatrixLoop
from .sockets import NoFence, check_fence, first_aside
from .tls import FRONTS, of_driver
from .warm import WarmConnections
from .witness import SEEDS, WITNESSES, Address, Witness, WitnessError
from .witness_pooled import PooledWitness

ROOT = Path(__file__).resolve().parents[2]
LOOPS = {"eager": "asyncio, eager tasks"}  # what the header calls them
MEMORY = "/dev/shm"  # a file system in memory: writing to the disk is no part of what is tested
NAME = re.compile(rf"(repro_)?{maker.MARK.pattern}_[0-9a-f]+")  # of a database that a cell or a reproducer's run made
SOURCES = "MATRIX_SOURCES"  # packages that are the caller's own: what the header says of them, as JSON
WARM = "MATRIX_WARM"  # 0: each connection of a driver is a new one of the server (warm.py)
# What cannot be asked for through a pooler.
NO_SETTING = "a pooler stands between: it takes no setting of a connection that it does not know"
POOLED = {
    "server": "a pooler stands between: it decides which of the server's sessions end, and the driver hears of none",
    "serializable": NO_SETTING,
    "lock limit": NO_SETTING,
    "notifications": "a pooler in transaction mode stands between: the next statement is another session's",
}
ROWS = 1000  # that a server is asked to take where it may have failed
MIN_FREE_BYTES = 64 << 20  # bytes that a SQLite database and its log may take


class CellError(Exception):
    """The cell cannot run: one line that says why and what to do."""


class Backing:
    """One database of a cell, ready to be used: where it is, who witnesses, what can be asked for."""

    def __init__(
        self, adapter: Adapter, kind: str, database: Address, witness: Witness, server: Any, pooler: Any = None
    ) -> None:
        self.adapter = adapter
        self.kind = kind
        self.database = database
        self.witness = witness
        self.server = server
        self.pooled = pooler is not None
        self.server_address = None if kind == "sqlite" else (database.host, database.port)
        if pooler is not None:
            self.server_address = "127.0.0.1", pooler.port
        self.nonces = [f"n-seed-{number}" for number in range(1, SEEDS + 1)]
        self.server_string = witness.server_string()
        keeps = kind == "postgres" and not server.given and not adapter.isolated and os.environ.get(WARM, "1") != "0"
        self.warm = WarmConnections() if keeps and not self.pooled else None
        witness.prepare(self.nonces)

    def address(self, gate_port: int | None) -> Address:
        """Where the driver shall connect to."""
        if gate_port is None:
            return self.database
        known = self.database
        return Address(known.kind, "127.0.0.1", gate_port, known.user, known.password, known.database)

    def renew(self) -> None:
        """Another file in the place of this one, which a lost connection keeps locked."""
        self.witness.close()
        for end in ("", "-wal", "-shm"):
            Path(self.database.file + end).unlink(missing_ok=True)
        self.witness = type(self.witness)(self.database)
        self.witness.prepare(self.nonces)

    def reopen_witness(self) -> None:
        """A new connection for the witness, after a child process died in the middle of whatever it asked."""
        self.witness.close()
        self.witness = type(self.witness)(self.database)

    def failing(self, *, writes: bool = False) -> str:
        """Why nothing more can be judged here: the server does not answer its witness any more, or takes no rows of it
        (``writes``: that is tried too, enough of them to need new pages). Empty where it serves."""
        try:
            self.witness.execute("SELECT 1")
        except WitnessError:
            return f"the {self.kind} server is gone"
        try:
            if writes:
                self.witness.store([f"w-{secrets.token_hex(16)}" for _ in range(ROWS)])
        except WitnessError as error:
            return f"the {self.kind} server takes no rows any more ({error})"
        return ""

    def answers(self, seconds: float) -> bool:
        """Whether the server lets a witness in and answers it within so many seconds of real time. SQLite has none."""
        if self.server_address is None:
            return True
        answered = threading.Event()

        def ask() -> None:
            with contextlib.suppress(WitnessError):
                witness = type(self.witness)(self.database)
                witness.execute("SELECT 1")
                answered.set()
                witness.close()

        threading.Thread(target=ask, daemon=True).start()  # left alone when it gets no answer
        return answered.wait(seconds)


@dataclass(frozen=True)
class CellDatabase:
    """One database of a cell, and the server it is in; for a process that is going to use it alone."""

    kind: str
    database: Address
    server: Any


class Cell:
    """``name`` such as ``mysql-aiomysql``, or with factors (cell_name.py). ``open`` before use, ``close`` after."""

    def __init__(self, name: str, *, progress: Callable[[str], None] = print) -> None:
        self.name = name
        self.progress = progress
        try:
            self.parts: CellName = parse(name)
            self.table = drivers()[self.parts.driver]
            self.adapter = load(self.table.adapter)
        except KeyError:
            known = ", ".join(drivers())
            raise CellError(f"unknown cell {name!r}: no driver {self.parts.driver}; there are: {known}") from None
        except (LookupError, ValueError) as error:
            raise CellError(f"unknown cell {name!r}: {error}") from None
        except ImportError as error:
            raise CellError(
                f"{self.parts.driver} cannot be imported here: {error}\n"
                f"Install {' '.join(self.table.requirements)}, or run it in the cell's own environment: tox -e {name}"
            ) from None
        if self.parts.candidate:
            from matrix.candidates import wrappers

            wrappers.apply(self.parts.candidate)
        self.specs = self.table.server_specs(self.parts)
        self.kind = self.parts.server
        self.driver = self.parts.driver
        self._choose_loop()
        self._choose_way()
        self.backings: list[Backing] = []
        self._places: list[tuple[str, Any, Witness | None]] = []  # kind, server, who makes databases in it
        self._closing: list[Callable[[], None]] = []
        self._others: Any = None

    def _choose_loop(self) -> None:
        if self.parts.loop == "uvloop":
            raise CellError(f"{self.name}: {UVLOOP}")
        if self.parts.loop == "eager" and sys.version_info < (3, 12):
            raise CellError(f"{self.name}: eager tasks need Python 3.12 or newer, this is {platform.python_version()}")
        MatrixLoop.eager = self.parts.loop == "eager"

    def _choose_way(self) -> None:
        """Through a pooler or straight, and with what is set for that."""
        parts, adapter = self.parts, self.adapter
        if parts.pooler and self.kind != "postgres":
            raise CellError(f"{self.name}: {parts.pooler} is a pooler for PostgreSQL")
        if parts.setting and parts.setting not in adapter.settings:
            known = ", ".join(adapter.settings) or "none"
            raise CellError(f"{self.name}: {self.driver} has no setting {parts.setting!r}; there are: {known}")
        adapter.chosen = adapter.settings[parts.setting] if parts.setting else {}
        adapter.capabilities = type(adapter).capabilities - (POOLED.keys() if parts.pooler else set())
        if parts.tls and self.kind not in FRONTS:
            raise CellError(f"{self.name}: there is no TLS to {self.kind}")
        adapter.tls = of_driver() if parts.tls else None
        self.pooler: Any = None
        self._witnesses: dict[str, Callable[[Address], Witness]] = {}  # instead of the driver's table's

    def open(self, meanwhile: Callable[[], object] = bool) -> None:
        """Find or start the servers, make a database in each; ``meanwhile`` is done beside it. Raises CellError."""
        try:
            (first_aside if set(self.specs) == {"sqlite"} else check_fence)()
        except NoFence as error:
            raise CellError(str(error)) from None
        with ThreadPoolExecutor(1) as beside:
            beside.submit(meanwhile)
            for kind, spec in self.specs.items():
                self._places.append((kind, None, None) if kind == "sqlite" else self._served(spec))
        self.backings = [self._ready(target) for target in self.new_databases()]
        # Destructors of connections that a hung run has lost complain when their loop is long gone: no news to anybody.
        sys.unraisablehook = lambda _: None
        gc.collect()
        gc.freeze()  # what is loaded by now stays; the collector need not walk over it after every run

    def new_databases(self) -> list[CellDatabase]:
        """New databases, one in each server of the cell. ``close`` takes them away. Raises CellError."""
        return [
            CellDatabase(kind, self._file() if keeper is None else self._database(server, keeper), server)
            for kind, server, keeper in self._places
        ]

    def switch_to(self, databases: list[CellDatabase]) -> None:
        """Go on in these databases, in a fork of the process that opened the cell and will close it."""
        # A witness that is destroyed here would say goodbye on the connection that its owner goes on with.
        self._others = self.backings, self._places, self._closing
        self._closing = []
        self.backings = [self._ready(target) for target in databases]

    def _witness(self, address: Address) -> Witness:
        """The driver's witness, logged in. Raises WitnessError."""
        return self._witnesses.get(address.kind, WITNESSES[self.table.witnesses[address.kind].name])(address)

    def _file(self) -> Address:
        folder = maker.folder("matrix-sqlite-", _in_memory())
        self._closing.append(lambda: shutil.rmtree(folder, ignore_errors=True))
        return Address("sqlite", file=os.path.join(folder, "matrix.db"))  # noqa: PTH118

    def _served(self, spec: str) -> tuple[str, Any, Witness]:
        from matrix import servers

        try:
            server = servers.acquire(spec, progress=self.progress)
        except servers.ServerError as error:
            raise CellError(str(error)) from None
        self._closing.append(server.stop)
        admin = Address(server.kind, server.host, server.port, server.user, server.password, "")
        try:
            keeper = self._witness(admin)
        except WitnessError as error:
            hint = "; check user and password in the address that you gave" if server.given and error.denied else ""
            raise CellError(f"cannot log in: {error}{hint}") from None
        self._closing.append(keeper.close)
        self._is_what_it_should_be(server, keeper)
        if self.parts.pooler:
            try:
                self.pooler = servers.start_pooler(self.parts.pooler_spec, server, progress=self.progress)
            except servers.ServerError as error:
                raise CellError(str(error)) from None
            self._closing.append(self.pooler.stop)
            console = replace(admin, host="127.0.0.1", port=self.pooler.port)
            self._witnesses["postgres"] = functools.partial(PooledWitness, console=console)
        if server.given:
            self._sweep(keeper, admin)
        return server.kind, server, keeper

    def _is_what_it_should_be(self, server: Any, keeper: Witness) -> None:
        """Raises CellError where another make of server answers, or its user may not ask what is needed."""
        try:
            found, lacking = keeper.kind(), keeper.lacks()
            if found != server.kind:
                raise CellError(
                    f"MATRIX_{server.kind.upper()}_URL names {server.host}:{server.port}, which says that it is "
                    f"{keeper.server_string()}: nothing of it would be {server.kind}'s.\n"
                    f"Give the address of a {server.kind} server there, or run the cells of {found} against this one."
                )
        except WitnessError as error:
            raise CellError(f"{server.kind} at {server.host}:{server.port} does not say what it is: {error}") from None
        if lacking:
            raise CellError(lacking)

    def _database(self, server: Any, keeper: Witness) -> Address:
        name = f"{maker.mark()}_{secrets.token_hex(3)}"
        database = Address(server.kind, server.host, server.port, server.user, server.password, name)
        try:
            keeper.execute(f"CREATE DATABASE {name}")
        except WitnessError as error:
            raise CellError(f"{server.user!r} may not create a database of its own: {error}") from None
        if server.given:  # a private one goes with all that is in it
            self._closing.append(lambda: self._drop(keeper, database))
        return database

    def _sweep(self, keeper: Witness, admin: Address) -> None:
        """Drop the databases that killed cells left in a given server: of a cell's name, with the mark of a process
        that is over. Nothing else is touched. Of another machine's process only the age is known, and a run may take
        longer: its witness is logged in to its database as long as it lives, so one with a session in it stays."""
        with contextlib.suppress(WitnessError):  # it may not be let see them; then others sweep
            left = [name for name in keeper.databases() if NAME.fullmatch(name) and maker.is_left(name)]
            for name in left:
                if maker.is_of_here(name) or not keeper.in_use(name):
                    self.progress(f"drops database {name}, which a run that was killed has left")
                    self._drop(keeper, replace(admin, database=name))

    def _ready(self, target: CellDatabase) -> Backing:
        witness = self._witness(target.database)
        self._closing.append(witness.close)
        return Backing(self.adapter, target.kind, target.database, witness, target.server, self.pooler)

    def _drop(self, keeper: Witness, database: Address) -> None:
        """Drop a database, whoever is still in it."""
        try:
            with contextlib.suppress(WitnessError):
                last = self._witness(database)
                last.terminate_backends()
                last.close()
            keeper.execute(f"DROP DATABASE IF EXISTS {database.database}")
        except WitnessError as error:
            self.progress(f"could not drop database {database.database}: {error}")

    def close(self) -> None:
        """Drop the databases, stop the servers. Never raises; idempotent."""
        while self._closing:
            with contextlib.suppress(Exception):
                self._closing.pop()()

    def unmet(self, scenario: Any) -> str | None:
        """Why a scenario does not apply here; None if it does."""
        reasons = CAPABILITIES | (POOLED if self.parts.pooler else {}) | dict(self.adapter.reasons)
        return scenario.unmet(self.adapter.capabilities, reasons)

    # -- what the header says --------------------------------------------------------------------------------------
    @functools.cached_property
    def packages(self) -> dict[str, str]:
        """The version of each package of this environment, by its name."""
        return {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}

    def axes(self) -> Axes:
        """On what the cell runs."""
        versions = {distribution(name): version for name, version in self.packages.items()}
        return {
            "driver": self.driver,
            "driver_version": with_label(versions.get(self.table.distribution, ""), self.parts.driver_version),
            "tortoise": with_label(self.packages.get("tortoise-orm", ""), self.parts.tortoise),
            "server": self.kind,
            "server_version": ", ".join(short_version(backing.server_string) for backing in self.backings),
            "python": platform.python_version(),
            "loop": LOOPS.get(self.parts.loop, self.parts.loop),
        }

    def header(self, planned: list[str], started: str) -> Header:
        """The result file's first line; ``started`` as ISO 8601."""
        sources = os.environ.get(SOURCES)
        through = f" through PgBouncer {self.pooler.release}" if self.pooler else ""
        return {
            "type": "header",
            "schema": SCHEMA,
            "cell": self.name,
            "axes": self.axes(),
            "packages": dict(sorted(self.packages.items(), key=lambda item: item[0].lower())),
            "server_string": "; ".join(backing.server_string for backing in self.backings) + through,
            "platform": platform.platform(),
            "commit": commit(),
            "started": started,
            "planned": planned,
            **({"sources": json.loads(sources)} if sources else {}),  # type: ignore[typeddict-item]
        }


def with_label(version: str, of_name: str | None) -> str:
    """A version, and behind it what a cell's name says of a source of the caller's own, or of a candidate."""
    return version + "".join((of_name or "").partition("+")[1:])


def _in_memory() -> str | None:
    """A folder in memory for a throw-away file, where there is one with room; else None, the usual place.

    The locks of a file are the same there; every commit of SQLite's default settings waits for the disk elsewhere.
    """
    with contextlib.suppress(OSError):
        if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MIN_FREE_BYTES:
            return MEMORY
    return None


def short_version(text: str) -> str:
    """``PostgreSQL 15.18 (Debian …) on …`` -> ``15.18``."""
    words = text.replace("-", " ").split()
    return next((word.strip(",") for word in words if word[:1].isdigit()), text)


def commit() -> str:
    """The project's commit, with ``+`` where the tree has changes; empty outside of a checkout."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        # Whoever runs this code trusts the checkout, whosever it is: in a container it often is another user's.
        git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
        run = [*git, "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    return ""


SUPPORTED = (3, 10)


def check_python() -> None:
    """Raises CellError on a Python that no cell runs on."""
    if sys.version_info < SUPPORTED:
        wanted = ".".join(map(str, SUPPORTED))
        raise CellError(f"Python {platform.python_version()} is too old for the suite: it needs {wanted} or newer")
