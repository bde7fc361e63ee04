"""Runs scenarios in one cell: one schedule, and all schedules within the bound."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from matrix.words import BREAKS, FULL, NOT_APPLICABLE, RECORD, REFUSES, SAFE

from . import evidence
from .checker import check, refusals
from .conductor import HarnessError
from .explorer import Explorer, Tree
from .gate import Gate
from .history import Operation
from .known_schedules import ORDERS, KnownResult, KnownSchedules
from .loop import MatrixLoop
from .outcome import Exploration, Outcome, difference
from .recovery_checks import check_recovery
from .remedy import NO_REMEDY
from .scenario import OrmSetup, Scenario
from .schedule import Execution, ScheduleMismatch
from .sentences import Fact
from .strategies import replay
from .verdict import derive
from .witness import WitnessError
from .workers import WorkerChannel
from .world import World

COLLECT_ALL_EVERY = 200  # runs of this process, whosever: garbage is the process's
_RUNS = itertools.count(1)
FURTHER = 6  # times as many orders where none has come to the scenario's situation
MEASURE = 3  # times the bound, for scenarios that remedies are tried on
STRANGE = "no gate holds what thread {!r} does (what to do: CONTRIBUTING.md, Threads and timers)"
NOT_OWNED = "the harness does not own the order: {} (what to do: CONTRIBUTING.md, When the order is not owned)"
NOT_MET = (
    "its situation ({}) was met in none of {} orders: nothing was measured (what to do: CONTRIBUTING.md, Situations)"
)
FAILS_BEFORE = "no order comes to its situation ({} possible): something fails before in each, such as: {}"
NEVER_WAITS = "{} never waits here, so nobody can be cancelled in it"
NEVER_EAGERLY = "tasks that begin to run while they are created came to its situation in none of {} orders"
REPEATS = 6  # how often a schedule of a driver with racing threads is tried again
UNJUDGED = (HarnessError, ScheduleMismatch, WitnessError)  # what a run raises that cannot be judged
Once = Callable[["Runner", Scenario, Execution, Any, list[str]], Awaitable[Outcome]]


class Runner:
    """Runs scenarios in one cell, against one database of it (``backing``)."""

    def __init__(self, backing: Any, bound: int, once: Once | None = None, steps: int | None = None) -> None:
        self.backing = backing
        self.bound = bound
        self.seed = 0  # of the sampled orders
        self.known_schedules: KnownSchedules | None = None  # asked first, where it is given
        self.database = ""  # its kind, in a cell of several databases: each has a record of its own
        self.depth = FULL  # RECORD: where its verdict is seen again, no further orders are run
        self.steps = steps  # no further order is begun when all orders together took as many
        self._once = once  # another way to run one schedule (isolated.py)
        self.on_world: Callable[[World], None] | None = None  # told of each world before it runs
        self.on_step: Callable[[str, Fact], None] | None = None  # told each step before it is taken
        self._runs = 0
        self._collects_all = False
        # Rows of two runners never meet, not even from two processes: a cell has a thousand where each run has its own,
        # and what a row of another's does to a run looks like a fault of the driver's.
        self._prefix = f"{secrets.token_hex(6)}x"

    # -- one schedule ----------------------------------------------------------------------------------------------
    async def once(self, scenario: Scenario, execution: Execution, remedy: Any = None) -> Outcome:
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
        self.backing.witness.begin()
        world = World(loop, self.backing, execution, f"{self._prefix}{self._runs}", scenario)
        world.declared = scenario.declared(remedy)
        world.recording.on_step = self.on_step
        if self.on_world is not None:
            self.on_world(world)
        adapter = self.backing.adapter
        program: asyncio.Task[Any] | None = None
        try:
            await self._open_gate(world, scenario)
            loop.watch_threads()
            adapter.install(world)
            # Not the loop's create_task: the program begins when it is conducted, with eager tasks as well.
            program = asyncio.Task(self._program(world, scenario, remedy), loop=loop)
            rests = not await world.conductor.conduct(program)
            if strange := loop.strange_threads():
                raise HarnessError(STRANGE.format(strange[0]))
            if rests:
                world.history.hang = world.prove_hang(program)
        finally:
            await self._tear_down(world)
            world.worker_gate.end()
            self._collect(1)
            world.over = True
            if world.orm is not None:
                world.orm.discard()
            adapter.remove()
            hangs = bool(world.history.hang and world.worker_gate.channels)  # its connection keeps what it has locked
            self.backing.leaves_cycles = world.worker_gate.leaves_cycles or hangs
            loop.thaw()
            loop.idle_selector.on_idle = None
            loop.set_exception_handler(None)
        if world.timeline.failures:
            raise HarnessError(f"not the driver's: {world.timeline.failures[0]}")
        self._program_ended_well(world, program)
        if execution.cancel and not (world.conductor.sweep and world.conductor.sweep.done):
            execution.cancel = None  # there was no such moment: nobody was cancelled
        return self._judge(world, scenario, remedy)

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
        gate = Gate(self.backing.kind, host, port, world.timeline, world.gates.number_channel)
        gate.hold_login = scenario.hold_login
        gate.by_frame = bool(scenario.cancels)
        gate.pooled, gate.tls = self.backing.pooled, self.backing.adapter.tls is not None
        gate.warm = None if scenario.needs_fresh_connections else self.backing.warm
        world.gates.add(gate)
        await gate.start()

    async def _program(self, world: World, scenario: Scenario, remedy: Any) -> None:
        setup = (remedy.setup if remedy is not None and remedy.setup is not None else None) or scenario.orm
        if setup is not None:
            await self._init_orm(world, setup)
        remedy = remedy or NO_REMEDY
        await remedy.prepare(world)
        await (scenario.program(world, remedy) if scenario.curable else scenario.program(world))
        world.recording.after = True
        await check_recovery(world)
        self._collect(0)  # what nobody retrieved is reported now, in this run, not whenever the collector comes by
        world.recording.closing = True
        await self._close(world)

    async def _init_orm(self, world: World, setup: OrmSetup) -> None:
        world.orm = world.adapter.make_orm(world, setup)
        world.setup["orm"] = {"size": world.orm.size, "aliases": list(setup.aliases), "fallback": setup.fallback}
        await world.orm.init()

    async def _close(self, world: World) -> None:
        """Close everything as a program would; what fails now was judged before. Nobody waits for what is silent."""
        for gate in world.gates:
            gate.end_silence()
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
        world.recording.closing = True
        if world.history.out_of_reach and not world.history.out_of_reach[-1][1]:
            world.refuse_connections(False)
        world.conductor.scheduled = False
        world.gates.hold(False)
        for gate in world.gates:
            await gate.close()
        for channel in world.gates.channels():
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
            await world.quiet.wait()
            world.loop.advance(120.0)
        else:
            for task in asyncio.all_tasks() - {current}:
                # It swallows every cancellation: nobody will ever wait for it, the loop's end included.
                asyncio.tasks._unregister_task(task)
        if world.history.hang and world.history.hang["proof"] != "idle":
            self.backing.witness.terminate_backends()
            if self.backing.warm is not None:
                self.backing.warm.close()

    def _judge(self, world: World, scenario: Scenario, remedy: Any) -> Outcome:
        history = world.history
        for channel in world.gates.channels():
            # Calls tell of no transaction that SQLite begins by itself.
            if world.autocommit or not isinstance(channel, WorkerChannel):
                history.placed.update(channel.segments.placed)
        history.stored = self.backing.witness.stored(history.tokens())
        for name, (before, _) in history.counters.items():
            history.counters[name] = before, self.backing.witness.counter(name)
        violations = check(history)
        refused = refusals(history)
        situation = scenario.situation
        if remedy is not None and situation is not None and situation.avoidable:
            situation = None  # the remedy may be that it does not come to it
        world.forget()
        verdict = derive(violations, refused=bool(refused))
        return Outcome(
            verdict,
            violations,
            _refused(refused[0]) if refused else None,
            world.execution.text,
            functools.partial(evidence.of, world, scenario),
            history.hang["proof"] if history.hang else None,
            met=situation is None or situation.met(history),
            enabled=world.execution.enabled,
        )

    async def _run(self, exploration: Exploration, scenario: Scenario, execution: Execution, remedy: Any) -> Outcome:
        if self._once is None:
            return await self.once(scenario, execution, remedy)
        return await self._once(self, scenario, execution, remedy, exploration.lost)

    # -- all schedules ---------------------------------------------------------------------------------------------
    async def explore(
        self,
        scenario: Scenario,
        remedy: Any = None,
        *,
        confirm: bool = True,
        remedy_id: str = "",
        placements: int | None = None,
    ) -> Exploration:
        """Run the orders within the bound, then (``confirm``) the deciding one once more: two verdicts for it are an
        ``error``. ``placements`` as of an Explorer.

        With a ``remedy`` half as many. More where none of these came to the scenario's situation. A scenario that
        remedies are tried on gets more without one: what it shows alone is what they are measured by.
        ``known_schedules`` are run first; at the depth of record they are all that is run, where they give their
        verdict again.
        """
        exploration = Exploration([])
        # Threads that race inside a driver may show something else when the same choices are made again.
        tree = Tree() if self._once is None else None
        on_record = self.known_schedules
        if known := on_record.of(scenario.id, remedy_id, self.database) if on_record else None:
            every = await self._try_known(known, exploration, scenario, remedy, tree)
            if every and self.depth == RECORD and await self._confirms(known, exploration, scenario, remedy, tree):
                return exploration
        alone = self.bound * (MEASURE if scenario.curable else 1)
        try:
            first = -(-self.bound // 2) if remedy is not None else alone
            for bound in dict.fromkeys((first, alone, alone * FURTHER)):
                explorer = Explorer(bound, f"{self.seed} {scenario.id}", tree, placements=placements)
                await self._take(explorer, exploration, scenario, remedy, first if bound > first else None)
                if exploration.judged or explorer.exhausted:
                    break
            exploration.outcomes = list({outcome.schedule: outcome for outcome in exploration.outcomes}.values())
            exploration.orders = {
                "possible": len(exploration.outcomes) if explorer.exhausted else None,
                "estimate": explorer.estimate,
                "swept": explorer.swept,
                "placed": explorer.placed,
                **({"unplaced": explorer.unplaced} if explorer.unplaced else {}),
                "sampled": explorer.sampled,
                "seed": self.seed if explorer.sampled else None,
            }
            exploration.absent = _why_absent(exploration, scenario, explorer)
            if not exploration.judged and not exploration.absent:
                key = scenario.situation.key if scenario.situation else ""
                exploration.error = NOT_MET.format(key, len(exploration.outcomes))
            elif exploration.judged and confirm:
                await self.confirm(exploration, scenario, remedy)
        except UNJUDGED as error:
            exploration.error = _told(error)
        return exploration

    async def confirm(self, exploration: Exploration, scenario: Scenario, remedy: Any = None) -> None:
        """Run the deciding order of an exploration once more, as ``explore`` does with ``confirm``; any other verdict
        for it is the exploration's ``error``."""
        try:
            await (self._confirm if self._once else self._repeat)(exploration, scenario, remedy)
        except UNJUDGED as error:
            exploration.error = _told(error)

    async def _take(
        self, explorer: Explorer, exploration: Exploration, scenario: Scenario, remedy: Any, enough: int | None
    ) -> None:
        """Run what the explorer says, until ``enough`` orders have come to the situation, if a number is given."""
        taken = 0
        for execution in explorer.executions():
            exploration.outcomes.append(await self._run(exploration, scenario, execution, remedy))
            taken += len(execution.taken)
            if exploration.outcomes[-1].proof == "deadline":
                break  # a defect of the harness, to be mended: more of it would only take longer
            if self.steps is not None and taken >= self.steps and exploration.judged:
                break
            if enough is not None and len(exploration.judged) >= enough:
                break

    async def _try_known(
        self, known: KnownResult, exploration: Exploration, scenario: Scenario, remedy: Any, tree: Tree | None
    ) -> bool:
        """Run the schedules on record, as far as they are possible here. Returns whether every one could be run; why
        not, the other orders will say.

        A schedule that was safe with a remedy is not asked here: it says less than an order of this cell's own.
        """
        schedules = known.schedules[1:] if remedy is not None and known.verdict == SAFE else known.schedules
        try:
            await self._ask_again(schedules, exploration, scenario, remedy, tree)
        except UNJUDGED:
            return False
        return True

    async def _ask_again(
        self, schedules: list[str], exploration: Exploration, scenario: Scenario, remedy: Any, tree: Tree | None
    ) -> None:
        for schedule in schedules:
            on_record = Execution(replay(schedule, lenient=True))
            asked = on_record.cancel
            exploration.outcomes.append(await self._run(exploration, scenario, on_record, remedy))
            if tree is not None:
                tree.add(asked, on_record)

    async def _confirms(
        self, known: KnownResult, exploration: Exploration, scenario: Scenario, remedy: Any, tree: Tree | None
    ) -> bool:
        """Whether what was asked first gives the verdict on record, and so do a few other orders where that is safe. A
        verdict that is the same again has been seen twice: here and where it was recorded."""
        try:
            on_record = self.known_schedules
            assert on_record is not None
            orders = ORDERS if known.verdict in (SAFE, NOT_APPLICABLE) else 0
            drawn_by = f"{self.seed} {scenario.id} {on_record.drawn_by}".strip()
            explorer = Explorer(orders, drawn_by, tree, moments=on_record.moments)
            for execution in explorer.executions():
                exploration.outcomes.append(await self._run(exploration, scenario, execution, remedy))
            if not exploration.judged and remedy is not None and known.verdict == SAFE:
                # None of its own came to the situation, as with a remedy that makes it rare: the one on record did.
                await self._ask_again(known.schedules[:1], exploration, scenario, remedy, tree)
        except UNJUDGED:
            return False
        exploration.outcomes = list({outcome.schedule: outcome for outcome in exploration.outcomes}.values())
        exploration.orders = {"possible": None, "on_record": known.schedule}
        if not exploration.judged and known.verdict == NOT_APPLICABLE:
            exploration.absent = _why_absent(exploration, scenario, explorer)
            return bool(exploration.absent)
        return bool(exploration.judged) and exploration.deciding.verdict == known.verdict

    async def _repeat(self, exploration: Exploration, scenario: Scenario, remedy: Any) -> None:
        """The deciding schedule once more: anything else than the same again is the harness's ``error``."""
        deciding = exploration.deciding
        again = await self._run(exploration, scenario, Execution(replay(deciding.schedule)), remedy)
        if differs := difference(deciding, again):
            exploration.error = NOT_OWNED.format(differs)
            exploration.evidence = {**deciding.evidence, "second_run": {**again.evidence}}

    async def _confirm(self, exploration: Exploration, scenario: Scenario, remedy: Any) -> None:
        """For threads that race inside a C driver, which no schedule can own: a verdict counts when it is seen twice.

        Its schedule is run again a few times; if it does not show it again, the next worse verdict is asked for.
        A dead process needs no second one: no order of calls may kill the interpreter.
        """
        while True:
            deciding = exploration.deciding
            if deciding.crashed or deciding.verdict == SAFE or deciding in exploration.once:
                return
            for _ in range(REPEATS):
                execution = Execution(replay(deciding.schedule, lenient=True))
                again = await self._run(exploration, scenario, execution, remedy)
                if again.verdict == deciding.verdict:
                    return
            exploration.once.append(deciding)


def _why_absent(exploration: Exploration, scenario: Scenario, explorer: Explorer) -> str:
    """Why a scenario whose situation no order came to does not apply here; empty where that is not known."""
    if exploration.judged:
        return ""
    if scenario.during and not explorer.swept:
        return NEVER_WAITS.format(" or ".join(scenario.during))
    if scenario.situation and scenario.situation.never:
        return scenario.situation.never
    if explorer.exhausted and all(outcome.verdict in (REFUSES, BREAKS) for outcome in exploration.outcomes):
        return FAILS_BEFORE.format(len(exploration.outcomes), exploration.outcomes[0].reason)
    eager = asyncio.get_running_loop().get_task_factory() is not None
    return NEVER_EAGERLY.format(len(exploration.outcomes)) if eager else ""


def _told(error: Exception) -> str:
    return NOT_OWNED.format(error) if isinstance(error, ScheduleMismatch) else str(error)


def _refused(operation: Operation) -> dict[str, Any]:
    assert operation.error is not None
    return {"kind": "refused", "operations": [operation.number], "error": operation.error.fact}
