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
from collections.abc import Awaitable, Callable
from typing import Any

from .gate import Channel, Gate, Recorder
from .history import (
    CANCELLED,
    OWN,
    Block,
    Claim,
    History,
    Line,
    Operation,
    record_error,
)
from .loop import Events, MatrixLoop, thread_rests
from .schedule import Action, Strategy
from .session import Body, Deliberate, Session, end_of
from .workers import WorkerChannel, WorkerGate

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HORIZON = 3600.0  # seconds of the program's clock after which a world without change is called hung
DEADLINE = 30.0  # seconds of real time; reached only when the proof of a hang failed, a defect of the harness
ASK_SERVER_AFTER = 0.004  # seconds of real time that a server may take before it is asked whether it waits for a lock
STUCK_STEP = ("-", "the driver blocks the event loop's own thread; what was held is let through")
PATIENCE = 2000  # actions in one run; more means that the program runs in circles


class HarnessError(Exception):
    """The harness or the server failed: the run says nothing of the driver (verdict ``error``)."""


class World:
    """Everything of one run. Scenarios use ``together``, ``connect``, ``create_pool`` and the ORM; see session.py."""

    def __init__(self, loop: MatrixLoop, cell: Any, strategy: Strategy, run: str) -> None:
        self.loop = loop
        self.cell = cell
        self.adapter = cell.adapter
        self.witness = cell.witness
        self.strategy = strategy
        self.run = run
        self.recorder = Recorder()
        self.history = History()
        self.steps: list[tuple[str, str]] = []  # schedule token, what it did
        self.moments: list[int] = []  # when each step was taken, in the numbering of history and frames
        self.on_step: Callable[[str, str], None] | None = None
        self.gates: list[Gate] = []
        self.worker_gate = WorkerGate(self.recorder, self._number_channel)
        self.sessions: dict[str, Session] = {}
        self.orm: Any = None
        self.connections: list[Any] = []
        self.pools: list[tuple[Any, int]] = []
        self.after = False
        self.scheduled = False
        self.closing = False
        self.over = False
        self.aftermath: list[tuple[str, bool]] = []
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
        self.gates.clear()
        self.connections.clear()
        self.pools.clear()
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
            while pending := [s.task for s in self.sessions.values() if s.task is not None and not s.task.done()]:
                await asyncio.wait(pending)
        finally:
            self.scheduled = False
            self.hold(False)

    def start(
        self,
        name: str,
        body: Body,
        *,
        blocks: tuple[int, ...] = (),
        context: contextvars.Context | None = None,
        create: Callable[..., asyncio.Task[Any]] | None = None,
    ) -> Session:
        """Start a session's task in a copy of ``context`` (the current one when none is given)."""
        if name in self.sessions:
            raise HarnessError(f"two sessions are called {name!r}")
        session = Session(self, name, LETTERS[len(self.sessions)], blocks)
        self.sessions[name] = session
        self.history.sessions[name] = session.record
        self._note_start(name, create is not None)
        coroutine = self._body(session, body)
        create = create or self.loop.create_task
        session.task = context.run(create, coroutine) if context is not None else create(coroutine)
        session.task.add_done_callback(lambda task: self._ended(session, task))
        return session

    def _note_start(self, name: str, grouped: bool) -> None:
        """Remember which session started another one, and where in its own course: reproducers unfold from it."""
        current = asyncio.current_task()
        starter = next((session for session in self.sessions.values() if session.task is current), None)
        if starter is not None:
            self.note(starter.name, "note", f"starts {name}{' in a task group' * grouped}", what="start")

    async def _body(self, session: Session, body: Body) -> Any:
        return await body(session)

    def _ended(self, session: Session, task: asyncio.Task[Any]) -> None:
        ended, error = end_of(task, self.classify)  # asked for in any case: asyncio complains of what nobody asked for
        if self.closing:
            return
        session.record.ended, session.record.error = ended, error
        text = {"done": "ends", "cancelled": "ends: cancelled"}.get(session.record.ended) or f"ends with {error.short}"  # type: ignore[union-attr]
        self.note(session.name, "end", text)

    def cancel(self, target: Session) -> None:
        """Cancel a session's task, and remember what it was doing."""
        if target.task is None or target.task.done():
            self.note(target.name, "note", "had ended before it was cancelled")
            return
        under_way = [o for o in self.history.operations if o.session == target.name and not o.ended]
        target.record.cancelled_in = under_way[-1].number if under_way else None
        target.record.cancelled = True
        self.note(target.name, "cancelled", "is cancelled")
        target.task.cancel()

    def loop_was_stuck(self) -> None:
        """Remember that a call of the driver blocked the event loop's own thread (isolated.Pump)."""
        if not any(step == STUCK_STEP for step in self.steps):
            self._step(*STUCK_STEP)
            self.note("event loop", "note", STUCK_STEP[1])

    def claim(self, property: str, holds: bool, sentence: str, *, foreign_state: bool = False) -> None:
        """State a fact that the harness itself established."""
        self.history.claims.append(Claim(property, holds, sentence, self.after, foreign_state, self.recorder.next()))
        if self.after:
            self.aftermath.append((sentence if not holds else f"as it should be ({property})", holds))

    def opened(self) -> int:
        """How many connections the driver has opened in this run, counted at the gate."""
        return sum(len(gate.wires) for gate in self.gates) + len(self.worker_gate.channels)

    # -- the history -----------------------------------------------------------------------------------------------
    def classify(self, error: BaseException) -> str:
        if isinstance(error, Deliberate):
            return OWN
        if isinstance(error, asyncio.CancelledError):
            return CANCELLED
        return self.adapter.classify(error)

    def note(self, session: str, event: str, text: str, *, what: str = "") -> None:
        self._line(session, event, None, what, text)

    def _line(
        self, session: str, event: str, operation: Operation | None, what: str, text: str, error: Any = None
    ) -> None:
        block = self.history.block(operation.block) if operation else None
        self.history.lines.append(
            Line(
                self.recorder.next(),
                self.recorder.elapsed(),
                session,
                event,
                operation.number if operation else None,
                what,
                text,
                block.name if block else None,
                str(operation.result) if operation and operation.outcome == "ok" and operation.result else None,
                error,
            )
        )

    def invoke(
        self, session: Session, kind: str, text: str, *, scope: str, block: int | None, nonce: str, misuse: bool
    ) -> Operation:
        operation = Operation(
            len(self.history.operations) + 1, session.name, kind, text, block, scope, nonce, misuse, self.after
        )
        self.history.operations.append(operation)
        self._line(session.name, "invoke", operation, kind, text)
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
        self._line(operation.session, operation.outcome, operation, operation.kind, operation.text, operation.error)
        operation.ended = self.recorder.sequence

    async def look_from_outside(self, operation: Operation) -> None:
        """Look at a row whose writer was just told that it is written, when nothing is in flight any more.

        A driver that takes a stale answer for this one's may say so before the server has seen the row.
        """
        if not self.closing:
            await self.nothing_in_flight()
            self._peek(operation)

    async def nothing_in_flight(self) -> None:
        """Wait until the world is quiet; no step is chosen before the one who waits has gone on."""
        moment = self.loop.create_future()
        self._moments.append(moment)
        await moment

    def _peek(self, operation: Operation) -> None:
        """Look from outside at a row whose writer was just told that it is written."""
        visible = self.witness.stored([operation.nonce])
        if operation.block is None and not visible:
            self.claim(
                "containment",
                False,
                f"{'the next user' if operation.after else operation.session} was told that row {operation.nonce} is "
                "written, outside of any transaction, and nobody else can see it.",
            )
        elif operation.block is not None and visible and self._all_open(operation.block):
            self.history.seen_early[operation.nonce] = (
                f"{operation.session}'s row {operation.nonce} was visible to others before its transaction committed."
            )

    def _all_open(self, number: int) -> bool:
        block = self.history.block(number)
        while block is not None:
            if block.outcome != "open":
                return False
            block = self.history.block(block.parent)
        return True

    def open_block(self, session: Session, parent: int | None) -> Block:
        number = len(self.history.blocks) + 1
        name = f"{session.name}'s {'nested ' if parent else ''}transaction {number}"
        block = Block(number, session.name, parent, name, "")
        self.history.blocks.append(block)
        return block

    def close_block(self, block: Block, outcome: str, error: BaseException | None) -> None:
        if self.closing:
            return
        block.outcome = outcome
        block.error = record_error(error, self.classify(error)) if error is not None else None
        self.note(block.session, "told", f"{block.name}: {outcome}")

    def _loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.closing:
            return
        message = str(context.get("message", ""))
        if error is None and "was destroyed but it is pending" not in message:
            self.note("event loop", "note", message)  # a driver's word of warning, nobody's error
            return
        error = error or RuntimeError(message)
        self.history.loop_errors.append(record_error(error, self.classify(error)))
        self.note("event loop", "error", f"{context.get('message')}: {error!r}")

    # -- turns -----------------------------------------------------------------------------------------------------
    async def turn(self, session: Session, text: str) -> None:
        """Wait until the conductor lets this session take its next step; at once outside of a schedule."""
        if not self.scheduled:
            return
        # Two tasks of one session (wait_for makes one) queue up one behind the other.
        while session.turn is not None:
            await asyncio.wait([session.turn])
        session.turn = self.loop.create_future()
        session.next_step = text
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
            self._step(action.token, f"{session.name}: {session.next_step}")
            assert session.turn is not None
            session.turn.set_result(None)
        else:
            channel = next(c for c in self.channels() if c.number == action.target)
            self._step(action.token, f"{channel.label} delivers {channel.deliver()}")
        for channel in self.worker_gate.channels:
            channel.retry()

    def _step(self, token: str, text: str) -> None:
        self.steps.append((token, text))
        self.moments.append(self.recorder.next())
        if self.on_step is not None:
            self.on_step(token, text)

    # -- the conductor ---------------------------------------------------------------------------------------------
    async def conduct(self, program: asyncio.Task[Any]) -> bool:
        """Drive the world until ``program`` has ended; False when it is proven that it never will."""
        self.loop.freeze()
        while not program.done():
            await self.quiet()
            if program.done():
                break
            if self._moments:
                for moment in self._moments:
                    if not moment.done():
                        moment.set_result(None)
                self._moments.clear()
                continue
            enabled = self._enabled()
            if enabled:
                if len(self.steps) > PATIENCE:
                    raise HarnessError(f"no end after {PATIENCE} steps")
                self._perform(self.strategy.choose(enabled))
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
            self._step("-", "SQLite's busy timeout (5 s) ends: nothing else can happen")
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
        self._stalled = False
        while True:
            busy = [channel for channel in self.channels() if channel.busy()]
            if not busy and not any(gate.connecting() for gate in self.gates) and self._workers_rest():
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
                if self._all_wait_for_locks(busy):
                    self._blocked = busy
                    events = selector.wait(0)
                    if events:
                        return events
                    break
            if waited > DEADLINE:
                self._stalled = True
                self._blocked = busy
                break
        self._next_timer = timeout
        if self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)
            return []
        # Nobody asked: the loop runs without a conductor (set-up, tear-down). Wait as any loop would.
        return selector.wait(1.0 if timeout is None else min(timeout, 1.0))

    def _workers_rest(self) -> bool:
        """Whether every thread of the default executor waits: for the gate, or asleep without having run since last
        asked.

        A thread to whose socket an answer was delivered that it has not read yet is about to wake up.
        """
        threads, on_its_way = self.loop.workers.state()
        if on_its_way or 0 in threads:
            return False
        if not threads:
            return True
        counted = [channel for channel in self.worker_gate.channels if channel.exact and not channel.serial]
        if counted:
            return len(threads) == sum(channel.pending for channel in counted)  # else one is on its way out
        unread = sum(wire.unread() for gate in self.gates for wire in gate.wires)
        counts = {thread: thread_rests(thread) for thread in threads}
        state = (unread, *sorted((thread, switches) for thread, (_, switches) in counts.items()))
        if state != self._thread_state:
            self._thread_state, self._thread_looks = state, 0
        self._thread_looks += 1
        asleep = all(sleeps for sleeps, _ in counts.values())
        return asleep and self._thread_looks > (100 if unread else 4)

    def _all_wait_for_locks(self, busy: list[Channel]) -> bool:
        ids = {channel.session() for channel in busy}
        if None in ids:
            return False
        return ids <= self.witness.waiting_for_locks()

    # -- proof of a hang -------------------------------------------------------------------------------------------
    def prove_hang(self, program: asyncio.Task[Any]) -> dict[str, Any]:
        """What is known when nothing can happen any more: who waits where, and what each connection's state is."""
        proof = "deadline" if self._stalled else ("lock" if self._blocked else "idle")
        waiting = [
            {"task": session.name, "where": where(session.task)}
            for session in self.sessions.values()
            if session.task is not None and not session.task.done()
        ]
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
        names = ", ".join(f"{entry['task']} (in {_innermost(entry['where'])})" for entry in waiting)
        blocked = "the server says that the request waits for a lock" if self._blocked else "nothing is in flight"
        clock = (
            f"; {self._jumped:,.0f} s of the program's clock changed nothing"
            if self._jumps
            else "; no timer is pending"
        )
        return {
            "proof": proof,
            "waiting": waiting,
            "connections": connections,
            "text": f"{names} can never go on: every task waits, {blocked}{clock}.",
        }


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
        frame, code = _part(awaited, "frame"), _part(awaited, "code")
        if frame is not None and code is not None:
            file = code.co_filename.replace("\\", "/")
            for root in ("/site-packages/", "/lib/python", "/tests/"):
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
