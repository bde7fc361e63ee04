"""Schedules in a forked child: what crashes or never returns ends the child, not the cell."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

import pytest

from matrix.harness import isolated
from matrix.harness.gate import Gate
from matrix.harness.isolated import once_in_child
from matrix.harness.outcome import Exploration
from matrix.harness.remedy import Remedy
from matrix.harness.runner import Runner
from matrix.harness.scenario import Scenario
from matrix.harness.schedule import CancelPoint, Execution
from matrix.harness.strategies import replay
from tests.unit.miniatures.driver import Backing, Queueing

pytestmark = pytest.mark.asyncio
PR_GET_PDEATHSIG = 2


async def run(program: Any, bound: int = 1) -> Exploration:
    scenario = Scenario("CON-0", "made up", "Made up.", "loud", (), None, False, (3, 10), program, "", "", ())
    return await Runner(Backing(Queueing()), bound, once=once_in_child).explore(scenario)


async def one(program: Any, schedule: str = "", *, here: bool = False) -> tuple[Any, tuple[Any, ...]]:
    """One run of a program whose victim is ``victim``: its outcome, and what the execution knows of it."""
    scenario = Scenario("CAN-0", "", "", "must", (), None, False, (3, 10), program, "", "", (), "victim")
    runner, execution = Runner(Backing(Queueing()), 1), Execution(replay(schedule))
    made = await (runner.once(scenario, execution) if here else once_in_child(runner, scenario, execution, None))
    asked = execution.taken, execution.enabled, execution.waits, execution.victim, execution.cancel
    return made, asked


async def two_reads(world):
    connection = await world.connect()

    async def reader(session):
        await session.on(connection).read()

    await world.together(first=reader, second=reader)


def dying_of(number: int) -> Any:
    async def program(world):
        async def dies(session):
            await session.step("die")
            if number == signal.SIGHUP:
                signal.signal(number, signal.SIG_DFL)  # else it does nothing where tests run under nohup
            os.kill(os.getpid(), number)

        await world.together(dies=dies)

    return program


async def test_what_ends_well_is_told_as_in_this_process():
    inside = await run(two_reads, 3)
    here = await Runner(Backing(Queueing()), 3).explore(
        Scenario("CON-0", "", "", "loud", (), None, False, (3, 10), two_reads, "", "", ())
    )
    assert inside.error == here.error == ""
    assert [o.schedule for o in inside.outcomes] == [o.schedule for o in here.outcomes]
    assert [o.signature for o in inside.outcomes] == [o.signature for o in here.outcomes]


@pytest.mark.parametrize("schedule", ["", "A@1", "A@1+.A.B", "A@2+.B", "A@9"])
async def test_what_was_chosen_and_the_moment_of_cancellation_are_told_as_in_this_process(schedule):
    async def program(world):
        connection = await world.connect()

        async def victim(session):
            async with session.on(connection).transaction():
                await session.on(connection).write()

        async def other(session):
            await session.step("do nothing")

        await world.together(victim=victim, other=other)

    inside, here = await one(program, schedule), await one(program, schedule, here=True)
    assert inside[1] == here[1]
    for what in ("verdict", "refused", "schedule", "proof", "met", "signature", "crashed"):
        assert getattr(inside[0], what) == getattr(here[0], what)
    steps = [[each["action"] for each in outcome.evidence["steps"]] for outcome in (inside[0], here[0])]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(("schedule", "left"), [("A@1", "A@1.A"), ("A@1+.A", "A@1+.A"), ("A@2", "A"), ("", "A")])
async def test_a_child_that_died_had_the_moment_of_cancellation_that_it_came_to(schedule, left):
    async def program(world):
        async def victim(session):
            await session.step("wait")
            try:
                await asyncio.wait_for(asyncio.get_running_loop().create_future(), 1)
            except BaseException:
                os.kill(os.getpid(), signal.SIGSEGV)

        await world.together(victim=victim)

    outcome, asked = await one(program, schedule)
    cancelled = CancelPoint.parse(left.split(".")[0])
    assert asked == (["A"], [("A",)], 0, "", cancelled)
    assert (outcome.verdict, outcome.schedule, outcome.crashed) == ("breaks", left, True)


async def test_what_nobody_chose_is_no_part_of_the_schedule():
    async def program(world):
        channel = world.worker_gate.channel("thread pool", serial=False, exact=False)

        async def victim(session):
            await session.step("wait for a thread")
            done = threading.Event()
            held = channel.wrap(lambda: None)
            threading.Thread(target=lambda: (held(), done.set()), daemon=True).start()
            done.wait()

        await world.together(victim=victim)

    outcome, asked = await one(program)
    assert asked == (["A"], [("A",)], 0, "A", None)
    assert len(outcome.evidence["steps"]) > 1  # that the loop was stuck is shown


async def test_a_remedy_is_at_work_in_the_child_too():
    class Marked(Remedy):
        def guard(self, session):
            os._exit(5)

    async def program(world, remedy):
        async def works(session):
            remedy.guard(session)

        await world.together(works=works)

    scenario = Scenario("CON-0", "", "", "loud", (), None, False, (3, 10), program, "", "", ())
    found = await Runner(Backing(Queueing()), 1, once=once_in_child).explore(scenario, Marked())
    assert "ended with 5" in found.error


async def test_the_source_is_read_once_for_all_children(monkeypatch):
    read = []
    getsource = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda each: read.append(os.getpid()) or getsource(each))
    outcome = (await run(dying_of(signal.SIGSEGV), 3)).deciding
    assert "os.kill" in outcome.evidence["program"]
    assert {*read} == {os.getpid()}
    scenario = Scenario("CON-0", "", "", "loud", (), None, False, (3, 10), two_reads, "", "", ())
    await Runner(Backing(Queueing()), 1, once=once_in_child).explore(scenario)
    assert "source" in vars(scenario)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
async def test_a_child_that_dies_of_a_signal_breaks_and_says_of_which(number):
    found = (await run(dying_of(number))).deciding
    assert found.verdict == "breaks"
    assert number.name in found.reason
    assert found.schedule == "A"
    assert "die" in found.reason


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU])
async def test_a_child_that_is_ended_from_outside_is_an_error_not_a_verdict(number):
    """As by the kernel when the machine is out of memory, or by people."""
    found = await run(dying_of(number))
    assert number.name in found.error


async def test_an_error_of_the_program_is_an_error_not_a_verdict():
    async def program(world):
        raise KeyError("a slip of the pen")

    assert "KeyError" in (await run(program)).error


async def test_a_child_that_exits_by_itself_is_an_error_not_a_verdict():
    async def program(world):
        os._exit(3)

    assert "ended with 3" in (await run(program)).error


async def test_a_child_that_never_returns_is_killed(monkeypatch):
    monkeypatch.setattr(isolated, "LIMIT", 1.0)

    async def program(world):
        async def stuck(session):
            await session.step("get stuck")
            while True:
                signal.pause()

        await world.together(stuck=stuck)

    started = time.monotonic()
    found = (await run(program)).deciding
    assert time.monotonic() - started < 10
    assert (found.verdict, found.proof) == ("hangs", "deadline")
    assert "signal.pause()" not in found.reason
    assert "in stuck" in found.evidence["hang"]["stack"]
    assert found.evidence["hang"]["stack"].startswith(("Current thread 0x", "Thread 0x"))


async def until_told(world, pipe: int) -> None:
    """A task that blocks its thread until somebody writes into a pipe, as a driver does whose server stalls."""

    async def asks(session):
        await session.step("ask the server")
        os.read(pipe, 1)
        time.sleep(0.5)  # noqa: ASYNC251 - as what a driver does with an answer
        await session.step("go on")

    await world.together(asks=asks)


@pytest.mark.parametrize("back", [False, True])
async def test_a_deadline_while_the_server_does_not_answer_is_an_error(monkeypatch, back):
    """``back``: the server stalled until it was asked, and the child goes on when it gets its answer."""
    monkeypatch.setattr(isolated, "LIMIT", 0.5)
    hears, says = os.pipe()

    def answers(backing: Backing, seconds: float) -> bool:
        if back:
            os.write(says, b"!!")
        return back

    monkeypatch.setattr(Backing, "answers", answers)
    found = await run(lambda world: until_told(world, hears))
    assert ("did not answer" in found.error) != back
    if back:
        assert found.deciding.verdict == "safe"


async def test_a_slow_child_that_goes_on_is_no_hang(monkeypatch):
    monkeypatch.setattr(isolated, "LIMIT", 3.0)

    async def program(world):
        async def slow(session):
            for _ in range(4):
                await session.step("take a second")
                time.sleep(1.0)  # noqa: ASYNC251 - as a slow machine would

        await world.together(slow=slow)

    found = (await run(program)).deciding
    assert (found.verdict, found.schedule) == ("safe", "A.A.A.A")


def stuck_in_a_lock(*others: Any) -> Any:
    """The loop's own thread waits for a lock that nobody will release; other threads do something else."""

    async def program(world):
        async def stuck(session):
            await session.step("get stuck")
            for other in others:
                threading.Thread(target=other, daemon=True).start()
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()

        await world.together(stuck=stuck)

    return program


