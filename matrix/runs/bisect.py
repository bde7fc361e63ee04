"""``python -m matrix bisect``: the exact release at which a scenario's verdict changes.

The releases of the policy are tested first; between two neighbours that differ, every release of the registry is a
candidate, and halving finds the one. A release that cannot be had is passed over and named.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from packaging.version import Version

from matrix.harness.drivers import drivers
from matrix.harness.scenario import one
from matrix.lines import word_of
from matrix.maker import clean_up_when_told_to_end
from matrix.results.text import one_line, refuse
from matrix.runs import RunError, cells, environments
from matrix.runs.cells import CellName
from matrix.runs.jobs import Done, Job
from matrix.runs.releases import Package, Releases, exact, load
from matrix.runs.runner import JobRunner
from matrix.runs.shared_servers import Servers

AXES = ("tortoise", "driver", "server", "python")
ALWAYS = 1_000_000  # a bisect does not know how often it will need a server: it is kept until the end


@dataclass(frozen=True)
class Probe:
    """What one release showed; ``word`` is None for one that cannot be had or whose run failed, ``why`` says it."""

    version: str
    word: str | None
    why: str = ""
    cell: str = ""


@dataclass(frozen=True)
class ReleaseChange:
    """Between ``last`` and ``first`` the word changes; ``between`` are releases that could not be tested."""

    last: str
    first: str
    before: str
    after: str
    between: tuple[str, ...] = ()

    def __str__(self) -> str:
        unknown = f" ({', '.join(self.between)} in between cannot be had)" if self.between else ""
        return f"{self.before} up to {self.last}, {self.after} from {self.first}{unknown}"


def search(
    candidates: Sequence[str], first: Iterable[str], probe: Callable[[Sequence[str]], Iterable[Probe]]
) -> tuple[dict[str, Probe], list[ReleaseChange]]:
    """Test ``first`` (and both ends), then halve between neighbours that differ. ``probe`` tests some at once.

    Returns everything that was tested, in the order of the candidates, and the changes, oldest first. A change that is
    undone again between two neighbours of ``first`` is not seen.
    """
    known: dict[str, Probe] = {}
    wanted = [version for version in candidates if version in {*first, candidates[0], candidates[-1]}]
    while wanted:
        known |= {each.version: each for each in probe(wanted)}
        wanted = []
        for low, high in _neighbours(candidates, known):
            untested = [version for version in _between(candidates, low, high) if version not in known]
            wanted += untested[len(untested) // 2 :][:1]
    tested = {version: known[version] for version in candidates if version in known}
    changes = [
        ReleaseChange(low, high, str(known[low].word), str(known[high].word), tuple(_between(candidates, low, high)))
        for low, high in _neighbours(candidates, tested)
    ]
    return tested, changes


def _neighbours(candidates: Sequence[str], known: Mapping[str, Probe]) -> list[tuple[str, str]]:
    """Neighbouring releases with a word, where the words differ."""
    judged = [version for version in candidates if version in known and known[version].word is not None]
    return [(a, b) for a, b in itertools.pairwise(judged) if known[a].word != known[b].word]


def _between(candidates: Sequence[str], low: str, high: str) -> Sequence[str]:
    return candidates[candidates.index(low) + 1 : candidates.index(high)]


@dataclass(frozen=True)
class Axis:
    """The versions along one axis, oldest first, those to begin with, and the cell at one of them."""

    candidates: tuple[str, ...]
    first: tuple[str, ...]
    at: Callable[[str], CellName]
    package: Package | None = None


def axis_of(name: CellName, axis: str, releases: Releases) -> Axis:
    """The axis of a cell. Raises RunError where it has fewer than two versions."""
    if axis in ("tortoise", "driver"):
        key = "tortoise" if axis == "tortoise" else "driver_version"
        package = releases.of("tortoise-orm" if axis == "tortoise" else drivers()[name.driver].distribution)
        final = tuple(version for version in package.all if not Version(version).is_prerelease)
        first = tuple(each.version for each in package.tested)
        found = Axis(final, first, lambda version: replace(name, **{key: exact(version)}), package)
    elif axis == "server":
        versions = releases.servers.get(name.server, ())
        found = Axis(versions, versions, lambda version: replace(name, server_version=version))
    else:
        pythons = tuple(filter(environments.can_be_had, releases.pythons))
        found = Axis(pythons, pythons, lambda version: replace(name, python=version))
    if len(found.candidates) < 2:
        raise RunError(f"{name} has no two versions along the axis {axis}")
    return found


class Prober:
    """Runs one scenario at some versions, side by side."""

    def __init__(self, scenario: str, axis: Axis, runner: JobRunner, workers: int, orders: int | None) -> None:
        self.scenario = scenario
        self.axis = axis
        self.runner = runner
        self.arguments = ("--orders", str(orders)) if orders else ()
        self.workers = workers
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        older = (p for p in reversed(runner.axes.pythons) if Version(p) < Version(own))
        self.older = [*filter(environments.can_be_had, older)]

    def __call__(self, versions: Sequence[str]) -> list[Probe]:
        with ThreadPoolExecutor(self.workers) as threads:
            return list(threads.map(self._one, versions))

    def _one(self, version: str) -> Probe:
        name = self.axis.at(version)
        done = self._run(name)
        for python in self.older if name.python is None else ():
            if done.how != "absent":
                break
            done = self._run(replace(name, python=python))  # old releases have wheels for old Pythons only
        probe = self._judged(version, done)
        print(f"  {version:<10} {probe.word or 'cannot be tested: ' + probe.why[:150]}", flush=True)
        return probe

    def _run(self, name: CellName) -> Done:
        return self.runner.one(Job(name, only=(self.scenario,), arguments=self.arguments))

    def _judged(self, version: str, done: Done) -> Probe:
        line = done.result.by_id.get(self.scenario) if done.result else None
        if line is None:
            return Probe(version, None, one_line(done.said), done.job.cell)
        word = word_of(line)
        if word in ("error", "not run"):
            return Probe(version, None, f"{word}: {one_line(line.get('reason') or '')}", done.job.cell)
        return Probe(version, word, one_line(line.get("reason") or ""), done.job.cell)


# The command


def register(commands: Any) -> None:
    """Adds ``bisect``."""
    about = "Finds the exact release at which the verdict of a scenario changes, along one axis."
    parser = commands.add_parser("bisect", help="the release at which a scenario's verdict changes", description=about)
    parser.add_argument("scenario", help="such as NST-3")
    parser.add_argument("driver", help="a driver (aiomysql) or a cell (mariadb-aiomysql, mysql-aiomysql0.2)")
    parser.add_argument("--axis", choices=AXES, default="tortoise", help="default: tortoise")
    parser.add_argument("--every", action="store_true", help="test every version; what was undone again is seen too")
    parser.add_argument("--orders", type=int, help="how many orders of the scenario are run at most")
    parser.add_argument("--jobs", type=int, default=2, help="versions tested at a time (default: 2)")
    parser.add_argument("--json", action="store_true", help="for programs, as the last line")
    parser.set_defaults(handler=_bisect)


def _bisect(options: argparse.Namespace) -> int:
    began = time.monotonic()
    try:
        options.scenario = one(options.scenario)
        releases = load()
        name = cells.read(cell_of(options.driver))
        axis = axis_of(name, options.axis, releases)
        runner = JobRunner([], environments.state_folder() / "bisect")
    except (LookupError, RunError) as problem:
        return refuse(problem)
    specs = {spec for version in axis.candidates for spec in cells.server_specs(axis.at(version), releases.servers)}
    runner.servers = Servers(Counter(dict.fromkeys(specs, ALWAYS)))
    print(f"{options.scenario} on {name}, {len(axis.candidates)} versions of {options.axis}", flush=True)
    clean_up_when_told_to_end()
    try:
        probe = Prober(options.scenario, axis, runner, max(1, options.jobs), options.orders)
        tested, changes = search(axis.candidates, axis.candidates if options.every else axis.first, probe)
    except KeyboardInterrupt:
        runner.end_children()
        raise
    finally:
        runner.servers.stop()
    judged = [each for each in tested.values() if each.word is not None]
    if not judged:
        return refuse(f"{options.scenario} could be tested at no version: {next(iter(tested.values())).why}", 1)
    print(f"\ntested {len(tested)} of {len(axis.candidates)} in {time.monotonic() - began:.0f} s: {', '.join(tested)}")
    for each in changes:
        print(f"  {each}{_about(axis.package, each.first)}")
        print(f"    {each.first}: {tested[each.first].why[:300]}")
    if not changes:
        print(f"  {judged[0].word} everywhere, {judged[0].version} to {judged[-1].version}")
    if options.json:
        made = {"scenario": options.scenario, "cell": str(name), "axis": options.axis}
        found = {"tested": [*map(vars, tested.values())], "changes": [*map(vars, changes)]}
        print(json.dumps({**made, **found}))
    return 0


def cell_of(text: str) -> str:
    """A driver's first cell for a driver's name, else the text itself."""
    known = drivers()
    return f"{known[text].servers[0]}-{text}" if text in known else text


def _about(package: Package | None, version: str) -> str:
    """When a release appeared, its own page, and the one that tells what changed."""
    if package is None:
        return ""
    release = next((each for each in package.tested if each.version == version), None)
    facts = [release.uploaded] if release and release.uploaded else []
    facts += [package.page(version)] if package.release else []
    facts += [package.changes] if package.changes else []
    return f"\n    {', '.join(facts)}" if facts else ""
