"""The event loop of a run: it says when the world is idle, and its clock stands still until somebody moves it.

Nothing here knows of databases. What an idle loop means is found out in quiet.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import selectors
import socket
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Threads whose work is held: those that a gate's queue has met (workers.py). The loop's own pool is known by its name.
HELD: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
WORKER = "matrix-worker"
RESTLESS = 10.0  # seconds of real time in which a loop that is never idle is one whose program does not wait
LOOKS = 1024  # rounds of the loop between two looks at the clock
Events = list[tuple[selectors.SelectorKey, int]]
IdleHandler = Callable[["float | None"], Events]


class IdleSelector(selectors.DefaultSelector):
    """A selector that asks ``on_idle`` before it blocks: nothing is ready, nothing is readable."""

    on_idle: IdleHandler | None = None
    on_restless: Callable[[], None] | None = None  # called again and again when it has not been idle for RESTLESS
    rounds = 0  # how often the loop has come by
    _busy_since: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self._bell, self._rope = socket.socketpair()
        for end in (self._bell, self._rope):
            end.setblocking(False)

    def ring(self) -> None:
        """Called from any thread: end a ``wait`` that is under way, or the next one; the loop hears nothing of it."""
        try:
            self._rope.send(b"!")
        except BlockingIOError:  # it rings already
            pass
        except OSError:
            if self._rope.fileno() != -1:  # else the loop is closed, and nobody waits
                raise

    def close(self) -> None:
        super().close()
        self._bell.close()
        self._rope.close()

    def select(self, timeout: float | None = None) -> Events:
        self.rounds += 1
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            if self.rounds % LOOKS == 0 and self.on_restless is not None:
                now = time.monotonic()
                self._busy_since = self._busy_since or now
                if now - self._busy_since > RESTLESS:
                    self.on_restless()
            return events
        self._busy_since = None
        if self.on_idle is None:
            return super().select(timeout)
        return self.on_idle(timeout)

    def count_anew(self) -> None:
        """The loop has been busy for good reason until now."""
        self._busy_since = None

    def block(self, seconds: float) -> Events:
        """Really block, for at most ``seconds`` (whole milliseconds), until something is readable."""
        self.rounds += 1
        return super().select(seconds)

    def wait(self, seconds: float) -> Events:
        """Really block, for at most ``seconds``, until something is readable or somebody rings."""
        self.rounds += 1
        if seconds:
            # The poll object is readable itself when one of its files is; unlike its own wait, in parts of a
            # millisecond.
            readable, _, _ = select.select([self.fileno(), self._bell.fileno()], [], [], seconds)
            if self._bell.fileno() in readable:
                self._bell.recv(4096)
        return super().select(0)


class MatrixLoop(asyncio.SelectorEventLoop):
    """An ordinary selector loop with a stoppable clock.

    While the clock is frozen no timer fires because real time went by: a slow machine cannot decide an outcome.
    Somebody who owns the order moves the clock with ``advance``.
    """

    eager = False  # tasks start at once, as asyncio.eager_task_factory (Python 3.12+) has it

    def __init__(self) -> None:
        self.idle_selector = IdleSelector()
        self._offset = 0.0
        self._frozen_at: float | None = None
        super().__init__(self.idle_selector)
        self.workers = CountingExecutor()
        self._before: frozenset[int] = frozenset()
        self.bystanders: frozenset[int] = frozenset()  # native ids of threads that do nothing for the program
        self._heard: set[str] = set()
        self.sides: list[SideLoop] = []  # loops of other threads that run on this one's clock
        self.set_default_executor(self.workers)
        if self.eager:
            self.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        if executor is None or executor is self.workers:
            return self.workers.submit_job(self, func, args)
        return super().run_in_executor(executor, func, *args)

    def call_soon_threadsafe(self, *arguments: Any, **keywords: Any) -> asyncio.Handle:  # type: ignore[override]
        if self._is_strange(thread := threading.current_thread()):
            self._heard.add(thread.name)
        return super().call_soon_threadsafe(*arguments, **keywords)

    def watch_threads(self) -> None:
        """Those that run already are nobody's affair."""
        running = threading.enumerate()
        self._before = frozenset(thread.ident or 0 for thread in running)
        self.bystanders = frozenset(each.native_id or 0 for each in running if not each.name.startswith(WORKER))
        self._heard.clear()

    def strange_threads(self) -> list[str]:
        """Threads that began since and that no gate holds: those at work, and those that spoke to this loop."""
        return sorted(self._heard.union(thread.name for thread in threading.enumerate() if self._is_strange(thread)))

    def _is_strange(self, thread: threading.Thread) -> bool:
        return not (thread.ident in self._before or thread in HELD or thread.name.startswith(WORKER))

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
        for side in list(self.sides):
            side.wake()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """What ``asyncio.run`` does, in a MatrixLoop; it waits for no thread that a driver has lost."""
    loop = MatrixLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


class SideSelector(selectors.DefaultSelector):
    """A selector that says when it really blocks, and never wakes up because real time went by."""

    blocked = False
    rounds = 0  # how often the loop has come by

    def select(self, timeout: float | None = None) -> Events:
        self.rounds += 1
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        self.blocked = True
        try:
            return super().select(None)
        finally:
            self.blocked = False


