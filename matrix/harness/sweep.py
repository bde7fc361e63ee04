"""Cancellation at a moment that is owned: a session's waits are counted, and it is cancelled at one of them.

A task can be cancelled only where it waits. So the moments are: while it waits for the n-th time, when the world around
it is quiet; and in the instant in which that wait ends, after the answer has come and before the task has gone on. The
second is where answers and releases are lost. The waits of the harness itself (turns) are no moments of the program.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

from .schedule import ScheduleMismatch

if TYPE_CHECKING:
    from .session import Session
    from .world import World


AGAIN = 100  # times at most that a session is cancelled once more


class HarnessWait(asyncio.Future[None]):
    """What a session waits for when the harness, not the program, makes it wait."""


class Sweep:
    """Watches one session of a run and cancels it at the execution's moment, if that has one.

    ``during``: only waits in operations of these kinds count; all when it is empty.
    """

    def __init__(self, world: World, session: Session, during: tuple[str, ...]) -> None:
        self.world = world
        self.session = session
        self.during = frozenset(during)
        self.cancel_point = world.execution.cancel
        self.done = False
        self._again = 0  # how often it was cancelled once more
        self._pending: asyncio.Future[Any] | None = None
        world.execution.victim = session.letter
        world.execution.waits = 0
        if self.cancel_point and self.cancel_point.victim != session.letter:
            raise ScheduleMismatch(
                f"the schedule cancels {self.cancel_point.victim}; the scenario's victim is {session.letter}"
            )

    async def around(self, coroutine: Coroutine[Any, Any, Any], doer: Session) -> Any:
        """Run a coroutine under watch: the session's, or of the one that does its work."""
        return await self._watch(coroutine, doer)

    @types.coroutine
    def _watch(self, coroutine: Coroutine[Any, Any, Any], doer: Session) -> Generator[Any, Any, Any]:
        resume, value = coroutine.send, None
        while True:
            try:
                awaited = resume(value)
            except StopIteration as stop:
                return stop.value
            self._begins(awaited, doer)
            try:
                resume, value = coroutine.send, (yield awaited)
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                resume, value = coroutine.throw, error

    def _begins(self, awaited: Any, doer: Session) -> None:
        if isinstance(awaited, HarnessWait) or (
            self.during and self.during.isdisjoint((doer.doing, self.session.doing))
        ):
            return
        if self.session.scope == "left" or self.session.spared():
            return  # the program goes on behind the cancellation, or no cancellation would reach it
        if self.done and self._repeats():
            self._pending = awaited
            return
        self.world.execution.waits += 1
        if self.cancel_point is None or self.done or self.world.execution.waits != self.cancel_point.wait:
            return
        if awaited is None:  # a bare yield, as of asyncio.sleep(0): it ends in the next round of the loop
            self.world.loop.call_soon(self.cancel)
            return
        awaited.add_done_callback(self._ends)  # before the task adds its own: it is told first
        if not self.cancel_point.as_it_ends:
            self._pending = awaited

    def _ends(self, _: Any) -> None:
        self.cancel()

    def _repeats(self) -> bool:
        """Whether the session is to be cancelled again at its next wait. A driver that goes on for ever is left alone:
        it hangs."""
        return self.session.scope == "cancelling again" and self._again < AGAIN

    def due(self) -> bool:
        """Whether now, in a quiet world, is the moment."""
        return self._pending is not None and (not self.done or self._repeats())

    def cancel(self) -> None:
        """Cancel the session now."""
        if self.world.recording.closing or self.cancel_point is None:
            return
        if self.done:
            if self._repeats() and self._pending is not None:
                self._again += 1
                self._pending = None
                self.world.cancel(self.session)
            return
        self.done = True
        self._pending = None
        cancel_point = {"wait": self.cancel_point.wait, "as_it_ends": self.cancel_point.as_it_ends}
        cancel_point |= self.session.place()
        self.world.conductor.cancellation(
            self.cancel_point.token, {"kind": "swept", "session": self.session.name, **cancel_point}
        )
        self.world.cancel(self.session)


WATCH = Sweep._watch.__code__  # known by its code where a task's waits are told (hang.where)
