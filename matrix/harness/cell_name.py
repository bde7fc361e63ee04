"""Names of cells, such as ``mysql-aiomysql0.2-tortoise0.23-mysql9.7-py312``. Only the grammar; nothing is looked up.

``<server>-<driver>[version]``, then factors in any order: ``tortoise0.23`` · a server with its version
(``mariadb10.11``) · ``pool3.2`` (psycopg_pool) · ``pgbouncer1.18``, a pooler on the way to the server · ``unprepared``,
what is set of the driver for it (words.SETTINGS) · ``tls``, of the driver's connections · ``py312`` · ``eager`` or
``uvloop``. A source of the caller's own is ``+label`` instead of a version: ``tortoise+fix``; a candidate of
matrix/candidates stands behind its release: ``tortoise1.1.9+one_lock``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from matrix.words import LOOPS, POOLERS, SERVERS, SETTINGS

UVLOOP = (
    "uvloop cannot be driven: the harness owns the order of steps through the selector and the clock of asyncio's own "
    "loop, and uvloop has both in libuv"
)
_VERSION = r"(?P<version>\d[0-9a-z.]*(?:\+[a-z_]+)?|\+[a-z0-9._]+)"
_DRIVER = re.compile(rf"(?P<name>[a-z_]+){_VERSION}?")
_FACTOR = re.compile(rf"(?P<name>[a-z]+){_VERSION}")
_POOLER = re.compile(rf"({'|'.join(POOLERS)})(\d[0-9.]*)?")
_PYTHON = re.compile(r"py(?P<major>3)\.?(?P<minor>\d{1,2})")


@dataclass(frozen=True)
class CellName:
    """The parts of a cell's name; None is "the newest" or "what is at hand"."""

    server: str
    driver: str
    driver_version: str | None = None
    tortoise: str | None = None
    server_version: str | None = None
    pool: str | None = None
    pooler: str | None = None  # with its version, where it names one: pgbouncer1.18
    setting: str | None = None
    tls: str | None = None  # "tls"
    python: str | None = None
    loop: str = "asyncio"

    @property
    def base(self) -> str:
        """The cell of the newest releases that this one is a variant of."""
        return f"{self.server}-{self.driver}"

    @property
    def candidate(self) -> str:
        """Which of matrix/candidates stands in the place of Tortoise's own code; empty for none."""
        release, _, candidate = (self.tortoise or "").partition("+")
        return candidate if release else ""

    @property
    def server_spec(self) -> str:
        """As ``matrix.servers`` takes it."""
        return f"{self.server}-{self.server_version}" if self.server_version else self.server

    @property
    def pooler_spec(self) -> str:
        """As ``matrix.servers`` takes it; empty where the driver reaches its server without one."""
        return re.sub(r"(?<=[a-z])(?=\d)", "-", self.pooler or "")

    @property
    def default(self) -> bool:
        """Whether no factor is given: the cell that expectations are kept for."""
        return str(self) == self.base

    def __str__(self) -> str:
        words = [self.server, self.driver + (self.driver_version or "")]
        words += [f"{name}{value}" for name, value in (("pool", self.pool), ("tortoise", self.tortoise)) if value]
        words += [f"{self.server}{self.server_version}"] if self.server_version else []
        words += [word for word in (self.pooler, self.setting, self.tls) if word]
        words += [f"py{self.python.replace('.', '')}"] if self.python else []
        words += [self.loop] if self.loop != "asyncio" else []
        return "-".join(words)


def parse(text: str) -> CellName:
    """The parts of a cell's name. Raises ValueError in one line."""
    first, _, rest = text.partition("-")
    words = rest.split("-")
    driver = _DRIVER.fullmatch(words[0])
    if first not in SERVERS or driver is None:
        raise ValueError(f"{text!r} is no cell: a cell begins with a server and a driver, such as mysql-aiomysql")
    name = CellName(first, driver["name"], driver["version"])
    seen: set[str] = set()
    for word in words[1:]:
        name, kind = _with(name, word, text)
        if kind in seen:
            raise ValueError(f"{text!r} is no cell: it says the {kind} twice")
        seen.add(kind)
    return name


def _with(name: CellName, word: str, text: str) -> tuple[CellName, str]:
    python, factor = _PYTHON.fullmatch(word), _FACTOR.fullmatch(word)
    if python:
        return replace(name, python=f"{python['major']}.{python['minor']}"), "Python"
    if _POOLER.fullmatch(word):
        return replace(name, pooler=word), "pooler"
    if word in SETTINGS:
        return replace(name, setting=word), "setting"
    if word == "tls":
        return replace(name, tls=word), "TLS"
    if word in LOOPS:
        return replace(name, loop=word), "event loop"
    if factor and factor["name"] in ("tortoise", "pool"):
        return replace(name, **{factor["name"]: factor["version"]}), factor["name"]
    if factor and factor["name"] in SERVERS:
        return replace(name, server=factor["name"], server_version=factor["version"]), "server"
    raise ValueError(
        f"{text!r} is no cell: {word!r} is none of tortoise0.23, mariadb10.11, pool3.2, pgbouncer, "
        f"{', '.join(SETTINGS)}, tls, py312, eager, uvloop"
    )
