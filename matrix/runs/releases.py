"""The releases axis: policies, and what the registry had when ``python -m matrix releases update`` asked it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from matrix import files
from matrix.harness.drivers import TableError, drivers
from matrix.results.text import refuse, refusing
from matrix.runs import RunError, registry

PATH = Path(__file__).parents[1] / "axes" / "releases.toml"
GENERATED = "# ---- Written by `python -m matrix releases update`. Do not edit below this line. ----\n"
AT_ONCE = 4  # questions to the registry at a time


class ReleasesError(RunError):
    """releases.toml cannot be used; the message is one line."""


@dataclass(frozen=True)
class Release:
    """One release that cells are made of."""

    version: str
    pythons: tuple[str, ...]  # those it has Linux wheels for
    uploaded: str = ""


@dataclass(frozen=True)
class Package:
    """One package of the axis: the policy, and what the registry had when it was asked. Without ``since`` nobody wants
    other releases than the newest."""

    name: str
    wheels: str
    since: str = ""
    each: str = "minor"
    prereleases: bool = False
    pins: tuple[tuple[SpecifierSet, tuple[str, ...]], ...] = ()
    changes: str = ""  # the page that tells what changed in each release
    release: str = ""  # the page of one release, with {version} in it
    all: tuple[str, ...] = ()  # every release since ``since``, pre-releases among them, oldest first
    tested: tuple[Release, ...] = ()  # those that the policy takes, oldest first

    @property
    def newest(self) -> str:
        """The newest release that is no pre-release."""
        return next((version for version in reversed(self.all) if not _pre(version)), "")

    def page(self, version: str) -> str:
        """The address of a release's own page; empty where none is known."""
        return self.release.format(version=version)

    def label(self, version: str) -> str:
        """What a release is called in a cell's name: its minor where that means it, else itself in full."""
        minor = ".".join(map(str, Version(version).release[:2]))
        if self.each == "minor" and self.resolve(minor) == version:
            return minor
        return exact(version)

    def resolve(self, label: str) -> str | None:
        """The release that a label of a cell's name means: two numbers are the newest of a minor; else None."""
        wanted = Version(label)
        if label.count(".") > 1 or wanted.is_prerelease:
            return next((version for version in self.all if Version(version) == wanted), None)
        size = label.count(".") + 1
        begun = [v for v in self.all if Version(v).release[:size] == wanted.release and not _pre(v)]
        return begun[-1] if begun else None

    def pinned(self, version: str | None) -> list[str]:
        """What a release (the newest for None) needs beside what it asks for."""
        version = version or self.newest
        if not version:
            return []
        return [pin for releases, install in self.pins if releases.contains(version, True) for pin in install]


@dataclass(frozen=True)
class Releases:
    """Everything that releases.toml says."""

    pythons: tuple[str, ...]
    loops: tuple[str, ...]
    servers: dict[str, tuple[str, ...]]
    packages: dict[str, Package]
    by_address: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, name: str) -> Package:
        if name not in self.packages:
            raise ReleasesError(f"there is no package {name} here; there are: {', '.join(self.packages)}")
        return self.packages[name]


def exact(version: str) -> str:
    """A label that means this release only: two numbers would mean the newest of a minor release."""
    return version if version.count(".") > 1 else f"{version}.0"


def _pre(version: str) -> bool:
    return Version(version).is_prerelease


def load(path: Path = PATH) -> Releases:
    """What the file says. Raises ReleasesError."""
    try:
        data = files.read_toml(path)
        found = data.get("releases", {})
        return Releases(
            tuple(data["pythons"]),
            tuple(data["loops"]),
            {kind: tuple(versions) for kind, versions in data["servers"].items()},
            {name: _package(name, table, found.get(name, {})) for name, table in _policies(data["packages"]).items()},
            {kind: tuple(versions) for kind, versions in data.get("by_address", {}).items()},
        )
    except TableError as problem:
        raise ReleasesError(str(problem)) from None
    except (OSError, KeyError, ValueError) as problem:
        raise ReleasesError(f"{path}: cannot be used: {type(problem).__name__}: {problem}") from problem


