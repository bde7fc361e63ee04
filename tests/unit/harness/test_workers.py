"""The gate of drivers with threads: exact counts, held answers, SQLite's waiting for locks."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from queue import Empty
from typing import Any

import pytest

from matrix.harness.channel import Timeline
from matrix.harness.workers import CountingQueue, WorkerChannel, WorkerGate, describe


def until(condition: Callable[[], bool]) -> None:
    """Wait for threads; 5 s of real time are a failure of the test."""
    pause = threading.Event()
    for _ in range(50_000):
        if condition():
            return
        pause.wait(0.0001)
    raise TimeoutError("it did not come to pass")


class Worker:
    """A thread that works off a queue as aiosqlite's does."""

    def __init__(self, gate: WorkerGate) -> None:
        self.queue: CountingQueue = gate.queue()
        self.channel: WorkerChannel = self.queue.channel
        self.results: list[Any] = []
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while True:
            future, function = self.queue.get()
            if future == "end":
                return
            try:
                self.results.append(function())
            except Exception as error:
                self.results.append(error)

    def ask(self, function: Callable[[], Any], future: str = "") -> None:
        self.queue.put_nowait((future, function))


@pytest.fixture
def gate() -> WorkerGate:
    numbers = itertools.count(1)
    return WorkerGate(Timeline(), lambda: next(numbers))


@pytest.fixture
def worker(gate: WorkerGate) -> Iterator[Worker]:
    made = Worker(gate)
    yield made
    made.channel.cut()
    made.ask(lambda: None, "end")
    made.thread.join(5)
    assert not made.thread.is_alive()


def hold(worker: Worker) -> None:
    worker.channel.holding = True


def test_nothing_is_pending_when_all_is_done(worker):
    for number in range(200):
        worker.ask(partial(int, number))
    until(lambda: not worker.channel.busy())
    assert worker.results == list(range(200))
    assert worker.channel.pending == 0


