"""Schedules in a forked child: what crashes or never returns ends the child, not the cell."""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import inspect
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from matrix.harness import isolated
from matrix.harness.checker import Violation
from matrix.harness.conductor import HarnessError
from matrix.harness.gate import Gate
from matrix.harness.isolated import once_in_child
from matrix.harness.outcome import Exploration, Outcome
from matrix.harness.remedy import Remedy
from matrix.harness.result_lines import line_of
from matrix.harness.runner import UNJUDGED, Runner
from matrix.harness.scenario import Scenario
from matrix.harness.schedule import CancelPoint, Execution
from matrix.harness.sentences import sentence
from matrix.harness.strategies import replay
from matrix.report.pages import orders_in_words
from tests.unit.miniatures.driver import Backing, Queueing

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.asyncio
PR_GET_PDEATHSIG = 2


async def run(program: Any, bound: int = 1) -> Exploration:
    scenario = Scenario("CON-0", "made up", "Made up.", "loud", (), None, False, (3, 10), program, "", "", ())
    return await Runner(Backing(Queueing()), bound, once=once_in_child).explore(scenario)


def scenario_of(program: Any) -> Scenario:
    return Scenario("CAN-0", "", "", "must", (), None, False, (3, 10), program, "", "", (), "victim")


async def one(program: Any, schedule: str = "", *, here: bool = False) -> tuple[Any, tuple[Any, ...]]:
    """One run of a program whose victim is ``victim``: its outcome, and what the execution knows of it."""
    scenario, runner, execution = scenario_of(program), Runner(Backing(Queueing()), 1), Execution(replay(schedule))
    made = await (runner.once(scenario, execution) if here else once_in_child(runner, scenario, execution, None, []))
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


@pytest.fixture
def ends(monkeypatch):
    """How each child has ended: si_code and si_status of waitid."""
    results = []
    waitid = os.waitid
    monkeypatch.setattr(os, "waitid", lambda *asked: results.append(waitid(*asked)) or results[-1])
    return results


async def test_what_ends_well_is_told_as_in_this_process(ends):
    inside = await run(two_reads, 3)
    here = await Runner(Backing(Queueing()), 3).explore(
        Scenario("CON-0", "", "", "loud", (), None, False, (3, 10), two_reads, "", "", ())
    )
    assert inside.error == here.error == ""
    assert [o.schedule for o in inside.outcomes] == [o.schedule for o in here.outcomes]
    assert [o.signature for o in inside.outcomes] == [o.signature for o in here.outcomes]
    assert {(end.si_code, end.si_status) for end in ends} == {(os.CLD_EXITED, 0)}


async def test_an_outcome_is_the_same_on_this_side(monkeypatch):
    violation = Violation("recovery", {"kind": "next_user_failed"}, after=True, warned=True, foreign_state=True)
    refused, evidence = {"kind": "refused"}, {"program": "what it was"}
    made = Outcome("poisons", [violation], refused, "A.1", lambda: evidence, "lock", met=False)

    async def once(*_: Any) -> Outcome:
        return made

    monkeypatch.setattr(Runner, "once", once)
    inside, _ = await one(two_reads)
    assert inside.evidence == evidence
    assert dataclasses.replace(inside, make_evidence=made.make_evidence) == made


async def test_of_a_child_that_died_in_the_middle_of_a_line_the_lines_before_count(tmp_path):
    with (tmp_path / "said").open("w+b", buffering=0) as said:
        said.write(b'{"step": 1}\n{"step": 2}\n{"st')
        assert isolated._messages(said) == [{"step": 1}, {"step": 2}]


async def test_evidence_is_read_only_when_it_is_asked_for(monkeypatch):
    inside, _ = await one(two_reads)
    read = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda text: read.append(text) or loads(text))
    assert not read
    assert "two_reads" in inside.evidence["program"]
    assert len(read) == 1


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
                await asyncio.sleep(1)  # one wait, on any Python
            finally:
                signal.raise_signal(signal.SIGSEGV)  # to this very thread

        await world.together(victim=victim)

    outcome, asked = await one(program, schedule)
    cancelled = CancelPoint.parse(left.split(".")[0])
    assert asked == (["A"], [("A",)], 0, "", cancelled)
    assert (outcome.verdict, outcome.schedule, outcome.crashed) == ("breaks", left, True)


async def waits_for_a_held_thread(world):
    channel = world.worker_gate.channel("thread pool", serial=False, exact=False)

    async def victim(session):
        await session.step("wait for a thread")
        done = threading.Event()
        held = channel.wrap(lambda: None)
        threading.Thread(target=lambda: (held(), done.set()), daemon=True).start()
        done.wait()

    await world.together(victim=victim)


