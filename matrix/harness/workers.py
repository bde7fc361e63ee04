"""The gate for drivers that own a thread instead of a wire: the same ``Channel``, served by holding the worker.

A request is a function handed to the worker; its answer is the function's return. Held means: the worker has run the
statement and waits before it gives the result back. A statement that finds the database locked is tried again after
every step of the program and fails only when nothing else can happen: SQLite's own waiting, without its clock. It does
not wait where SQLite does not: in a transaction that has read before.
"""

from __future__ import annotations

import queue
import re
import sqlite3
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from .channel import TOKEN, Channel, FrameRecord, Segments, Timeline
from .loop import HELD

LOCKED = "database is locked"
TEXT_LIMIT = 298  # characters of a request in words
SEES = re.compile(r"(select|insert|update|delete|replace|with)\b", re.IGNORECASE)  # BEGIN alone looks at nothing


class WorkerChannel(Channel):
    """One worker's queue of requests. ``wrap`` makes a request report, wait and retry as the scheduler says."""

    def __init__(
        self,
        timeline: Timeline,
        number: int,
        label: str,
        *,
        serial: bool,
        exact: bool,
        came_to_rest: Callable[[], None],
    ) -> None:
        self.timeline = timeline
        self.came_to_rest = came_to_rest  # told by the worker's thread whenever it may be busy no longer
        self.number = number
        self.label = label
        self.serial = serial  # one thread takes one request at a time: what is queued behind a held one cannot move
        self.exact = exact  # a request that is not answered is being computed; else it may wait inside the driver
        self.segments = Segments(number, savepoint_begins=exact)  # exact: it is SQLite that computes
        self.holding = False
        self.closed = False
        # Up to aiosqlite 0.19 the thread looks at a flag every 0.1 s, and is not told of the end: it serves what was
        # asked of it until then, also behind the closing of its database.
        self.polls = False
        self.worker: weakref.ref[threading.Thread] | None = None  # its thread, where it is known
        self._guard = threading.Condition()
        self._held: dict[int, str] = {}  # request number -> the answer that waits
        self._holders: dict[int, int] = {}  # ... -> the native id of its thread
        self._requests = 0
        self._locked: list[str] = []  # statements that found the database locked
        self._retries = 0
        self._give_up = False
        self._has_seen = False  # a statement of the transaction that is open has found the database in some state
        self.pending = 0

    # -- worker's side ---------------------------------------------------------------------------------------------
    def wrap(self, function: Callable[..., Any], *, count: bool = False) -> Callable[..., Any]:
        text, statement = describe(function)
        tokens = [token.decode() for token in TOKEN.findall(text.encode())]
        with self._guard:
            self._requests += 1
            request = self._requests
            self.pending += count

        def gated(*arguments: Any, **keywords: Any) -> Any:
            try:
                self._request(text, statement, tokens)
                try:
                    result = self._patiently(lambda: function(*arguments, **keywords), text, statement)
                except BaseException as error:
                    self._answer(request, f"{type(error).__name__}: {error}", text)
                    raise
                self._answer(request, "", text)
                return result
            finally:
                if count:
                    self.less_pending()

        def dropped() -> None:
            with self._guard:
                self.pending -= count

        gated.dropped = dropped  # type: ignore[attr-defined]  # it was cancelled before a thread took it up
        return gated

    def less_pending(self) -> None:
        """One request less is under way: said by the worker's thread."""
        with self._guard:
            self.pending -= 1
        self.came_to_rest()

    def _request(self, text: str, statement: str, tokens: list[str]) -> None:
        self._record("->", "request", text)
        self.segments.statement(statement)
        for token in tokens:
            self.segments.token(token)

    def _patiently(self, ask: Callable[[], Any], text: str, statement: str) -> Any:
        while True:
            try:
                result = ask()
            except Exception as error:
                # Who has read and then wants to write is refused at once: to wait with a read lock may be a deadlock.
                if LOCKED not in str(error) or self._has_seen or not self._wait_for_change(text):
                    raise
            else:
                seen = self._has_seen or SEES.match(statement) is not None
                self._has_seen = seen and self.exact and self.segments.open
                return result

    def _wait_for_change(self, text: str) -> bool:
        """Wait until the world has moved; False when the scheduler knows that nothing will."""
        with self._guard:
            if self._give_up or self.closed or not self.holding:
                return False
            self._locked.append(text)
            seen = self._retries
        self.came_to_rest()
        with self._guard:
            self._guard.wait_for(lambda: self._retries != seen or self._give_up or self.closed)
            if text in self._locked:  # cut or released meanwhile
                self._locked.remove(text)
            given_up = self._give_up
            if not self._locked and self.holding:
                self._give_up = False  # the next statement waits for its own lock
            return not given_up and not self.closed

    def _answer(self, request: int, error: str, text: str) -> None:
        with self._guard:
            held = self.holding and not self.closed
            self._record("<-", "error" if error else "answer", error or text, held=held)
            if held:
                self._held[request] = error or text
                self._holders[request] = threading.get_native_id()
        if held:
            self.came_to_rest()
            with self._guard:
                self._guard.wait_for(lambda: request not in self._held)

    def _record(self, direction: str, kind: str, text: str, *, held: bool = False) -> None:
        timeline = self.timeline
        overlap = direction == "->" and bool(self._held)
        timeline.frames.append(
            FrameRecord(
                timeline.next(), timeline.elapsed(), self.number, direction, kind, len(text), text[:300], overlap, held
            )
        )

    # -- scheduler's side ------------------------------------------------------------------------------------------
    def busy(self) -> bool:
        with self._guard:
            resting = len(self._held) + len(self._locked)
            if (self.closed and not self.polls) or not self.exact or (self.serial and resting):
                return False
            return self.pending > resting and not self._thread_is_over()

    def _thread_is_over(self) -> bool:
        """Whether the worker's thread has ended, whatever else was asked of it. What it answered last is on its way to
        a loop, or to one that is closed: then nobody will ever be told that the connection is."""
        if self.worker is None:
            return False
        thread = self.worker()
        return thread is None or not thread.is_alive()

    def moves(self) -> tuple[int, int]:
        """Counts that change with every request and every end of one."""
        with self._guard:
            return self._requests, self.pending

    def held_threads(self) -> set[int]:
        """Native ids of the threads whose answers are held: they have left the driver."""
        with self._guard:
            return {self._holders[request] for request in self._held}

    def waits_for_lock(self) -> bool:
        with self._guard:
            return bool(self._locked)

    def retry(self) -> bool:
        """Let a statement that found the database locked look again; True if there was one."""
        with self._guard:
            if not self._locked:
                return False
            self._retries += 1
            self._locked.clear()  # it is at work again from now on, not only when its thread has woken up
            self._guard.notify_all()
            return True

    def give_up(self) -> bool:
        """Nothing else can happen: let the lock error through, as SQLite does when its busy timeout ends."""
        with self._guard:
            if not self._locked:
                return False
            self._give_up = True
            self._locked.clear()
            self._guard.notify_all()
        return True

    def hold(self) -> None:
        with self._guard:
            self.holding = True
            self._give_up = False

    def deliverable(self) -> bool:
        with self._guard:
            return bool(self._held)

    def deliver(self) -> dict[str, Any]:
        with self._guard:
            # Threads of a pool may have finished in any order; the order of asking is the program's.
            text = self._held.pop(min(self._held))
            self._guard.notify_all()
        return {"pieces": [{"kind": text, "text": ""}], "ends": False}

    def in_flight(self) -> str:
        with self._guard:
            if self._held:
                return f"{self.label} holds the answer of {', '.join(self._held[n] for n in sorted(self._held))}"
            return f"{self.label} waits for a lock: {', '.join(self._locked)}" if self._locked else ""

    def release(self) -> None:
        with self._guard:
            self.holding = False
            self._held.clear()
            self._locked.clear()
            self._give_up = True
            self._guard.notify_all()

    def in_transaction(self) -> bool:
        return not self.closed and self.segments.open

    def cut(self) -> None:
        with self._guard:
            self.closed = True
            self._held.clear()
            self._guard.notify_all()

    def let_through(self) -> None:
        """Everything that waits goes on now; what comes later is held again. For when no scheduler can act."""
        self.give_up()
        with self._guard:
            self._held.clear()
            self._guard.notify_all()