def test_the_count_is_exact_when_many_threads_ask(worker):
    def ask_often() -> None:
        for _ in range(100):
            worker.ask(lambda: 1)

    askers = [threading.Thread(target=ask_often) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    until(lambda: worker.channel.pending == 0)
    assert len(worker.results) == 400


def test_a_working_worker_is_busy_until_its_answer_is_held(worker):
    hold(worker)
    go = threading.Event()
    worker.ask(go.wait)
    assert worker.channel.busy()
    assert not worker.channel.deliverable()
    go.set()
    until(worker.channel.deliverable)
    assert not worker.channel.busy()
    assert worker.results == []


def test_what_is_queued_behind_a_held_answer_cannot_move(worker):
    hold(worker)
    worker.ask(lambda: 1)
    worker.ask(lambda: 2)
    until(worker.channel.deliverable)
    assert not worker.channel.busy()
    worker.channel.deliver()
    until(lambda: worker.results == [1] and worker.channel.deliverable())
    worker.channel.deliver()
    until(lambda: worker.results == [1, 2] and not worker.channel.busy())


def test_release_lets_everything_through(worker):
    hold(worker)
    for number in range(3):
        worker.ask(partial(int, number))
    until(worker.channel.deliverable)
    worker.channel.release()
    until(lambda: worker.results == [0, 1, 2] and not worker.channel.busy())


def test_an_error_is_an_answer_too(worker):
    hold(worker)
    worker.ask(lambda: 1 / 0)
    until(worker.channel.deliverable)
    assert worker.channel.deliver() == {
        "pieces": [{"kind": "ZeroDivisionError: division by zero", "text": ""}],
        "ends": False,
    }
    until(lambda: [type(result) for result in worker.results] == [ZeroDivisionError])


def locked_until(event: threading.Event) -> str:
    if not event.is_set():
        raise sqlite3.OperationalError("database is locked")
    return "written"


def test_a_locked_statement_is_tried_again_when_the_world_has_moved(worker):
    hold(worker)
    free = threading.Event()
    worker.ask(partial(locked_until, free))
    until(worker.channel.waits_for_lock)
    assert not worker.channel.busy()
    assert not worker.channel.deliverable()
    assert worker.channel.retry()
    until(worker.channel.waits_for_lock)
    free.set()
    worker.channel.retry()
    until(worker.channel.deliverable)
    worker.channel.deliver()
    until(lambda: worker.results == ["written"])


def give_up_on(worker: Worker, statement: Callable[[], Any]) -> None:
    worker.ask(statement)
    until(worker.channel.waits_for_lock)
    assert worker.channel.give_up()
    until(worker.channel.deliverable)
    worker.channel.deliver()


def test_giving_up_lets_the_lock_error_through(worker):
    hold(worker)
    give_up_on(worker, partial(locked_until, threading.Event()))
    until(lambda: [type(result) for result in worker.results] == [sqlite3.OperationalError])


def test_the_next_statement_waits_for_its_lock_again(worker, monkeypatch):
    hold(worker)
    give_up_on(worker, partial(locked_until, threading.Event()))
    worker.ask(partial(locked_until, threading.Event()))
    until(lambda: worker.channel.waits_for_lock() or worker.channel.deliverable())
    if not worker.channel.waits_for_lock():
        raise TimeoutError


def test_a_lock_is_not_waited_for_where_nobody_conducts(worker):
    worker.ask(partial(locked_until, threading.Event()))
    until(lambda: len(worker.results) == 1)


def statement(sql: str, *, locked: bool = False) -> str:
    if locked:
        raise sqlite3.OperationalError("database is locked")
    return sql


@pytest.mark.parametrize(
    ("before", "waits"),
    [
        (["BEGIN"], True),
        (["BEGIN", "SELECT 1"], False),
        (["BEGIN", "insert into entry", "SAVEPOINT s", "ROLLBACK TO s"], False),
        (["BEGIN", "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s"], True),
        (["BEGIN", "SELECT 1", "COMMIT"], True),
        (["BEGIN", "SELECT 1", "ROLLBACK", "BEGIN"], True),
        (["SELECT 1"], True),
        (["SELECT 1", "BEGIN"], True),
    ],
)
def test_who_has_read_in_its_transaction_is_refused_at_once_as_sqlite_does(worker, before, waits):
    for sql in before:
        worker.ask(partial(statement, sql))
    until(lambda: len(worker.results) == len(before))
    hold(worker)
    worker.ask(partial(statement, "UPDATE entry", locked=True))
    until(lambda: worker.channel.waits_for_lock() or worker.channel.deliverable())
    assert worker.channel.waits_for_lock() is waits
    worker.channel.release()


def test_where_it_is_not_known_what_is_computed_a_lock_is_waited_for(gate):
    channel = gate.channel("pool", serial=False, exact=False)
    for sql in ("BEGIN", "SELECT 1"):
        channel.wrap(partial(statement, sql))()
    channel.holding = True
    thread = threading.Thread(target=suppressed, args=(channel.wrap(partial(statement, "UPDATE", locked=True)),))
    thread.start()
    until(channel.waits_for_lock)
    channel.release()
    thread.join(5)


def suppressed(function: Callable[[], Any]) -> None:
    with contextlib.suppress(sqlite3.Error):
        function()


def test_nothing_to_retry_and_nothing_to_give_up(worker):
    assert not worker.channel.retry()
    assert not worker.channel.give_up()


def test_a_cut_channel_sets_its_worker_free(worker):
    hold(worker)
    worker.ask(lambda: 1)
    until(worker.channel.deliverable)
    worker.channel.cut()
    until(lambda: worker.results == [1])
    assert not worker.channel.busy()
    assert not worker.channel.deliverable()


def test_the_last_request_is_never_held(worker):
    def close_and_stop() -> str:
        return "closed"

    hold(worker)
    worker.queue.put_nowait((None, close_and_stop))
    until(lambda: worker.channel.closed)


def test_a_shared_channel_counts_jobs_and_delivers_in_the_order_of_asking(gate):
    channel = gate.channel("thread pool", serial=False)
    channel.holding = True
    told: list[str] = []
    jobs = [channel.wrap(partial(told.append, name), count=True) for name in ("first", "second")]
    threads = [threading.Thread(target=job, daemon=True) for job in reversed(jobs)]
    assert channel.busy()
    for thread in threads:
        thread.start()
    until(lambda: len(told) == 2 and not channel.busy())
    assert "first" in channel.deliver()["pieces"][0]["kind"]
    until(lambda: not threads[1].is_alive())
    assert threads[0].is_alive()
    assert "second" in channel.deliver()["pieces"][0]["kind"]
    threads[0].join(5)
    assert channel.pending == 0


def test_a_job_that_no_thread_has_taken_up_is_dropped(gate):
    channel = gate.channel("thread pool", serial=False)
    gated = channel.wrap(lambda: None, count=True)
    assert channel.busy()
    gated.dropped()
    assert not channel.busy()


def test_new_channels_hold_if_their_gate_does(gate):
    gate.hold = True
    assert gate.channel("worker", serial=True).holding
    assert [channel.number for channel in gate.channels] == [1]


def test_requests_are_placed_in_transactions(worker):
    def execute(*_: Any) -> None:
        """As aiosqlite's worker would."""

    for statement in ("BEGIN", "INSERT w-a1-1", "COMMIT", "INSERT w-a1-2"):
        worker.ask(partial(execute, statement))
    until(lambda: not worker.channel.busy())
    assert worker.channel.segments.placed == {"w-a1-1": (1, 1), "w-a1-2": None}


def test_a_refused_begin_begins_nothing(worker):
    def execute(statement: str) -> None:
        if statement == "BEGIN" and worker.results:
            raise sqlite3.OperationalError("cannot start a transaction within a transaction")

    for statement in ("BEGIN", "INSERT w-a1-1", "BEGIN", "INSERT w-a1-2"):
        worker.ask(partial(execute, statement))
    until(lambda: not worker.channel.busy())
    placed = worker.channel.segments.placed
    assert placed["w-a1-1"] == placed["w-a1-2"]


def test_a_request_in_words():
    def execute() -> None:
        """Nothing."""

    assert describe(partial(execute, "SELECT ?", ["n-1"])).text == "execute: SELECT ? ['n-1']"
    assert describe(partial(execute)).text == "execute"

    def connect(dsn): ...

    assert describe(partial(connect, "Driver=x;Uid=me;Pwd={secret};")).text == "connect"
    assert describe(execute).text == "execute"


def test_what_is_no_request_ends_the_thread_and_closes_the_channel(gate):
    """aiosqlite 0.20 and 0.21 put an object of their own behind the last request."""
    queue, taken = gate.queue(), []
    sentinel = object()
    thread = threading.Thread(target=lambda: taken.append(queue.get()), daemon=True)
    queue.put_nowait(sentinel)
    assert queue.channel.busy()  # nobody looks at the channel before the thread has come by
    thread.start()
    thread.join(5)
    assert taken == [sentinel]
    assert queue.channel.closed
    assert queue.channel.pending == 0


@pytest.mark.parametrize(("item", "known"), [(object(), True), (lambda: None, False), ([None, print], False)])
def test_a_request_of_a_shape_that_the_gate_cannot_hold_is_told(gate, item, known):
    """As a release to come may have it: its requests would go past the gate."""
    gate.queue().put_nowait(item)
    assert bool(gate.timeline.failures) != known


def test_what_is_asked_of_a_thread_that_has_ended_is_not_under_way(gate):
    """Two loops closed one connection: the end was told to a loop that was closed itself."""
    made = Worker(gate)
    made.ask(lambda: None, "end")
    made.ask(lambda: "too late")
    made.thread.join(5)
    assert made.channel.pending
    assert not made.channel.closed
    assert not made.channel.busy()


@pytest.mark.parametrize("polls", [True, False])
def test_where_the_thread_polls_closing_the_database_closes_the_channel(gate, polls):
    """Up to aiosqlite 0.19 nothing tells the thread of the end; newer ones say more after the database is closed."""
    queue = gate.queue()
    with pytest.raises(Empty):
        queue.get(timeout=0.001) if polls else queue.get(False)
    database, future = sqlite3.connect(":memory:"), Future()
    for function in (database.cursor().close, database.close):
        queue.put_nowait((future, partial(function)))
        queue.get()[1]()
    assert not queue.channel.closed
    future.set_result(None)  # the loop knows
    assert queue.channel.closed == polls


@pytest.mark.parametrize("polls", [True, False])
def test_what_is_asked_behind_the_closing_is_under_way_where_the_thread_goes_on(gate, polls):
    """It is served by a thread that polls. A thread that is told of the end never comes to it."""
    queue = gate.queue()
    with pytest.raises(Empty):
        queue.get(timeout=0.001) if polls else queue.get(False)
    queue.channel.worker = weakref.ref(threading.current_thread())
    queue.put_nowait((Future(), lambda: "served"))
    queue.channel.cut()
    assert queue.channel.busy() == polls
    assert queue.get()[1]() == "served"
    assert queue.channel.busy() == polls  # it has not asked for the next one yet
    with pytest.raises(Empty):
        queue.get(False)
    assert not queue.channel.busy()
