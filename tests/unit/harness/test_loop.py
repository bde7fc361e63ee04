"""The loop: its clock stands still until somebody moves it, and idleness is asked about only when nothing is ready."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from matrix.harness.loop import IdleSelector, MatrixLoop, SideLoop, thread_rests


@pytest.fixture
def loop():
    made = MatrixLoop()
    yield made
    made.close()


def turn(loop: MatrixLoop, rounds: int = 3) -> None:
    """A few rounds of the loop, none of which may block."""

    async def rounds_of_nothing() -> None:
        for _ in range(rounds):
            await asyncio.sleep(0)

    loop.run_until_complete(rounds_of_nothing())


def test_no_timer_fires_because_real_time_goes_by(loop):
    fired = []
    loop.freeze()
    loop.call_later(0.001, fired.append, 1)
    time.sleep(0.01)  # real time: the point of the test
    turn(loop)
    assert fired == []


def test_a_timer_fires_when_the_clock_is_moved(loop):
    fired = []
    loop.freeze()
    loop.call_later(5, fired.append, 1)
    loop.advance(4.9)
    turn(loop)
    assert fired == []
    loop.advance(0.2)
    turn(loop)
    assert fired == [1]


def test_a_frozen_clock_stands_still_and_freezing_twice_changes_nothing(loop):
    loop.freeze()
    first = loop.time()
    loop.freeze()
    assert loop.time() == first


def test_a_thawed_clock_goes_on_from_where_it_stood(loop):
    loop.freeze()
    loop.advance(1000)
    frozen = loop.time()
    loop.thaw()
    loop.thaw()
    assert 0 <= loop.time() - frozen < 5


def test_an_unfrozen_clock_can_be_moved_too(loop):
    before = loop.time()
    loop.advance(1000)
    assert loop.time() - before >= 1000


def test_idleness_is_asked_about_only_when_nothing_is_ready(loop):
    asked: list[float | None] = []
    ready = 5

    def more() -> None:
        nonlocal ready
        ready -= 1
        if ready:
            loop.call_soon(more)

    def idle(timeout: float | None):
        asked.append(timeout)
        assert ready == 0
        loop.call_soon(done.set_result, None)
        return []

    done = loop.create_future()
    loop.idle_selector.on_idle = idle
    loop.call_soon(more)
    loop.run_until_complete(done)
    assert asked == [None]


def test_idleness_knows_the_next_timer(loop):
    asked = []

    def idle(timeout):
        asked.append(timeout)
        loop.advance(timeout)
        return []

    loop.freeze()
    loop.idle_selector.on_idle = idle
    loop.run_until_complete(asyncio.wait_for(asyncio.sleep(7), 100))
    assert asked == [pytest.approx(7)]


def test_what_is_readable_is_not_idle(loop):
    async def woken_from_a_thread() -> None:
        event = asyncio.Event()
        threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,)).start()
        await event.wait()

    asked = 0

    def idle(timeout):
        nonlocal asked
        asked += 1
        return loop.idle_selector.wait(1)

    loop.idle_selector.on_idle = idle
    loop.run_until_complete(woken_from_a_thread())
    assert asked <= 1


def test_a_bell_that_is_broken_is_told_one_that_rings_or_is_closed_is_not():
    selector = IdleSelector()
    for _ in range(10_000):
        selector.ring()  # more than it takes
    selector._bell.close()
    with pytest.raises(OSError, match="pipe"):
        selector.ring()
    selector.close()
    selector.ring()


def test_jobs_are_known_until_the_loop_has_their_results(loop):
    gate, started = threading.Event(), threading.Event()

    def work() -> str:
        started.set()
        gate.wait()
        return "done"

    async def program() -> None:
        assert loop.workers.state() == ([], False)
        job = asyncio.ensure_future(asyncio.to_thread(work))
        await asyncio.sleep(0)
        started.wait()
        threads, on_its_way = loop.workers.state()
        assert len(threads) == 1
        assert not on_its_way
        gate.set()
        while loop.workers.state()[0]:
            """The thread ends without the loop's help."""
        assert loop.workers.state() == ([], True)
        assert await job == "done"
        assert loop.workers.state() == ([], False)

    loop.run_until_complete(program())