class SideLoop(asyncio.SelectorEventLoop):
    """A loop in another thread, as ``asyncio.run`` makes one there. It lives on the main loop's clock, and the main
    loop's thread can ask exactly whether it rests."""

    def __init__(self, main: MatrixLoop) -> None:
        self.side_selector = SideSelector()
        self.main = main
        self.thread = 0
        super().__init__(self.side_selector)
        main.sides.append(self)

    def time(self) -> float:
        return self.main.time()

    def rests(self) -> bool:
        """Whether it waits and nothing wakes it up. Asked from the main loop's thread."""
        # The poll object is readable itself when one of its files is, also the one by which other threads wake it up.
        # Asked for twice: between the two looks it may have woken up and read what woke it.
        selector = self.side_selector
        try:
            return selector.blocked and not select.select([selector.fileno()], [], [], 0)[0] and selector.blocked
        except (OSError, ValueError):  # closed between the two: its thread is on the way out
            return False

    def next_timer(self) -> float | None:
        """Seconds until its next timer, None without one."""
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        return max(0.0, min(timers) - self.time()) if timers else None

    def wake(self) -> None:
        """Let it look at the clock again."""
        self._do_soon(lambda: None)

    def cancel_all(self) -> None:
        """Cancel everything that it runs."""
        self._do_soon(lambda: [task.cancel() for task in asyncio.all_tasks(self)])

    def _do_soon(self, function: Callable[[], Any]) -> None:
        with contextlib.suppress(RuntimeError):  # it has just been closed
            self.call_soon_threadsafe(function)

    def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What ``asyncio.run`` does, in the thread that calls this."""
        self.thread = threading.get_native_id()
        asyncio.set_event_loop(self)
        try:
            return self.run_until_complete(work())
        finally:
            try:
                if left := asyncio.all_tasks(self):
                    for task in left:
                        task.cancel()
                    self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
                self.run_until_complete(self.shutdown_asyncgens())
            finally:
                asyncio.set_event_loop(None)
                self.main.workers.leaves(self.thread)
                self.main.sides.remove(self)
                self.close()


class CountingExecutor(ThreadPoolExecutor):
    """The loop's default executor; it knows which jobs run in which threads."""

    def __init__(self) -> None:
        super().__init__(max_workers=40, thread_name_prefix=WORKER)
        self.wrap_job: Callable[[Callable[..., Any], tuple[Any, ...]], Callable[..., Any]] | None = None
        self._jobs: list[WorkItem] = []

    def submit_job(self, loop: asyncio.AbstractEventLoop, function: Callable[..., Any], arguments: Any) -> Any:
        """Submit a job whose end is known exactly: done means that the loop has its result."""
        if self.wrap_job is not None:
            function = self.wrap_job(function, arguments)
        job = WorkItem()
        self._jobs.append(job)

        def counted() -> Any:
            job.thread = threading.get_native_id()
            return function(*arguments)

        running = super().submit(counted)
        dropped = getattr(function, "dropped", None)
        if dropped is not None:
            running.add_done_callback(lambda ended: dropped() if ended.cancelled() else None)
        awaited = asyncio.wrap_future(running, loop=loop)
        running.add_done_callback(job.mark_finished)
        awaited.add_done_callback(job.mark_known)
        return awaited

    def at_rest(self) -> bool:
        """Whether no job is under way; when ``state`` was last asked, none was."""
        return not self._jobs

    def state(self) -> tuple[list[int], bool]:
        """Native ids of threads at work (0: not started yet), and whether a result is on its way to the loop."""
        self._jobs = [job for job in self._jobs if not (job.finished and job.known)]
        on_its_way = any(job.finished or job.leaves for job in self._jobs)
        return [job.thread for job in self._jobs if not job.finished], on_its_way

    def leaves(self, thread: int) -> None:
        """Called in a worker: nothing holds its job up any more, its end is only a matter of time."""
        for job in self._jobs:
            if job.thread == thread and not job.finished:
                job.leaves = True


class WorkItem:
    """A function in a thread: ``finished`` there, and ``known`` to the loop (or given up by it).

    It holds neither future: a result that nobody wants must be destroyed where it would be without the harness.
    """

    def __init__(self) -> None:
        self.thread = 0
        self.leaves = False
        self.finished = False
        self.known = False

    def mark_finished(self, _: Any) -> None:
        self.finished = True

    def mark_known(self, _: Any) -> None:
        self.known = True


_SWITCHES = re.compile(rb"\nvoluntary_ctxt_switches:\s*(\d+)\nnonvoluntary_ctxt_switches:\s*(\d+)")


def thread_rests(thread_id: int) -> tuple[bool, int]:
    """Whether a native thread sleeps, and how often it was switched so far (two equal counts: it did not run).

    Linux only; elsewhere, and for a thread that is gone, (False, 0). Asked thousands of times a run: hence no pathlib.
    """
    try:
        descriptor = os.open(f"/proc/self/task/{thread_id}/status", os.O_RDONLY)
        try:
            status = os.read(descriptor, 8192)
        finally:
            os.close(descriptor)
    except OSError:
        return False, 0
    return rests(status)


def rests(status: bytes) -> tuple[bool, int]:
    """The same of a thread of any process, by its file ``status``."""
    switches = _SWITCHES.search(status)
    if switches is None:
        return False, 0
    return b"\nState:\tS" in status, int(switches[1]) + int(switches[2])
