"""The conductor of one run: decides what happens next.

It waits until the world is quiet, picks one enabled action by the execution's strategy and performs it. When nothing is
enabled it lets time go by; where no clock can change that, the run hangs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from .gates import Gates
from .history import GRACE
from .loop import MatrixLoop
from .quiet import Quiet
from .recording import Recording
from .schedule import Action, Execution
from .sentences import Fact
from .sweep import HarnessWait, Sweep
from .workers import WorkerChannel

if TYPE_CHECKING:
    from .session import Session

HORIZON = 3600.0  # seconds of the program's clock after which a world without change is called hung
MEASURED, COARSE = 30.0, 0.5  # up to how many seconds it is known how late a limit is kept, and how well
MAX_STEPS = 2000  # actions in one run; more means that the program runs in circles


LOCK_WAIT = 5.0  # seconds of the program's clock after which a file's lock is given up
TIMERS_ALONE = 50  # sleeps of the program one after the other; more, and each takes longer than the one before


class ProgramClock(Protocol):
    """The program's own sleeps and time limits, where their ends are choices."""

    def due(self, within: float) -> list[Action]:
        """Those that may end next, if that is within so many seconds."""

    def end(self, action: Action, least: float) -> Fact:
        """Let time go by until its end, ``least`` seconds at least; what that is, as a fact."""


class HarnessError(Exception):
    """The harness or the server failed: the run says nothing of the driver (verdict ``error``)."""


