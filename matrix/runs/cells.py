"""What a cell installs: name, drivers.toml (both read in matrix/harness), releases.toml -> requirements."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from matrix import candidates, servers
from matrix.harness.cell_name import CellName, parse
from matrix.harness.drivers import distribution, drivers, suite
from matrix.runs import RunError, environments, releases


def read(text: str) -> CellName:
    """A cell's parts, checked against the axes. Raises RunError in one line."""
    try:
        name = parse(text)
    except ValueError as problem:
        raise RunError(str(problem)) from None
    known = drivers()
    if name.driver not in known:
        raise RunError(f"{text!r} is no cell: there is no driver {name.driver}; there are: {', '.join(known)}")
    if name.server not in known[name.driver].servers:
        servers = ", ".join(known[name.driver].servers)
        raise RunError(f"{text!r} is no cell: {name.driver} runs on {servers} here, not on {name.server}")
    if name.pool and not known[name.driver].pool:
        raise RunError(f"{text!r} is no cell: {name.driver} has no pool with releases of its own")
    there = [f"{candidates.FOR}+{each}" for each in candidates.NAMES]
    if (name.candidate and name.tortoise not in there) or "+" in (name.driver_version or "")[1:]:
        raise RunError(f"{text!r} is no cell: candidates are tortoise{' and tortoise'.join(there)}")
    ways = {word for way in known[name.driver].ways for word in way.split("-")}
    for word in (re.sub(r"[0-9.]+$", "", name.pooler or ""), name.setting, name.tls):
        if word and word not in ways:
            others = ", ".join(sorted(ways)) or "there is one way"
            raise RunError(f"{text!r} is no cell: {name.driver} is not reached so ({word}): {others}")
    return name


def requirements(
    name: CellName, axes: releases.Releases | None = None, own: Mapping[str, str] | None = None
) -> list[str]:
    """What the cell's environment installs. ``own`` are sources of the caller's own: package -> path or ``git+…``.

    Raises ValueError for a ``+label`` without a source, ReleasesError for a broken releases.toml.
    """
    axes, own = axes or releases.load(), own or {}
    driver = drivers()[name.driver]
    tortoise_release = candidates.FOR if name.candidate else name.tortoise
    labels = {driver.distribution: name.driver_version, "tortoise-orm": tortoise_release}
    labels |= {driver.pool["package"]: name.pool} if driver.pool else {}
    found: list[str] = []
    placed: set[str] = set()
    for text in (*suite(), *driver.requirements):
        package = distribution(text)
        found.append(_one(text, labels.get(package), own.get(package), str(name)))
        placed.add(package)
    for package, label in labels.items():
        if label and package not in placed:
            found.append(_one(package, label, own.get(package), str(name)))
    if not (name.tortoise or "").startswith("+"):
        tortoise = axes.of("tortoise-orm")
        found += tortoise.pinned(tortoise.resolve(tortoise_release) or tortoise_release if tortoise_release else None)
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


def environment(name: CellName, locked: Sequence[str], python: environments.Python) -> Path:
    """The Python of the cell's environment with these versions, made if need be. Raises NotImportable,
    RegistryError or ServerError."""
    # What is a C library of a server's maker may stand where only these variables lead.
    needs = servers.odbc(progress=lambda _: None).env if name.server == "odbc" else {}
    return environments.environment(locked, python, imports(name), needs).python


def imports(name: CellName) -> list[str]:
    """The modules that have to be importable in the cell's environment."""
    return list(drivers()[name.driver].imports)


def server_specs(name: CellName, versions: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The servers that have to run for the cell, as ``matrix.servers`` takes them; SQLite needs none.

    ``versions`` of each kind, oldest first: where the cell names none it has the newest of these, and without them
    whatever is at hand.
    """
    kinds = drivers()[name.driver].databases or (name.server_spec,)
    newest = {kind: f"{kind}-{found[-1]}" for kind, found in (versions or {}).items() if found}
    return [newest.get(spec, spec) for spec in kinds if not spec.startswith("sqlite")]
