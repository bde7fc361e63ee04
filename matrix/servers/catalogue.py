"""The data of ``matrix/axes/servers.toml`` as plain objects, and the parser of server specs such as ``mysql-9.7``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from matrix.files import read_toml
from matrix.servers.errors import BadSpec

DATA = Path(__file__).resolve().parents[1] / "axes" / "servers.toml"
AT_HAND = "at hand"
TOOL = "tool"
FETCHED = ("private", TOOL)  # of the ways how a kind comes: those with programs to fetch


@dataclass(frozen=True)
class Spec:
    """A server as it was asked for; ``version`` is None when any will do."""

    kind: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}-{self.version}" if self.version else self.kind


@dataclass(frozen=True)
class ServerPackage:
    """A package that holds a server's programs. ``version`` is a PyPI requirement; ``suites`` are Debian's."""

    name: str
    version: str = ""
    suites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """One version of a kind and the packages it can be had from. ``disk`` is in megabytes."""

    name: str
    pypi: ServerPackage | None = None
    debian: ServerPackage | None = None
    disk: int = 0

    @property
    def fetchable(self) -> bool:
        return self.pypi is not None or self.debian is not None


@dataclass(frozen=True)
class Kind:
    """One server product."""

    name: str
    title: str
    how: str
    variable: str = ""
    schemes: tuple[str, ...] = ()
    port: int = 0
    default: str = ""
    prefer: str = ""
    fetch: str = ""
    versions: dict[str, Version] = field(default_factory=dict)

    @property
    def example(self) -> str:
        """What an address of one looks like."""
        return f"{self.schemes[0]}://user:password@host:port/"


@dataclass(frozen=True)
class OdbcDriver:
    """An ODBC driver's registered name and the name of its library."""

    name: str
    file: str


@dataclass(frozen=True)
class Odbc:
    """The ODBC drivers and the Debian packages they come in (two sets: the names changed between releases)."""

    package_sets: tuple[tuple[str, ...], ...]
    manager: str
    drivers: dict[str, OdbcDriver]
    disk: int


@dataclass(frozen=True)
class Catalogue:
    """Everything that servers.toml says."""

    kinds: dict[str, Kind]
    unneeded: re.Pattern[str]
    odbc: Odbc


def version_key(version: str) -> tuple[int, ...]:
    """Order of versions: 10.11 is newer than 10.5."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _version(name: str, table: dict[str, Any]) -> Version:
    pypi, debian = table.get("pypi"), table.get("debian")
    return Version(
        name,
        ServerPackage(pypi["package"], version=pypi["version"]) if pypi else None,
        ServerPackage(debian["package"], suites=tuple(debian["suites"])) if debian else None,
        table.get("disk", 0),
    )


def _kind(name: str, table: dict[str, Any]) -> Kind:
    versions = {version: _version(version, data) for version, data in table.get("versions", {}).items()}
    return Kind(name, **{**table, "schemes": tuple(table.get("schemes", ())), "versions": versions})


@cache
def catalogue() -> Catalogue:
    """The parsed servers.toml (read once)."""
    data = read_toml(DATA)
    odbc = data["odbc"]
    return Catalogue(
        kinds={name: _kind(name, table) for name, table in data["kinds"].items()},
        unneeded=re.compile("|".join(data["debian"]["unneeded"])),
        odbc=Odbc(
            package_sets=(tuple(odbc["packages"]), tuple(odbc["older_packages"])),
            manager=odbc["manager"],
            drivers={name: OdbcDriver(**driver) for name, driver in odbc["drivers"].items()},
            disk=odbc["disk"],
        ),
    )


def kind_of(spec: Spec) -> Kind:
    return catalogue().kinds[spec.kind]


def parse_spec(text: str) -> Spec:
    """Read ``postgres``, ``postgres-17``, ``mariadb-10.11``, ``mysql-9.7``, ``sqlite`` …

    Raises BadSpec naming what is wrong and what is known.
    """
    name, dash, version = text.strip().lower().partition("-")
    kinds = catalogue().kinds
    if name not in kinds:
        raise BadSpec(f"unknown server {text!r}: known kinds are {', '.join(kinds)}")
    versions = kinds[name].versions
    if not dash:
        return Spec(name)
    if not versions:
        raise BadSpec(f"unknown server {text!r}: {name} is written without a version")
    if version not in versions:
        known = ", ".join(sorted(versions, key=version_key))
        raise BadSpec(f"unknown server {text!r}: known versions of {name} are {known}")
    return Spec(name, version)
