"""Draws programs from a seed, judges each, shrinks what does not comply, and makes the result line.

The budget is in programs, and everything is a function of the seed: time decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import sys
import time
import unittest.mock
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import hypothesis
from hypothesis.control import BuildContext
from hypothesis.errors import StopTest
from hypothesis.internal.conjecture.data import ConjectureData
from hypothesis.internal.conjecture.providers import HypothesisProvider

from matrix import lines
from matrix.harness import cell_scenarios
from matrix.harness.known_schedules import PROGRAMS as PROGRAMS_BRIEF
from matrix.harness.known_schedules import KnownResult, KnownSchedules
from matrix.harness.loop import MatrixLoop
from matrix.harness.outcome import Exploration
from matrix.harness.result_lines import because, line_of, without_verdict
from matrix.harness.runner import Runner
from matrix.harness.scenario import Scenario
from matrix.lines import Evidence, ScenarioLine
from matrix.words import ERROR, NOT_APPLICABLE, RECORD, SAFE, badness, complies, made_of

from .interpreter import Bound
from .printer import ONE_CONNECTION, ORM, OWN_CONNECTIONS, POOL, TWO_ALIASES
from .program import Program, Rules, as_data, from_data, smaller
from .strategies import programs

SEED = 1952  # the default: its first programs show what generation has found so far; another one is another sample
PROGRAMS = 15  # a line
WORTHWHILE = 4  # statements; hypothesis begins with the smallest, of which the catalogue has enough
ORDERS = 2  # of each program: the two that all others depart from
PLACEMENTS = 40  # points of a program at most at which one of its sleeps ends: those at which a time limit is over then
SHRINKING = 50  # programs that are judged at most to shrink one anomaly
RACING = 4  # times fewer programs and tries to shrink where each run costs a process; and one order of each
DRAWS = 20  # for each program of the budget; many draws settle into the same program


class Grammar(NamedTuple):
    """What the programs of a line may do, how they are printed, and how many statements they have. ``apart``: each is
    drawn for itself.

    Searching, hypothesis begins with the smallest and varies what it has drawn before, so the programs resemble each
    other. The older lines keep that: their seed means what it meant.
    """

    rules: Rules
    style: str
    sizes: range = range(WORTHWHILE, sys.maxsize)
    apart: bool = False


LARGE_POOL = range(10, 31)  # enough for tasks to meet, and still to be read
LINES = {
    "GEN-1": Grammar(Rules(writes_first=True), OWN_CONNECTIONS),
    "GEN-2": Grammar(Rules(cancels=True), ONE_CONNECTION),
    "GEN-3": Grammar(Rules(nested=True, inside="plain"), ORM),
    "GEN-4": Grammar(Rules(nested=True, inside="any", cancels=True), ORM),
    "GEN-5": Grammar(Rules(cancels=True, writes_first=True, errors_end=True, pool=True), POOL, LARGE_POOL, apart=True),
    "GEN-6": Grammar(
        Rules(nested=True, inside="group", writes_first=True, errors_end=True, structured=True),
        TWO_ALIASES,
        LARGE_POOL,
        apart=True,
    ),
    "GEN-7": Grammar(Rules(nested=True, inside="any", waits=True), ORM),
}

Signature = tuple[str, tuple[str, ...]]  # the verdict, and the violated properties


def bound(scenario: Scenario, program: Program) -> Scenario:
    """A generated line's scenario with one program."""
    return dataclasses.replace(scenario, program=Bound(scenario.program, program, LINES[scenario.id].style))


@dataclass
class FoundAnomaly:
    """Programs of one signature that does not comply."""

    signature: Signature
    smallest: Program
    count: int = 1
    shrunk: Exploration | None = None