def waits_for_ever():
    threading.Event().wait()


async def test_a_child_all_of_whose_threads_wait_for_locks_is_proven_to_hang(monkeypatch):
    monkeypatch.setattr(isolated, "LIMIT", 60.0)
    started = time.monotonic()
    found = (await run(stuck_in_a_lock(waits_for_ever))).deciding
    assert time.monotonic() - started < 30
    assert (found.verdict, found.proof) == ("hangs", "idle")
    assert "every thread of the process waits for a lock" in found.reason
    for part in ("in stuck", "in waits_for_ever"):
        assert part in found.evidence["hang"]["stack"]


@pytest.mark.parametrize("wakes", [lambda: time.sleep(600), lambda: threading.Event().wait(600)])
async def test_nothing_is_proven_while_a_thread_may_still_wake_up(monkeypatch, wakes):
    monkeypatch.setattr(isolated, "LIMIT", 1.5)
    assert (await run(stuck_in_a_lock(wakes))).deciding.proof == "deadline"


async def test_nothing_is_proven_while_somebody_waits_for_a_socket(monkeypatch):
    monkeypatch.setattr(isolated, "LIMIT", 1.5)
    ours, _theirs = socket.socketpair()
    assert (await run(stuck_in_a_lock(lambda: ours.recv(1)))).deciding.proof == "deadline"