class Request(NamedTuple):
    """A worker's request: in words, and its SQL with the values, or the call's name where it has none."""

    text: str
    statement: str


def describe(function: Callable[..., Any]) -> Request:
    """A worker's request: the function's name and its SQL and values, shortened. Where to connect and how to
    log in is not said: the words are published, and hold a password where the driver is given one text for all."""
    if isinstance(function, partial):
        name = getattr(function.func, "__name__", str(function.func))
        details = [str(part) for part in function.args if isinstance(part, (str, list, tuple))]
        if name == "connect" or not details:
            return Request(name, name)
        sql = " ".join(details)[: TEXT_LIMIT - len(name)]
        return Request(f"{name}: {sql}", sql.strip())
    name = getattr(function, "__name__", str(function))
    return Request(name, name)


LAST_SECONDS = 5.0  # a thread that does not end by then is left alone


def closes(function: Callable[..., Any]) -> bool:
    """Whether a worker's request closes the database's connection (a cursor has a ``close`` as well)."""
    inner: Any = function.func if isinstance(function, partial) else function
    return getattr(inner, "__name__", "") == "close" and isinstance(inner.__self__, sqlite3.Connection)


class CountingQueue(queue.SimpleQueue):
    """The queue between aiosqlite's connection and its thread. Exact: an item is done when the next is asked for.

    Made by ``WorkerGate.queue``; the items are pairs of future and function (aiosqlite 0.17 and newer). What is no pair
    ends the thread (0.20 and 0.21).
    """

    channel: WorkerChannel
    gate: WorkerGate

    def put_nowait(self, item: Any) -> None:
        with self.channel._guard:
            self.channel.pending += 1
        if not isinstance(item, tuple):
            if type(item) is not object:  # the mark of 0.20 and 0.21
                self.gate.timeline.failures.append(f"a request that the gate cannot hold: {item!r:.80}")
            super().put_nowait(item)  # until the thread has met it, its connection is closing
            return
        future, function = item
        if getattr(function, "__name__", "") != "close_and_stop":
            if self.channel.polls and future is not None and closes(function):
                future.add_done_callback(lambda _: self.channel.cut())  # its thread ends some time later, by itself
            super().put_nowait((future, self.channel.wrap(function)))
            return
        # Ending the thread never waits for the scheduler. It asks for nothing more, so that it is over when the loop
        # knows, not when the function has run: between the two the answer is on its way.
        if future is not None:
            future.add_done_callback(lambda _: self.channel.cut())
            super().put_nowait((future, function))
        else:
            super().put_nowait((None, self._last(function)))

    def _last(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def ending() -> Any:
            try:
                return function()
            finally:
                self.channel.cut()

        return ending

    _working = False
    _thread: weakref.ref[threading.Thread] | None = None

    def get(self, *arguments: Any, **keywords: Any) -> Any:
        self.channel.polls = self.channel.polls or "timeout" in keywords
        if self._thread is None:
            thread = threading.current_thread()
            HELD.add(thread)
            self._thread = self.channel.worker = weakref.ref(thread)
            self.gate.leaves_cycles = type(thread) is not threading.Thread
        if self._working:
            self.channel.less_pending()
            self._working = False
        item = super().get(*arguments, **keywords)
        if item is None:
            raise SystemExit  # ends the thread; it would wait for ever, and the interpreter for it
        self._working = isinstance(item, tuple)
        if not self._working:
            self.channel.cut()
            self.channel.less_pending()
        return item

    def end(self) -> None:
        """Let the thread end: nobody will close its connection any more.

        Up to aiosqlite 0.21 the thread is the connection: only when it has ended, what refers to it is garbage.
        """
        super().put_nowait(None)
        thread = self._thread() if self._thread else None
        if thread is not None:
            thread.join(LAST_SECONDS)


class WorkerGate:
    """The counterpart of ``gate.Gate`` for drivers with threads: makes the channels, holds them all or none."""

    def __init__(
        self, timeline: Timeline, number: Callable[[], int], came_to_rest: Callable[[], None] = lambda: None
    ) -> None:
        self.timeline = timeline
        self._number = number
        self._came_to_rest = came_to_rest
        self.hold = False
        # Up to aiosqlite 0.21: connections in cycles. A cursor there keeps the locks of a database that was closed.
        self.leaves_cycles = False
        self.channels: list[WorkerChannel] = []
        self._queues: list[CountingQueue] = []

    def channel(self, label: str, *, serial: bool, exact: bool = True) -> WorkerChannel:
        number = self._number()
        channel = WorkerChannel(
            self.timeline, number, f"{label} {number}", serial=serial, exact=exact, came_to_rest=self._came_to_rest
        )
        channel.holding = self.hold
        self.channels.append(channel)
        return channel

    def held_threads(self) -> set[int]:
        """Native ids of the threads whose answers are held: they have left the driver."""
        return set().union(*(channel.held_threads() for channel in self.channels))

    def queue(self) -> CountingQueue:
        made = CountingQueue()
        made.channel = self.channel("worker", serial=True)
        made.gate = self
        self._queues.append(made)
        return made

    def end(self) -> None:
        """End the threads of connections that nobody has closed, after all channels were cut."""
        for made in self._queues:
            made.end()