async def test_what_nobody_chose_is_no_part_of_the_schedule():
    outcome, asked = await one(waits_for_a_held_thread)
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
    """As by the kernel when the machine is out of memory, or by people; what the cell does then is its own affair."""

    def ends_the_cell(number, frame):
        raise KeyboardInterrupt

    before = {each: signal.signal(each, ends_the_cell) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        found = await run(dying_of(number))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert number.name in found.error


async def slips(world):
    raise KeyError("a slip of the pen")


async def test_an_error_of_the_program_is_an_error_not_a_verdict():
    error = (await run(slips)).error
    assert error.startswith("HarnessError: ")
    assert "KeyError" in error


@pytest.fixture
def failing_process(monkeypatch):
    """Makes a program whose run with one of these numbers fails in its process by what no harness raises."""
    fork, forks = os.fork, []
    monkeypatch.setattr(os, "fork", lambda: forks.append(1) or fork())

    def made(*failing: int) -> Any:
        async def program(world):
            if len(forks) in failing:
                world.loop.idle_selector.select = lambda timeout=None: select.select([-1639009656], [], [], 0)
            await two_reads(world)

        return program

    return made


@pytest.mark.parametrize(("failing", "made_again"), [((), 0), ((1,), 1), ((1, 2), 2)])
async def test_a_run_whose_process_fails_by_itself_is_made_again(failing, made_again, failing_process):
    """As where threads that race inside a driver destroyed memory: it says nothing of the driver, but is not hidden."""
    program = failing_process(*failing)
    found = await run(program)
    assert (found.error, found.deciding.verdict, len(found.outcomes)) == ("", "safe", 1)
    assert found.lost == ["ValueError: file descriptor cannot be a negative integer (-1639009656)"] * made_again
    line = line_of(scenario_of(program), found, 0.1)
    assert line["orders"].get("made_again", []) == found.lost
    assert ("the process of a run failed" in orders_in_words(line["orders"])) == bool(made_again)


async def test_a_process_that_fails_in_each_run_is_an_error_not_a_verdict(failing_process):
    program = failing_process(*range(1, isolated.ATTEMPTS + 1))
    assert "negative integer (-1639009656) (so in each of 3 runs)" in (await run(program)).error


async def test_what_the_harness_raises_itself_is_said_at_once(ends):
    assert "KeyError" in (await run(slips)).error
    assert len(ends) == 1


@pytest.mark.parametrize("raised", UNJUDGED)
async def test_what_the_harness_means_is_said_at_once(raised, ends, monkeypatch):
    async def once(*_):
        raise raised("so it is")

    monkeypatch.setattr(Runner, "once", once)
    assert (await run(two_reads)).error == f"{raised.__name__}: so it is"
    assert len(ends) == 1


async def test_after_a_process_that_failed_the_witness_begins_anew(failing_process, monkeypatch):
    reopened = []
    monkeypatch.setattr(Backing, "reopen_witness", lambda _: reopened.append(1))
    await run(failing_process(1))
    assert reopened == [1]


FINISHED = {
    "outcome": {"verdict": "lies", "violations": [], "refused": None, "schedule": "A", "proof": None, "met": True}
}
EXITED, DIED = (os.CLD_EXITED, 0), (os.CLD_KILLED, signal.SIGSEGV)


@pytest.mark.parametrize(
    ("messages", "end", "verdict"),
    [
        # What stands in for the loop, in a tear-down.
        ([{"evidence": "{}"}, FINISHED, {"failed": "late"}], EXITED, "lies"),
        ([{"failed": "memory is gone"}], DIED, "breaks"),  # no order of calls may kill the interpreter
        ([{"failed": "memory is gone"}], EXITED, ""),
    ],
)
async def test_a_failure_counts_where_nothing_else_is_known(monkeypatch, messages, end, verdict):
    ended = SimpleNamespace(si_code=end[0], si_status=end[1])
    monkeypatch.setattr(isolated, "_in_child", lambda *_: isolated.Child(messages, None, ended, ""))
    failures = []
    asked = once_in_child(
        Runner(Backing(Queueing()), 1), scenario_of(two_reads), Execution(replay("A")), None, failures
    )
    if verdict:
        assert ((await asked).verdict, failures) == (verdict, [])
    else:
        with pytest.raises(HarnessError, match="memory is gone"):
            await asked
        assert failures == ["memory is gone"] * isolated.ATTEMPTS


async def loses_its_connections(world):
    connection = await world.connect()

    async def victim(session):
        for _ in range(2):
            await session.on(connection).read()

    async def server(session):
        await session.lose_connections()

    await world.together(victim=victim, server=server)


async def test_what_came_from_outside_in_a_child_is_known_and_placed_elsewhere():
    scenario, runner = scenario_of(loses_its_connections), Runner(Backing(Queueing()), 2)
    executions = Execution(replay("A.1.B")), Execution(replay("A.1.B"))
    await runner.once(scenario, executions[0])
    await once_in_child(runner, scenario, executions[1], None, [])
    assert executions[0].outside == executions[1].outside == {2: "B"}
    assert (await run(loses_its_connections, 2)).orders["placed"] >= 3


async def test_of_a_child_that_died_nothing_is_known_of_what_came_from_outside():
    execution = Execution(replay(""))
    await once_in_child(Runner(Backing(Queueing()), 1), scenario_of(dying_of(signal.SIGSEGV)), execution, None, [])
    assert execution.outside == {}


async def test_a_child_that_died_before_its_first_step_took_none():
    async def program(world):
        os.kill(os.getpid(), signal.SIGSEGV)

    outcome, _ = await one(program)
    assert (outcome.finding["step"], outcome.evidence["steps"]) == (None, [])


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


@pytest.mark.parametrize("dies", [True, False])
async def test_what_is_known_of_a_child_that_was_ended_is_its_steps_and_its_end(dies, monkeypatch):
    monkeypatch.setattr(isolated, "LIMIT", 0.3)

    async def program(world):
        async def victim(session):
            await session.step("take one step")
            await session.step("take another")
            while True:
                os.kill(os.getpid(), signal.SIGSEGV) if dies else signal.pause()

        await world.together(victim=victim)

    outcome, _ = await one(program)
    steps = outcome.evidence["steps"]
    told = [(each["n"], each["action"]) for each in steps]
    assert told in ([(1, "A"), (2, "A")], [(1, "A"), (2, "A"), (3, "-")][: 3 - dies])  # - that its loop is stuck
    assert "take another" in steps[1]["text"]
    ended, proof = ("SIGSEGV", None) if dies else ("", "deadline")
    fact = {"kind": "process_ended", "signal": ended, "proof": proof, "limit": 0.3, "step": steps[-1]["fact"]}
    assert outcome.violations == [Violation("loudness" if dies else "liveness", fact)]
    assert (outcome.verdict, outcome.proof, outcome.crashed) == ("breaks" if dies else "hangs", proof, dies)
    assert (outcome.refused, outcome.met, outcome.schedule) == (None, True, "A.A")
    hang = outcome.evidence.pop("hang")
    scenario = scenario_of(program)
    assert outcome.evidence == {"program": scenario.source, "declared": scenario.declared(), "steps": steps}
    if dies:
        assert hang is None
        return
    assert "in victim" in hang.pop("stack")
    assert hang == {"proof": proof, "waiting": [], "connections": [], "text": sentence(fact), "fact": fact}


@pytest.mark.parametrize(("written", "naps"), [(0, 20), (1, 2), (3, 4)])
async def test_stacks_are_waited_for_until_no_more_of_them_come(written, naps, monkeypatch, tmp_path):
    slept = []
    with (tmp_path / "stacks").open("wb", buffering=0) as stacks:
        monkeypatch.setattr(os, "kill", lambda child, number: None)
        monkeypatch.setattr(time, "sleep", lambda _: slept.append(stacks.write(b"x" * (len(slept) < written))))
        isolated._show_stacks(1, stacks)
    assert len(slept) == naps


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
        assert seconds == isolated.ANSWER
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


async def test_a_child_that_says_one_thing_after_another_is_no_hang():
    async def program(world):
        async def talks(session):
            for _ in range(10):
                await session.step("say it")
                time.sleep(0.03)  # noqa: ASYNC251 - so that each is heard alone

        await world.together(talks=talks)

    found = (await run(program)).deciding
    assert (found.verdict, found.schedule) == ("safe", ".".join("A" * 10))


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


async def test_nothing_is_proven_while_threads_are_switched(monkeypatch):
    switches = itertools.count()
    monkeypatch.setattr(isolated, "LIMIT", 1.0)
    monkeypatch.setattr(isolated, "fast_asleep", lambda child, but: frozenset({(child, next(switches))}))
    assert (await run(stuck_in_a_lock())).deciding.proof == "deadline"
    assert next(switches) > 1


@pytest.mark.parametrize("wakes", [lambda: time.sleep(600), lambda: threading.Event().wait(600)])
async def test_nothing_is_proven_while_a_thread_may_still_wake_up(monkeypatch, wakes):
    monkeypatch.setattr(isolated, "LIMIT", 1.5)
    assert (await run(stuck_in_a_lock(wakes))).deciding.proof == "deadline"


async def test_nothing_is_proven_while_somebody_waits_for_a_socket(monkeypatch):
    monkeypatch.setattr(isolated, "LIMIT", 1.5)
    ours, _theirs = socket.socketpair()
    assert (await run(stuck_in_a_lock(lambda: ours.recv(1)))).deciding.proof == "deadline"


async def test_a_thread_that_the_harness_holds_goes_on_when_the_loop_is_stuck():
    found = (await run(waits_for_a_held_thread)).deciding
    assert (found.verdict, found.proof) == ("safe", None)


RESTS = [(True, 7, 3)] * isolated.STUCK  # asleep, switched so often, the loop went round so often


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize(
    ("looks", "takes_over"),
    [
        (RESTS, []),
        ([*RESTS, RESTS[0]], [isolated.STUCK]),
        ([*RESTS, *RESTS[:3]], [isolated.STUCK, isolated.STUCK + 1, isolated.STUCK + 2]),
        ([*RESTS, (False, 7, 3), RESTS[0]], []),
        ([*RESTS, (True, 8, 3), (True, 8, 3)], []),
        ([*RESTS, (True, 7, 4), (True, 7, 4)], []),
        ([(False, 7, 3)] * 2 * isolated.STUCK, []),
        ([(False, 7, 3), *RESTS], [isolated.STUCK]),
    ],
)
async def test_the_loop_is_stuck_when_its_thread_rests_at_so_many_looks_in_a_row(
    looks, takes_over, proven, monkeypatch
):
    class Watched:
        """A world that is looked at so often."""

        number = -1
        over = property(lambda self: self.number == len(looks) - 1)
        loop = property(lambda self: SimpleNamespace(idle_selector=SimpleNamespace(rounds=looks[self.number][2])))

    def look(thread: int) -> tuple[bool, int]:
        assert thread == 5
        world.number += 1
        return looks[world.number][:2]

    world, told, relayed = Watched(), [], []
    monkeypatch.setattr(isolated, "thread_rests", look)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    pump = isolated.Pump(world, 5, told.append, pytest.fail)
    monkeypatch.setattr(pump, "_relay", lambda: relayed.append(world.number))
    monkeypatch.setattr(pump, "_nobody_else_can_act", lambda: proven)
    pump._watch()
    if proven:  # a thread that rests and has not run since the last look
        takes_over = [n for n in range(1, len(looks)) if looks[n][0] and looks[n][1:] == looks[n - 1][1:]]
    assert relayed == takes_over
    assert told == [threading.get_native_id()][: len(takes_over)]  # once


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


async def test_what_cannot_be_passed_on_while_the_loop_is_stuck_is_an_error_not_a_hang(ends, monkeypatch):
    monkeypatch.setattr(isolated, "LIMIT", 60.0)
    found = await run(through_the_gate(lambda connection: connection.sendall(b"N" * (64 << 20)), reads=False))
    assert "what stands in for the loop failed: BlockingIOError: connection 1: more is due" in found.error
    assert [(end.si_code, end.si_status) for end in ends] == [(os.CLD_EXITED, 0)]  # it means that: once is enough


async def test_no_child_is_left_but_the_last_which_has_ended_and_goes_with_the_next(monkeypatch):
    children = []  # of this test: what runs it may have some of its own
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])
    for _ in range(3):
        await run(dying_of(signal.SIGKILL))
    *before, last = children
    assert len(before) > 1
    for child in before:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
    left = os.waitid(os.P_PID, last, os.WEXITED | os.WNOWAIT | os.WNOHANG)  # noqa: ASYNC222 - it does not wait
    assert (left.si_pid, left.si_status) == (last, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="another malloc than glibc's")
