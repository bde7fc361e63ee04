"""The proof of a hang: who waits where, and what each connection's state is, when nothing can happen any more."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from .sentences import NEXT_USER
from .sweep import WATCH

if TYPE_CHECKING:
    from .channel import Channel
    from .loop import SideLoop
    from .quiet import Quiet
    from .session import Session


def prove(
    program: asyncio.Task[Any],
    sessions: Iterable[Session],
    sides: Iterable[SideLoop],
    channels: Iterable[Channel],
    quiet: Quiet,
    *,
    after: bool,
    in_vain: float | None,
) -> dict[str, Any]:
    """What is known when nothing can happen any more: who waits where, and what each connection's state is."""
    proof = "deadline" if quiet.stalled else ("lock" if quiet.blocked else "idle")
    waiting = [
        (session.name, where(session.task))
        for session in sessions
        if session.task is not None and not session.task.done()
    ]
    for number, side in enumerate(sides, 1):
        waiting += [(f"thread {number}", where(task)) for task in asyncio.all_tasks(side)]
    if not waiting:
        waiting = [(NEXT_USER if after else "the program", where(program))]
    connections = [
        {
            "connection": channel.label,
            "state": "waits for a lock" if channel in quiet.blocked else "nothing in flight",
        }
        for channel in channels
        if not getattr(channel, "closed", False)
    ]
    fact = {
        "kind": "hang",
        "waiting": [{"task": name, "innermost": _innermost(chain)} for name, chain in waiting],
        "locked": bool(quiet.blocked),
        "clock": in_vain,  # seconds of the program's clock that changed nothing
    }
    shown = [{"task": name, "where": " > ".join(chain)} for name, chain in waiting]
    return {"proof": proof, "waiting": shown, "connections": connections, "fact": fact}


def _innermost(chain: list[str]) -> str:
    """The last of a chain of awaits that is not asyncio's own."""
    return next((place for place in reversed(chain) if "asyncio/" not in place), chain[-1] if chain else "")


def where(task: asyncio.Task[Any] | None) -> list[str]:
    """The places in code at which a task waits, outermost first."""
    return [f"{_shown(each.f_code.co_filename)}:{each.f_lineno} {each.f_code.co_name}" for each in frames(task)]


def _shown(file: str) -> str:
    """A source file without the folder in which this machine keeps it; one of a user's as it was imported."""
    found = file = file.replace("\\", "/")
    for root in ("/site-packages/", "/lib/python", "/tests/", "/matrix/"):
        found = found.split(root)[-1]
    if found != file:
        return found
    folders = (f"{folder.rstrip('/')}/" for folder in sys.path if folder)
    return file.removeprefix(max(filter(file.startswith, folders), key=len, default=""))


def frames(task: asyncio.Task[Any] | None) -> Iterator[FrameType]:
    """The frames of the awaits in which a task waits, outermost first, 40 at most."""
    count = 0
    awaited: Any = task.get_coro() if task is not None else None
    while awaited is not None and count < 40:
        if type(awaited).__name__ in ("coroutine_wrapper", "async_generator_asend"):
            # What ``coroutine.__await__()`` gives does not name its coroutine; the collector knows.
            awaited = next((each for each in gc.get_referents(awaited) if _part(each, "frame")), None)
            continue
        if _part(awaited, "code") is WATCH:  # it drives the session's coroutine by hand (sweep.py)
            awaited = awaited.gi_frame.f_locals["coroutine"] if awaited.gi_frame else None
            continue
        if (frame := _part(awaited, "frame")) is not None:
            count += 1
            yield frame
        awaited = _part(awaited, "await") or getattr(awaited, "gi_yieldfrom", None)


def _part(awaited: Any, name: str) -> Any:
    """An attribute that coroutines, generators and asynchronous generators spell differently."""
    return next(
        (found for prefix in ("cr", "gi", "ag") if (found := getattr(awaited, f"{prefix}_{name}", None)) is not None),
        None,
    )
