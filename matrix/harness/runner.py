"""Runs scenarios: one schedule, all schedules within the bound, a remedy over its scenarios. Makes the result lines."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from . import evidence
from .adapters.base import CAPABILITIES
from .aftermath import look_afterwards
from .checker import Violation, check, refusals
from .gate import Gate
from .loop import MatrixLoop
from .record import ORDERS, Known, Record
from .remedy import PLAIN
from .scenario import OrmSetup, Scenario
from .schedule import Explorer, ScheduleMismatch, Strategy, parse
from .verdict import ERROR, NOT_APPLICABLE, SAFE, badness, complies, derive, judge_remedy, word_for, worst
from .witness import WitnessError
from .world import HarnessError, World


@dataclass
class Outcome:
    """One run of one schedule."""

    verdict: str
    violations: list[Violation]
    refused: str
    schedule: str
    tell: Callable[[], dict[str, Any]]  # makes the evidence; it costs more than the run, and few runs need it
    proof: str | None
    crashed: bool = False  # the interpreter died (isolated.py)

    @functools.cached_property
    def evidence(self) -> dict[str, Any]:
        """What people read of this run."""
        return self.tell()

    @property
    def signature(self) -> tuple[str, tuple[str, ...]]:
        """What two runs of the same schedule must agree on."""
        return self.verdict, tuple(sorted({violation.property for violation in self.violations}))

    @property
    def reason(self) -> str:
        """One line: the sentence of the worst violation, or what was refused."""
        if not self.violations:
            return f"refused: {self.refused}" if self.refused else "every operation completed as told"
        return max(self.violations, key=lambda violation: badness(word_for(violation))).sentence


@dataclass
class Exploration:
    """All orders of one scenario that were run."""

    outcomes: list[Outcome]
    orders: dict[str, Any] = field(default_factory=dict)  # how many there are, and how those that were run were chosen
    error: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    once: list[Outcome] = field(default_factory=list)  # seen once and not again (drivers whose threads race inside)

    @property
    def deciding(self) -> Outcome:
        """The worst outcome, by the shortest schedule that shows it; what was seen once only does not count."""
        seen_once = {outcome.verdict for outcome in self.once}
        counted = [outcome for outcome in self.outcomes if outcome.verdict not in seen_once] or self.outcomes
        return max(counted, key=lambda outcome: (badness(outcome.verdict), -len(parse(outcome.schedule))))

    @property
    def counts(self) -> dict[str, int]:
        made: dict[str, int] = {}
        for outcome in self.outcomes:
            made[outcome.verdict] = made.get(outcome.verdict, 0) + 1
        return made

    @property
    def anomalies(self) -> list[dict[str, Any]]:
        """What any order violated: each set of properties with its verdict, and how many orders showed it."""
        made: dict[tuple[str, tuple[str, ...]], int] = {}
        for outcome in self.outcomes:
            if outcome.violations:
                made[outcome.signature] = made.get(outcome.signature, 0) + 1
        return [
            {"verdict": verdict, "properties": list(properties), "orders": number}
            for (verdict, properties), number in sorted(made.items())
        ]


COLLECT_ALL_EVERY = 200  # runs of this process, whosever: garbage is the process's
_RUNS = itertools.count(1)
MEASURE = 3  # times the bound, for scenarios that remedies are tried on
REPEATS = 6  # how often a schedule of a driver with racing threads is tried again
Once = Callable[["Runner", Scenario, Strategy, Any], Awaitable[Outcome]]


class Runner:
    """Runs scenarios in one cell, against one database of it (``backing``)."""

    def __init__(self, backing: Any, bound: int, once: Once | None = None, steps: int | None = None) -> None:
        self.backing = backing
        self.bound = bound
        self.seed = 0  # of the sampled orders
        self.record: Record | None = None  # asked first, where it is given
        self.steps = steps  # no further order is begun when all orders together took as many
        self._once = once  # another way to run one schedule (isolated.py)
        self.on_world: Callable[[World], None] | None = None  # told of each world before it runs
        self.on_step: Callable[[str, str], None] | None = None  # told each step before it is taken
        self._runs = 0
        self._collects_all = False
        self._prefix = f"{secrets.token_hex(3)}x"  # rows of two runners never meet, not even from two processes

    # -- one schedule ----------------------------------------------------------------------------------------------
    async def once(self, scenario: Scenario, strategy: Strategy, way: Any = None) -> Outcome:
        """Run one schedule and judge it. Raises HarnessError, ScheduleMismatch or WitnessError when it cannot."""
        loop = asyncio.get_running_loop()
        if not isinstance(loop, MatrixLoop):
            raise HarnessError("scenarios run on a MatrixLoop only")
        self._runs += 1
        self._collects_all = next(_RUNS) % COLLECT_ALL_EVERY == 0
        if getattr(self.backing, "leaves_cycles", False):
            gc.collect()  # what the run before left is garbage by now, and would hold the database's lock
            if self.backing.witness.locked():  # not all of it was
                self.backing.renew()
        world = World(loop, self.backing, strategy, f"{self._prefix}{self._runs}", scenario)
        world.on_step = self.on_step
        if self.on_world is not None:
            self.on_world(world)
        adapter = self.backing.adapter
        program: asyncio.Task[Any] | None = None
        try:
            await self._open_gate(world, scenario)
            adapter.install(world)
            # Not the loop's create_task: the program begins when it is conducted, with eager tasks as well.
            program = asyncio.Task(self._program(world, scenario, way), loop=loop)
            if not await world.conduct(program):
                world.history.hang = world.prove_hang(program)
        finally:
            await self._tear_down(world)
            world.worker_gate.end()
            self._collect(1)
            world.over = True
            if world.orm is not None:
                world.orm.discard()
            adapter.remove()
            self.backing.leaves_cycles = world.worker_gate.leaves_cycles
            loop.thaw()
            loop.idle_selector.on_idle = None
            loop.set_exception_handler(None)
        self._program_ended_well(world, program)
        if strategy.cancel and not (world.sweep and world.sweep.done):
            strategy.cancel = None  # there was no such moment: nobody was cancelled
        return self._judge(world, scenario)

    def _collect(self, generation: int) -> None:
        """Collect garbage at a known moment: the collector's own time decides nothing (it is switched off).

        What was made since the last collection is in generation 0; what survives the one before the closing, in 1.
        """
        gc.disable()
        # From 3.14 on it collects in increments.
        gc.collect(2 if self._collects_all or sys.version_info >= (3, 14) else generation)

    def _program_ended_well(self, world: World, program: asyncio.Task[Any]) -> None:
        """Errors of sessions are findings; an error of the program around them is the harness's own."""
        if world.history.hang or program.cancelled():
            return
        error = program.exception()
        if isinstance(error, ScheduleMismatch):
            raise error
        if error is not None:
            raise HarnessError(f"the program itself failed: {type(error).__name__}: {error}") from error

    async def _open_gate(self, world: World, scenario: Scenario) -> None:
        server = self.backing.server_address
        if server is None:
            return
        host, port = server
        gate = Gate(self.backing.kind, host, port, world.recorder, world._number_channel)
        gate.hold_login = scenario.hold_login
        gate.by_frame = bool(scenario.cancels)
        world.gates.append(gate)
        await gate.start()

    async def _program(self, world: World, scenario: Scenario, way: Any) -> None:
        setup = (way.setup if way is not None and way.setup is not None else None) or scenario.orm
        if setup is not None:
            await self._init_orm(world, setup)
        way = way or PLAIN
        await way.prepare(world)
        await (scenario.program(world, way) if scenario.curable else scenario.program(world))
        world.after = True
        await look_afterwards(world)
        self._collect(0)  # what nobody retrieved is reported now, in this run, not whenever the collector comes by
        world.closing = True
        await self._close(world)

    async def _init_orm(self, world: World, setup: OrmSetup) -> None:
        world.orm = world.adapter.make_orm(world, setup)
        world.setup["orm"] = {"size": world.orm.size, "aliases": list(setup.aliases), "fallback": setup.fallback}
        await world.orm.init()

    async def _close(self, world: World) -> None:
        """Close everything as a program would; what fails now was judged before."""
        if world.orm is not None:
            with contextlib.suppress(Exception):
                await world.orm.close()
        for pool, _ in world.pools:
            with contextlib.suppress(Exception):
                await world.adapter.close_pool(pool)
        for connection in world.connections:
            with contextlib.suppress(Exception):
                await world.adapter.close(connection)

    async def _tear_down(self, world: World) -> None:
        """End every task of the run, by force where it must be, and give the loop back clean."""
        world.closing = True
        if world.history.out_of_reach and not world.history.out_of_reach[-1][1]:
            world.refuse_connections(False)
        world.scheduled = False
        world.hold(False)
        for gate in world.gates:
            await gate.close()
        for channel in world.channels():
            channel.cut()
        current = asyncio.current_task()
        for _ in range(5):
            left = [task for task in asyncio.all_tasks() if task is not current]
            if not left and not world.loop.sides:
                break
            for task in left:
                task.cancel()
            for side in world.loop.sides:
                side.cancel_all()
            await world.quiet()
            world.loop.advance(120.0)
        for task in asyncio.all_tasks() - {current}:
            # It swallows every cancellation: nobody will ever wait for it, the loop's end included.
            asyncio.tasks._unregister_task(task)
        if world.history.hang and world.history.hang["proof"] != "idle":
            self.backing.witness.end_sessions()

    def _judge(self, world: World, scenario: Scenario) -> Outcome:
        history = world.history
        for channel in world.channels():
            history.placed.update(channel.segments.placed)
        history.stored = self.backing.witness.stored(history.tokens())
        for name, (before, _) in history.counters.items():
            history.counters[name] = before, self.backing.witness.counter(name)
        violations = check(history)
        refused = refusals(history)
        world.forget()
        verdict = derive(violations, refused=bool(refused))
        return Outcome(
            verdict,
            violations,
            refused[0].error.short if refused and refused[0].error else "",
            world.strategy.text,
            functools.partial(evidence.of, world, scenario),
            history.hang["proof"] if history.hang else None,
        )

    async def _run(self, scenario: Scenario, strategy: Strategy, way: Any) -> Outcome:
        if self._once is not None:
            return await self._once(self, scenario, strategy, way)
        return await self.once(scenario, strategy, way)

    # -- all schedules ---------------------------------------------------------------------------------------------
    async def explore(
        self, scenario: Scenario, way: Any = None, *, confirm: bool = True, remedy: str = ""
    ) -> Exploration:
        """Run the orders within the bound, then (``confirm``) the deciding one once more: two verdicts for it are an
        ``error``.

        With a remedy's ``way`` half as many. A scenario that remedies are tried on gets more without one: what it
        shows alone is what they are measured by. With a ``record`` that is confirmed, no more than its schedule.
        """
        if known := self.record.of(scenario.id, remedy) if self.record else None:
            asked = await self._ask_record(known, scenario, way)
            if asked is not None:
                return asked
        bound = -(-self.bound // 2) if way is not None else self.bound * (MEASURE if scenario.curable else 1)
        explorer = Explorer(bound, f"{self.seed} {scenario.id}")
        exploration = Exploration([])
        taken = 0
        try:
            for strategy in explorer.strategies():
                exploration.outcomes.append(await self._run(scenario, strategy, way))
                taken += len(strategy.taken)
                if exploration.outcomes[-1].proof == "deadline":
                    break  # a defect of the harness, to be mended: more of it would only take longer
                if self.steps is not None and taken >= self.steps:
                    break
            exploration.outcomes = list({outcome.schedule: outcome for outcome in exploration.outcomes}.values())
            exploration.orders = {
                "possible": len(exploration.outcomes) if explorer.exhausted else None,
                "estimate": explorer.estimate,
                "swept": explorer.swept,
                "sampled": explorer.sampled,
                "seed": self.seed if explorer.sampled else None,
            }
            if confirm:
                await (self._confirm if self._once else self._repeat)(exploration, scenario, way)
        except (HarnessError, ScheduleMismatch, WitnessError) as error:
            exploration.error = str(error)
        return exploration

    async def _ask_record(self, known: Known, scenario: Scenario, way: Any) -> Exploration | None:
        """Run the schedules on record, and a few orders where it is a safe verdict; None if that is not the verdict
        here. A verdict that is the same again has been seen twice: here and where it was recorded.

        A schedule that was safe with a remedy is not asked: it says less than an order of this cell's own.
        """
        exploration = Exploration([])
        schedules = known.schedules[1:] if way is not None and known.verdict == SAFE else known.schedules
        try:
            for schedule in schedules:
                on_record = Strategy(replay=parse(schedule), lenient=True)
                exploration.outcomes.append(await self._run(scenario, on_record, way))
            explorer = Explorer(ORDERS if known.verdict == SAFE else 0, f"{self.seed} {scenario.id}")
            for strategy in explorer.strategies():
                exploration.outcomes.append(await self._run(scenario, strategy, way))
        except (HarnessError, ScheduleMismatch, WitnessError):
            return None
        exploration.outcomes = list({outcome.schedule: outcome for outcome in exploration.outcomes}.values())
        exploration.orders = {"possible": None, "on_record": known.schedule}
        return exploration if exploration.deciding.verdict == known.verdict else None

    async def _repeat(self, exploration: Exploration, scenario: Scenario, way: Any) -> None:
        """The deciding schedule once more: anything else than the same again is the harness's ``error``."""
        deciding = exploration.deciding
        again = await self._run(scenario, Strategy(replay=parse(deciding.schedule)), way)
        if (again.signature, again.schedule) != (deciding.signature, deciding.schedule):
            exploration.error = f"the harness does not own the order: {_differ(deciding, again)}"
            exploration.evidence = {**deciding.evidence, "second_run": again.evidence}

    async def _confirm(self, exploration: Exploration, scenario: Scenario, way: Any) -> None:
        """For threads that race inside a C driver, which no schedule can own: a verdict counts when it is seen twice.

        Its schedule is run again a few times; if it does not show it again, the next worse verdict is asked for.
        A dead process needs no second one: no order of calls may kill the interpreter.
        """
        while True:
            deciding = exploration.deciding
            if deciding.crashed or deciding.verdict == SAFE or deciding in exploration.once:
                return
            for _ in range(REPEATS):
                again = await self._run(scenario, Strategy(replay=parse(deciding.schedule), lenient=True), way)
                if again.verdict == deciding.verdict:
                    return
            exploration.once.append(deciding)


def _differ(first: Outcome, second: Outcome) -> str:
    """In what two runs of one schedule differ, in words."""
    if first.schedule != second.schedule:
        return f"schedule {first.schedule} became {second.schedule} ({first.verdict}, then {second.verdict})"
    if first.verdict != second.verdict:
        return f"schedule {first.schedule} gave {first.verdict}, then {second.verdict}"
    properties = [", ".join(outcome.signature[1]) or "none" for outcome in (first, second)]
    return f"schedule {first.schedule} gave {first.verdict} twice, but violated {properties[0]}, then {properties[1]}"


# -- result lines ----------------------------------------------------------------------------------------------------


def line_head(scenario: Scenario) -> dict[str, Any]:
    """What every line of a scenario says, whatever was seen."""
    return {
        "type": "scenario",
        "schema": 1,
        "scenario": scenario.id,
        "family": scenario.family,
        "title": scenario.title,
        "contract": scenario.contract,
        "level": scenario.level,
        "source": {"text": scenario.quote, "url": scenario.url},
        "links": list(scenario.links),
        "verdict": "not run",
        "complies": None,
        "violations": [],
        "reason": "",
        "proof": None,
        "orders": {"explored": 0, "possible": None, "verdicts": {}},
        "schedule": None,
        "seconds": 0.0,
        "evidence": None,
    }


def without_verdict(scenario: Scenario, verdict: str, reason: str) -> dict[str, Any]:
    """A line for a scenario that has no verdict: ``n/a``, ``error`` or ``not run``, with the reason."""
    return {**line_head(scenario), "verdict": verdict, "reason": reason}


def line_of(scenario: Scenario, exploration: Exploration, seconds: float) -> dict[str, Any]:
    """The result line of an explored scenario."""
    line = line_head(scenario)
    line.update(_findings(scenario.level, exploration), seconds=round(seconds, 4))
    return line


def _findings(level: str, exploration: Exploration) -> dict[str, Any]:
    if exploration.error:
        return {
            "verdict": ERROR,
            "reason": exploration.error,
            "complies": None,
            "evidence": exploration.evidence or None,
        }
    deciding = exploration.deciding
    explored = len(exploration.outcomes)
    once = ", ".join(f"{outcome.verdict} by {outcome.schedule or 'its first steps'}" for outcome in exploration.once)
    return {
        "verdict": deciding.verdict,
        "complies": complies(level, deciding.verdict),
        "violations": [{"property": v.property, "sentence": v.sentence} for v in deciding.violations],
        "reason": deciding.reason + (f" (seen once and not again: {once})" if once else ""),
        "proof": deciding.proof,
        "orders": {
            "explored": explored,
            "verdicts": exploration.counts,
            **exploration.orders,
            "anomalies": exploration.anomalies,
        },
        "schedule": deciding.schedule or None,
        "evidence": deciding.evidence,
    }


async def remedy_line(
    runner: Runner, scenario: Scenario, catalogue: dict[str, Scenario], plain: dict[str, str]
) -> dict[str, Any]:
    """Run a remedy over the scenarios that it claims to cure. ``plain``: their verdicts without it, filled on
    demand."""
    started = time.monotonic()
    cures: dict[str, Any] = {}
    judged: list[tuple[str, str | None]] = []
    for identifier in scenario.cures:
        cured = catalogue[identifier]
        if cured.unmet(runner.backing.adapter.capabilities, CAPABILITIES) is not None:
            continue
        if identifier not in plain:
            alone = await runner.explore(cured)
            plain[identifier] = ERROR if alone.error else alone.deciding.verdict
        exploration = await runner.explore(cured, scenario.way, remedy=scenario.id)
        findings = _findings(cured.level, exploration)
        without = plain[identifier] if plain[identifier] != ERROR else None
        # A remedy claims more than the bare scenario promises: that the pattern works with it.
        findings["complies"] = None if findings["verdict"] == ERROR else findings["verdict"] in scenario.way.claims
        cures[identifier] = {**findings, "without": without, "title": cured.title}
        judged.append((findings["verdict"], without))
    line = line_head(scenario)
    line.update(cures=cures, seconds=round(time.monotonic() - started, 4))
    if any(verdict == ERROR for verdict, _ in judged):
        bad = next(identifier for identifier, cure in cures.items() if cure["verdict"] == ERROR)
        return {**line, "verdict": ERROR, "reason": f"{bad}: {cures[bad]['reason']}"}
    line["verdict"] = worst(verdict for verdict, _ in judged)
    line["remedy"] = judge_remedy(judged, scenario.way.claims)
    line["reason"] = _remedy_reason(line["remedy"], cures)
    line["orders"] = {
        "explored": sum(cure["orders"]["explored"] for cure in cures.values()),
        "possible": None,
        "verdicts": {},
    }
    return line


def _remedy_reason(word: str, cures: dict[str, Any]) -> str:
    if word == "holds":
        return f"{', '.join(cures)} comply with it"
    broken = [identifier for identifier, cure in cures.items() if cure["complies"] is False]
    first = cures[broken[0]] if broken else next(iter(cures.values()))
    if not broken:
        return f"worse than without it: {first['reason']}"
    named = ", ".join(f"{identifier} ({cures[identifier]['verdict']})" for identifier in broken)
    return f"not {named}: {first['reason']}"


__all__ = ["NOT_APPLICABLE", "Runner", "line_of", "remedy_line", "without_verdict"]
