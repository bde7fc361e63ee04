"""What a cell installs: name (matrix/harness/cell_name.py), drivers.toml, releases.toml -> requirements. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from matrix.harness.cell_name import CellName, parse
from matrix.runs import releases

DRIVERS = Path(__file__).parents[1] / "axes" / "drivers.toml"


@dataclass(frozen=True)
class Driver:
    """One table of drivers.toml."""

    name: str
    servers: tuple[str, ...]
    install: tuple[str, ...]
    witness: tuple[str, ...]
    imports: tuple[str, ...]
    databases: tuple[str, ...] = ()


@cache
def drivers() -> tuple[tuple[str, ...], dict[str, Driver]]:
    """What every cell installs, and the drivers."""
    data = tomllib.loads(DRIVERS.read_text(encoding="utf-8"))
    found = {
        name: Driver(name, **{key: tuple(v) for key, v in table.items()}) for name, table in data["drivers"].items()
    }
    return tuple(data["suite"]["install"]), found


def bases() -> list[str]:
    """The cells of the newest releases, in the order of drivers.toml."""
    return [f"{server}-{driver.name}" for driver in drivers()[1].values() for server in driver.servers]


def read(text: str) -> CellName:
    """A cell's parts, checked against the axes. Raises ValueError in one line."""
    name = parse(text)
    known = drivers()[1]
    if name.driver not in known:
        raise ValueError(f"{text!r} is no cell: there is no driver {name.driver}; there are: {', '.join(known)}")
    if name.server not in known[name.driver].servers:
        servers = ", ".join(known[name.driver].servers)
        raise ValueError(f"{text!r} is no cell: {name.driver} runs on {servers} here, not on {name.server}")
    if name.pool and name.driver != "psycopg":
        raise ValueError(f"{text!r} is no cell: only psycopg has a pool of its own release")
    return name


def requirements(
    name: CellName, axes: releases.Releases | None = None, own: Mapping[str, str] | None = None
) -> list[str]:
    """What the cell's environment installs. ``own`` are sources of the caller's own: package -> path or ``git+…``.

    Raises ValueError for a ``+label`` without a source, ReleasesError for a broken releases.toml.
    """
    axes, own = axes or releases.load(), own or {}
    suite, known = drivers()
    driver = known[name.driver]
    labels = {name.driver: name.driver_version, "tortoise-orm": name.tortoise, "psycopg-pool": name.pool}
    found: list[str] = []
    placed: set[str] = set()
    for text in (*suite, *driver.install, *driver.witness):
        package = str(canonicalize_name(Requirement(text).name))
        found.append(_one(text, labels.get(package), own.get(package), str(name)))
        placed.add(package)
    for package, label in labels.items():
        if label and package not in placed:
            found.append(_one(package, label, own.get(package), str(name)))
    if not (name.tortoise or "").startswith("+"):
        tortoise = axes.of("tortoise-orm")
        found += tortoise.pinned(tortoise.resolve(name.tortoise) or name.tortoise if name.tortoise else None)
    return found


def _one(text: str, label: str | None, source: str | None, cell: str) -> str:
    if label is None:
        return text
    if label.startswith("+"):
        if source is None:
            raise ValueError(f"{cell}: say where {label} is: python -m matrix run … --tortoise PATH (or --driver PATH)")
        return f"{text} @ {source}"
    # Two numbers are a minor release: the newest of it; more are one exact release.
    return f"{text}=={label}.*" if re.fullmatch(r"\d+(\.\d+)?", label) else f"{text}=={label}"


def imports(name: CellName) -> list[str]:
    """The modules that have to be importable in the cell's environment."""
    return list(drivers()[1][name.driver].imports)


def server_specs(name: CellName, versions: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The servers that have to run for the cell, as ``matrix.servers`` takes them; SQLite needs none.

    ``versions`` of each kind, oldest first: where the cell names none it has the newest of these, and without them
    whatever is at hand.
    """
    kinds = drivers()[1][name.driver].databases or (name.server_spec,)
    newest = {kind: f"{kind}-{found[-1]}" for kind, found in (versions or {}).items() if found}
    return [newest.get(spec, spec) for spec in kinds if not spec.startswith("sqlite")]
