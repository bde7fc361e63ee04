"""axes -> cells: ``python -m matrix plan``. The newest releases, then one axis at a time.

Everything but the command itself is a pure function of data.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from packaging.version import Version

from matrix import files
from matrix.harness import known_schedules
from matrix.harness.drivers import TableError, bases, drivers
from matrix.results import expectations, judging
from matrix.results.read import ResultError, results_in
from matrix.results.text import refusing
from matrix.runs import RunError, cells, environments
from matrix.runs.cells import CellName
from matrix.runs.releases import Package, Release, Releases, load
from matrix.servers import ServerError
from matrix.servers.address import given_address
from matrix.servers.catalogue import catalogue
from matrix.words import RECORD

COSTS = Path(__file__).parents[1] / "axes" / "costs.json"
VARIANTS = expectations.FOLDER / expectations.VARIANTS
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
UNKNOWN_COST = 15.0  # seconds of a cell that nobody has measured
OVERHEAD = 2.0  # seconds beside the scenarios: the environment, the database, starting pytest
NEWEST = "newest"
ADDRESS = "address"
OTHERS = "-*"  # what the costs of a base cell's variants stand under
AXES = {
    NEWEST: "the newest releases",
    "driver": "each release of a driver, all else newest",
    "pool": "each release of a driver's pool, all else newest",
    "tortoise": "each release of Tortoise with each driver",
    "server": "each version of a server, all else newest",
    ADDRESS: "each version of a server that comes by an address only, all else newest",
    "way": "each way to a server beside the straight one, all else newest",
    "python": "each Python, all else newest",
    "loop": "each event loop, all else newest",
}
KEYS = ("axis", "driver", "server", "tortoise", "python", "loop", "prerelease")


class PlanError(RunError):
    """A plan cannot be made of what was asked; the message is one line."""


class NoCell(PlanError):
    """Nothing of the plan matches."""


@dataclass(frozen=True)
class Planned:
    """One cell of a plan: why it is there, what it is estimated to take, and whether a pre-release is in it."""

    name: CellName
    axis: str
    seconds: float
    prerelease: bool = False

    @property
    def cell(self) -> str:
        return str(self.name)

    @property
    def is_variant(self) -> bool:
        """Whether it is there to be compared with the newest releases."""
        return self.axis in AXES and self.axis != NEWEST

    def as_json(self) -> dict[str, Any]:
        return {
            "cell": self.cell,
            "axis": self.axis,
            **asdict(self.name),
            "seconds": self.seconds,
            "prerelease": self.prerelease,
        }


def plan(axes: Releases, own: str, at_hand: Collection[str], costs: Mapping[str, float]) -> list[Planned]:
    """Every cell worth running. ``own``: the Python that bare cells run on; ``at_hand``: the machine's Pythons."""
    found: dict[str, Planned] = {}

    def add(axis: str, name: CellName, release: Release | None = None) -> None:
        if release is not None and own not in release.pythons:
            name = replace(name, python=_python_for(release, own, at_hand))
        base = costs.get(name.base, UNKNOWN_COST)
        others = base if axis == NEWEST else costs.get(name.base + OTHERS, base)
        seconds = round(costs.get(str(name), others) + OVERHEAD, 1)
        seconds = 0.1 if name.loop == "uvloop" else seconds  # it cannot be driven, and says so
        early = release is not None and Version(release.version).is_prerelease
        found.setdefault(str(name), Planned(name, axis, seconds, early))

    for base in bases():
        name = cells.read(base)
        driver, tortoise = drivers()[name.driver], axes.of("tortoise-orm")
        package = axes.of(driver.distribution)
        add(NEWEST, name)
        for release in _older(package) if driver.releases else ():
            add("driver", replace(name, driver_version=package.label(release.version)), release)
        pool = axes.of(driver.pool["package"]) if driver.pool else package
        for release in _older(pool) if driver.pool else ():
            add("pool", replace(name, pool=pool.label(release.version)), release)
        if driver.orm:
            for release in _older(tortoise):
                add("tortoise", replace(name, tortoise=tortoise.label(release.version)), release)
        for version in axes.servers.get(name.server, ())[:-1]:  # the newest one is what the bare cell has
            add("server", replace(name, server_version=version))
        for version in axes.by_address.get(name.server, ()):
            add(ADDRESS, replace(name, server_version=version))
        for way in driver.ways:
            add("way", cells.read(f"{base}-{way}"))
        for python in sorted(set(axes.pythons) & set(at_hand) - {own}, key=Version):
            add("python", replace(name, python=python))
        for loop in axes.loops[1:]:
            newer = _eager_python(own, at_hand) if loop == "eager" else None
            add("loop", replace(name, loop=loop, python=newer))
    return list(found.values())


