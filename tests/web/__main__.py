"""``python -m tests.web asyncpg --json results/web.json``: every request of docs/patterns/web.py with one driver.

Tortoise keeps what it made for one database for the next: each driver has a process of its own. The document keeps what
others have found; a run takes the place of an earlier one with the same FastAPI and driver.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomllib

from docs.patterns import web
from matrix.harness.witness import WITNESSES, Address, Witness
from matrix.results import documents
from matrix.servers import ServerError, acquire

from .judge import judge
from .measure import MODELS, PATIENCE, run

# driver -> Tortoise's engine, the server, the witness, which is of another make than the driver
DRIVERS = {
    "aiosqlite": ("tortoise.backends.sqlite", "sqlite", "apsw"),
    "asyncpg": ("tortoise.backends.asyncpg", "postgres", "pg8000"),
    "psycopg": ("tortoise.backends.psycopg", "postgres", "pg8000"),
    "aiomysql": ("tortoise.backends.mysql", "mysql", "mysql-connector-python"),
}
SAME = ("fastapi", "driver")
REQUESTS = tuple(tomllib.loads((Path(str(web.__file__)).with_suffix(".toml")).read_text("utf-8")))


@contextlib.contextmanager
def database(server: str) -> Iterator[Address]:
    """A place for databases; of SQLite a folder."""
    if server == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield Address(server, file=folder)
        return
    with acquire(server, progress=lambda text: print(f"  {text}", file=sys.stderr)) as found:
        yield Address(server, found.host, found.port, found.user, found.password, found.database or server)


@contextlib.contextmanager
def own(place: Address, witness: str) -> Iterator[tuple[Address, Witness]]:
    """A database of one request, and who reads it."""
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


def measured(driver: str, name: str, place: Address) -> dict[str, Any]:
    """One request with one driver: what it showed, as JSON has it."""
    engine, _, witness = DRIVERS[driver]
    adapter = import_module(f"matrix.harness.adapters.{driver}").ADAPTER
    with own(place, witness) as (address, reads):
        default = {"engine": engine, "credentials": adapter.credentials(address, 2)}
        app = {"models": [MODELS], "default_connection": "default"}
        config = {"connections": {"default": default}, "apps": {"models": app}}
        with asyncio.Runner() as runner:
            request = runner.run(asyncio.wait_for(run(name, config), 3 * PATIENCE))
        request.stored = [text for (text,) in reads.execute("SELECT text FROM note ORDER BY id")]
    return {"name": name, **judge(request), **asdict(request)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.web", description=__doc__)
    parser.add_argument("driver", choices=DRIVERS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write what was found")
    parser.add_argument("--only", default=",".join(REQUESTS), metavar="NAME,NAME")
    options = parser.parse_args()
    started, (_, server, _) = time.monotonic(), DRIVERS[options.driver]
    packages = {name: version(name) for name in ("fastapi", "starlette", "uvicorn", "tortoise-orm")}
    print(" · ".join(f"{name} {number}" for name, number in packages.items()))
    try:
        with database(server) as place:
            found = [measured(options.driver, name, place) for name in options.only.split(",")]
    except ServerError as problem:
        print(problem, file=sys.stderr)
        return 1
    for each in found:
        said = "; ".join([each["reason"].rstrip("."), *each["notes"]])
        print(f"  {options.driver:<10} {each['name']:<32} {each['verdict']:<8} {said}")
    if options.json:
        axes = {"driver": options.driver, "driver_version": version(options.driver), "server": server}
        run = {**packages, **axes, "python": platform.python_version(), "requests": found}
        documents.write(options.json, document(options.json, run, time.monotonic() - started))
    return 0


def document(path: Path, run: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The run, with what is there of other drivers and other releases of FastAPI."""
    others = json.loads(path.read_text("utf-8"))["runs"] if path.exists() else []
    kept = [other for other in others if [other[key] for key in SAME] != [run[key] for key in SAME]]
    finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"type": "web", "schema": 1, "finished": finished, "seconds": round(seconds, 1), "runs": [*kept, run]}


if __name__ == "__main__":
    raise SystemExit(main())