class Conductor:
    """Conducts ``sessions`` (by name) and the channels of ``gates``."""

    def __init__(
        self,
        loop: MatrixLoop,
        execution: Execution,
        sessions: Mapping[str, Session],
        gates: Gates,
        recording: Recording,
        quiet: Quiet,
    ) -> None:
        self.loop = loop
        self.execution = execution
        self.sessions = sessions
        self.gates = gates
        self.recording = recording
        self.quiet = quiet
        self.scheduled = False  # sessions wait for their turns
        self.sweep: Sweep | None = None
        self.clock: ProgramClock | None = None
        self._waiters: list[asyncio.Future[None]] = []  # who waits for a quiet world, before any step is chosen
        self._jumped = 0.0
        self._jump = 0.1
        self._jumps = 0

    @property
    def in_vain(self) -> float | None:
        """Seconds by which the program's clock was moved since the last step; None when it was not."""
        return self._jumped if self._jumps else None

    async def conduct(self, program: asyncio.Task[Any]) -> bool:
        """Drive the world until ``program`` has ended; False when it is proven that it never will."""
        self.loop.freeze()
        while not program.done():
            await self.quiet.wait()
            if wrong := self.quiet.wrong():
                raise HarnessError(wrong)
            if program.done():
                break
            if self._waiters:
                for waiter in self._waiters:
                    if not waiter.done():
                        waiter.set_result(None)
                self._waiters.clear()
                continue
            if self.sweep is not None and self.sweep.due():
                self.sweep.cancel()
                continue
            enabled = self._enabled()
            if enabled and not self._sleeps_for_ever(enabled):
                if len(self.recording.steps) > MAX_STEPS:
                    raise HarnessError(f"no end after {MAX_STEPS} steps")
                if idle := self._idle():
                    self.execution.idle[len(self.execution.taken)] = idle
                self._perform(self.execution.choose(enabled))
            elif not self._unstick():
                return False
        return True

    async def turn(self, session: Session, step: Fact, *, eager: bool) -> None:
        """Wait until the conductor lets this session take its next step; at once outside of a schedule, and where the
        session's task begins to run while it is created (``eager``)."""
        if asyncio.get_running_loop() is not self.loop:
            await self._from_the_main_loop(self.turn(session, step, eager=eager))
            return
        if not self.scheduled or (eager and session.task is None):  # None: create_task has not returned
            return
        # Two tasks of one session (wait_for makes one) queue up one behind the other.
        while session.turn is not None:
            await asyncio.wait([session.turn])
        session.turn = HarnessWait(loop=self.loop)
        session.next_step = step
        try:
            await session.turn
        finally:
            session.turn = None

    async def nothing_in_flight(self) -> None:
        """Wait until the world is quiet; no step is chosen before the one who waits has gone on."""
        if asyncio.get_running_loop() is not self.loop:
            await self._from_the_main_loop(self.nothing_in_flight())
            return
        waiter = HarnessWait(loop=self.loop)
        self._waiters.append(waiter)
        await waiter

    async def _from_the_main_loop(self, awaited: Coroutine[Any, Any, None]) -> None:
        """Wait in another thread's loop for what only the main loop can tell."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaited, self.loop))

    def cancellation(self, token: str, fact: Fact) -> None:
        """Note that the execution's moment of cancellation has come."""
        self._jumped, self._jump, self._jumps = 0.0, 0.1, 0
        self.recording.step(token, fact)

    def _enabled(self) -> list[Action]:
        if not self.scheduled:
            return []
        steps = [Action(s.letter, s.name) for s in self.sessions.values() if s.turn is not None and not s.turn.done()]
        answers = [Action(str(c.number), c.number) for c in self.gates.channels() if c.deliverable()]
        return steps + answers + (self.clock.due(LOCK_WAIT if self._locked() else math.inf) if self.clock else [])

    def _idle(self) -> frozenset[str]:
        """Who would only move the clock now: no time limit of the program's is over by then."""
        waiting = [each for each in self.sessions.values() if each.from_outside and each.turn is not None]
        clocks = [(each.letter, each.next_step["seconds"]) for each in waiting if each.next_step["kind"] == "clock"]
        if not clocks:  # as in nearly every step of nearly every run
            return frozenset()
        due = min((limit.due for limit in self.recording.history.limits if limit.ended is None), default=math.inf)
        return frozenset(letter for letter, seconds in clocks if self.loop.time() + seconds < due)

    def _locked(self) -> list[WorkerChannel]:
        return [channel for channel in self.gates.workers.channels if channel.waits_for_lock()]

    def _sleeps_for_ever(self, enabled: list[Action]) -> bool:
        """Whether the program has slept again and again for so long that nothing else will ever happen."""
        slept = self._jumps > TIMERS_ALONE and self._jumped > HORIZON
        return slept and all(action.kind == "timer" for action in enabled)

    def _end_timer(self, clock: ProgramClock, action: Action) -> None:
        self._jumps += 1
        before = self.loop.time()
        if self._jumps > TIMERS_ALONE:
            self._jump *= 2
        fact = clock.end(action, self._jump if self._jumps > TIMERS_ALONE else 0.0)
        self.recording.step(action.token, fact)
        self._jumped += self.loop.time() - before

    def _perform(self, action: Action) -> None:
        if action.kind == "timer" and self.clock is not None:
            self._end_timer(self.clock, action)
            return
        self._jumped, self._jump, self._jumps = 0.0, 0.1, 0
        if action.kind == "step":
            session = self.sessions[str(action.target)]
            self.recording.step(action.token, {"kind": "step", "session": session.name, "step": session.next_step})
            assert session.turn is not None
            if session.from_outside:
                self.execution.outside[len(self.execution.taken) - 1] = action.token
            session.turn.set_result(None)
        else:
            channel = next(c for c in self.gates.channels() if c.number == action.target)
            fact = {"kind": "deliver", "channel": channel.label, "wire": channel.number, **channel.deliver()}
            fact["worker"] = isinstance(channel, WorkerChannel)
            self.recording.step(action.token, fact)
        for channel in self.gates.workers.channels:
            channel.retry()

    def _unstick(self) -> bool:
        """Nothing is enabled: let time go by, first for timers, then for locks. False when neither is left."""
        timer = self.quiet.next_timer
        locked = self._locked()
        if locked and (timer is None or timer > LOCK_WAIT):
            for channel in locked:
                channel.give_up()
            self.recording.step("-", {"kind": "busy_timeout"})
            return True
        if timer is None or self._jumped > HORIZON or self.quiet.stalled:
            return False
        # Polling timers come again and again; each jump is longer than the one before, as if the machine had slept.
        # How late a limit of the program is kept is measured: no further than that is known well enough.
        now = self.loop.time()
        late = [now - limit.due for limit in self.recording.history.limits if limit.ended is None]
        if late and min(late) < MEASURED:
            jump = max(timer, 0.0 if min(late) <= GRACE else COARSE)
        else:
            jump = max(timer, self._jump)
            self._jump *= 2
        self._jumped += jump
        self._jumps += 1
        self.loop.advance(jump)
        return True
