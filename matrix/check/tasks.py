"""The tasks of a user's function, as sessions."""

from __future__ import annotations

import asyncio
from typing import Any

from matrix.harness.sentences import Fact
from matrix.harness.session import Session

from .places import here, waits_at


class UserSession(Session):
    """A task of the function. ``at``: the user's line at which it asked for its last step."""

    at = ""

    def place(self) -> Fact:
        return {"at": waits_at(self.task) or self.at}

    async def step(self, step: Any) -> None:
        self.at = here() or self.at
        fact = {"kind": "words", "text": step} if isinstance(step, str) else step
        await super().step({**fact, "at": self.at})


class UserTask(asyncio.Task):
    """A task of the function, whose cancellation is remembered."""

    session: UserSession | None = None

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
