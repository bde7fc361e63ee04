"""The sleeps and time limits of a user's function: when each ends is a choice, and no time is spent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matrix.harness.loop import MatrixLoop
from matrix.harness.schedule import TIMER, Action

from .places import here
from .tasks import UserSession


@dataclass(frozen=True)
class Timer:
    """One of them. ``fact``: what its end is; ``limit``: that is a TimeoutError, or whoever waits is let go."""

    handle: asyncio.TimerHandle
    session: UserSession
    limit: bool
    fact: dict[str, Any]


class Clock:
    """Stands for the loop's ``call_at``. What ``asking`` says is no session's own (a driver's) stays with the loop.

    Only the one that is due first may end next: a loop calls them in that order, however busy it is. Before it, any
    answer and any step may come: nobody knows how long those take.
    """

    def __init__(self, loop: MatrixLoop, asking: Callable[[], UserSession | None]) -> None:
        self._loop = loop
        self._asking = asking
        self._timers: list[Timer] = []
        self.limit_over = False  # one of the limits has ended

    def call_at(self, when: float, callback: Callable[..., Any], *arguments: Any, context: Any = None) -> Any:
        session, now = self._asking(), self._loop.time()
        if session is None or when <= now:
            return self._plain(when, callback, *arguments, context=context)
        handle = asyncio.TimerHandle(when, callback, arguments, self._loop, context)
        name = getattr(callback, "__name__", "")
        sleep, limit = name == "_set_result_unless_cancelled", "timeout" in name or name == "_release_waiter"
        what = "sleep of {} ends" if sleep else "time limit of {} is over" if limit else "timer of {} goes off"
        text = f"{session.name}: its {what.format(f'{when - now:g} s')}"
        self._timers.append(Timer(handle, session, limit, {"kind": "words", "text": text, "at": here()}))
        return handle

    def _plain(self, *arguments: Any, context: Any = None) -> asyncio.TimerHandle:
        return type(self._loop).call_at(self._loop, *arguments, context=context)

    def due(self, within: float) -> list[Action]:
        """As ProgramClock in matrix/harness/conductor.py."""
        self._timers = [timer for timer in self._timers if not timer.handle.cancelled()]
        first = min((timer.handle.when() for timer in self._timers), default=None)
        if first is None or first - self._loop.time() > within:
            return []
        letters = [timer.session.letter for timer in self._timers if timer.handle.when() == first]
        return [Action(letter + TIMER, letter) for letter in dict.fromkeys(letters)]

    def end(self, action: Action, least: float) -> dict[str, Any]:
        """As ProgramClock in matrix/harness/conductor.py."""
        own = [timer for timer in self._timers if timer.session.letter == action.target]
        timer = min(own, key=lambda each: each.handle.when())
        self._timers.remove(timer)
        self.limit_over = self.limit_over or timer.limit
        handle = timer.handle
        self._loop.advance(max(handle.when() - self._loop.time(), least))
        # By the loop, since timers of the driver's may be due before it.
        self._plain(handle.when(), lambda: None if handle.cancelled() else handle._run())
        return timer.fact