def test_a_thread_that_is_gone_does_not_rest():
    assert thread_rests(1 << 30) == (False, 0)


def test_a_job_that_is_cancelled_before_a_thread_takes_it_up_is_dropped(loop):
    gate = threading.Event()
    dropped = []

    def wrap(function, arguments):
        def wrapped():
            return function(*arguments)

        wrapped.dropped = lambda: dropped.append(function)
        return wrapped

    async def main():
        busy = [loop.run_in_executor(None, gate.wait) for _ in range(40)]  # every thread there is
        loop.workers.wrap_job = wrap
        late = loop.run_in_executor(None, int)
        late.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*busy)

    loop.run_until_complete(main())
    assert dropped == [int]


# -- a loop in another thread ----------------------------------------------------------------------------------------


@pytest.fixture
def side(loop):
    """A loop in another thread that waits for an event; ``finish`` lets it end."""
    made = SideLoop(loop)
    made.event = asyncio.Event()
    made.results = []

    async def work() -> None:
        await made.event.wait()
        made.results.append("woken")

    def run() -> None:
        try:
            made.run(work)
        except asyncio.CancelledError:
            made.results.append("cancelled")

    thread = threading.Thread(target=run)
    thread.start()
    yield made
    made.cancel_all()
    thread.join(10)
    assert not thread.is_alive()


def until(holds, seconds: float = 10.0) -> bool:
    """Whether something comes true in real time; how long it takes decides nothing."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.001)
    return holds()


def test_a_side_loop_rests_when_it_waits_and_not_when_it_was_woken(loop, side):
    assert until(side.rests)
    side.call_soon_threadsafe(time.sleep, 0.05)  # something to run in that thread
    assert not side.rests()
    assert until(side.rests)
    side.call_soon_threadsafe(side.event.set)
    assert until(lambda: side.results == ["woken"])


def test_a_wake_up_that_is_not_thread_safe_is_lost_as_in_any_loop(side):
    assert until(side.rests)
    side.call_soon(side.event.set)  # from the wrong thread: nothing wakes it
    assert side.rests()
    assert side.results == []


def test_a_side_loop_lives_on_the_main_loops_clock(loop, side):
    loop.freeze()
    fired = []
    side.call_soon_threadsafe(side.call_later, 5, fired.append, 1)
    assert until(lambda: side.next_timer() is not None)
    assert side.next_timer() == pytest.approx(5)
    assert until(side.rests)
    loop.advance(4.9)
    assert until(side.rests)
    assert fired == []
    loop.advance(0.2)
    assert until(lambda: fired == [1])


def test_a_side_loop_that_has_ended_is_forgotten(loop, side):
    assert loop.sides == [side]
    side.cancel_all()
    assert until(lambda: loop.sides == [])
    assert until(lambda: side.results == ["cancelled"])  # its thread has a last word to say
    side.wake()  # of a closed loop: nothing happens


def test_a_job_that_has_left_its_side_loop_is_on_its_way_until_it_is_known(loop):
    ending, may_end = threading.Event(), threading.Event()

    def job() -> None:
        loop.workers.leaves(threading.get_native_id())
        ending.set()
        may_end.wait(10)

    async def main() -> None:
        running = loop.run_in_executor(None, job)
        assert until(ending.is_set)
        assert loop.workers.state()[1]  # whatever its thread does: the kernel may call it asleep
        may_end.set()
        await running
        assert until(lambda: loop.workers.state() == ([], False))  # the thread has a last word to say

    loop.run_until_complete(main())


def test_a_loop_that_another_thread_has_just_closed_does_not_rest(loop):
    side = SideLoop(loop)
    side.side_selector.blocked = True
    side.close()
    assert not side.rests()
    loop.sides.remove(side)
