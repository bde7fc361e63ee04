"""The drivers and witnesses as ``matrix/axes/drivers.toml`` declares them. What a driver can do, its adapter says.

``MATRIX_DRIVERS`` names further folders (absolute, separated as in ``PATH``): each has a ``drivers.toml`` and the
adapters beside it. Only the standard library is used: a cell reads this as well as the plan does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from matrix.files import read_toml

from .cell_name import SERVERS, CellName

FILE = Path(__file__).resolve().parents[1] / "axes" / "drivers.toml"
ADAPTERS = Path(__file__).resolve().parent / "adapters"
FURTHER = "MATRIX_DRIVERS"
KEYS = (
    *("servers", "package", "install", "imports", "adapter", "databases", "witness", "ways"),
    *("releases", "pool", "script"),
)


class TableError(ValueError):
    """A table cannot be used; one or two lines say which, why, and what to write."""


@dataclass(frozen=True)
class WitnessTable:
    """An independent client. ``make``: modules of the same make, whose drivers it cannot be the witness of."""

    name: str
    servers: tuple[str, ...]
    install: tuple[str, ...]
    make: tuple[str, ...]

    def made_as(self, modules: tuple[str, ...]) -> str:
        """The first of a driver's modules that is of this make; empty when none is."""
        return next((each for each in modules for ours in self.make if f"{each}.".startswith(f"{ours}.")), "")


@dataclass(frozen=True)
class Script:
    """How a reproducer is written for a driver; ``drivers.toml`` says what each of it is."""

    parts: str
    execute: str = ""
    engine: str = ""
    credentials: str = ""
    begin: str = "connection.begin()"
    autocommit: str = ""
    close: str = "close"
    timeout: int = 0
    polls: str = ""


@dataclass(frozen=True)
class Driver:
    """One table: ``name`` is its word in the names of cells, ``package`` the requirement that installs it."""

    name: str
    servers: tuple[str, ...]
    package: str
    install: tuple[str, ...]
    imports: tuple[str, ...]
    adapter: str
    databases: tuple[str, ...]
    witnesses: Mapping[str, WitnessTable]  # by kind of database
    releases: Mapping[str, Any] = field(default_factory=dict)  # which releases are tested; empty: the newest
    pool: Mapping[str, Any] = field(default_factory=dict)  # the same of a pool with releases of its own
    ways: tuple[str, ...] = ()  # factors of cells: how else its servers are reached
    script: Script | None = None  # None: no reproducer is written for it

    @property
    def distribution(self) -> str:
        """The package's name, without extras, as registries compare names."""
        return distribution(self.package)

    @property
    def orm(self) -> bool:
        """Whether Tortoise has a client for it."""
        return any(module.startswith("tortoise.") for module in self.imports)

    def server_specs(self, cell: CellName) -> dict[str, str]:
        """The databases of a cell of this driver: of each kind what ``matrix.servers`` takes for its server."""
        given = os.environ.get("MATRIX_SERVER")
        return {kind: kind for kind in self.databases} or {cell.server: given or cell.server_spec}

    @property
    def requirements(self) -> tuple[str, ...]:
        """What its environment gets beside the suite's own packages."""
        witnesses = dict.fromkeys(text for each in self.witnesses.values() for text in each.install)
        return tuple(dict.fromkeys((self.package, *self.install, *witnesses)))