async def test_a_thread_that_the_harness_holds_goes_on_when_the_loop_is_stuck():
    async def program(world):
        channel = world.worker_gate.channel("thread pool", serial=False, exact=False)

        async def waits(session):
            await session.step("wait for a thread")
            done = threading.Event()
            held = channel.wrap(lambda: None)
            threading.Thread(target=lambda: (held(), done.set()), daemon=True).start()
            done.wait()

        await world.together(waits=waits)

    found = (await run(program)).deciding
    assert (found.verdict, found.proof) == ("safe", None)


def through_the_gate(serve: Any, *, reads: bool) -> Any:
    """A program that blocks the loop's own thread on a connection through the gate. ``serve`` is what the server does
    with it then; the program reads to its end, or never."""

    async def program(world):
        stuck = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as server:
            gate = Gate("postgres", *server.getsockname(), world.timeline, world.gates.number_channel)
            world.gates.add(gate)
            await gate.start()

            def accept() -> None:
                with server.accept()[0] as connection:
                    stuck.wait()
                    serve(connection)

            threading.Thread(target=accept, daemon=True).start()

            async def blocks(session):
                await session.step("block")
                with socket.create_connection(("127.0.0.1", gate.port)) as client:
                    while not (gate.wires and gate.wires[0].server):  # noqa: ASYNC110
                        await asyncio.sleep(0)
                    stuck.set()  # the loop does nothing more from here on
                    while client.recv(1000) if reads else signal.pause():
                        pass

            await world.together(blocks=blocks)

    return program


async def test_that_the_server_hung_up_is_passed_on_while_the_loop_is_stuck(monkeypatch):
    """Else the harness makes a hang of it."""
    monkeypatch.setattr(isolated, "LIMIT", 5.0)
    found = await run(through_the_gate(lambda connection: connection.close(), reads=True))
    assert (found.error, found.deciding.verdict) == ("", "safe")


async def test_what_cannot_be_passed_on_while_the_loop_is_stuck_is_an_error_not_a_hang(monkeypatch):
    monkeypatch.setattr(isolated, "LIMIT", 5.0)
    found = await run(through_the_gate(lambda connection: connection.sendall(b"N" * (64 << 20)), reads=False))
    assert "what stands in for the loop failed" in found.error


async def test_no_child_is_left(monkeypatch):
    children = []  # of this test: what runs it may have some of its own
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])
    await run(dying_of(signal.SIGKILL))
    assert children
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)  # noqa: ASYNC222 - it does not wait


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's help")
async def test_a_child_is_ended_with_its_cell_however_that_ends():
    async def program(world):
        number = ctypes.c_int()
        ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
        assert number.value == signal.SIGKILL

    found = await run(program)
    assert (found.error, found.deciding.verdict) == ("", "safe")


async def test_what_the_child_prints_is_not_taken_for_a_message():
    async def program(world):
        print('{"error": "I am no message"}')
        os.write(2, b'{"error": "nor am I"}\n')

    found = await run(program)
    assert found.error == ""
    assert found.deciding.verdict == "safe"
