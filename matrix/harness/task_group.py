"""``asyncio.TaskGroup`` whose tasks are sessions."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Body, Session


class TaskGroupPort:
    """``asyncio.TaskGroup`` whose tasks are sessions; the group may cancel them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._group: Any = asyncio.TaskGroup()  # type: ignore[attr-defined,unused-ignore]  # scenarios ask for 3.11

    async def __aenter__(self) -> TaskGroupPort:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return await self._group.__aexit__(kind, error, trace)

    def start(
        self,
        name: str,
        body: Body,
        *,
        blocks: tuple[int, ...] | None = None,
        context: contextvars.Context | None = None,
    ) -> Session:
        """Start a session in the group. ``blocks``: the blocks around it, this task's when none are given."""
        around = self.session.blocks if blocks is None else blocks
        made = self.session.world.start(name, body, blocks=around, context=context, create=self._group.create_task)
        made.record.grouped = True
        return made
