"""The world of one run: its gates, sessions and history, and what scenarios ask of it.

What is told goes into the recording (recording.py), what comes next is the conductor's decision (conductor.py), when
nothing moves any more is found out in quiet.py, and that nothing ever will is proven in hang.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from matrix.words import ATOMICITY, CANCELLATION, CONTAINMENT, LETTERS, RECOVERY

from . import hang
from .channel import Timeline
from .conductor import Conductor, HarnessError
from .gates import Gates
from .history import History, Operation
from .loop import MatrixLoop
from .quiet import Quiet
from .recording import Recording
from .schedule import Execution
from .session import Body, Session, end_of
from .sweep import Sweep
from .workers import WorkerGate

if TYPE_CHECKING:
    from .scenario import Scenario


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
        self.timeline = Timeline()
        self.history = History(one_writer=self.witness.one_writer)
        self.recording = Recording(self.timeline, self.history, self.adapter, cell.kind)
        self.gates = Gates(self.timeline, loop.idle_selector.ring)
        self.sessions: dict[str, Session] = {}
        self.session_type: type[Session] = Session  # what ``start`` makes
        self.quiet = Quiet(loop, self.gates, self.witness, cell.answers)
        self.conductor = Conductor(loop, execution, self.sessions, self.gates, self.recording, self.quiet)
        self.workers: list[tuple[Session, Callable[[], None]]] = []
        self.orm: Any = None
        self.connections: list[Any] = []
        self.pools: list[tuple[Any, int]] = []
        self.owners: dict[Any, tuple[Session, Any]] = {}  # a pool's connection -> who holds it, in which wrapper
        self.unsent: list[Operation] = []  # cancelled before anything of it was sent
        self.over = False
        self.setup: dict[str, Any] = {"orm": None, "connections": 0, "pools": []}  # what the program began with
        self.clients: dict[int, int] = {}  # id of a transaction's client -> number of its block
        self.declared = scenario.declared()
        self.judge_afterwards = True
        self._task_factory = loop.get_task_factory()  # of the loop's own, as before start_eagerly
        self.autocommit = True  # else its connections begin transactions by themselves
        self.keep: list[Any] = []
        self._scopes: dict[int, str] = {}
        self._nonces, self._tokens, self._scopes_alone = (itertools.count(1) for _ in range(3))
        loop.set_exception_handler(self.recording.loop_error)

    def forget(self) -> None:
        """Let go of what the evidence does not need: tasks in reference cycles make every later run slower."""
        for things in (self.sessions, self.workers, self.connections, self.pools, self.owners, self.keep):
            things.clear()
        self.gates.forget()
        self.orm = None

    @property
    def worker_gate(self) -> WorkerGate:
        """Where adapters of drivers with threads have their channels."""
        return self.gates.workers

    def nonce(self) -> str:
        """A value that only one question has as its answer; the witness stored it before the run."""
        return self.cell.nonces[next(self._nonces) - 1]

    def token(self) -> str:
        return f"w-{self.run}-{next(self._tokens)}"

    def fresh_table(self) -> str:
        """A name that no table of the database has yet."""
        return f"script_{self.run}_{next(self._tokens)}"

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
        self.recording.note("the database", "note", {"kind": "reachable", "reachable": not refused})
        if refused:
            self.history.out_of_reach.append([self.timeline.sequence, 0])
        else:
            self.history.out_of_reach[-1][1] = self.timeline.sequence
        self.gates.refuse_connections(refused)
        self.witness.hide(refused)

    def fall_silent(self, *, open_ones: bool, new_ones: bool) -> None:
        """The network drops what is sent: on every connection that is open now, on every new one. Neither: new ones are
        served again."""
        logged_in = sum(wire.logged_in for gate in self.gates for wire in gate.wires)
        fact = {"kind": "silent", "open": open_ones, "new": new_ones, "logged_in": logged_in}
        self.recording.note("the network", "note", fact)
        now = self.timeline.sequence
        if self.history.out_of_reach and not self.history.out_of_reach[-1][1]:
            self.history.out_of_reach[-1][1] = now
        if open_ones or new_ones:
            self.history.out_of_reach.append([now, 0 if new_ones else now])
        if open_ones:
            self.history.losses.append((now, self.still_open()))
        self.gates.fall_silent(open_ones=open_ones, new_ones=new_ones)

    def cut_connections(self, *, reset: bool = False) -> None:
        """The server, or the network, ends every connection that is open now; ``reset``: by TCP's RST."""
        self.recording.note("the database", "note", {"kind": "lost"})
        self.history.out_of_reach.append([self.timeline.sequence, self.timeline.sequence])
        self.history.losses.append((self.timeline.sequence, self.still_open()))
        for channel in self.gates.channels():
            channel.reset() if reset else channel.cut()

    def alone(self) -> str:
        """A scope that no other operation shares."""
        return f"alone {next(self._scopes_alone)}"

    def scope(self, connection: Any) -> str:
        """The name of a driver's connection object."""
        if id(connection) not in self._scopes:
            self.keep.append(connection)  # so that the id stays its own
            self._scopes[id(connection)] = f"connection object {len(self._scopes) + 1}"
        return self._scopes[id(connection)]

    def session(self, named: Session | str) -> Session:
        return named if isinstance(named, Session) else self.sessions[named]

    async def connect(self, **limits: float) -> Any:
        """One connection of the driver, through the gate; with the driver's own ``limits``, as Adapter.connect."""
        connection = await self.adapter.connect(self.address(), **limits)
        self.connections.append(connection)
        self.setup["connections"] += 1
        return connection

    async def create_pool(self, size: int, *, autocommit: bool = True) -> Any:
        """The driver's own pool with exactly ``size`` connections at most; all with ``autocommit`` or all without."""
        self.autocommit = autocommit
        pool = await self.adapter.create_pool(self.address(), size, autocommit=autocommit)
        self.pools.append((pool, size))
        self.setup |= {"pools": [*self.setup["pools"], size]} | ({} if autocommit else {"autocommit": False})
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
        await self.conductor.nothing_in_flight()
        self.setup["filled"] = True

    async def close_orm(self) -> None:
        """Close Tortoise's connections before the program starts: every client is then made at its first use."""
        await self.orm.close()
        self.setup["closed"] = True

    def address(self) -> Any:
        """Where the driver shall connect to: the gate, not the server."""
        return self.cell.address(self.gates.port())

    async def together(self, **bodies: Body) -> None:
        """Run sessions side by side under the schedule until all of them, and all they started, have ended."""
        self.gates.hold(True)
        self.conductor.scheduled = True
        try:
            for name, body in bodies.items():
                self.start(name.replace("_", " "), body)
            while pending := self._unended():
                await asyncio.wait(pending)
            for worker, end in self.workers:
                end()
                await asyncio.wait([worker.task])  # type: ignore[type-var]
            # A session that the server was told to end has ended: its end is held, not on its way when all goes through
            await self.conductor.nothing_in_flight()
        finally:
            self.loop.set_task_factory(self._task_factory)
            self.conductor.scheduled = False
            self.gates.hold(False)

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
        session = self.session_type(self, name, LETTERS[len(self.sessions)], blocks)
        self.sessions[name] = session
        self.history.sessions[name] = session.record
        session.record.empty = context is not None and not len(context)
        self._note_start(name, create is not None, shields, **({"empty": True} if session.record.empty else {}))
        coroutine = self._body(session, body)
        if self.scenario.cancels in (name, session.letter):
            self.conductor.sweep = Sweep(self, session, self.scenario.during)
        if self.conductor.sweep is not None and self.conductor.sweep.session in (session, for_session):
            coroutine = self.conductor.sweep.around(coroutine, session)
        create = create or self.loop.create_task
        try:
            session.task = context.run(create, coroutine) if context is not None else create(coroutine)
        except BaseException:  # a task group that is shutting down takes none any more
            coroutine.close()
            raise
        session.task.add_done_callback(lambda task: self._ended(session, task))
        return session

    def _note_start(self, name: str, grouped: bool, shields: str, **more: Any) -> None:
        """Remember which session started another one, and where in its own course: reproducers are made from it."""
        current = asyncio.current_task()
        starter = next((session for session in self.sessions.values() if session.task is current), None)
        if starter is not None:
            fact = {"kind": "start", "session": name, "grouped": grouped, "shields": shields, **more}
            self.recording.note(starter.name, "note", fact)

    async def _body(self, session: Session, body: Body) -> Any:
        return await body(session)

    def _ended(self, session: Session, task: asyncio.Task[Any]) -> None:
        ended, error = end_of(task, self.recording.classify)  # in any case: asyncio complains of what nobody asked for
        if not self.recording.closing:
            self.recording.ended(session, ended, error)

    def cancel(self, target: Session, *, doomed: bool = False) -> None:
        """Cancel a session's task, and remember what it was doing. ``doomed``: as an operation of its own begins."""
        if target.task is None or target.task.done():
            self.recording.note(target.name, "note", {"kind": "ended_before"})
            return
        self.is_cancelled(target, doomed=doomed)
        target.task.cancel()

    def is_cancelled(self, target: Session, by: str = "", *, doomed: bool = False) -> None:
        """Remember what a task was doing, and each task that it waits for: asyncio cancels those with it."""
        under_way = [o for o in self.history.operations if o.session == target.name and not o.ended]
        target.record.cancelled_in = under_way[-1].number if under_way else None
        target.record.cancelled = True
        self.unsent += [operation for operation in under_way if not self._was_sent(operation)]
        self.recording.note(target.name, "cancelled", {"kind": "cancelled", "by": by, "doomed": doomed})
        for child in target.awaits:
            if child.task is not None and not child.task.done():
                self.is_cancelled(child, target.name)

    def _was_sent(self, operation: Operation) -> bool:
        return any(operation.nonce in channel.segments.placed for channel in self.gates.channels())

    async def nothing_sent_after_cancel(self) -> None:
        """What was cancelled before anything of it was sent must not have been sent after it."""
        await self.conductor.nothing_in_flight()
        for operation in self.unsent:
            if operation.nonce and self._was_sent(operation):
                self.recording.claim_of(CANCELLATION, "sent_later", operation, operation.nonce)

    def opened(self) -> int:
        """How many connections the driver has opened in this run, counted at the gate."""
        return sum(len(gate.wires) for gate in self.gates) + len(self.worker_gate.channels)

    def still_open(self) -> int:
        """How many of them are open now."""
        return sum(not getattr(channel, "closed", False) for channel in self.gates.channels())

    async def no_session_left(self) -> None:
        """Every connection that was opened through the gate must be closed now."""
        await self.conductor.nothing_in_flight()
        left = sum(not wire.closed for gate in self.gates for wire in gate.wires)
        self.recording.claim(RECOVERY, left == 0, "sessions_left", opened=left)

    def done_once(self, counter: str) -> None:
        """Work that counts up by one was to be done once, however often it was tried."""
        times = self.witness.counter(counter)
        self.recording.claim(ATOMICITY, times <= 1, "done_twice", times=times)

    def no_more_than(self, size: int) -> None:
        """No more connections than a pool's size may have been opened through the gate."""
        opened = sum(len(gate.wires) for gate in self.gates)
        self.recording.claim(RECOVERY, opened <= size, "pool_too_large", opened=opened, size=size)

    async def not_piled_up(self, loops: int) -> None:
        """After so many event loops no more connections may be open than Tortoise's pool has, but for garbage."""
        gc.collect()
        await self.conductor.nothing_in_flight()
        left = self.still_open()
        facts = {"loops": loops, "opened": left, "size": self.orm.size}
        self.recording.claim(RECOVERY, left <= self.orm.size, "piled_up", **facts)

    async def read_from_outside(self, operation: Operation) -> None:
        """Look at a row whose writer was just told that it is written, when nothing is in flight any more.

        A driver that takes a stale answer for this one's may say so before the server has seen the row.
        """
        if not self.recording.closing:
            await self.conductor.nothing_in_flight()
            for token in operation.rows or (operation.nonce,):
                self._peek(operation, token)

    def _peek(self, operation: Operation, token: str) -> None:
        """Look from outside at a row whose writer was just told that it is written."""
        visible = self.witness.stored([token])
        if operation.block is None and not visible:
            self.recording.claim_of(CONTAINMENT, "not_visible", operation, token)
        elif operation.block is not None and visible and self._all_open(operation.block):
            self.history.seen_early.add(token)

    def _all_open(self, number: int) -> bool:
        """Whether nobody has asked to commit a block around this row: a commit may be done before it is told."""
        ended = {each.block for each in self.history.operations if each.kind == "commit"}
        around = self.history.around(number)
        return all(self.history.blocks[each - 1].outcome == "open" and each not in ended for each in around)

    def prove_hang(self, program: asyncio.Task[Any]) -> dict[str, Any]:
        """What is known when nothing can happen any more."""
        return hang.prove(
            program,
            self.sessions.values(),
            self.loop.sides,
            self.gates.channels(),
            self.quiet,
            after=self.recording.after,
            in_vain=self.conductor.in_vain,
        )