async def test_a_child_finds_no_free_memory_between_what_its_parent_has_allocated():
    """In a process of its own: the memory of this one, behind thousands of tests, need not be in one piece."""
    program = """
        import ctypes, os
        from matrix.harness import isolated

        libc = ctypes.CDLL(None)
        libc.mallinfo2.restype = isolated._Memory
        libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        free = lambda: (told := libc.mallinfo2()).free - told.free_at_end
        blocks = [libc.malloc(size) for size in (40, 500, 5000, 50000) for _ in range(200)]
        for block in blocks[::2]:
            libc.free(block)
        before = free()
        isolated.use_up_free_memory(os.getpid())
        print(before > 5_000_000, free() < before / 10)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    told = subprocess.check_output(command, cwd=ROOT, text=True)  # noqa: ASYNC221 - it ends at once
    assert told == "True True\n"


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's help")
async def test_a_child_is_ended_with_its_cell_however_that_ends():
    async def program(world):
        number = ctypes.c_int()
        ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
        assert number.value == signal.SIGKILL

    found = await run(program)
    assert (found.error, found.deciding.verdict) == ("", "safe")


async def test_what_the_child_prints_is_neither_shown_nor_taken_for_a_message(capfd):
    async def program(world):
        os.write(1, b'{"error": "I am no message"}\n')
        os.write(2, b'{"error": "nor am I"}\n')

    found = await run(program)
    assert found.error == ""
    assert found.deciding.verdict == "safe"
    assert capfd.readouterr() == ("", "")