@dataclass
class Search:
    """One line's search in one database of a cell. ``known`` maps an anomaly's signature to the scenarios that show it;
    None when the catalogue was not run."""

    scenario: Scenario
    runner: Runner
    loop: asyncio.AbstractEventLoop
    seed: int = SEED
    budget: int = PROGRAMS
    known: Mapping[Signature, list[str]] | None = None
    shrinking: int = SHRINKING
    known_result: KnownResult | None = None  # on record
    brief: bool = False  # ask with what is on record first, and no further where it is the same again
    racing: bool = False  # nobody owns the order of the driver's threads: what a schedule shows twice counts
    judged: dict[Program, Exploration] = field(default_factory=dict)
    confirmed: set[Program] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rules = LINES[self.scenario.id].rules

    # -- judging ---------------------------------------------------------------------------------------------------
    def bound(self, program: Program) -> Scenario:
        """The scenario of one program."""
        return bound(self.scenario, program)

    def judge(self, program: Program, *, confirm: bool = False) -> Exploration:
        """A few orders of a program, once for each program; ``confirm`` repeats the deciding one, once as well. Where
        threads race that is part of judging it.

        Raises Broken when the harness or the server failed.
        """
        scenario = self.bound(program)
        if program not in self.judged:
            asked = self.runner.explore(scenario, confirm=self.racing, placements=PLACEMENTS)
            exploration = self.loop.run_until_complete(asked)
            self._unless_broken(exploration, scenario)
            for outcome in exploration.outcomes:
                if outcome is not exploration.deciding:
                    outcome.make_evidence = Evidence  # nobody reads it, and what it is made of slows every later run
            self.judged[program] = exploration
        exploration = self.judged[program]
        if confirm and not self.racing and program not in self.confirmed:
            self.confirmed.add(program)
            self.loop.run_until_complete(self.runner.confirm(exploration, scenario))
            self._unless_broken(exploration, scenario)
        return exploration

    def _unless_broken(self, exploration: Exploration, scenario: Scenario) -> None:
        if exploration.error:
            raise Broken(exploration, scenario.source)

    def fails(self, signature: Signature) -> bool:
        return complies(self.scenario.level, signature[0]) is False

    # -- drawing ---------------------------------------------------------------------------------------------------
    def draw(self, first: int = sys.maxsize) -> list[Program]:
        """The first ``budget`` different programs of the seed that are large enough to show anything; only the
        ``first`` of these, where no more are asked for."""
        found: dict[Program, None] = {}
        line = LINES[self.scenario.id]
        wanted = self.budget if self.racing else min(first, self.budget)  # those of middling size are known at the end

        def enough(program: Program) -> bool:
            if program.asks and program.size in line.sizes and len(found) < wanted:
                found.setdefault(program)
            return len(found) == wanted

        with _only_the_seed_counts():
            (_draw_apart if line.apart else _draw)(line.rules, enough, self.seed, DRAWS * self.budget)
        return (_of_middling_size(list(found)) if self.racing else list(found))[:first]

    # -- shrinking -------------------------------------------------------------------------------------------------
    def shrink(self, program: Program, wanted: Signature) -> Program:
        """The simplest program of this signature that leaving out one thing after the other leads to.

        hypothesis shrinks what was drawn, choice by choice; on these trees that took ten times as many programs and
        stopped at ten times as many statements.
        """
        judged = 0
        again = True
        while again:
            again = False
            for less in smaller(program, self.rules):
                if less not in self.judged:
                    judged += 1
                if judged > self.shrinking:
                    return program
                if less.asks and self._shows(less, wanted):
                    program, again = less, True
                    break
        return program

    def _shrunk(self, anomaly: FoundAnomaly) -> Program:
        """What is on record was shrunk from a program of the usual seed: where it shows the same here, that is not done
        once more."""
        known = self.known_result.programs if self.known_result and self.seed == SEED else ()
        for program in map(from_data, known):
            if program.size <= anomaly.smallest.size and self._shows(program, anomaly.signature):
                return program
        return self.shrink(anomaly.smallest, anomaly.signature)

    def _shows(self, program: Program, wanted: Signature) -> bool:
        exploration = self.judge(program)
        return exploration.deciding not in exploration.once and exploration.deciding.signature == wanted

    # -- the line --------------------------------------------------------------------------------------------------
    def line(self) -> ScenarioLine:
        """The result line."""
        started = time.monotonic()
        try:
            line = self._line()
        except Broken as broken:
            line = without_verdict(self.scenario, ERROR, broken.exploration.error)
            line["evidence"] = {"program": broken.program, **broken.exploration.evidence}
        line["seconds"] = round(time.monotonic() - started, 4)
        return line

    def _line(self) -> ScenarioLine:
        if self.brief and self.known_result and self.known_result.program:
            others = self.draw(PROGRAMS_BRIEF) if self.known_result.verdict == SAFE else []
            asked = dict.fromkeys([*map(from_data, self.known_result.programs), *others])
            line = self._line_of(list(asked), shrunk=True)
            if line["verdict"] == self.known_result.verdict:
                return {**line, "depth": RECORD}
        return self._line_of(self.draw())

    def _line_of(self, drawn: list[Program], *, shrunk: bool = False) -> ScenarioLine:
        """The line of these programs; ``shrunk``: they were made small before they were put on record."""
        anomalies: dict[Signature, FoundAnomaly] = {}
        counts: dict[str, int] = {}
        placed = unplaced = 0
        worst = None
        for program in drawn:
            exploration = self.judge(program)
            for verdict, number in exploration.counts.items():
                counts[verdict] = counts.get(verdict, 0) + number
            placed += exploration.orders.get("placed", 0)
            unplaced += exploration.orders.get("unplaced", 0)
            if exploration.deciding in exploration.once:
                continue  # nothing of it was seen twice
            signature = exploration.deciding.signature
            if worst is None or _rank(self.judged[worst], worst) < _rank(exploration, program):
                worst = program
            if self.fails(signature):
                anomaly = anomalies.setdefault(signature, FoundAnomaly(signature, program, 0))
                anomaly.count += 1
                anomaly.smallest = min(anomaly.smallest, program, key=lambda each: each.size)
        if worst is None:
            return without_verdict(self.scenario, ERROR, "no program showed any verdict twice")
        deciding = self.judged[worst].deciding.signature
        for anomaly in anomalies.values():
            new = self.known is not None and self._is_new(anomaly.signature)
            if not shrunk and (new or anomaly.signature == deciding):
                anomaly.smallest = self._shrunk(anomaly)
            anomaly.shrunk = self.judge(anomaly.smallest, confirm=True)
        if deciding in anomalies:
            worst = anomalies[deciding].smallest
        line = line_of(self.bound(worst), self.judge(worst, confirm=True), 0.0)
        orders: lines.Orders = {"explored": sum(counts.values()), "possible": None, "verdicts": counts}
        line["orders"] = {**orders, "placed": placed, "unplaced": unplaced} if placed else orders
        if deciding in anomalies:
            of = {"kind": "of_programs", "count": anomalies[deciding].count, "programs": len(drawn)}
            decides = because({**of, "finding": line["finding"]})
            line["finding"], line["reason"] = decides["finding"], decides["reason"]
        line["generated"] = {
            "seed": self.seed,
            "programs": len(drawn),
            "deciding": as_data(worst),
            "anomalies": [self._told(anomaly) for anomaly in sorted(anomalies.values(), key=_by_badness)],
        }
        return line

    def _known_by(self, signature: Signature) -> list[str]:
        return list((self.known or {}).get(signature, ()))

    def _is_new(self, signature: Signature) -> bool:
        return not self._known_by(signature) and not self._made_of(signature)

    def _made_of(self, signature: Signature) -> list[str]:
        return made_of(self.known or {}, *signature)

    def _told(self, anomaly: FoundAnomaly) -> lines.Anomaly:
        verdict, properties = anomaly.signature
        assert anomaly.shrunk is not None
        known_by = self._known_by(anomaly.signature)
        made_of = [] if known_by else self._made_of(anomaly.signature)
        return {
            "signature": f"{verdict}: {', '.join(properties) or 'refused'}",
            "verdict": verdict,
            "properties": list(properties),
            "programs": anomaly.count,
            "program": self.bound(anomaly.smallest).source,
            **because(anomaly.shrunk.deciding.finding),
            "schedule": anomaly.shrunk.deciding.schedule,
            "known_by": known_by,
            "made_of": made_of,
            "found_by_generation": None if self.known is None else not known_by and not made_of,
        }


