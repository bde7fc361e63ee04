"""Running a reproducer as its reader would: in an environment of its own with the exact pins, against a throw-away
database. The environment is kept per set of pins; every run gets a new database.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

LIMIT = 150  # seconds for one run; a script has bounds of its own far below
SHOWN = 1
PASSWORD = "DATABASE_PASSWORD"  # the variable that a script reads; arguments are seen by every user of the machine
# How a driver's own environment sends one statement to the server at `a`; `p` is the password.
STATEMENT = {
    "aiomysql": "async def main(a, p, q):\n    import aiomysql\n"
    "    c = await aiomysql.connect(host=a.hostname, port=a.port, user=unquote(a.username), password=p)\n"
    "    await (await c.cursor()).execute(q)\n    await c.ensure_closed()\n",
    "asyncpg": "async def main(a, p, q):\n    import asyncpg\n"
    "    c = await asyncpg.connect(host=a.hostname, port=a.port, user=unquote(a.username), password=p, "
    "database='postgres', ssl=False)\n    await c.execute(q)\n    await c.close()\n",
    "psycopg": "async def main(a, p, q):\n    import psycopg\n"
    "    c = await psycopg.AsyncConnection.connect(host=a.hostname, port=a.port, user=unquote(a.username), "
    "password=p, dbname='postgres', autocommit=True)\n    await c.execute(q)\n    await c.close()\n",
    "asyncodbc": "async def main(a, p, q):\n    import pyodbc\n"
    "    place = f'Server={a.hostname};Port={a.port};Database=postgres;SSLMode=disable;'\n"
    "    login = f'Uid={unquote(a.username)};Pwd={{{p}}};'\n"
    "    pyodbc.connect(f'Driver={sys.argv[3]};{place}{login}', autocommit=True).execute(q)\n",
}
STATEMENT["asyncmy"] = (
    STATEMENT["aiomysql"]
    .replace("aiomysql", "asyncmy")
    .replace("await (await c.cursor()).execute(q)", "await c.cursor().execute(q)")
)
CALL = f"asyncio.run(main(urlsplit(sys.argv[1]), os.environ[{PASSWORD!r}], sys.argv[2]))"


class CannotRun(Exception):
    """The environment or the server could not be made; one line says why. It says nothing of the script."""


@dataclass(frozen=True)
class Run:
    """One run of a script. ``code``: its exit code, None when it did not end within LIMIT."""

    code: int | None
    output: str
    errors: str
    seconds: float

    @property
    def shown(self) -> bool:
        """The symptom showed, and the script left nothing behind that it should have dropped."""
        return self.code == SHOWN

    def output_line(self, word: str) -> str:
        """What the script printed after ``expected:`` or ``observed:``."""
        found = re.search(rf"^{word}: (.*)$", self.output, re.MULTILINE)
        return found[1] if found else ""


def pins_of(source: str) -> list[str]:
    """The dependencies in a script's inline metadata (PEP 723)."""
    block = re.search(r"^# /// script$(.*?)^# ///$", source, re.MULTILINE | re.DOTALL)
    return re.findall(r'^#     "([^"]+)",$', block[1], re.MULTILINE) if block else []


