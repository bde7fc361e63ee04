"""Where what is measured runs: a database of its own on a real server, read by a client of another make."""

from __future__ import annotations

import contextlib
import json
import platform
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matrix.harness.witness import WITNESSES, Address, Witness
from matrix.results import documents
from matrix.servers import acquire

MODELS = "docs.patterns.models"
# driver -> Tortoise's engine, the server, the witness, which is of another make than the driver
DRIVERS = {
    "aiosqlite": ("tortoise.backends.sqlite", "sqlite", "apsw"),
    "asyncpg": ("tortoise.backends.asyncpg", "postgres", "pg8000"),
    "psycopg": ("tortoise.backends.psycopg", "postgres", "pg8000"),
    "aiomysql": ("tortoise.backends.mysql", "mysql", "mysql-connector-python"),
    "asyncmy": ("tortoise.backends.mysql", "mysql", "mysql-connector-python"),
}


@contextlib.contextmanager
def database(driver: str) -> Iterator[Address]:
    """A place for databases; of SQLite a folder. Raises ServerError."""
    server = DRIVERS[driver][1]
    if server == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield Address(server, file=folder)
        return
    with acquire(server, progress=lambda text: print(f"  {text}", file=sys.stderr)) as found:
        yield Address(server, found.host, found.port, found.user, found.password, found.database or server)


@contextlib.contextmanager
def own(driver: str, place: Address) -> Iterator[tuple[Address, Witness]]:
    """A database of one request or program, and who reads it."""
    witness = DRIVERS[driver][2]
    name = f"web_{secrets.token_hex(6)}"
    if place.kind == "sqlite":
        address = replace(place, file=f"{place.file}/{name}.sqlite3")
        reads = WITNESSES[witness](address)
        try:
            yield address, reads
        finally:
            reads.close()
        return
    first = WITNESSES[witness](replace(place, database="postgres" if place.kind == "postgres" else ""))
    try:
        first.execute(f"CREATE DATABASE {name}")
        reads = WITNESSES[witness](replace(place, database=name))
        try:
            yield replace(place, database=name), reads
        finally:
            reads.close()
            force = " WITH (FORCE)" if place.kind == "postgres" else ""
            first.execute(f"DROP DATABASE {name}{force}")
    finally:
        first.close()


def config_of(driver: str, address: Address) -> dict[str, Any]:
    """What Tortoise is initialised with, for two connections at most. Its client for MySQL takes asyncmy if it can."""
    if driver == "aiomysql":
        sys.modules["asyncmy"] = None  # type: ignore[assignment]
    adapter = import_module(f"matrix.harness.adapters.{driver}").ADAPTER
    default = {"engine": DRIVERS[driver][0], "credentials": adapter.credentials(address, 2)}
    app = {"models": [MODELS], "default_connection": "default"}
    return {"connections": {"default": default}, "apps": {"models": app}}


def stored(reads: Witness) -> list[str]:
    """The texts of all notes that are stored, in the order of their numbers."""
    return [text for (text,) in reads.execute("SELECT text FROM note ORDER BY id")]


def axes_of(driver: str) -> dict[str, str]:
    """With what is measured, as a document names it."""
    server = DRIVERS[driver][1]
    return {
        "driver": driver,
        "driver_version": version(driver),
        "server": server,
        "python": platform.python_version(),
    }


def keep(path: Path, part: str, same: Sequence[str], found: Sequence[dict[str, Any]], seconds: float) -> None:
    """Put what was found into a part of a document; it takes the place of what is there that is the same by these keys.
    The rest of the document stays. Raises OSError."""
    before = json.loads(path.read_text("utf-8")) if path.exists() else {"runs": []}
    names = [[each[key] for key in same] for each in found]
    kept = [other for other in before.get(part, ()) if [other[key] for key in same] not in names]
    finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
    head = {"type": "web", "schema": 1, "finished": finished, "seconds": round(seconds, 1)}
    documents.write(path, {**before, **head, part: [*kept, *found]})
