"""Jobs: one cell each to run. What was asked for on the command line -> jobs; what became of each."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from matrix import servers
from matrix.harness.drivers import drivers
from matrix.harness.scenario import chosen
from matrix.lines import Provenance
from matrix.results.read import CellResult
from matrix.runs import RunError, cells
from matrix.runs.cells import CellName
from matrix.runs.plan import OTHERS, OVERHEAD, UNKNOWN_COST, Planned, read_costs, read_shard, shard
from matrix.runs.plan import chosen_cells as planned_by
from matrix.runs.sources import TORTOISE, Source, of_cell, source
from matrix.words import FULL, RECORD

BRIEF, DEEPEN, FULL_FIRST = PARTS = ("--brief", "--deepen", "--full-first")  # of a cell's run (matrix/cell)


@dataclass(frozen=True)
class Job:
    """One cell to run: perhaps only some scenarios, perhaps with sources of the caller's own."""

    name: CellName
    seconds: float = UNKNOWN_COST
    only: tuple[str, ...] = ()
    own: tuple[tuple[str, Source], ...] = ()  # package -> what stands in the place of its release
    arguments: tuple[str, ...] = ()  # further ones for pytest, such as --orders 50

    @property
    def cell(self) -> str:
        return str(self.name)

    @property
    def places(self) -> dict[str, str]:
        """The caller's own sources as an installer takes them."""
        return {package: source.place for package, source in self.own}

    @property
    def provenance(self) -> dict[str, Provenance]:
        """The same for a result's header."""
        return {package: source.provenance for package, source in self.own}

    @property
    def deciding(self) -> tuple[str, ...]:
        """The arguments that decide the result: whether all orders are run, but not what was run before."""
        return tuple(each for each in self.arguments if each not in (DEEPEN, FULL_FIRST))

    @property
    def depth(self) -> str:
        """How the cell is asked."""
        return RECORD if BRIEF in self.arguments else FULL

    def part(self, part: str) -> Job:
        """The same cell, and this part of its run."""
        return replace(self, arguments=(*(each for each in self.arguments if each not in PARTS), part))


@dataclass(frozen=True)
class Done:
    """What became of a job: ``how`` is ran, kept (from the store), absent (not to be had) or failed."""

    job: Job
    how: str
    result: CellResult | None = None
    said: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)  # seconds in: install, server, scenarios

    @property
    def errors(self) -> int:
        return sum(line["verdict"] == "error" for line in self.result.scenarios) if self.result else 0


def jobs_of(options: argparse.Namespace, log: Callable[[str], None]) -> list[Job]:
    """The jobs that the options ask for. Raises RunError, PlanError or ReleasesError."""
    try:
        only = tuple(chosen(options.only)) if options.only else ()
    except LookupError as problem:
        raise RunError(f"--only: {problem.args[0]}") from None
    given = {name: getattr(options, name) for name in ("orders", "programs", "seed")}
    arguments = tuple(text for name, n in given.items() if n is not None for text in (f"--{name}", str(n)))
    factors = (options.tortoise, options.driver, options.server, options.python)
    if not options.filters and not options.all and not any(factors):
        raise RunError("say which cells to run: names (mysql-aiomysql, mysql-*), axis:tortoise, or --all")
    if not any(factors):
        named = [text for text in options.filters if ":" not in text and "*" not in text]
        sources: dict[str, tuple[tuple[str, Source], ...]] = {}
        if named and len(named) == len(options.filters):
            names = [cells.read(text) for text in named]
            sources = {str(name): tuple(of_cell(name).items()) for name in names}
            found = [_planned(name) for name in names]
            found = shard(found, *read_shard(options.shard)) if options.shard else found
        else:
            found = planned_by(options, log)
        whole = options.orders or options.full
        depths = [arguments if whole or not each.is_variant else (BRIEF,) for each in found]
        pairs = zip(found, depths, strict=True)
        return [Job(each.name, each.seconds, only, sources.get(each.cell, ()), depth) for each, depth in pairs]
    if not options.filters:
        raise RunError("say which cells the versions are for, such as: run mysql-aiomysql --tortoise 0.23.0")
    jobs = []
    for text in options.filters:
        name, own = with_factors(cells.read(text), options)
        jobs.append(Job(name, _planned(name).seconds, only, own, arguments))
    return jobs


def parts(jobs: Sequence[Job], options: argparse.Namespace) -> list[list[Job]]:
    """What is run one after the other: the cells that get all orders ask the schedules on record first, so that there
    is a whole table soon; then all orders, and beside them what asks the record only."""
    if any(job.only for job in jobs) or options.full_first:
        return [[job if job.depth == RECORD else job.part(FULL_FIRST) for job in jobs]]
    costs = read_costs()
    first = []
    for job in jobs:
        if job.depth == FULL:
            seconds = min(job.seconds, costs.get(job.name.base + OTHERS, UNKNOWN_COST) + OVERHEAD)
            first.append(replace(job.part(BRIEF), seconds=seconds))
    rest = [job if job.depth == RECORD else job.part(DEEPEN) for job in jobs]
    if options.brief:
        return [first + [job for job in rest if job.depth == RECORD]]
    return [part for part in ([] if options.deepen else first, rest) if part]


def _planned(name: CellName) -> Planned:
    return Planned(name, "asked for", read_costs().get(name.base, UNKNOWN_COST) + OVERHEAD)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """The options that name what stands in the place of the newest releases."""
    parser.add_argument("--tortoise", metavar="V", help="a release, a folder with a checkout, or git+https://…@branch")
    parser.add_argument("--driver", metavar="V", help="the same for the driver")


def with_factors(name: CellName, options: argparse.Namespace) -> tuple[CellName, tuple[tuple[str, Source], ...]]:
    """The cell with the versions or sources that --tortoise, --driver, --server and --python name. Raises RunError."""
    own = []
    for key, package, text in (
        ("tortoise", TORTOISE, options.tortoise),
        ("driver_version", drivers()[name.driver].distribution, options.driver),
    ):
        if text:
            found = version_or_source(text)
            name = replace(name, **{key: found if isinstance(found, str) else found.label})
            own += [] if isinstance(found, str) else [(package, found)]
    if options.server:
        try:
            spec = servers.parse_spec(options.server if "-" in options.server else f"{name.server}-{options.server}")
        except servers.ServerError as problem:
            raise RunError(str(problem)) from None
        name = replace(name, server=spec.kind, server_version=spec.version)
    if options.python:
        name = replace(name, python=options.python)
    return cells.read(str(name)), tuple(own)


def version_or_source(text: str) -> str | Source:
    """``0.23.0`` is itself; else a folder or ``git+…``. Raises RunError."""
    if re.fullmatch(r"\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)?(\+[a-z_]+)?", text):
        return text
    return source(text)