class Broken(Exception):
    """The harness or the server failed while it ran a program."""

    def __init__(self, exploration: Exploration, program: str) -> None:
        super().__init__(exploration.error)
        self.exploration = exploration
        self.program = program


def _rank(exploration: Exploration, program: Program) -> tuple[int, int]:
    """How bad a program's verdict is; of equally bad ones the smaller counts more."""
    return badness(exploration.deciding.verdict), -program.size


def _of_middling_size(drawn: list[Program]) -> list[Program]:
    """A part of them: large ones take too long where each run costs a process, small ones show too little."""
    fewer = -(-len(drawn) // RACING)
    first = (len(drawn) - fewer) // 2
    return sorted(drawn, key=lambda program: program.size)[first : first + fewer]


def _by_badness(anomaly: FoundAnomaly) -> tuple[int, Signature]:
    return -badness(anomaly.signature[0]), anomaly.signature


def _draw(rules: Rules, enough: Callable[[Program], bool], seed: int, most: int) -> None:
    """Show ``enough`` at most so many programs of one search."""
    settings = hypothesis.settings(
        database=None, deadline=None, max_examples=most, phases=[hypothesis.Phase.generate], print_blob=False
    )
    with contextlib.suppress(hypothesis.errors.NoSuchExample):
        hypothesis.find(programs(rules), enough, settings=settings, random=random.Random(seed))


def _draw_apart(rules: Rules, enough: Callable[[Program], bool], seed: int, most: int) -> None:
    """The same with programs that have nothing to do with each other."""
    source = random.Random(seed)
    for _ in range(most):
        data = ConjectureData(random=source)
        with contextlib.suppress(StopTest), BuildContext(data, wrapped_test=enough):  # it stops when there is no end
            if enough(data.draw(programs(rules))):
                return


@contextlib.contextmanager
def _only_the_seed_counts() -> Iterator[None]:
    """hypothesis takes some values from constants in whatever modules are loaded (and keeps them in a folder); a seed
    shall mean the same in every cell."""
    with unittest.mock.patch.object(HypothesisProvider, "_maybe_draw_constant", lambda *_, **__: None):
        yield


def run(
    cell: Any,
    scenario: Scenario,
    seed: int,
    budget: int,
    known: Mapping[Signature, list[str]] | None,
    known_schedules: KnownSchedules | None = None,
    brief: bool = False,
) -> Any:
    """The result line of a generated scenario in a cell, over each of its databases."""
    reason = cell.unmet(scenario)
    if reason is not None:
        return without_verdict(scenario, NOT_APPLICABLE, reason)
    lines = {}
    on_record = known_schedules.of(scenario.id) if known_schedules else None
    racing = cell.adapter.isolated  # there each run costs a process
    orders, shrinking = (1, SHRINKING // RACING) if racing else (ORDERS, SHRINKING)
    for backing in cell.backings:
        if racing and backing.server_address is None and LINES[scenario.id].style in (OWN_CONNECTIONS, POOL):
            continue  # its threads have one gate, which does not tell connections apart
        loop = MatrixLoop()
        try:
            runner = cell_scenarios.runner(cell, backing, orders)
            search = Search(scenario, runner, loop, seed, budget, known, shrinking, on_record, brief, racing)
            lines[backing.kind] = search.line()
        finally:
            loop.close()
    return next(iter(lines.values())) if len(lines) == 1 else cell_scenarios.merge(lines)