def _older(package: Package) -> list[Release]:
    """The releases of the axis but the newest one, which the bare cell has; a pre-release is one of them."""
    return [release for release in package.tested if release.version != package.newest]


def _python_for(release: Release, own: str, at_hand: Collection[str]) -> str | None:
    """The machine's Python nearest to ``own`` that the release has wheels for; None (``own``) where there is none."""
    usable = [python for python in release.pythons if python in at_hand]
    return max(usable, key=Version) if usable else None


def _eager_python(own: str, at_hand: Collection[str]) -> str | None:
    newer = [python for python in at_hand if Version(python) >= Version("3.12")]
    return None if own in newer or not newer else min(newer, key=Version)


# Choosing


def select(planned: Iterable[Planned], filters: Sequence[str]) -> list[Planned]:
    """Those that match: words are patterns of cell names, ``key:value`` ask for a part (``axis:tortoise``).

    Several of one key are alternatives; different keys must all match. Raises PlanError.
    """
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, colon, value = text.partition(":")
        if colon and key not in KEYS:
            raise PlanError(f"unknown filter {text!r}: filters are names of cells (with *) or {', '.join(KEYS)}:VALUE")
        wanted.setdefault(key if colon else "cell", []).append(value if colon else text)
    chosen = [each for each in planned if all(_matches(each, key, values) for key, values in wanted.items())]
    if not chosen:
        raise NoCell(f"no cell of the plan matches {' '.join(filters)}; see them all: python -m matrix plan")
    return chosen


def _matches(planned: Planned, key: str, values: Iterable[str]) -> bool:
    if key in ("cell", "axis"):
        return any(fnmatch.fnmatchcase(getattr(planned, key), value) for value in values)
    if key == "prerelease":
        return any(value == ("yes" if planned.prerelease else "no") for value in values)
    has = getattr(planned.name, key) or "newest"
    return any(fnmatch.fnmatchcase(has, value) for value in values)


def shard(planned: Sequence[Planned], index: int, count: int) -> list[Planned]:
    """The cells of one of ``count`` shards (1 is the first) that take about the same time; together they are all.

    The costliest cell goes to the shard that has least, and so on. The same on every machine that has the same plan.
    """
    loads = [0.0] * count
    mine = set()
    for each in sorted(planned, key=lambda one: (-one.seconds, one.cell)):
        least = loads.index(min(loads))
        loads[least] += each.seconds
        if least == index - 1:
            mine.add(each.cell)
    return [each for each in planned if each.cell in mine]