def distribution(requirement: str) -> str:
    """``psycopg[binary,pool]>=3`` -> ``psycopg``."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;@]", requirement.strip(), maxsplit=1)[0]).lower()


def folders() -> list[Path]:
    """Further folders with drivers. Raises TableError."""
    found = [Path(text) for text in os.environ.get(FURTHER, "").split(os.pathsep) if text]
    for folder in found:
        if not folder.is_absolute() or not (folder / "drivers.toml").is_file():
            raise TableError(f"{FURTHER}: {folder} is no absolute path of a folder with a drivers.toml")
    return found


@cache
def suite() -> tuple[str, ...]:
    """What every cell installs."""
    return tuple(_read(FILE)["suite"]["install"])


def drivers() -> dict[str, Driver]:
    """Every driver by its name, in the order of the tables. Raises TableError."""
    return _drivers((FILE, ADAPTERS), *((folder / "drivers.toml", folder) for folder in folders()))


@cache
def _drivers(*places: tuple[Path, Path]) -> dict[str, Driver]:
    """The same, of tables and the folders of their adapters."""
    tables = [(path, adapters, _read(path)) for path, adapters in places]
    witnesses = [
        WitnessTable(name, *(tuple(table[key]) for key in ("servers", "install", "make")))
        for _, _, data in tables
        for name, table in data.get("witnesses", {}).items()
    ]
    found: dict[str, Driver] = {}
    for path, adapters, data in tables:
        for name, table in data.get("drivers", {}).items():
            try:
                if name in found:
                    raise TableError("there is a driver of this name already")
                found[name] = _driver(name, table, witnesses, adapters)
            except TableError as problem:
                raise TableError(f"{path}: driver {name}: {problem}") from None
    return found


def bases(*, orm: bool = False) -> list[str]:
    """The cells of the newest releases, in the order of the tables; ``orm``: those that Tortoise has a client for.
    Raises TableError."""
    able = [driver for driver in drivers().values() if driver.orm or not orm]
    return [f"{server}-{driver.name}" for driver in able for server in driver.servers]


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except (OSError, ValueError) as problem:
        raise TableError(f"{path}: cannot be read: {problem}") from None


def _driver(name: str, table: dict[str, Any], witnesses: list[WitnessTable], adapters: Path) -> Driver:
    if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name):
        raise TableError(
            "a cell's name cannot hold this word: use small letters and _ only,\n"
            f'and say what it is called elsewhere: package = "{name}", imports = ["{name.replace("-", ".")}"]'
        )
    if unknown := [key for key in table if key not in KEYS]:
        raise TableError(f"unknown {unknown[0]!r}; there are: {', '.join(KEYS)}")
    lists = {key: table.get(key, []) for key in ("servers", "install", "imports", "databases", "ways")}
    if wrong := [key for key, value in lists.items() if not _words(value)]:
        raise TableError(f"{wrong[0]} is a list of words")
    servers, databases = tuple(lists["servers"]), tuple(lists["databases"])
    if not servers or (other := [each for each in (*servers, *databases) if each not in SERVERS]):
        raise TableError(f"servers: say which ones: {', '.join(SERVERS)}" + (f"; not {other[0]}" if servers else ""))
    adapter = table.get("adapter", name)
    if not (adapters / f"{adapter}.py").is_file():
        raise TableError(f"its adapter is missing: {adapters / adapter}.py (CONTRIBUTING.md says what it has to have)")
    script = table.get("script")
    if script is not None and (unknown := [key for key in script if key not in Script.__dataclass_fields__]):
        raise TableError(f"unknown 'script.{unknown[0]}'; there are: {', '.join(Script.__dataclass_fields__)}")
    imports = tuple(lists["imports"]) or (name,)
    kinds = databases or servers
    return Driver(
        name=name,
        servers=servers,
        package=table.get("package", name),
        install=tuple(lists["install"]),
        imports=imports,
        adapter=adapter,
        databases=databases,
        witnesses={kind: _witness(kind, table.get("witness"), imports, witnesses) for kind in kinds},
        releases=table.get("releases", {}),
        pool=table.get("pool", {}),
        ways=tuple(lists["ways"]),
        script=None if script is None else Script(**{"parts": name, **script}),
    )


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)


def _witness(kind: str, asked: str | None, modules: tuple[str, ...], known: list[WitnessTable]) -> WitnessTable:
    """The witness that was asked for, else the first one of another make than the driver. Raises TableError."""
    reading = [each for each in known if kind in each.servers]
    chosen = [each for each in reading if asked in (None, each.name)]
    others = [each.name for each in reading if not each.made_as(modules)]
    if asked and not chosen:
        raise TableError(f"{asked!r} is no witness of {kind}; there are: {', '.join(others) or 'none'}")
    if right := [each for each in chosen if each.name in others]:
        return right[0]
    same = ", ".join(f"{each.name} is of the same make ({each.made_as(modules)})" for each in chosen) or "none is known"
    raise TableError(
        f"it has no witness for {kind} that could contradict it: {same}.\n"
        f"Write witness = NAME with one of: {', '.join(others) or f'(none yet: add one to {FILE.name})'}"
    )
