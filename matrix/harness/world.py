"""The world of one run: loop, gate, sessions and history, and the conductor who decides what happens next.

The conductor waits until the world is quiet (every task waits, nothing is in flight but what is held), picks one
enabled action and performs it. When nothing is enabled and no clock can change that, the run hangs, and that is the
proof.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from matrix.words import CANCELLATION, CONTAINMENT, LETTERS

from . import sentences, server_failures
from .channel import Channel, Recorder
from .gate import Gate
from .history import (
    CANCELLED,
    OWN,
    SERVER,
    Block,
    Claim,
    History,
    Line,
    Operation,
    record_error,
)
from .loop import Events, MatrixLoop, thread_rests
from .schedule import Action, Execution
from .sentences import Fact
from .session import Body, Deliberate, Session, end_of
from .sweep import WATCH, Sweep, Turn
from .witness import circle
from .workers import WorkerChannel, WorkerGate

if TYPE_CHECKING:
    from .scenario import Scenario

HORIZON = 3600.0  # seconds of the program's clock after which a world without change is called hung
ANSWER = 1.0  # seconds that the server may then take to answer its witness
DEADLINE = 30.0  # seconds of real time; reached only when the proof of a hang failed, a defect of the harness
ASK_SERVER_AFTER = 0.004  # seconds of real time that a server may take before it is asked whether it waits for a lock
UNSEEN_AFTER = 3.0  # seconds of real time after which a server that looks for deadlocks every second has not seen one
STUCK = {"kind": "stuck"}
PATIENCE = 2000  # actions in one run; more means that the program runs in circles


class HarnessError(Exception):
    """The harness or the server failed: the run says nothing of the driver (verdict ``error``)."""


class World:
    """Everything of one run. Scenarios use ``together``, ``connect``, ``create_pool`` and the ORM; see session.py."""

    def __init__(self, loop: MatrixLoop, cell: Any, execution: Execution, run: str, scenario: Scenario) -> None:
        self.loop = loop
        self.cell = cell
        self.adapter = cell.adapter
        self.witness = cell.witness
        self.execution = execution
        self.run = run
        self.scenario = scenario
        self.sweep: Sweep | None = None
        self.recorder = Recorder()
        self.history = History(one_writer=self.witness.one_writer)
        self.steps: list[tuple[str, Fact]] = []  # schedule token, what it did
        self.moments: list[int] = []  # when each step was taken, in the numbering of history and frames
        self.on_step: Callable[[str, Fact], None] | None = None
        self.gates: list[Gate] = []
        self.worker_gate = WorkerGate(self.recorder, self._number_channel, loop.idle_selector.ring)
        self.sessions: dict[str, Session] = {}
        self.workers: list[tuple[Session, Callable[[], None]]] = []
        self.orm: Any = None
        self.connections: list[Any] = []
        self.pools: list[tuple[Any, int]] = []
        self.owners: dict[Any, tuple[Session, Any]] = {}  # a pool's connection -> who holds it, in which wrapper
        self.clients: dict[int, int] = {}  # id of a transaction's client -> number of its block
        self.unsent: list[Operation] = []  # cancelled before anything of it was sent
        self.after = False
        self.scheduled = False
        self.closing = False
        self.over = False
        self.aftermath: list[tuple[Fact, bool]] = []
        self.declared = scenario.declared()
        self.setup: dict[str, Any] = {"orm": None, "connections": 0, "pools": []}  # what the program began with
        self.judge_afterwards = True
        self._scopes: dict[int, str] = {}
        self.keep: list[Any] = []
        self._numbers = {"channel": 0, "nonce": 0, "token": 0, "alone": 0}
        self._quiet: asyncio.Future[None] | None = None
        self._moments: list[asyncio.Future[None]] = []  # who waits for a quiet world, before any step is chosen
        self._next_timer: float | None = None
        self._blocked: list[Channel] = []
        self._stalled = False
        self._circle = False  # requests wait for each other in the server
        self._unseen = False  # and also for somebody who can go on
        self._jumped = 0.0
        self._jump = 0.1
        self._jumps = 0
        self._thread_state: tuple[Any, ...] = ()
        self._thread_looks = 0
        loop.idle_selector.on_idle = self._idle
        loop.set_exception_handler(self._loop_error)

    def forget(self) -> None:
        """Let go of what the evidence does not need: tasks in reference cycles make every later run slower."""
        self.sessions.clear()
        self.workers.clear()
        self.gates.clear()
        self.connections.clear()
        self.pools.clear()
        self.owners.clear()
        self.keep.clear()
        self.orm = None
        self.worker_gate = WorkerGate(self.recorder, self._number_channel)

    # -- names -----------------------------------------------------------------------------------------------------
    def _count(self, what: str) -> int:
        self._numbers[what] += 1
        return self._numbers[what]

    def _number_channel(self) -> int:
        return self._count("channel")

    def nonce(self) -> str:
        """A value that only one question has as its answer; the witness stored it before the run."""
        return self.cell.nonces[self._count("nonce") - 1]

    def token(self) -> str:
        return f"w-{self.run}-{self._count('token')}"

    def spare_rows(self, count: int) -> list[str]:
        """Rows that the witness stores now, for the program to change."""
        rows = [self.token() for _ in range(count)]
        self.witness.store(rows)
        return rows

    def counter(self) -> str:
        """A counter that the witness stores now, with the value 0; it is read again when the run is over."""
        name = f"c-{self.run}-{len(self.history.counters) + 1}"
        self.witness.store_counter(name)
        self.history.counters[name] = 0, 0
        return name

    def refuse_connections(self, refused: bool) -> None:
        """From now on the database cannot be reached by new connections, or it can again."""
        self.note("the database", "note", {"kind": "reachable", "reachable": not refused})
        if refused:
            self.history.out_of_reach.append([self.recorder.sequence, 0])
        else:
            self.history.out_of_reach[-1][1] = self.recorder.sequence
        for gate in self.gates:
            gate.refuse_connections = refused
        self.witness.hide(refused)

    def cut_connections(self) -> None:
        """The server, or the network, ends every connection that is open now."""
        self.note("the database", "note", {"kind": "lost"})
        self.history.out_of_reach.append([self.recorder.sequence, self.recorder.sequence])
        for channel in self.channels():
            channel.cut()

    def alone(self) -> str:
        """A scope that no other operation shares."""
        return f"alone {self._count('alone')}"

    def scope(self, connection: Any) -> str:
        """The name of a driver's connection object."""
        if id(connection) not in self._scopes:
            self.keep.append(connection)  # so that the id stays its own
            self._scopes[id(connection)] = f"connection object {len(self._scopes) + 1}"
        return self._scopes[id(connection)]

    def session(self, named: Session | str) -> Session:
        return named if isinstance(named, Session) else self.sessions[named]

    # -- what scenarios use ----------------------------------------------------------------------------------------
    async def connect(self) -> Any:
        """One connection of the driver, through the gate."""
        connection = await self.adapter.connect(self.address())
        self.connections.append(connection)
        self.setup["connections"] += 1
        return connection

    async def create_pool(self, size: int) -> Any:
        """The driver's own pool with exactly ``size`` connections at most."""
        pool = await self.adapter.create_pool(self.address(), size)
        self.pools.append((pool, size))
        self.setup["pools"].append(size)
        return pool

    async def fill_orm_pool(self) -> None:
        """Let Tortoise open all its connections before the program starts, and give them back, one after the other;
        nothing is held."""

        async def user(begun: asyncio.Event, enough: asyncio.Event) -> None:
            async with self.orm.in_transaction(None):
                begun.set()
                await enough.wait()

        users = []
        for _ in range(self.orm.size):
            begun, enough = asyncio.Event(), asyncio.Event()
            users.append((self.loop.create_task(user(begun, enough)), enough))
            await begun.wait()
        for task, enough in users:
            enough.set()
            await task
        await self.nothing_in_flight()
        self.setup["filled"] = True

    async def close_orm(self) -> None:
        """Close Tortoise's connections before the program starts: every client is then made at its first use."""
        await self.orm.close()
        self.setup["closed"] = True

    def address(self) -> Any:
        """Where the driver shall connect to: the gate, not the server."""
        return self.cell.address(self.gates[0].port if self.gates else None)

    async def together(self, **bodies: Body) -> None:
        """Run sessions side by side under the schedule until all of them, and all they started, have ended."""
        self.hold(True)
        self.scheduled = True
        try:
            for name, body in bodies.items():
                self.start(name.replace("_", " "), body)
            while pending := self._unended():
                await asyncio.wait(pending)
            for worker, end in self.workers:
                end()
                await asyncio.wait([worker.task])  # type: ignore[type-var]
        finally:
            self.loop.set_task_factory(None)
            self.scheduled = False
            self.hold(False)

    def _unended(self) -> list[asyncio.Task[Any]]:
        workers = [worker for worker, _ in self.workers]
        return [s.task for s in self.sessions.values() if s.task and not s.task.done() and s not in workers]

    def start_worker(self, name: str, body: Body, end: Callable[[], None]) -> None:
        """Start a task that serves others; when they have ended, ``end`` is called and it shall end too."""
        self.workers.append((self.start(name, body), end))

    def start_eagerly(self) -> None:
        """From now on tasks begin to run while they are created (Python 3.12+), until the sessions have ended."""
        self.loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]

    def start(
        self,
        name: str,
        body: Body,
        *,
        blocks: tuple[int, ...] = (),
        context: contextvars.Context | None = None,
        create: Callable[..., asyncio.Task[Any]] | None = None,
        for_session: Session | None = None,
        shields: str = "",
    ) -> Session:
        """Start a session's task in a copy of ``context`` (the current one when none is given). ``for_session``:
        whose work it does, and ``shields``: what of it, as in ``Session.spawn``."""
        if name in self.sessions:
            raise HarnessError(f"two sessions are called {name!r}")
        session = Session(self, name, LETTERS[len(self.sessions)], blocks)
        self.sessions[name] = session
        self.history.sessions[name] = session.record
        self._note_start(name, create is not None, shields)
        coroutine = self._body(session, body)
        if name == self.scenario.cancels:
            self.sweep = Sweep(self, session, self.scenario.during)
        if self.sweep is not None and self.sweep.session in (session, for_session):
            coroutine = self.sweep.around(coroutine, session)
        create = create or self.loop.create_task
        try:
            session.task = context.run(create, coroutine) if context is not None else create(coroutine)
        except BaseException:  # a task group that is shutting down takes none any more
            coroutine.close()
            raise
        session.task.add_done_callback(lambda task: self._ended(session, task))
        return session

    def _note_start(self, name: str, grouped: bool, shields: str) -> None:
        """Remember which session started another one, and where in its own course: reproducers unfold from it."""
        current = asyncio.current_task()
        starter = next((session for session in self.sessions.values() if session.task is current), None)
        if starter is not None:
            self.note(starter.name, "note", {"kind": "start", "session": name, "grouped": grouped, "shields": shields})

    async def _body(self, session: Session, body: Body) -> Any:
        return await body(session)

    def _ended(self, session: Session, task: asyncio.Task[Any]) -> None:
        ended, error = end_of(task, self.classify)  # asked for in any case: asyncio complains of what nobody asked for
        if self.closing:
            return
        session.record.ended, session.record.error = ended, error
        own = {"own": error.classed == OWN, "raised_by": error.raised_by} if error else {}
        fact = {"kind": "ended", "cancelled": ended == "cancelled", "error": error.fact if error else None, **own}
        self.note(session.name, "end", fact)

    def cancel(self, target: Session, *, doomed: bool = False) -> None:
        """Cancel a session's task, and remember what it was doing. ``doomed``: as an operation of its own begins."""
        if target.task is None or target.task.done():
            self.note(target.name, "note", {"kind": "ended_before"})
            return
        self._is_cancelled(target, doomed=doomed)
        target.task.cancel()

    def _is_cancelled(self, target: Session, by: str = "", *, doomed: bool = False) -> None:
        """Remember what a task was doing, and each task that it waits for: asyncio cancels those with it."""
        under_way = [o for o in self.history.operations if o.session == target.name and not o.ended]
        target.record.cancelled_in = under_way[-1].number if under_way else None
        target.record.cancelled = True
        self.unsent += [operation for operation in under_way if not self._was_sent(operation)]
        self.note(target.name, "cancelled", {"kind": "cancelled", "by": by, "doomed": doomed})
        for child in target.awaits:
            if child.task is not None and not child.task.done():
                self._is_cancelled(child, target.name)

    def cancellation(self, token: str, fact: Fact) -> None:
        """Note that the execution's moment of cancellation has come."""
        self._jumped, self._jump, self._jumps = 0.0, 0.1, 0
        self._step(token, fact)

    def _was_sent(self, operation: Operation) -> bool:
        return any(operation.nonce in channel.segments.placed for channel in self.channels())

    async def nothing_sent_after_cancel(self) -> None:
        """What was cancelled before anything of it was sent must not have been sent after it."""
        await self.nothing_in_flight()
        for operation in self.unsent:
            if operation.nonce and self._was_sent(operation):
                self.claim_of(CANCELLATION, "sent_later", operation, operation.nonce)

    def loop_was_stuck(self) -> None:
        """Remember that a call of the driver blocked the event loop's own thread (isolated.Pump)."""
        if not any(fact == STUCK for _, fact in self.steps):
            self._step("-", STUCK)
            self.note("event loop", "note", STUCK)

    def claim(self, property: str, holds: bool, kind: str, *, foreign_state: bool = False, **facts: Any) -> None:
        """State a fact that the harness itself established: its ``kind`` (sentences.py) and what it tells."""
        fact = {"kind": kind, **facts}
        self.history.claims.append(Claim(property, holds, fact, self.after, foreign_state, self.recorder.next()))
        if self.after:
            self.aftermath.append((fact if not holds else {"kind": "as_it_should_be", "property": property}, holds))

    def claim_of(self, property: str, kind: str, operation: Operation, row: str) -> None:
        """State what is wrong with an operation and its row."""
        self.claim(property, False, kind, operations=[operation.number], session=operation.by, row=row)

    def opened(self) -> int:
        """How many connections the driver has opened in this run, counted at the gate."""
        return sum(len(gate.wires) for gate in self.gates) + len(self.worker_gate.channels)

    def still_open(self) -> int:
        """How many of them are open now."""
        return sum(not getattr(channel, "closed", False) for channel in self.channels())

    # -- the history -----------------------------------------------------------------------------------------------
    def classify(self, error: BaseException) -> str:
        if isinstance(error, Deliberate):
            return OWN
        if isinstance(error, asyncio.CancelledError):
            return CANCELLED
        failed = server_failures.in_error(self.cell.kind, error, self.adapter.server_code)
        # While the program keeps the database out of reach, what the driver says of it is the program's doing.
        if failed and not self.history.out_of_reach and not self.closing:
            self.recorder.failures.append(failed)
            return SERVER
        return self.adapter.classify(error)

    def note(self, session: str, event: str, fact: Fact) -> None:
        self._line(session, event, None, fact)

    def _line(self, session: str, event: str, operation: Operation | None, fact: Fact, error: Any = None) -> None:
        block = self.history.block(operation.block) if operation else None
        self.history.lines.append(
            Line(
                self.recorder.next(),
                self.recorder.elapsed(),
                session,
                event,
                operation.number if operation else None,
                operation.kind if operation else "",
                fact,
                block.name if block else None,
                str(operation.result) if operation and operation.outcome == "ok" and operation.result else None,
                error,
            )
        )

    def invoke(
        self,
        session: Session,
        kind: str,
        asks: Fact,
        *,
        scope: str,
        block: int | None,
        nonce: str,
        misuse: bool,
        rows: tuple[str, ...] = (),
    ) -> Operation:
        operation = Operation(
            len(self.history.operations) + 1, session.name, kind, asks, block, scope, nonce, misuse, self.after, rows
        )
        self.history.operations.append(operation)
        self._line(session.name, "invoke", operation, asks)
        operation.started = self.recorder.sequence
        return operation

    def complete(self, operation: Operation, *, result: Any = None, error: BaseException | None = None) -> None:
        if self.closing:
            return  # what the tear-down does to a hung program is no part of its history
        if error is None:
            operation.outcome = "ok"
            operation.result = result if isinstance(result, (str, int, float)) else None
        elif isinstance(error, asyncio.CancelledError):
            operation.outcome = "cancelled"
        else:
            operation.outcome = "error"
            operation.error = record_error(error, self.classify(error))
        self._line(operation.session, operation.outcome, operation, operation.asks, operation.error)
        operation.ended = self.recorder.sequence

    async def look_from_outside(self, operation: Operation) -> None:
        """Look at a row whose writer was just told that it is written, when nothing is in flight any more.

        A driver that takes a stale answer for this one's may say so before the server has seen the row.
        """
        if not self.closing:
            await self.nothing_in_flight()
            for token in operation.rows or (operation.nonce,):
                self._peek(operation, token)

    async def nothing_in_flight(self) -> None:
        """Wait until the world is quiet; no step is chosen before the one who waits has gone on."""
        if asyncio.get_running_loop() is not self.loop:
            await self._from_the_main_loop(self.nothing_in_flight())
            return
        moment = Turn(loop=self.loop)
        self._moments.append(moment)
        await moment

    async def _from_the_main_loop(self, awaited: Coroutine[Any, Any, None]) -> None:
        """Wait in another thread's loop for what only the main loop can tell."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaited, self.loop))

    def _peek(self, operation: Operation, token: str) -> None:
        """Look from outside at a row whose writer was just told that it is written."""
        visible = self.witness.stored([token])
        if operation.block is None and not visible:
            self.claim_of(CONTAINMENT, "not_visible", operation, token)
        elif operation.block is not None and visible and self._all_open(operation.block):
            self.history.seen_early.add(token)

    def _all_open(self, number: int) -> bool:
        """Whether nobody has asked to commit a block around this row: a commit may be done before it is told."""
        ended = {each.block for each in self.history.operations if each.kind == "commit"}
        around = self.history.around(number)
        return all(self.history.blocks[each - 1].outcome == "open" and each not in ended for each in around)

    def open_block(self, session: Session, parent: int | None) -> Block:
        number = len(self.history.blocks) + 1
        name = f"{session.name}'s {'nested ' if parent else ''}transaction {number}"
        block = Block(number, session.name, parent, name)
        self.history.blocks.append(block)
        return block

    def close_block(self, block: Block, outcome: str, error: BaseException | None) -> None:
        if self.closing:
            return
        block.outcome = outcome
        block.error = record_error(error, self.classify(error)) if error is not None else None
        self.note(block.session, "told", {"kind": "told", "block": block.name, "outcome": outcome})

    def _loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.closing:
            return
        message = str(context.get("message", ""))
        if error is None and "was destroyed but it is pending" not in message:
            self.note("event loop", "note", sentences.words(message))  # a driver's word of warning, nobody's error
            return
        error = error or RuntimeError(message)
        self.history.loop_errors.append(record_error(error, self.classify(error)))
        fact = {"kind": "loop_error", "message": str(context.get("message")), "error": repr(error)}
        self.note("event loop", "error", fact)

    # -- turns -----------------------------------------------------------------------------------------------------
    async def turn(self, session: Session, step: Fact) -> None:
        """Wait until the conductor lets this session take its next step; at once outside of a schedule."""
        if asyncio.get_running_loop() is not self.loop:
            await self._from_the_main_loop(self.turn(session, step))
            return
        if not self.scheduled or session.task is None:  # None: it runs eagerly, inside of create_task
            return
        # Two tasks of one session (wait_for makes one) queue up one behind the other.
        while session.turn is not None:
            await asyncio.wait([session.turn])
        session.turn = Turn(loop=self.loop)
        session.next_step = step
        try:
            await session.turn
        finally:
            session.turn = None

    def channels(self) -> list[Channel]:
        wires: list[Channel] = [wire for gate in self.gates for wire in gate.wires]
        return sorted([*wires, *self.worker_gate.channels], key=lambda channel: channel.number)

    def hold(self, held: bool) -> None:
        """Hold answers from now on, or let everything through."""
        for gate in self.gates:
            gate.hold = held
        self.worker_gate.hold = held
        for channel in self.channels():
            if held:
                channel.holding = True  # type: ignore[attr-defined]
                if isinstance(channel, WorkerChannel):
                    channel.patient_again()
            else:
                channel.release()

    def _enabled(self) -> list[Action]:
        if not self.scheduled:
            return []
        steps = [
            Action(s.letter, "step", s.name) for s in self.sessions.values() if s.turn is not None and not s.turn.done()
        ]
        answers = [Action(str(c.number), "answer", c.number) for c in self.channels() if c.deliverable()]
        return steps + answers

    def _perform(self, action: Action) -> None:
        self._jumped, self._jump, self._jumps = 0.0, 0.1, 0
        if action.kind == "step":
            session = self.sessions[str(action.target)]
            self._step(action.token, {"kind": "step", "session": session.name, "step": session.next_step})
            assert session.turn is not None
            session.turn.set_result(None)
        else:
            channel = next(c for c in self.channels() if c.number == action.target)
            fact = {"kind": "deliver", "channel": channel.label, "wire": channel.number, **channel.deliver()}
            self._step(action.token, fact)
        for channel in self.worker_gate.channels:
            channel.retry()

    def _step(self, token: str, fact: Fact) -> None:
        self.steps.append((token, fact))
        self.moments.append(self.recorder.next())
        if self.on_step is not None:
            self.on_step(token, fact)

    # -- the conductor ---------------------------------------------------------------------------------------------
    async def conduct(self, program: asyncio.Task[Any]) -> bool:
        """Drive the world until ``program`` has ended; False when it is proven that it never will."""
        self.loop.freeze()
        while not program.done():
            await self.quiet()
            if self._stalled and not self.cell.answers(ANSWER):
                raise HarnessError(f"for {DEADLINE:.0f} s nothing happened, and the server did not answer its witness")
            if self._stalled and self._circle:
                raise HarnessError(f"the server left a deadlock alone for {DEADLINE:.0f} s: is its detection off?")
            if program.done():
                break
            if self._moments:
                for moment in self._moments:
                    if not moment.done():
                        moment.set_result(None)
                self._moments.clear()
                continue
            if self.sweep is not None and self.sweep.due():
                self.sweep.cancel()
                continue
            enabled = self._enabled()
            if enabled:
                if len(self.steps) > PATIENCE:
                    raise HarnessError(f"no end after {PATIENCE} steps")
                self._perform(self.execution.choose(enabled))
            elif not self._unstick():
                return False
        return True

    async def quiet(self) -> None:
        """Wait until every task waits and nothing is in flight but what is held or waits for a lock."""
        self._quiet = self.loop.create_future()
        await self._quiet

    def _unstick(self) -> bool:
        """Nothing is enabled: let time go by, first for timers, then for locks. False when neither is left."""
        timer = self._next_timer
        locked = [channel for channel in self.worker_gate.channels if channel.waits_for_lock()]
        if locked and (timer is None or timer > 5.0):
            for channel in locked:
                channel.give_up()
            self._step("-", {"kind": "busy_timeout"})
            return True
        if timer is None or self._jumped > HORIZON or self._stalled:
            return False
        # Polling timers come again and again; each jump is longer than the one before, as if the machine had slept.
        jump = max(timer, self._jump)
        self._jump *= 2
        self._jumped += jump
        self._jumps += 1
        self.loop.advance(jump)
        return True

    # -- what an idle loop means -----------------------------------------------------------------------------------
    def _idle(self, timeout: float | None) -> Events:
        """Called when the loop is about to block. Waits for what is in flight, then tells who waits for quiet."""
        selector = self.loop.idle_selector
        since = time.monotonic()
        asked = 0.0
        self._blocked = []
        self._stalled = self._circle = self._unseen = False
        while True:
            seen = self._movement()
            busy = [channel for channel in self.channels() if channel.busy()]
            resting = not busy and not any(gate.connecting() for gate in self.gates) and self._workers_rest()
            if resting and seen == self._movement():
                events = selector.wait(0)
                if events:
                    return events
                break
            events = selector.wait(0.0002)  # how long decides nothing
            if events:
                return events
            waited = time.monotonic() - since
            if busy and waited > max(ASK_SERVER_AFTER, 2 * asked):
                asked = waited
                # Not in a circle, which the server ends by itself; unless it does not see it.
                if self._all_wait_for_locks(busy) or (self._unseen and waited > UNSEEN_AFTER):
                    self._blocked = busy
                    events = selector.wait(0)
                    if events:
                        return events
                    break
            if waited > DEADLINE:
                self._stalled = True
                self._blocked = busy
                break
        self._next_timer = min(
            (timer for timer in (timeout, *(side.next_timer() for side in self.loop.sides)) if timer is not None),
            default=None,
        )
        if self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)
            return []
        # Nobody asked: the loop runs without a conductor (set-up, tear-down). Wait as any loop would.
        return selector.wait(1.0 if timeout is None else min(timeout, 1.0))

    def _movement(self) -> tuple[Any, ...]:
        """What counts up when something moves in another thread: two looks at two threads are no look at both."""
        sides = [side.side_selector.rounds for side in self.loop.sides]
        return (*sides, *(channel.moves() for channel in self.worker_gate.channels))

    def _workers_rest(self) -> bool:
        """Whether every thread of the default executor waits: for the gate, or asleep without having run since last
        asked.

        A thread to whose socket an answer was delivered that it has not read yet is about to wake up.
        """
        threads, on_its_way = self.loop.workers.state()
        sides = list(self.loop.sides)
        if on_its_way or 0 in threads or not all(side.rests() for side in sides):
            return False
        threads = [thread for thread in threads if thread not in {side.thread for side in sides}]
        if not threads:
            return True
        counted = [channel for channel in self.worker_gate.channels if channel.exact and not channel.serial]
        if counted:
            return len(threads) == sum(channel.pending for channel in counted)  # else one is on its way out
        counts = []
        for thread in threads:
            sleeps, switches = thread_rests(thread)
            if not sleeps:
                self._thread_state = ()  # the looks begin again: before it sleeps it is switched
                return False
            counts.append((thread, switches))
        unread = sum(wire.unread() for gate in self.gates for wire in gate.wires)
        state = (unread, *sorted(counts))
        if state != self._thread_state:
            self._thread_state, self._thread_looks = state, 0
        self._thread_looks += 1
        return self._thread_looks > (100 if unread else 4)

    def _all_wait_for_locks(self, busy: list[Channel]) -> bool:
        """Whether these requests wait for locks, by the server's word, and for somebody who can do something about it:
        a circle of waits is none of the program's, since the server resolves it."""
        ids = {channel.session() for channel in busy}
        waits = {session: holders for session, holders in self.witness.lock_waits().items() if session in ids}
        # Where the server does not say who holds a lock: somebody with a transaction who does not wait, if anybody.
        free = {channel.session() for channel in self.channels() if channel.in_transaction()} - waits.keys()
        suspects = frozenset(waits) if not free else frozenset()
        waits = {session: holders or suspects - {session} for session, holders in waits.items()}
        found = circle(waits)
        self._circle = bool(found)
        # InnoDB follows one of the holders that a request waits for. Where that one is free to go on, a circle through
        # the others is not seen until it has.
        self._unseen = ids == waits.keys() and any(not holders <= waits.keys() for holders in found.values())
        return ids == waits.keys() and not self._circle

    # -- proof of a hang -------------------------------------------------------------------------------------------
    def prove_hang(self, program: asyncio.Task[Any]) -> dict[str, Any]:
        """What is known when nothing can happen any more: who waits where, and what each connection's state is."""
        proof = "deadline" if self._stalled else ("lock" if self._blocked else "idle")
        waiting = [
            {"task": session.name, "where": where(session.task)}
            for session in self.sessions.values()
            if session.task is not None and not session.task.done()
        ]
        for number, side in enumerate(self.loop.sides, 1):
            waiting += [{"task": f"thread {number}", "where": where(task)} for task in asyncio.all_tasks(side)]
        if not waiting:
            waiting = [{"task": "the next user" if self.after else "the program", "where": where(program)}]
        connections = [
            {
                "connection": channel.label,
                "state": "waits for a lock" if channel in self._blocked else "nothing in flight",
            }
            for channel in self.channels()
            if not getattr(channel, "closed", False)
        ]
        fact = {
            "kind": "hang",
            "waiting": [{"task": entry["task"], "innermost": _innermost(entry["where"])} for entry in waiting],
            "locked": bool(self._blocked),
            "clock": self._jumped if self._jumps else None,  # seconds of the program's clock that changed nothing
        }
        return {"proof": proof, "waiting": waiting, "connections": connections, "fact": fact}


