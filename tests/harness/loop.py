"""The event loop of a run: it says when the world is idle, and its clock stands still until somebody moves it.

Nothing here knows of databases. ``World`` (world.py) decides what an idle loop means.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Events = list[tuple[selectors.SelectorKey, int]]
IdleHandler = Callable[["float | None"], Events]


class IdleSelector(selectors.DefaultSelector):  # type: ignore[valid-type,misc]
    """A selector that asks ``on_idle`` before it blocks: nothing is ready, nothing is readable."""

    on_idle: IdleHandler | None = None

    def select(self, timeout: float | None = None) -> Events:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self.on_idle is None:
            return super().select(timeout)
        return self.on_idle(timeout)

    def wait(self, seconds: float) -> Events:
        """Really block, for at most ``seconds``, until something is readable."""
        return super().select(seconds)


class MatrixLoop(asyncio.SelectorEventLoop):
    """An ordinary selector loop with a stoppable clock.

    While the clock is frozen no timer fires because real time went by: a slow machine cannot decide an outcome.
    Somebody who owns the order moves the clock with ``advance``.
    """

    def __init__(self) -> None:
        self.idle_selector = IdleSelector()
        self._offset = 0.0
        self._frozen_at: float | None = None
        super().__init__(self.idle_selector)
        self.workers = CountingExecutor()
        self.set_default_executor(self.workers)

    def time(self) -> float:
        if self._frozen_at is not None:
            return self._frozen_at
        return time.monotonic() + self._offset

    def freeze(self) -> None:
        """Stop the clock. Idempotent."""
        if self._frozen_at is None:
            self._frozen_at = self.time()

    def thaw(self) -> None:
        """Let the clock run on from where it stands. Idempotent."""
        if self._frozen_at is not None:
            self._offset = self._frozen_at - time.monotonic()
            self._frozen_at = None

    def advance(self, seconds: float) -> None:
        """Move the clock forward; timers that are due fire in the next round."""
        if self._frozen_at is not None:
            self._frozen_at += seconds
        else:
            self._offset += seconds


class CountingExecutor(ThreadPoolExecutor):
    """The loop's default executor; it knows how many jobs were submitted and are not yet finished.

    ``blocked`` tells jobs that merely wait (for an answer that the gate holds) from jobs that compute.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=40, thread_name_prefix="matrix-worker")
        self._guard = threading.Lock()
        self._running: dict[int, int] = {}  # job number -> native thread id, 0 until it has started
        self._numbers = 0
        self.wrap_job: Callable[[Callable[..., Any], tuple[Any, ...]], Callable[..., Any]] | None = None

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        if self.wrap_job is not None:
            function = self.wrap_job(function, arguments)
        with self._guard:
            self._numbers += 1
            number = self._numbers
            self._running[number] = 0

        def counted() -> Any:
            with self._guard:
                self._running[number] = threading.get_native_id()
            return function(*arguments, **keywords)

        future = super().submit(counted)
        # The callback runs after waiters were told, so "not running" implies that the loop has been woken.
        future.add_done_callback(lambda _: self._finished(number))
        return future

    def _finished(self, number: int) -> None:
        with self._guard:
            self._running.pop(number, None)

    def threads(self) -> list[int]:
        """Native ids of the threads that run a job now; 0 for a job that has not started."""
        with self._guard:
            return list(self._running.values())


def thread_rests(thread_id: int) -> tuple[bool, int]:
    """Whether a native thread sleeps, and how often it was switched so far (two equal counts: it did not run).

    Linux only; elsewhere, and for a thread that is gone, (False, 0).
    """
    try:
        status = Path(f"/proc/self/task/{thread_id}/status").read_text()
    except OSError:
        return False, 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    switches = int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])
    return fields["State"].strip().startswith("S"), switches
