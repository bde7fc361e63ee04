"""The tasks of a user's function, as sessions."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from matrix.harness.sentences import Fact
from matrix.harness.session import Session

from .places import here, is_the_users, waits_at

# By whose callbacks a cancellation of who waits is passed on to what is waited for; asyncio's others (shield, wait,
# as_completed) pass nothing on.
PASS_ON = ("gather.", "TaskGroup.", "_release_waiter")


class UserSession(Session):
    """A task of the function. ``at``: the user's line at which it asked for its last step."""

    at = ""

    def spared(self) -> bool:
        return isinstance(self.task, UserTask) and self.task.spared()

    def place(self) -> Fact:
        return {"at": waits_at(self.task) or self.at}

    async def step(self, step: Any) -> None:
        self.at = here() or self.at
        fact = {"kind": "words", "text": step} if isinstance(step, str) else step
        await super().step({**fact, "at": self.at})


class UserTask(asyncio.Task):
    """A task of the function, whose cancellation is remembered."""

    session: UserSession | None = None
    asked = False  # somebody awaited it, or asked for its result or its exception
    shielded = False  # somebody waits for it through asyncio.shield
    spares = False  # a sweep leaves out what is waited for through asyncio.shield only

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.waiters: list[tuple[UserTask, str]] = []  # who waits, and whose callback that is; only those who pass on

    def __await__(self) -> Any:
        self.asked = True
        return super().__await__()

    def result(self) -> Any:
        self.asked = True
        return super().result()

    def exception(self) -> BaseException | None:
        self.asked = True
        return super().exception()

    def error_nobody_asked_for(self) -> BaseException | None:
        """That with which it ended, where asyncio would complain that it was never retrieved."""
        return None if self.asked or not self.done() or self.cancelled() else super().exception()

    def add_done_callback(self, fn: Callable[..., Any], *, context: Any = None) -> None:
        how = waits_by(fn)
        self.shielded = self.shielded or how.startswith("shield.")
        waiter = asyncio.current_task(self.get_loop())
        if isinstance(waiter, UserTask) and passes_on(fn, how):
            self.waiters.append((waiter, how))
        super().add_done_callback(fn, context=context)

    def reached_from(self) -> list[UserTask]:
        """The tasks whose cancellation, as they wait for this one, reaches it."""
        return [waiter for waiter, how in self.waiters if not (self.shielded and how.startswith("gather."))]

    def spared(self, asking: tuple[UserTask, ...] = ()) -> bool:
        """Whether a sweep that spares leaves it alone now: it is shielded, or all that wait for it are spared."""
        found = [waiter for waiter in self.reached_from() if waiter not in asking]
        return self.spares and (all(each.spared((*asking, self)) for each in found) if found else self.shielded)

    def cancel(self, msg: Any = None) -> bool:
        session = self.session
        if session is not None and not self.done() and not session.world.recording.closing:
            last = session.world.history.lines[-1:]
            if not last or (last[0].session, last[0].event) != (session.name, "cancelled"):  # else the sweep has
                session.world.is_cancelled(session)
            for each in session.world.sessions.values():
                # The program may catch it, and whoever waits for a cancelled task may end with it.
                each.record.caught = each.record.child_cancelled = True
        return super().cancel(msg)


def waits_by(callback: Any) -> str:
    """The name of a callback's function; that of a task that awaits is empty."""
    function = callback.func if isinstance(callback, functools.partial) else callback
    if isinstance(getattr(function, "__self__", None), asyncio.Task):
        return ""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def passes_on(callback: Any, how: str) -> bool:
    """Whether who waits by this callback cancels what he waits for when he is cancelled. Of a library's own (anyio's
    groups) it is supposed."""
    function = callback.func if isinstance(callback, functools.partial) else callback
    module, code = str(getattr(function, "__module__", "")), getattr(function, "__code__", None)
    if not how or module.partition(".")[0] == "asyncio":
        return how.startswith(PASS_ON) or not how
    return code is not None and module.partition(".")[0] != "matrix" and not is_the_users(code.co_filename)


def mark_shielded() -> None:
    """From now on what ``asyncio.gather`` waits for is marked where that is shielded: its tasks know of gather only."""
    original = asyncio.shield

    @functools.wraps(original)
    def shield(arg: Any) -> Any:
        waiting = [arg]
        while waiting:
            each = waiting.pop()
            waiting += getattr(each, "_children", ())
            if isinstance(each, UserTask):
                each.shielded = True
        return original(arg)

    asyncio.shield = asyncio.tasks.shield = shield
