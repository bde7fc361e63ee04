"""Sessions: the tasks of a program. What they ask of databases goes through ports (ports.py).

Every operation waits for its turn, is recorded, and is judged later. Scenarios are written with these and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from matrix.words import RECOVERY

from . import sentences
from .driver_port import DriverPort
from .history import ABORTED, DOCUMENTED, OWN, Block, ErrorRecord, Limit, SessionRecord, record_error
from .loop import SideLoop
from .ports import ClientPort, OrmPort
from .scenario import OrmSetup
from .sentences import Fact
from .task_group import TaskGroupPort

if TYPE_CHECKING:
    from .blocks import TransactionBlock
    from .world import World

Body = Callable[["Session"], Awaitable[Any]]


class Deliberate(Exception):
    """Raised by a program on purpose, to make a block fail. ``raised_by``: the session that does."""

    def __init__(self, raised_by: str, more: str = "") -> None:
        super().__init__(sentences.sentence({"kind": "on_purpose", "session": raised_by}) + more)
        self.raised_by = raised_by


class Session:
    """One task of the program. ``letter`` names it in schedules."""

    def __init__(self, world: World, name: str, letter: str, blocks: tuple[int, ...]) -> None:
        self.world = world
        self.name = name
        self.letter = letter
        self.blocks = blocks  # the transaction blocks around the code that runs now, outermost first
        self.built = 0  # queries that are awaited later
        self.record = SessionRecord(name, letter)
        self.task: asyncio.Task[Any] | None = None
        self.awaits: tuple[Session, ...] = ()  # the tasks that it waits for now; a cancellation is passed on to them
        self.turn: asyncio.Future[None] | None = None
        self.next_step: Fact = {}
        self.from_outside = False  # the step that it waits for is no task's of the program
        self.doing = ""  # the kind of the operation that it is in
        self._cancel_pending = False
        self.scope = ""  # of the cancellation that its program outlives: before, open, cancelling again, left
        self.own_orm: Any = None  # where this session has initialised Tortoise for itself

    # -- other tasks -----------------------------------------------------------------------------------------------
    def spawn(self, name: str, body: Body, *, context: contextvars.Context | None = None, shields: str = "") -> Session:
        """Start a task now, as ``asyncio.create_task`` does: it copies this task's context unless one is given.
        ``shields``: ``work`` or ``commit``, which it does for this session in ``asyncio.shield``; where it waits, this
        session may be cancelled (``cancels``)."""
        for_session = self if shields else None
        return self.world.start(
            name, body, blocks=self.blocks, context=context, for_session=for_session, shields=shields
        )

    async def wait(self, *children: Session) -> None:
        """Wait for tasks as ``asyncio.gather`` does: the first error is raised at once, the others go on."""
        await self._gather(children, return_exceptions=False)

    async def gather(self, *children: Session) -> None:
        """Wait as ``asyncio.gather`` with ``return_exceptions`` does: until all have ended; errors are passed over."""
        await self._gather(children, return_exceptions=True)

    async def _gather(self, children: tuple[Session, ...], *, return_exceptions: bool) -> None:
        tasks = [child.task for child in children if child.task is not None]
        self.awaits = children
        self._note_wait(children, settles=False)
        try:
            await asyncio.gather(*tasks, return_exceptions=return_exceptions)
        except asyncio.CancelledError:
            self.record.child_cancelled = any(task.cancelled() for task in tasks)
            raise
        finally:
            self.awaits = ()

    async def settled(self, *children: Session) -> None:
        """Wait until these tasks have ended, however."""
        self._note_wait(children, settles=True)
        await asyncio.wait([child.task for child in children if child.task is not None])

    def _note_wait(self, children: tuple[Session, ...], *, settles: bool) -> None:
        names = [child.name for child in children]
        self.world.recording.note(self.name, "note", {"kind": "wait", "sessions": names, "settles": settles})

    async def in_thread(self, body: Body) -> Any:
        """``asyncio.to_thread(asyncio.run, …)``: do this session's work on a loop of its own, in a thread that has
        a copy of this context. A step of its own: two threads that begin at once would race for what is first."""
        await self.step({"kind": "thread"})
        return await asyncio.to_thread(SideLoop(self.world.loop).run, lambda: self.world._body(self, body))

    async def in_executor(self, body: Body) -> Any:
        """The same with ``run_in_executor``, as in a thread of one's own: nothing of this context is known there."""
        await self.step({"kind": "thread"})
        work = functools.partial(SideLoop(self.world.loop).run, lambda: self.world._body(self, body))
        return await self.world.loop.run_in_executor(None, work)

    @contextlib.asynccontextmanager
    async def tortoise_of_its_own(self) -> AsyncIterator[None]:
        """``Tortoise.init`` for this session alone, and its connections closed at the end."""
        self.own_orm = self.world.adapter.make_orm(self.world, OrmSetup())
        await self.own_orm.init()
        try:
            yield
        finally:
            await self.own_orm.close()

    def task_group(self) -> TaskGroupPort:
        """``asyncio.TaskGroup`` (Python 3.11+), whose tasks are sessions."""
        return TaskGroupPort(self)

    async def cancel(self, victim: Session | str) -> None:
        """Cancel another session's task: a step of its own."""
        target = self.world.session(victim)
        # Whoever cancels has waited for something, so this is a step where tasks begin to run at once, too.
        await self.world.conductor.turn(self, {"kind": "cancel", "session": target.name}, eager=False)
        self.world.cancel(target)

    @contextlib.contextmanager
    def outlives_cancellation(self, *, again: bool = False) -> Iterator[None]:
        """The program catches the cancellation of what is inside and goes on, as behind a time limit; only inside is
        this session cancelled (``cancels``). ``again``: it is cancelled at each later await as well until this is left,
        as anyio's scopes do it (https://anyio.readthedocs.io/en/stable/cancellation.html)."""
        self.scope = "cancelling again" if again else "open"
        try:
            yield
        except asyncio.CancelledError:
            self.record.caught = True
            if sys.version_info >= (3, 11):
                task = asyncio.current_task()
                while task is not None and task.cancelling():
                    task.uncancel()
            self.world.recording.note(self.name, "note", {"kind": "outlived"})
        finally:
            self.scope = "left"

    def cancel_at_next_operation(self) -> None:
        """This task's cancellation is on its way when its next operation begins, as when its time is over already: it
        arrives at the driver's first await."""
        self._cancel_pending = True

    async def let_time_pass(self, seconds: float) -> None:
        """Move the program's clock: a step of its own. Only timers that are due by then fire."""
        await self._from_outside({"kind": "clock", "seconds": seconds})
        self.world.loop.advance(seconds)

    async def within(self, seconds: float, call: Callable[[], Awaitable[Any]]) -> Any:
        """``asyncio.wait_for``; running out of time is recorded and ends quietly."""
        with self._limit(seconds, "asyncio.wait_for") as limit:
            try:
                return await asyncio.wait_for(call(), seconds)
            except asyncio.TimeoutError:
                limit.over = True
                self._time_is_over(seconds)
                return None

    @contextlib.contextmanager
    def _limit(self, seconds: float, what: str, *, owed: bool = False) -> Iterator[Limit]:
        limit = Limit(self.name, seconds, self.world.loop.time(), what, owed)
        self.world.history.limits.append(limit)
        try:
            yield limit
        finally:
            if not self.world.recording.closing:
                limit.ended = self.world.loop.time()

    def limited_by_driver(self, seconds: float) -> contextlib.AbstractContextManager[Limit]:
        """What is inside has this limit by a setting of the driver's own; the driver's error comes out as it is."""
        return self._limit(seconds, "the driver's own limit")

    def _time_is_over(self, seconds: float) -> None:
        self.record.timed_out = True
        self.world.recording.note(self.name, "cancelled", {"kind": "time_over", "seconds": seconds})

    @contextlib.asynccontextmanager
    async def time_limit(self, seconds: float, *, owed: bool = False) -> AsyncIterator[None]:
        """``asyncio.timeout`` (Python 3.11+); running out of time is recorded and ends quietly. ``owed``: nothing may
        keep this session waiting so long, so that it is a finding."""
        with self._limit(seconds, "asyncio.timeout", owed=owed) as recorded:
            try:
                async with asyncio.timeout(seconds) as limit:  # type: ignore[attr-defined,unused-ignore]  # see task_group
                    yield
            except TimeoutError:
                if not limit.expired():
                    raise
            finally:
                recorded.over = limit.expired()
                if recorded.over:  # even if what was cancelled ended with another error
                    self._time_is_over(seconds)

    async def lose_connections(self) -> None:
        """Every connection is ended from outside: a step of its own."""
        await self._from_outside({"kind": "lose_connections"})
        self.world.cut_connections()

    def spared(self) -> bool:
        """Whether a sweep shall pass over the moment that begins now."""
        return False

    def place(self) -> Fact:
        """Where in the program it waits, as part of a fact; nothing where its steps say so."""
        return {}

    async def step(self, step: Fact | str) -> None:
        """Wait until the scheduler lets this session go on, with a step of the harness's or in a scenario's words."""
        if isinstance(step, str):  # something that a program would wait for
            await self.world.conductor.turn(self, sentences.words(step), eager=False)
        else:
            await self.world.conductor.turn(self, step, eager=True)

    async def _from_outside(self, step: Fact) -> None:
        """The step of who is no task of the program: the clock, the network, an administrator. It is never taken at
        once, not even where tasks begin to run while they are created, and it is placed at every point of an order."""
        self.from_outside = True
        try:
            await self.world.conductor.turn(self, step, eager=False)
        finally:
            self.from_outside = False

    def deliberate(self, more: str = "") -> Deliberate:
        """An error of the program's own, to be raised inside a block that shall fail; ``more``: what its text ends
        with."""
        return Deliberate(self.name, more)

    def is_of_the_database(self, error: BaseException) -> bool:
        """Whether an error is one that the driver or the ORM documents."""
        return self.world.recording.classify(error) in (DOCUMENTED, ABORTED)

    # -- ports -----------------------------------------------------------------------------------------------------
    def on(self, connection: Any, *, late: bool = False) -> DriverPort:
        """The driver's own connection. ``late``: it is this session's no more, and to use it is the session's fault."""
        return DriverPort(self, connection, late)

    def orm(
        self,
        alias: Any = None,
        *,
        transaction_on: str | None = None,
        catching: bool = False,
        client: Any = None,
        inside: TransactionBlock | None = None,
    ) -> OrmPort:
        """Tortoise's models. ``alias`` is passed as ``using_db`` and names the connection of transactions;
        ``transaction_on`` names the latter alone; ``catching``: errors of queries are caught and passed over.
        ``client`` is passed as ``using_db`` and is no transaction's; ``inside``: the client of this block is."""
        if client is not None or inside is not None:
            return ClientPort(self, client, inside, catching)
        return OrmPort(self, alias, transaction_on or (alias if isinstance(alias, str) else None), catching)

    def forget(self, block: Block) -> None:
        """Nobody committed this block: its rows must not be stored."""
        self.world.recording.close_block(block, "rolled back", None)
        self.blocks = tuple(number for number in self.blocks if number != block.number)

    async def acquire(self, pool: Any) -> Any:
        """A connection from the driver's pool. It is nobody else's until it is given back."""
        connection = await self.operate(
            "acquire", {"kind": "acquire"}, lambda: self.world.adapter.acquire(pool), scope=self.world.alone()
        )
        owner, _ = self.world.owners.setdefault(self.world.adapter.identity(connection), (self, connection))
        if owner is not self:
            self.world.recording.claim(RECOVERY, False, "still_held", session=self.name, owner=owner.name)
        return connection

    async def release(self, pool: Any, connection: Any, *, misuse: bool = False) -> None:
        """Give a connection back. ``misuse``: it was given back before."""

        def give_back() -> Awaitable[Any]:
            owners = self.world.owners
            self.world.owners = {name: held for name, held in owners.items() if held != (self, connection)}
            return self.world.adapter.release(pool, connection)

        await self.operate(
            "release",
            {"kind": "release", "connection": self.world.scope(connection), "again": misuse},
            give_back,
            scope=self.world.scope(connection),
            misuse=misuse,
            cleanup=True,
        )

    async def connect(self, seconds: float | None = None) -> Any:
        """A connection of the driver, with the driver's own limit for it where seconds are given."""
        world = self.world
        settings = {} if seconds is None else {"connecting": seconds}
        return await self.operate(
            "connect", {"kind": "connect"}, lambda: world.connect(**settings), scope=world.alone()
        )

    async def close(self, connection: Any, seconds: float | None = None) -> None:
        """Close a connection, with the driver's own limit where seconds are given; what others ask on it may fail from
        now on."""
        scope = self.world.scope(connection)
        self.world.connections.remove(connection)

        def close() -> Awaitable[Any]:
            self.world.history.ended[scope] = self.world.timeline.sequence
            adapter = self.world.adapter
            return adapter.close(connection) if seconds is None else adapter.close_within(connection, seconds)

        await self.operate("close", {"kind": "close", "connection": scope}, close, scope=scope)

    async def close_pool(self, pool: Any) -> None:
        """Close a pool; whoever uses it may fail from now on."""
        self.world.pools = [each for each in self.world.pools if each[0] is not pool]

        def close() -> Awaitable[Any]:
            self.world.history.ended[None] = self.world.timeline.sequence
            return self.world.adapter.close_pool(pool)

        await self.operate("close", {"kind": "close_pool"}, close, scope=self.world.alone())

    async def terminate_backends(self) -> None:
        """The server ends every connection of the driver, as an administrator's KILL or a restart does: a step."""
        await self._from_outside({"kind": "end_server_sessions"})
        self.world.history.ended[None] = self.world.timeline.sequence
        self.world.history.losses.append((self.world.timeline.sequence, self.world.still_open()))
        for channel in self.world.gates.channels():
            number = channel.backend_id()
            if number is not None and not getattr(channel, "closed", False):
                self.world.recording.note(self.name, "note", {"kind": "server_ends", "channel": channel.label})
                channel.expect_end()
                self.world.witness.terminate_backend(number)

    async def fall_silent(self, *, open_ones: bool = True, new_ones: bool = True) -> None:
        """From now on nothing passes on the connections that are open, and on new ones, and nothing closes, as with a
        host that is frozen or a firewall that drops packets: a step. What was silent stays so."""
        await self._from_outside({"kind": "fall_silent", "open": open_ones, "new": new_ones})
        self.world.fall_silent(open_ones=open_ones, new_ones=new_ones)

    async def reset_connections(self) -> None:
        """Every connection is ended by a reset (TCP's RST), as by a firewall that forgot it: a step."""
        await self._from_outside({"kind": "reset_connections"})
        self.world.cut_connections(reset=True)

    async def reach_server(self, reachable: bool) -> None:
        """From now on new connections are cut off at once, or served again: a step."""
        await self._from_outside({"kind": "reach_server", "reachable": reachable})
        told = {"kind": "reachable", "reachable": reachable, "opened": self.world.opened()}
        self.world.recording.note("the network", "note", told)
        self.world.gates.refuse_connections(not reachable)

    async def operate(
        self,
        kind: str,
        asks: Fact,
        call: Callable[[], Awaitable[Any]],
        *,
        scope: str,
        block: int | None = None,
        nonce: str = "",
        misuse: bool = False,
        turn: bool = True,
        cleanup: bool = False,
        rows: tuple[str, ...] = (),
    ) -> Any:
        """One operation: wait for the turn, ask, record what was told. Raises what the driver raised.

        ``cleanup``: a cancellation that comes while it waits for its turn arrives inside it, at its first await, since
        the turn is the harness's own await and no program skips its clean-up there. Behind it, if it never awaits.
        """
        recording = self.world.recording
        late = False
        if turn:
            try:
                await self.step(asks)
            except asyncio.CancelledError:
                if not cleanup:
                    raise
                current = asyncio.current_task()
                assert current is not None
                late = current.cancel()
        if asyncio.get_running_loop() is not self.world.loop:
            asks = {**asks, "in_thread": True}
            misuse = misuse or self.own_orm is None  # what it uses belongs to the main loop
        operation = recording.invoke(self, kind, asks, scope=scope, block=block, nonce=nonce, misuse=misuse, rows=rows)
        self.doing = kind
        if self._cancel_pending:
            self._cancel_pending = False
            self.world.cancel(self, doomed=True)
        try:
            result = await call()
        except BaseException as error:
            recording.complete(operation, error=error)
            raise
        finally:
            self.doing = ""
        recording.complete(operation, result=result)
        if late:
            await asyncio.sleep(0)  # nobody has awaited anything since: it arrives here
        if kind == "write":
            await self.world.read_from_outside(operation)
        return result


def end_of(task: asyncio.Task[Any], classify: Callable[[BaseException], str]) -> tuple[str, ErrorRecord | None]:
    """How a finished task ended, in the words of SessionRecord."""
    if task.cancelled():
        return "cancelled", None
    error = asyncio.Task.exception(task)  # past a subclass that remembers who asked
    if error is None:
        return "done", None
    while leaves := getattr(error, "exceptions", None):  # a TaskGroup's: what counts is what happened inside
        error = next((leaf for leaf in leaves if classify(leaf) != OWN), leaves[0])
    return "error", record_error(error, classify(error))
