"""Running a reproducer as its reader would: in an environment of its own with the exact pins, against a throw-away
database. The environment is kept per set of pins; every run gets a new database.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matrix import maker
from matrix.harness.drivers import drivers
from matrix.results.text import one_line
from matrix.runs import environments, registry

LIMIT = 150  # seconds for one run; a script has bounds of its own far below
SHOWN = 1
SKIPPED = "of the order is not possible"  # what a script says of a step that could not be taken (parts/conduct.py.txt)
PASSWORD = "DATABASE_PASSWORD"  # the variable that a script reads; arguments are seen by every user of the machine
# Around what a driver's table says to send one statement to the server at `a`; `p` is the password.
EXECUTE = f"""import asyncio, os, sys
from urllib.parse import unquote, urlsplit

async def main(a, p, q):
    %s

asyncio.run(main(urlsplit(sys.argv[1]), os.environ[{PASSWORD!r}], sys.argv[2]))
"""


class CannotRun(Exception):
    """The environment or the server could not be made; one line says why. It says nothing of the script."""


@dataclass(frozen=True)
class ScriptRun:
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

    @property
    def skipped(self) -> int:
        """How many steps of its order could not be taken."""
        return self.errors.count(SKIPPED)

    @property
    def ended(self) -> str:
        """How it ended, and what it said last, in one line."""
        how = "did not end" if self.code is None else f"ended with exit code {self.code}"
        note = (self.errors.strip().splitlines() or [self.output_line("observed")])[-1]
        return one_line(f"{how}: {note}")


def pins_of(source: str) -> list[str]:
    """The dependencies in a script's inline metadata (PEP 723)."""
    block = re.search(r"^# /// script$(.*?)^# ///$", source, re.MULTILINE | re.DOTALL)
    return re.findall(r'^#     "([^"]+)",$', block[1], re.MULTILINE) if block else []


def script_python(pins: Sequence[str], header: Mapping[str, Any], folder: Path) -> Path:
    """The interpreter of an environment with these packages, as an installer gives it to a reader, on the Python that
    the cell ran on. Raises CannotRun."""
    try:
        python = environments.interpreter(".".join(str(header["axes"]["python"]).split(".")[:2]))
        return environments.environment(environments.resolve(pins, python), python, kept=folder).python
    except environments.RunError as problem:
        raise CannotRun(str(problem)) from None


class Databases(AbstractContextManager["Databases"]):
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
        self.folder = maker.folder("matrix-reproduce-")
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
        name = f"repro_{maker.mark()}_{self.count:x}"  # what a kill leaves is dropped by the next cell at that address
        self._tell(python, f"CREATE DATABASE {name}")
        if self.server.given:  # a private one goes with all that is in it
            self.made.append((python, name))
        return self._address(name)

    def _address(self, database: str = "") -> str:
        """Without the password, as every argument is."""
        scheme = "postgres" if self.kind == "postgres" else "mysql"
        return f"{scheme}:{replace(self.server, database=database).public_url.partition(':')[2]}"

    def _tell(self, python: Path, statement: str) -> None:
        script = drivers()[self.driver].script
        assert script is not None  # or there were no source to run
        code = EXECUTE % script.execute.strip().replace("\n", "\n    ")
        done = registry.run(
            [str(python), "-c", code, self._address(), statement, *self.arguments], variables=self.variables
        )
        if done.returncode:
            raise CannotRun(f"{python.name}: {registry.last_line(done.stderr or done.stdout)}")

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

    def __exit__(self, *_: object) -> None:
        self.close()


def _spec(kind: str, version: str) -> str:
    """The server that a cell ran on, as ``matrix.servers`` names it: PostgreSQL by its major version."""
    parts = re.findall(r"\d+", version)
    return f"{kind}-{'.'.join(parts[: 1 if kind == 'postgres' else 2])}"


def execute(
    script: Path,
    python: Path,
    address: str,
    arguments: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    launcher: Sequence[str] = (),
) -> ScriptRun:
    """Run a script once, by the interpreter's words ``launcher`` where there are any."""
    return ran([str(python), *launcher, str(script), address, *arguments], script.parent, variables or {})


def runs_of(
    source: str,
    python: Path,
    databases: Databases,
    times: int,
    variables: Mapping[str, str] | None = None,
    launcher: Sequence[str] = (),
) -> Iterator[ScriptRun]:
    """Run a script so often, each time in a new database."""
    with tempfile.TemporaryDirectory(prefix="matrix-reproduce-") as folder:
        path = Path(folder) / "repro.py"
        path.write_text(source, encoding="utf-8")
        own = {**databases.variables, **(variables or {})}
        for _ in range(times):
            yield execute(path, python, databases.new(python), databases.arguments, own, launcher)


def ran(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> ScriptRun:
    """A process that gets no more of our environment than any process has, and these variables."""
    began = time.monotonic()
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("MATRIX_", "PYTHON"))}
    settings |= variables
    try:
        place: dict[str, Any] = {"env": settings, "cwd": folder, "timeout": LIMIT}
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace", **place)
    except subprocess.TimeoutExpired as late:
        return ScriptRun(None, _decoded(late.stdout), _decoded(late.stderr), time.monotonic() - began)
    return ScriptRun(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def _decoded(text: bytes | str | None) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text or ""