def read_shard(text: str) -> tuple[int, int]:
    """``2/3`` -> (2, 3). Raises PlanError."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise PlanError(f"{text!r} is no shard: write one such as 2/3 (the second of three)")
    return int(index), int(count)


# Measured costs


def read_costs(path: Path = COSTS) -> dict[str, float]:
    """Measured seconds of each cell, and of those of a base cell's variants that nobody has measured
    (``mysql-aiomysql-*``)."""
    costs: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return costs


def measured(folder: str) -> dict[str, float]:
    """The seconds that the scenarios of each cell took, and the median of a base cell's variants, from the result
    files of cells that were run as a plan runs them."""
    seconds: dict[str, list[float]] = {}
    for result in results_in(folder):
        if result.footer and result.scenarios and "catalogue" not in result.header:  # not of a selection
            name = cells.parse(result.cell)
            if name.default != (result.header.get("depth") == RECORD):
                for key in (result.cell,) if name.default else (result.cell, name.base + OTHERS):
                    seconds.setdefault(key, []).append(float(result.footer["seconds"]))
    return {base: round(statistics.median(took), 1) for base, took in sorted(seconds.items())}


def known_schedules_of(folder: str, planned: Collection[str], at_hand: Collection[str]) -> dict[str, Any]:
    """What the cells of the newest releases say, and in what those of other ones differ
    (matrix/harness/known_schedules.py). A cell on record that is not planned any more goes, unless this machine lacks
    its Python."""
    read = json.loads(known_schedules.FILE.read_text(encoding="utf-8")) if known_schedules.FILE.exists() else {}
    made = {c: entries for c, entries in read.items() if _stays(c, planned, at_hand)}
    asked = {}
    for result in [each for each in results_in(folder) if "catalogue" not in each.header]:
        asked_record = result.header.get("depth") == RECORD
        if cells.parse(result.cell).default:
            if not asked_record:
                made[result.cell] = known_schedules.entries(result.scenarios)
        elif result.cell in planned or asked_record:  # all orders tell more of what to ask
            asked[result.cell] = known_schedules.entries(result.scenarios)
    for cell, entries in asked.items():
        made[cell] = known_schedules.differing(entries, made.get(cells.parse(cell).base, {}))
    return dict(sorted(made.items()))


def _stays(cell: str, planned: Collection[str], at_hand: Collection[str]) -> bool:
    return cell in planned or cells.parse(cell).python not in (None, *at_hand)


def variants(folder: str, planned: Collection[str], at_hand: Collection[str]) -> dict[str, dict[str, str] | None]:
    """What cells of other releases show beside what is expected of all (expectations/variants.json), from the result
    files; of a selection what was run takes the place of what is on record of a cell, and the rest stays. A cell on
    record that is not planned any more goes, unless this machine lacks its Python."""
    kept = expectations.read_variants(VARIANTS).items()
    made = {c: words for c, words in kept if _stays(c, planned, at_hand)}
    for result in [each for each in results_in(folder) if not cells.parse(each.cell).default]:
        if result.not_installed or result.header.get("depth") == RECORD:
            entries = expectations.load_driver(result.axes["driver"])
            words = judging.deviations(result.scenarios, entries, result.header)
            if words is not None and (catalogue := result.header.get("catalogue")):
                if (before := made.get(result.cell)) is None:
                    continue  # nothing is on record of it: a selection does not tell what is
                stays = {name: word for name, word in before.items() if name not in result.by_id}
                words = {name: word for name in catalogue if (word := (stays | words).get(name))}
            made[result.cell] = words
    return dict(sorted(made.items()))


# The command


def register(commands: Any) -> None:
    """Adds ``plan``."""
    parser = commands.add_parser(
        "plan",
        help="the cells that a whole run is made of, counted and estimated",
        description="Prints the cells of the plan. Filters are names of cells with * (mysql-*), or "
        + ", ".join(f"{key}:VALUE" for key in KEYS)
        + " (axis:tortoise); VALUE is 'newest' where a cell names none.",
    )
    add_choice(parser)
    parser.add_argument("--json", action="store_true", help="for programs: cells, count, seconds")
    parser.add_argument("--shards", type=int, metavar="N", help="with --json: also the list 1/N … N/N for a job matrix")
    parser.add_argument("--output", metavar="FILE", help="with --json: append count=… and shards=… (GITHUB_OUTPUT)")
    parser.add_argument(
        "--measure",
        metavar="FOLDER",
        help="keep what these results took and showed: costs.json, schedules.json, expectations/variants.json",
    )
    parser.set_defaults(handler=_plan)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The options that choose cells of the plan, shared with ``run``."""
    parser.add_argument("filters", nargs="*", metavar="cells", help="names of cells, with *, or key:value")
    parser.add_argument("--shard", metavar="I/N", help="only the cells of the I-th of N parts of equal cost")