def _policies(packages: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The policy of each package: of those of the file, then of the drivers and their pools. Raises TableError."""
    found = dict(packages)
    for driver in drivers().values():
        found[driver.distribution] = driver.releases or found.get(driver.distribution, {})
        if driver.pool:
            found[driver.pool["package"]] = driver.pool
    return found


def _package(name: str, policy: Mapping[str, Any], found: Mapping[str, Any]) -> Package:
    pins = tuple((SpecifierSet(pin["releases"]), tuple(pin["install"])) for pin in policy.get("pins", ()))
    for _, install in pins:
        for requirement in install:
            Requirement(requirement)
    listed = found.get("tested", ())
    keys = ("since", "each", "prereleases", "changes", "release")
    made = Package(
        name,
        policy.get("wheels", name),
        pins=pins,
        all=tuple(found.get("all", ())),
        tested=tuple(Release(e["version"], tuple(e["pythons"]), e.get("uploaded", "")) for e in listed),
        **{key: policy[key] for key in keys if key in policy},
    )
    if made.each not in ("minor", "patch"):
        raise ValueError(f"'each' of {name} is neither minor nor patch")
    return made


def by_policy(versions: Iterable[str], each: str, prereleases: bool) -> list[str]:
    """The releases that the policy takes, oldest first: the oldest, the newest of each minor (or each release), and the
    newest pre-release where it is beyond the newest release."""
    ordered = sorted(versions, key=Version)
    final = [version for version in ordered if not _pre(version)]
    taken = {(Version(v).release[:2] if each == "minor" else v): v for v in final}  # the last one of a minor stays
    beyond = [v for v in ordered if _pre(v) and (not final or Version(v) > Version(final[-1]))]
    oldest = [version for version in final[:1] if version not in taken.values()]
    return oldest + list(taken.values()) + (beyond[-1:] if prereleases else [])


def refreshed(current: Releases, names: Iterable[str], tell: Any = print) -> Releases:
    """What the registry has now of these packages; the others stay. Raises RegistryError."""
    packages = dict(current.packages)
    pythons = list(current.pythons)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        listed = dict(zip(names, threads.map(registry.versions, names), strict=True))
        for name, versions in listed.items():
            policy = packages[name]
            since = [v for v in versions if Version(v) >= Version(policy.since) and not Version(v).is_devrelease]
            wanted = by_policy(since, policy.each, policy.prereleases)
            found = threads.map(lambda v, name=policy.wheels: registry.wheels(name, v, pythons), wanted)
            tested = [Release(v, each.pythons, each.uploaded) for v, each in zip(wanted, found, strict=True)]
            packages[name] = replace(policy, all=tuple(sorted(since, key=Version)), tested=tuple(tested))
            tell(f"{name}: {len(since)} releases since {policy.since}, {len(tested)} tested: {', '.join(wanted)}")
    return replace(current, packages=packages)


def written(releases: Releases) -> str:
    """The generated part of the file."""
    lines = [GENERATED]
    for name, package in releases.packages.items():
        if not package.since:
            continue
        lines.append(f"[releases.{name}]")
        lines.append(f"all = {_toml(package.all)}")
        lines.append("tested = [")
        for each in package.tested:
            table = f'version = "{each.version}", pythons = {_toml(each.pythons)}'
            lines.append(f"    {{ {table}{f', uploaded = {_toml(each.uploaded)}' if each.uploaded else ''} }},")
        lines += ["]", ""]
    return "\n".join(lines).rstrip() + "\n"


def _toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def register(commands: Any) -> None:
    """Adds ``releases``."""
    releases = commands.add_parser(
        "releases", help="the releases that cells are made of; ask the registry for new ones"
    )
    parts = releases.add_subparsers(title="commands", dest="part", required=True)
    update = parts.add_parser("update", help="refresh matrix/axes/releases.toml from the package registry")
    update.add_argument("packages", nargs="*", help="these only (default: all)")
    update.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is not up to date")
    update.set_defaults(handler=_update)
    listing = parts.add_parser("list", help="print the releases and the Pythons they have wheels for")
    listing.set_defaults(handler=_list)


@refusing(2, RunError)
def _update(options: argparse.Namespace) -> int:
    current = load()
    for name in options.packages:
        if not current.of(name).since:
            raise ReleasesError(f"{name}: its table in drivers.toml has no `since`, so only the newest is tested")
    wanted = options.packages or [name for name, package in current.packages.items() if package.since]
    found = refreshed(current, wanted)
    text = PATH.read_text(encoding="utf-8")
    new = text.partition(GENERATED)[0].rstrip() + "\n\n" + written(found)
    if new == text:
        print(f"{PATH.name} is up to date")
        return 0
    if options.check:
        return refuse(f"{PATH.name} is not up to date: run python -m matrix releases update", 1)
    files.write(PATH, new)
    print(f"wrote {PATH.name}")
    return 0


@refusing(2, RunError)
def _list(options: argparse.Namespace) -> int:
    for name, package in load().packages.items():
        print(f"{name}: {len(package.all)} releases since {package.since}")
        for each in package.tested:
            pins = "".join(f", needs {pin}" for pin in package.pinned(each.version))
            print(f"  {each.version:<10} {each.uploaded:<11} Python {', '.join(each.pythons) or 'none'}{pins}")
    return 0
