"""A user's coroutine function as a program of the harness: its tasks are sessions, its errors are findings."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from typing import Any

from matrix.harness.blocks import TransactionBlock
from matrix.harness.conductor import HarnessError
from matrix.harness.history import identity_of
from matrix.harness.orm import Orm
from matrix.harness.recording import Recording
from matrix.harness.scenario import OrmSetup
from matrix.harness.session import Session
from matrix.harness.sweep import Sweep
from matrix.harness.witness import SEEDS, Witness, WitnessError
from matrix.harness.world import World
from matrix.words import ATOMICITY, LETTERS, LOUDNESS

from . import hooks, imports
from .allow import Allowed, StillRunning, alone, name_of
from .clock import Clock
from .places import here, is_the_users, raised_at
from .tasks import UserSession, UserTask

APP = "models"  # the name of the user's app, as in ForeignKeyField("models.Tournament")
QUESTIONS = SEEDS - 20  # that may stand behind the user's queries; some are left for the next user
# What a session may open on the loop that no gate is in front of.
OUTSIDE = {
    "create_connection": "opens a connection of its own (an HTTP client, redis?)",
    "create_unix_connection": "opens a connection of its own",
    "create_datagram_endpoint": "opens a socket of its own",
    "sock_connect": "opens a connection of its own",
    "subprocess_exec": "starts a process",
    "subprocess_shell": "starts a process",
}


class UserOrm(Orm):
    """Tortoise with the user's models beside the suite's own."""

    modules: tuple[str, ...] = ()

    def apps(self) -> dict[str, Any]:
        """The suite's models in an app of their own, the user's in the one that they are usually in."""
        return {
            "matrix": {"models": ["matrix.harness.models"], "default_connection": self.aliases[0]},
            APP: {"models": list(self.modules), "default_connection": self.aliases[0]},
        }


class UserProgram:
    """The function and what goes with it. ``run`` is one run: the program of a scenario."""

    def __init__(
        self, target: str, setup: str | None, invariant: str | None, models: tuple[str, ...], allowed: Allowed
    ) -> None:
        self.target = target
        self.setup = setup
        self.invariant = invariant
        self.models = models
        self.allowed = allowed
        self.tables: list[str] = []
        self.tasks: dict[str, set[str]] = {}  # a letter -> the names of the tasks that had it in a run
        self.reaches: dict[str, set[str]] = {}  # a letter -> those whose tasks its cancellation is passed on to
        self.shielded: set[str] = set()  # the letters of tasks that somebody waits for through asyncio.shield
        self.asked = 0  # how often the function has asked something of Tortoise, in all runs
        self.swept: dict[str, None] = {}  # the names of tasks that a sweep has cancelled, the first one first
        self.spares = False  # whether sweeps leave alone what is waited for through asyncio.shield only
        self.clock: Clock | None = None
        self.problem = ""  # what no gate owns, in words; then no run counts
        self.blocks: dict[int, TransactionBlock] = {}  # id of a transaction's client -> its block
        self.world: World | None = None
        self._questions = 0
        self._others = set(sys.modules)  # what is not imported anew for each run

    # -- the user's code -------------------------------------------------------------------------------------------
    def import_anew(self) -> None:
        """Forget the user's modules, so that each run begins with their state as it is when they are imported."""
        for name in set(sys.modules) - self._others:
            if is_the_users(getattr(sys.modules[name], "__file__", None)):
                del sys.modules[name]

    # -- whose call it is ------------------------------------------------------------------------------------------
    def session(self) -> UserSession | None:
        """The session whose task runs now; None for a driver's own task, and outside of a run."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return None
        session = getattr(task, "session", None)
        return session if session is not None and session.world is self.world else None

    def asking(self) -> UserSession | None:
        """The session that asks for something itself; None within an operation."""
        return None if hooks.BUSY.get() else self.session()

    def may_ask(self) -> bool:
        """Whether there is a question left to ask behind a query."""
        self._questions += 1
        return self._questions <= QUESTIONS

    def cannot_own(self, what: str) -> None:
        """Say that the order is not owned; the run counts for nothing. Raises HarnessError, into the function."""
        assert self.world is not None
        self._counts_for_nothing(self.world, f"{self.target} {what}" + (f", at {at}" if (at := here()) else ""))
        raise HarnessError(self.problem)

    def _counts_for_nothing(self, world: World, why: str) -> None:
        self.problem = self.problem or why
        world.timeline.failures.append(self.problem)

    # -- one run ---------------------------------------------------------------------------------------------------
    async def run(self, world: World) -> None:
        """One run of the function in an empty database, after ``setup``."""
        self._questions = 0
        self.blocks.clear()
        empty(world.witness, world.cell.kind, self.tables)
        self.allowed.put_in_place(imports.imported)
        if self.setup:
            try:
                await imports.function(self.setup)()
            except Exception as error:
                self.problem = f"{self.setup} failed: {type(error).__name__}: {error}"
                raise HarnessError(self.problem) from error
            await world.conductor.nothing_in_flight()
        function = imports.function(self.target)
        self.world = world
        world.history.of_a_user = True
        world.session_type = UserSession
        loop: Any = world.loop
        self.clock = world.conductor.clock = Clock(loop, self.asking)
        replaced = {name: self._outside(getattr(loop, name), what) for name, what in OUTSIDE.items()}
        replaced["create_task"] = self._create_task
        replaced["call_at"] = self.clock.call_at
        replaced["run_in_executor"] = self._in_thread(loop.run_in_executor)
        for name, function_of_loop in replaced.items():
            setattr(loop, name, function_of_loop)
        loop.set_exception_handler(self._loop_error)

        async def body(session: Session) -> None:
            try:
                await self._body(session, function())
            except Exception as error:
                self._failed(session, error)
                raise

        try:
            await world.together(**{function.__name__: body})
        finally:
            for name in replaced:
                delattr(loop, name)
            self.world = None
            self._ended(world)
        await self._check_invariant(world)

    def _ended(self, world: World) -> None:
        """Remember the tasks and who waits for them; and where a cancelled one went on behind what it was cancelled in
        as if nothing had been, that was not the user's doing."""
        if (sweep := world.conductor.sweep) is not None and sweep.done:
            self.swept[sweep.session.name] = None
        for number, each in enumerate(world.sessions.values()):
            if isinstance(each.task, UserTask):
                # Else asyncio complains; here the harness has asked already. The function itself is told of by _failed.
                error = each.task.error_nobody_asked_for() if number else None
                for leaf in leaves(error) if error is not None else ():
                    self._nobody_asked_for(each.name, leaf, world.recording)
                self.shielded |= {each.letter} if each.task.shielded else set()
                for waiter in each.task.reached_from():
                    if waiter.session is not None:
                        self.reaches.setdefault(waiter.session.letter, set()).add(each.letter)
        for session in world.history.sessions.values():
            self.tasks.setdefault(session.letter, set()).add(session.name)
            if session.cancelled_in is not None:
                session.caught = world.history.operations[session.cancelled_in - 1].outcome != "ok"

    async def _check_invariant(self, world: World) -> None:
        if self.invariant:
            await world.conductor.nothing_in_flight()
            try:
                rows = world.witness.execute(self.invariant)
            except WitnessError as error:
                self.problem = f"--invariant cannot be asked: {error}"
                raise HarnessError(self.problem) from error
            holds = bool(rows) and bool(rows[0][0])
            found = ", ".join(map(str, rows[0])) if rows else "no row"
            world.recording.claim(ATOMICITY, holds, "invariant", statement=self.invariant, found=found)

    def _outside(self, original: Callable[..., Any], what: str) -> Callable[..., Any]:
        def checked(*arguments: Any, **named: Any) -> Any:
            if self.asking() is not None:
                self.cannot_own(f"{what}; --allow MODULE:NAME=MODULE:STUB puts a stub in the place of what does it")
            return original(*arguments, **named)

        return checked

    def _in_thread(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def checked(executor: Any, function: Callable[..., Any], *arguments: Any) -> Any:
            session = self.asking()
            if session is None:
                return original(executor, function, *arguments)
            name = name_of(function)
            if not self.allowed.in_thread(name):
                self.cannot_own(
                    f"starts a thread for {name} (asyncio.to_thread, an executor, or the look-up of a host's name; "
                    f"--allow {name} runs it to its end while the program stands still)"
                )
            session.at = here() or session.at
            # No session: it waits for its turn in the session's place.
            return asyncio.Task(self._alone(session, name, functools.partial(function, *arguments)), loop=self._loop())

        return checked

    def _loop(self) -> Any:
        assert self.world is not None
        return self.world.loop

    async def _alone(self, session: UserSession, name: str, function: Callable[[], Any]) -> Any:
        """Run a function in a thread to its end: a step, in which nothing else happens."""
        await session.step(f"runs {name} in a thread, while all else stands still")
        try:
            return alone(function)
        except StillRunning as late:
            self.cannot_own(f"runs {name} in a thread, which {late}")

    def _create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        """``loop.create_task``: what a session starts is a session."""
        world = self.world
        assert world is not None
        code = getattr(coro, "cr_code", None)
        if code in (World._body.__code__, Sweep.around.__code__):  # a session's own: world.start has made it
            task: UserTask = UserTask(coro, loop=world.loop)
            task.spares = self.spares
            return task
        parent = self.asking()
        if parent is None or world.recording.closing or code is None:
            more = {} if context is None else {"context": context}
            return type(world.loop).create_task(world.loop, coro, name=name, **more)
        if len(world.sessions) == len(LETTERS):
            coro.close()
            self.cannot_own(f"starts more than {len(LETTERS)} tasks, more than an order can name")
        called = getattr(coro, "__name__", code.co_name)  # that of the function behind functools.wraps
        count = sum(each == called or each.startswith(f"{called} ") for each in world.sessions)
        session = world.start(
            f"{called} {count + 1}" if count else called,
            lambda session: self._body(session, coro),
            blocks=() if context is not None else parent.blocks,
            context=context,
        )
        assert session.task is not None
        if name is not None:
            session.task.set_name(name)
        return session.task

    async def _body(self, session: Any, coro: Any) -> Any:
        task = asyncio.current_task()
        assert isinstance(task, UserTask)
        task.session = session
        try:
            return await coro
        except Exception as error:
            self.raised(session, error)
            for leaf in leaves(error):
                if isinstance(leaf, ModuleNotFoundError) and leaf.name is not None:  # what it would do is not known
                    lacks = f"{self.target} imports {leaf.name}, which is not there, at {raised_at(leaf.__traceback__)}"
                    self._counts_for_nothing(session.world, f"{lacks}. {imports.install(leaf.name)}")
            raise

    # -- the program's own errors ----------------------------------------------------------------------------------
    def raised(self, session: Session, error: BaseException) -> None:
        """A task, or a block in it, ends with an error: where that is the program's own, which no operation has raised,
        it is a step of the order. Whoever it is passed on to does not raise it once more."""
        recording, history = session.world.recording, session.world.history
        known = [each.error.identity for each in history.operations if each.error is not None]
        known += map(identity_of, recording.own)
        for leaf in () if recording.closing else leaves(error):
            if identity_of(leaf) not in known:
                recording.own.append(leaf)
                facts = {"type": type(leaf).__name__, "message": str(leaf)}
                at = raised_at(leaf.__traceback__)
                recording.step("-", {"kind": "raised", "session": session.name, "error": facts, "at": at})

    def _failed(self, session: Session, error: BaseException) -> None:
        """The function ends with an error: a finding, unless it is one of a statement's, which is judged there."""
        recording, history = session.world.recording, session.world.history
        judged = [each.error.identity for each in history.operations if each.error is not None and each.kind != "fail"]
        for leaf in leaves(error):
            if identity_of(leaf) not in judged and not self._by_limit(leaf):
                self._ended_with(session.name, leaf, recording)

    def _ended_with(self, name: str, error: BaseException, recording: Recording) -> None:
        facts, where = {"type": type(error).__name__, "message": str(error)}, raised_at(error.__traceback__)
        recording.claim(LOUDNESS, False, "program_failed", session=name, error=facts, where=where)

    def _by_limit(self, error: BaseException) -> bool:
        """Whether it says that a time limit is over which has ended: what limits are for, and no finding."""
        over = self.clock is not None and self.clock.limit_over
        return over and isinstance(error, (TimeoutError, asyncio.TimeoutError))

    def _loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        world, error = self.world, context.get("exception")
        if world is None:
            return
        if error is not None:
            self._nobody_asked_for(str(context.get("message", "a task")), error, world.recording)
        world.recording.loop_error(loop, context)

    def _nobody_asked_for(self, name: str, error: BaseException, recording: Recording) -> None:
        """An error that only the loop hears of: the program's own is a finding too."""
        if any(error is each for each in recording.own) and not self._by_limit(error):
            self._ended_with(name, error, recording)

    # -- the user's tables -----------------------------------------------------------------------------------------
    def make_orm(self, world: World, setup: OrmSetup) -> Orm:
        """As ``Adapter.make_orm``, with the user's models, imported anew."""
        self.import_anew()
        made = UserOrm(world, setup)
        made.modules = self.models
        return made


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group of errors; else the error alone."""
    inner = getattr(error, "exceptions", None)
    return [leaf for each in inner for leaf in leaves(each)] if inner else [error]


def empty(witness: Witness, kind: str, tables: list[str]) -> None:
    """Empty the user's tables, whichever refer to which; their numbers begin at 1 again. Raises WitnessError."""
    if kind == "postgres":
        if tables:
            listed = ", ".join(f'"{name}"' for name in tables)
            witness.execute(f"TRUNCATE {listed} RESTART IDENTITY CASCADE")
        return
    if kind == "sqlite":
        for name in tables:
            witness.execute(f'DELETE FROM "{name}"')
        if witness.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"):
            for name in tables:
                witness.execute(f"DELETE FROM sqlite_sequence WHERE name = '{name}'")
        return
    witness.execute("SET FOREIGN_KEY_CHECKS = 0")
    for name in tables:
        witness.execute(f"TRUNCATE TABLE `{name}`")
    witness.execute("SET FOREIGN_KEY_CHECKS = 1")