def whole(tell: Callable[[str], None]) -> list[Planned]:
    """The plan on this machine; ``tell`` is given what had to be left out. Raises ReleasesError or PlanError."""
    axes = load()
    at_hand, servers = pythons_at_hand(axes, tell), dict(axes.servers)
    for kind in servers:
        known = catalogue().kinds[kind]
        try:
            if given_address(known):
                tell(f"left out: other versions of {kind}, because {known.variable} says which server is used")
                servers[kind] = ()
        except ServerError as problem:
            raise PlanError(str(problem)) from None
    axes = replace(axes, servers=servers)
    return plan(axes, OWN, at_hand, read_costs())


def pythons_at_hand(axes: Releases, tell: Callable[[str], None]) -> list[str]:
    """Those of the axis that this machine has or can fetch; ``tell`` is given the others."""
    found = [python for python in axes.pythons if environments.can_be_had(python)]
    for python in axes.pythons:
        if python not in found:
            tell(f"left out: Python {python} is not on this machine, and Debian's packages of it cannot be fetched")
    return found


def chosen_cells(options: argparse.Namespace, tell: Callable[[str], None]) -> list[Planned]:
    """The part of the plan that the options name. Raises ReleasesError or PlanError."""
    found = whole(tell)
    if options.filters:
        found = select(found, options.filters)
    apart = [each for each in found if each.axis == ADDRESS and not _is_named(each, options.filters)]
    for spec in sorted({each.name.server_spec for each in apart}):
        kind, _, version = spec.partition("-")
        tell(
            f"left out: {kind} {version}, of which there is no package: give the address of one in "
            f"{catalogue().kinds[kind].variable} and ask for '{kind}-*-{kind}{version}'"
        )
    found = [each for each in found if each not in apart]
    if not found:
        raise NoCell(f"no cell of the plan that can be had here matches {' '.join(options.filters)}")
    return shard(found, *read_shard(options.shard)) if options.shard else found


def _is_named(planned: Planned, filters: Iterable[str]) -> bool:
    """Whether a cell that needs an address is asked for as such, and not by the way."""
    version = f"{planned.name.server}{planned.name.server_version}"
    return any(text == f"axis:{ADDRESS}" or (":" not in text and version in text) for text in filters)


def _measure(folder: str) -> None:
    """Keep what the results of a folder took and showed. Raises ResultError or ExpectationError."""
    axes = load()
    at_hand = pythons_at_hand(axes, lambda text: None)
    planned = {each.cell for each in plan(axes, OWN, at_hand, {})}
    shown = {cell: json.dumps(words) for cell, words in variants(folder, planned, at_hand).items()}
    made = {
        COSTS: json.dumps(dict(sorted({**read_costs(), **measured(folder)}.items())), indent=1),
        known_schedules.FILE: known_schedules.text(known_schedules_of(folder, planned, at_hand)),
        VARIANTS: known_schedules.table(shown),
    }
    for path, content in made.items():
        files.write(path, content + "\n")


@refusing(2, RunError, TableError, ResultError, expectations.ExpectationError)
def _plan(options: argparse.Namespace) -> int:
    if options.measure:
        _measure(options.measure)
    found = chosen_cells(options, lambda text: print(text, file=sys.stderr))
    seconds = round(sum(each.seconds for each in found), 1)
    if options.json:
        made: dict[str, Any] = {"cells": [each.as_json() for each in found], "count": len(found), "seconds": seconds}
        if options.shards:
            made["shards"] = [f"{index}/{options.shards}" for index in range(1, options.shards + 1)]
        if options.output:
            with Path(options.output).open("a", encoding="utf-8") as file:
                file.write(f"count={len(found)}\nshards={json.dumps(made.get('shards', []))}\n")
        print(json.dumps(made, indent=2))
        return 0
    for each in found:
        print(f"{each.cell:<55} {each.axis:<9} {each.seconds:6.1f} s{'  pre-release' if each.prerelease else ''}")
    counts = Counter(each.axis for each in found)
    print(f"\n{len(found)} cells, about {seconds / 60:.0f} minutes one after the other on one core")
    for axis, meaning in AXES.items():
        if counts[axis]:
            print(f"  {counts[axis]:>4}  {axis}: {meaning}")
    return 0
