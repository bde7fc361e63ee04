"""What the kernel says of threads: that all of them sleep at once, and that none of them wakes up by itself."""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from matrix.harness.threads import _Files, all_asleep, fast_asleep, others
from tests.unit.harness.test_loop import until


class Threads(list[int]):
    """The native ids of threads that were started to do something; ``end`` is set when the test is over."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.started: list[threading.Thread] = []

    def start(self, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.started.append(thread)
        self.append(thread.native_id or 0)

    def asleep(self, *sockets: int) -> bool:
        return all_asleep(self, lambda: sockets)


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads()
    yield made
    made.end.set()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as near,
        server.accept()[0] as far,
    ):
        yield near, far


def polls(connection: socket.socket, limit: int | None) -> Callable[[], object]:
    def work() -> None:
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.poll(limit)

    return work


def test_threads_that_wait_for_locks_sleep(threads):
    for _ in range(3):
        threads.start(threads.end.wait)
    assert until(threads.asleep)


@pytest.mark.parametrize("wait", [lambda near: near.recv, lambda near: lambda _: polls(near, None)()])
def test_who_waits_for_bytes_sleeps_until_they_are_there(threads, pair, wait):
    near, far = pair
    threads.start(lambda: (wait(near)(1), threads.end.wait()))
    assert until(lambda: threads.asleep(near.fileno()))
    assert not threads.asleep()  # from any other socket, something may come by itself
    assert not threads.asleep(far.fileno())
    far.send(b"!")
    assert until(threads.asleep)  # it has them, and waits for the end of the test


@pytest.mark.parametrize(
    "work",
    [
        lambda threads, _: time.sleep(5),
        lambda threads, _: threads.end.wait(5),
        lambda threads, near: polls(near, 5_000)(),
    ],
    ids=["sleep", "lock with a limit", "poll with a limit"],
)
def test_who_wakes_up_by_itself_does_not_sleep_for_good(threads, pair, work):
    near, _ = pair
    threads.start(threads.end.wait)
    threads.start(lambda: work(threads, near))
    assert not until(lambda: threads.asleep(near.fileno()), 0.2)


def compute(threads: Threads) -> Callable[[], None]:
    def work() -> None:
        while not threads.end.is_set():
            pass

    return work


def test_who_computes_does_not_sleep(threads):
    threads.start(compute(threads))
    assert not until(threads.asleep, 0.1)


def test_bystanders_may_wake_up_by_themselves_and_may_not_run(threads):
    """Who is interrupted in the middle of something may hold what the others wait for."""
    threads.start(threads.end.wait)
    bystanders = Threads()
    bystanders.start(lambda: time.sleep(5))
    assert until(lambda: all_asleep(threads, set, bystanders))
    bystanders.end = threads.end
    bystanders.start(compute(bystanders))
    assert not until(lambda: all_asleep(threads, set, bystanders), 0.1)


def test_a_thread_that_has_ended_is_not_asleep(threads):
    threads.start(lambda: None)
    threads.started[0].join()
    assert not until(threads.asleep, 0.05)


def test_a_thread_that_has_ended_is_not_taken_for_one_with_its_number(threads, monkeypatch):
    threads.start(threads.end.wait)
    until(threads.asleep)
    with monkeypatch.context() as patched:
        # What is kept open of a thread that has ended cannot be read any more.
        patched.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(ProcessLookupError()))
        assert threads.asleep()
    assert threads.asleep()


def test_a_process_that_was_forked_off_looks_at_its_own_threads(threads):
    threads.start(threads.end.wait)
    until(threads.asleep)
    child = os.fork()
    if child == 0:
        os._exit(int(threads.asleep()))  # that thread is not here
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_more_files_are_kept_open_than_are_allowed(threads, monkeypatch):
    for _ in range(4):
        threads.start(threads.end.wait)
    until(threads.asleep)
    monkeypatch.setattr("matrix.harness.threads.MOST_FILES", 3)
    before = open_files()
    for _ in range(5):
        assert threads.asleep()
    assert open_files() <= before


def test_without_a_number_for_its_file_a_thread_is_looked_at_all_the_same(threads, monkeypatch):
    monkeypatch.setattr("matrix.harness.threads.first_aside", lambda: 1 << 30)
    threads.start(threads.end.wait)
    until(threads.asleep)


def test_threads_that_wake_each_other_never_sleep_all_at_once(threads):
    """At each moment one of the two is awake, or about to be: whoever looks at one after the other finds both asleep
    now and then."""
    balls = [threading.Semaphore(0), threading.Semaphore(0)]

    def play(mine: threading.Semaphore, other: threading.Semaphore) -> Callable[[], None]:
        def work() -> None:
            while not threads.end.is_set():
                mine.acquire()
                other.release()

        return work

    threads.start(play(balls[0], balls[1]))
    threads.start(play(balls[1], balls[0]))
    balls[0].release()
    assert not until(threads.asleep, 1.0)


@pytest.mark.parametrize(("state", "asleep"), [(b"S", True), (b"R", False), (b"D", False)])
def test_who_was_woken_and_has_no_core_yet_is_not_asleep(threads, monkeypatch, state, asleep):
    """A core that idles is told of it a moment later; until then the call is shown in which the thread slept."""
    threads.start(threads.end.wait)
    until(threads.asleep)
    read = _Files.read

    def woken(self, thread, what):
        return b"1 (a) R name) %c 1 2" % state if what == "stat" else read(self, thread, what)

    monkeypatch.setattr(_Files, "read", woken)
    assert threads.asleep() == asleep


@pytest.mark.parametrize(("state", "asleep"), [(b"S", True), (b"D", True), (b"R", False)])
def test_a_bystander_who_was_woken_is_not_asleep(threads, monkeypatch, state, asleep):
    threads.start(threads.end.wait)
    bystanders = Threads()
    bystanders.start(threads.end.wait)
    until(lambda: all_asleep(threads, set, bystanders))
    read = _Files.read

    def woken(self, thread, what):
        return b"1 (a) %c 1 2" % state if (thread, what) == (bystanders[0], "stat") else read(self, thread, what)

    monkeypatch.setattr(_Files, "read", woken)
    assert all_asleep(threads, set, bystanders) == asleep


def test_who_was_given_a_core_between_the_looks_did_not_sleep_all_the_while(threads, monkeypatch):
    threads.start(threads.end.wait)
    until(threads.asleep)
    read, times = _Files.read, itertools.count(1)

    def runs(self, thread, what):
        return b"1 2 %d\n" % next(times) if what == "schedstat" else read(self, thread, what)

    monkeypatch.setattr(_Files, "read", runs)
    assert not threads.asleep()


def test_a_process_one_of_whose_threads_was_woken_is_not_asleep(monkeypatch):
    child = os.fork()
    if child == 0:
        lock = threading.Lock()
        with lock:
            lock.acquire()  # for ever
    try:
        read_bytes = Path.read_bytes
        for state, asleep in (b"S (sleeping)", True), (b"R (running)", False):
            with monkeypatch.context() as patched:
                patched.setattr(
                    Path, "read_bytes", lambda path, to=state: read_bytes(path).replace(b"S (sleeping)", to)
                )
                assert until(lambda: fast_asleep(child, 0) is not None, 5.0 if asleep else 0.1) == asleep
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_what_the_kernel_does_not_show_is_not_known(threads, monkeypatch):
    threads.start(threads.end.wait)
    assert until(threads.asleep)
    monkeypatch.setattr("matrix.harness.threads.FUTEX", None)
    assert not threads.asleep()


def test_others_are_all_threads_but_who_asks(threads):
    before = others()
    assert threading.get_native_id() not in before
    threads.start(threads.end.wait)
    assert others() - before == set(threads)