def environment(pins: Sequence[str], python: str, folder: Path) -> Path:
    """The interpreter of an environment with exactly these packages, made when it is not there. Raises CannotRun."""
    digest = hashlib.sha256("\n".join([python, *sorted(pins)]).encode()).hexdigest()[:16]
    home, done = folder / digest, folder / digest / "complete"
    interpreter = home / "bin" / "python"
    if done.exists():
        return interpreter
    shutil.rmtree(home, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv")
    if uv:
        _call([uv, "venv", "--quiet", "--python", python, str(home)])
        _call([uv, "pip", "install", "--quiet", "--python", str(interpreter), *pins])
    else:
        _call([sys.executable, "-m", "venv", str(home)])
        _call([str(interpreter), "-m", "pip", "install", "--quiet", *pins])
    done.write_text("\n".join(pins), encoding="utf-8")
    return interpreter


def _call(command: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
    settings = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", **(variables or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=settings, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise CannotRun(f"{Path(command[0]).name} {command[1]}: {last}")


class Databases:
    """New databases for one cell: on a private server of its kind, or a file each for SQLite.

    ``arguments`` are what a script is given after the address, ``variables`` what its process needs: the password, and
    for ODBC where the loader finds what the driver's library needs. ``close`` drops what was made at a given address.
    """

    def __init__(self, axes: Mapping[str, Any], progress: Callable[[str], None]) -> None:
        self.progress = progress
        self.kind, self.driver = str(axes["server"]), str(axes["driver"])
        self.arguments: list[str] = []
        self.variables: dict[str, str] = {}
        version = str(axes["server_version"])
        self.count = 0
        self.folder = tempfile.mkdtemp(prefix="matrix-reproduce-")
        self.server: Any = None
        self.made: list[tuple[Path, str]] = []  # at a given address: the interpreter that made it, its name
        if self.kind != "sqlite":
            from matrix import servers

            try:
                if self.kind == "odbc":  # its scripts are for PostgreSQL, the first of its databases
                    drivers = servers.odbc(progress=progress)
                    self.kind, version = "postgres", version.partition(",")[0]
                    self.arguments, self.variables = [drivers.drivers["postgres"]], dict(drivers.env)
                self.server = servers.acquire(_spec(self.kind, version), progress=progress)
                self.variables[PASSWORD] = self.server.password
            except servers.ServerError as error:
                raise CannotRun(str(error)) from None

    def new(self, python: Path) -> str:
        """The address of a database that nobody has used. Raises CannotRun."""
        self.count += 1
        if self.server is None:
            return f"sqlite:///{self.folder}/{self.count}.db"
        name = f"repro_{os.getpid()}_{self.count}"
        self._tell(python, f"CREATE DATABASE {name}")
        if self.server.given:  # a private one goes with all that is in it
            self.made.append((python, name))
        return self._address(name)

    def _address(self, database: str = "") -> str:
        """Without the password, as every argument is."""
        scheme = "postgres" if self.kind == "postgres" else "mysql"
        return f"{scheme}:{replace(self.server, database=database).public_url.partition(':')[2]}"

    def _tell(self, python: Path, statement: str) -> None:
        code = "import asyncio, os, sys\nfrom urllib.parse import unquote, urlsplit\n" + STATEMENT[self.driver] + CALL
        _call([str(python), "-c", code, self._address(), statement, *self.arguments], self.variables)

    def close(self) -> None:
        """Drop what was made at a given address, stop a private server. Says what could not be dropped."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for python, name in self.made:
            try:
                self._tell(python, f"DROP DATABASE {name}")
            except CannotRun as problem:
                self.progress(f"could not drop database {name}: {problem}")
        if self.server is not None:
            self.server.stop()

    def __enter__(self) -> Databases:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _spec(kind: str, version: str) -> str:
    """The server that a cell ran on, as ``matrix.servers`` names it: PostgreSQL by its major version."""
    parts = re.findall(r"\d+", version)
    return f"{kind}-{'.'.join(parts[: 1 if kind == 'postgres' else 2])}"


def execute(
    script: Path, python: Path, address: str, arguments: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> Run:
    """Run a script once. It gets no more of our environment than any process has, and these variables."""
    began = time.monotonic()
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("MATRIX_", "PYTHON"))}
    settings |= variables or {}
    try:
        done = subprocess.run(
            [str(python), str(script), address, *arguments],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            env=settings,
            cwd=script.parent,
            check=False,
            errors="replace",
        )
    except subprocess.TimeoutExpired as late:
        return Run(None, _decoded(late.stdout), _decoded(late.stderr), time.monotonic() - began)
    return Run(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def _decoded(text: bytes | str | None) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text or ""