def _innermost(chain: str) -> str:
    """The last of a chain of awaits that is not asyncio's own."""
    parts = chain.split(" > ")
    return next((part for part in reversed(parts) if "asyncio/" not in part), parts[-1])


def where(task: asyncio.Task[Any] | None) -> str:
    """The chain of awaits at whose end a task waits, outermost first."""
    parts: list[str] = []
    awaited: Any = task.get_coro() if task is not None else None
    while awaited is not None and len(parts) < 40:
        if type(awaited).__name__ in ("coroutine_wrapper", "async_generator_asend"):
            # What ``coroutine.__await__()`` gives does not name its coroutine; the collector knows.
            awaited = next((each for each in gc.get_referents(awaited) if _part(each, "frame")), None)
            continue
        if _part(awaited, "code") is WATCH:  # it drives the session's coroutine by hand (sweep.py)
            awaited = awaited.gi_frame.f_locals["coroutine"] if awaited.gi_frame else None
            continue
        frame, code = _part(awaited, "frame"), _part(awaited, "code")
        if frame is not None and code is not None:
            file = code.co_filename.replace("\\", "/")
            for root in ("/site-packages/", "/lib/python", "/tests/", "/matrix/"):
                file = file.split(root)[-1]
            parts.append(f"{file}:{frame.f_lineno} {code.co_name}")
        awaited = _part(awaited, "await") or getattr(awaited, "gi_yieldfrom", None)
    return " > ".join(parts)


def _part(awaited: Any, name: str) -> Any:
    """An attribute that coroutines, generators and asynchronous generators spell differently."""
    return next(
        (found for prefix in ("cr", "gi", "ag") if (found := getattr(awaited, f"{prefix}_{name}", None)) is not None),
        None,
    )


Program = Callable[[World], Awaitable[None]]
